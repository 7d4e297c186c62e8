"""How networks are told and entered: changes of each way reach the endpoints of the proxies."""

import pytest
from msgspec.structs import replace

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import MeshNetworks, NetworkDefinition, NetworkEntry
from isthmus.model.networks import ApiGateway, ResolvedName
from isthmus.model.rows import EndpointSlice, Row, Service, ServicePort, SliceEndpoint, SlicePort
from tests.graph.calls import config
from tests.graph.world import cluster, cross_network, drop, gateway, helloworld, mesh, put, sleep

EAST = "10.0.0.11"
SLEEP = sleep().sidecar()
HELLO = "helloworld.sample.svc.cluster.local"


def world(west_network: str = "net-west") -> Mesh:
    """East with its gateway, west without one, overlapping addresses."""
    rows = [
        *cluster("east", "net-east", config=True),
        *cluster("west", west_network),
        *helloworld("east", EAST).rows(),
        *helloworld("west", "10.0.0.12").rows(),
        *sleep().rows(),
        *gateway("east", "net-east", "172.18.0.1"),
        cross_network("east"),
    ]
    return mesh("east", rows)


def reached(made: Mesh) -> set[tuple[str, int]]:
    """Where east/sleep's calls of helloworld go."""
    verdict = config(made, SLEEP).leaving(Connection(address="10.96.0.1", port=5000, http="http/1.1"), host=HELLO)
    return {(target.address, target.port) for target in verdict.targets}


HERE = (EAST, 5000)


def networks(*definitions: NetworkDefinition, where: str = "east") -> MeshNetworks:
    return MeshNetworks(cluster=where, name="istio", networks=definitions)


def name(host: str, *addresses: str) -> ResolvedName:
    return ResolvedName(cluster="east", name=host, addresses=addresses)


BY_ADDRESS = networks(NetworkDefinition("net-west", gateways=(NetworkEntry(443, address="172.18.0.2"),)))
BY_HOST = networks(NetworkDefinition("net-west", gateways=(NetworkEntry(443, address="gw.west.example"),)))
BY_SERVICE = networks(
    NetworkDefinition("net-west", ("west",), gateways=(NetworkEntry(15443, service="gw.mesh.svc.cluster.local"),))
)
SERVICE = Service(
    cluster="west", namespace="mesh", name="gw", ports=(ServicePort("tls", 443),), ingress_addresses=("172.18.0.2",)
)
API = ApiGateway(
    cluster="east",
    namespace="istio-system",
    name="west",
    network="net-west",
    remote=True,
    entries=(NetworkEntry(15443, address="172.18.0.2"),),
)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], {HERE}),
        ([BY_ADDRESS], {HERE, ("172.18.0.2", 443)}),
        ([BY_HOST], {HERE}),
        ([BY_HOST, name("gw.west.example", "172.18.0.2", "172.18.0.3")],
         {HERE, ("172.18.0.2", 443), ("172.18.0.3", 443)}),
        ([BY_HOST, name("gw.west.example")], {HERE}),
        ([BY_SERVICE], {HERE}),
        ([BY_SERVICE, SERVICE], {HERE, ("172.18.0.2", 15443)}),
        ([API], {HERE, ("172.18.0.2", 15443)}),
        ([BY_ADDRESS, API], {HERE, ("172.18.0.2", 443), ("172.18.0.2", 15443)}),
        ([networks(*BY_ADDRESS.networks, where="west")], {HERE}),
    ],
)  # fmt: skip
def test_ways_into_a_network_come_and_go(rows: list[Row], found: set[tuple[str, int]]) -> None:
    made = world()
    for row in rows:
        made.apply([put(row)])
    assert reached(made) == found
    for row in rows:
        made.apply([drop(row)])
    assert reached(made) == {HERE}


def test_a_remote_gateway_is_described_by_the_config_cluster_only_nw12() -> None:
    made = world()
    made.apply([put(replace(API, cluster="west"))])
    assert reached(made) == {HERE}
    made.apply([put(replace(API, cluster="west", remote=False))])
    assert reached(made) == {HERE, ("172.18.0.2", 15443)}


@pytest.mark.parametrize(
    "definition",
    [
        NetworkDefinition("net-west", ("west",), gateways=(NetworkEntry(15443, address="172.18.0.2"),)),
        NetworkDefinition("net-west", (), ("10.0.0.12/32",), (NetworkEntry(15443, address="172.18.0.2"),)),
    ],
    ids=["fromRegistry", "fromCidr"],
)
def test_networks_without_any_label_nw14(definition: NetworkDefinition) -> None:
    made = world(west_network="")
    assert reached(made) == {HERE, ("10.0.0.12", 5000)}
    made.apply([put(networks(definition))])
    assert reached(made) == {HERE, ("172.18.0.2", 15443)}
    made.apply([put(cluster("west", "net-east")[1])])
    assert reached(made) == {HERE, ("10.0.0.12", 5000)}


def test_every_gateway_is_listed_and_every_name_asked_for() -> None:
    made = world()
    assert made.hostnames() == ()
    made.apply([put(BY_HOST), put(API), put(gateway("west", "other", "lb.example.com", "9.9.9.9")[0])])
    assert made.hostnames() == ("gw.west.example", "lb.example.com")
    made.apply([put(name("lb.example.com", "9.9.9.8"))])
    assert made.gateways() == [
        NetworkGateway("net-east", "east", "172.18.0.1", 15443),
        NetworkGateway("net-west", "east", "172.18.0.2", 15443),
        NetworkGateway("other", "west", "9.9.9.8", 15443),
        NetworkGateway("other", "west", "9.9.9.9", 15443),
    ]
    made.apply([drop(BY_HOST)])
    assert made.hostnames() == ("lb.example.com",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([BY_HOST], "host name gw.west.example means no address"),
        ([BY_SERVICE], "Service gw.mesh.svc.cluster.local is in none of the network's clusters: west"),
        (
            [networks(NetworkDefinition("n", gateways=(NetworkEntry(1, service="a.b.svc"),)))],
            "Service a.b.svc is looked for nowhere: no cluster is in the network",
        ),
    ],
)
def test_entries_that_lead_nowhere_are_reported(rows: list[Row], message: str) -> None:
    made = world()
    made.apply([put(row) for row in rows])
    found = [problem for problem in made.problems() if problem.where.kind == "ConfigMap"]
    assert [problem.message for problem in found] == [message]


def test_a_gateway_is_not_reported_for_taking_no_mutual_tls_itself() -> None:
    made = world()
    west = gateway("west", "net-west", "172.18.0.2")[0]
    piece = EndpointSlice(
        cluster="west",
        namespace=west.namespace,
        name="gw-1",
        service=west.name,
        ports=(SlicePort("tls", 15443),),
        endpoints=(SliceEndpoint(addresses=("10.0.0.9",)),),
    )
    made.apply([put(west), put(piece)])
    assert made.problems() == []
