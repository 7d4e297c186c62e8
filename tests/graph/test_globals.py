"""Global names between clusters that know nothing of each other: who answers, through which gateways."""

from typing import Any

import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry
from isthmus.model.networks import ResolvedName
from isthmus.model.rows import (
    EndpointSlice,
    Gateway,
    GatewayServer,
    Protocol,
    Row,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    labels,
)
from isthmus.xds.resource import CDS, LDS
from tests.graph.calls import Answer, World, config
from tests.graph.world import SYSTEM, App, cluster, drop, helloworld, mesh, port, put, router, sleep

HELLO = "helloworld.sample.global"
SNI = f"outbound_.5000_._.{HELLO}"
VIP = "240.240.0.7"
GATEWAYS = {"east": "172.18.0.1", "west": "172.18.0.2", "north": "172.18.0.3"}
EGRESS = {"east": "10.0.0.91", "west": "10.0.0.92", "north": "10.0.0.93"}
PODS = {"east": "10.0.0.11", "west": "10.0.0.12", "north": "10.0.0.13"}


def entry(where: str, *clusters: str, **fields: Any) -> ServiceEntry:
    """The ServiceEntry in one cluster, with the gateways of others."""
    values: dict[str, Any] = {
        "namespace": "sample",
        "hosts": (HELLO,),
        "ports": (ServicePort("http", 5000, Protocol.HTTP),),
        "addresses": (VIP,),
        "internal": True,
        "resolution": Resolution.STATIC,
        "endpoints": tuple(
            EntryAddress(address=GATEWAYS[name], ports=(("http", 15443),), network=f"net-{name}") for name in clusters
        ),
        "subject_alt_names": ("spiffe://cluster.local/ns/sample/sa/helloworld",),
    }
    return ServiceEntry(cluster=where, name="helloworld", **(values | fields))


def global_gateway(name: str, *hosts: str) -> Gateway:
    server = GatewayServer(port=15443, protocol="TLS", hosts=hosts or ("*.global",), tls_mode="AUTO_PASSTHROUGH")
    selector = labels({"istio": "eastwestgateway"})
    return Gateway(cluster=name, namespace=SYSTEM, name="global", selector=selector, servers=(server,))


def egress(name: str, *pods: str) -> list[Row]:
    """The Service by which a cluster's own pods reach its gateway, with the pods behind it."""
    service = Service(
        cluster=name,
        namespace=SYSTEM,
        name="egress",
        ports=(ServicePort("tls-egress", 15445, Protocol.TLS, "15446"),),
        selector=labels({"istio": "eastwestgateway"}),
        labels=labels({"networking.isthmus.dev/egressPort": "15445"}),
    )
    endpoints = tuple(SliceEndpoint(addresses=(address,)) for address in pods)
    piece = EndpointSlice(
        cluster=name,
        namespace=SYSTEM,
        name="egress-1",
        service="egress",
        ports=(SlicePort("tls-egress", 15446), SlicePort("other", 1)),
        endpoints=endpoints,
    )
    return [service, piece]


def alone(name: str, *others: str, ready: bool = True, with_egress: bool = True) -> Mesh:
    """The mesh of one cluster that knows no other."""
    rows = [
        *cluster(name, f"net-{name}", config=True),
        *helloworld(name, PODS[name], ready=ready).rows(),
        *sleep(name).rows(),
        *(egress(name, EGRESS[name]) if with_egress else []),
        global_gateway(name),
        entry(name, *others),
    ]
    return mesh(name, rows)


def world(**meshes: Mesh) -> World:
    """Gateways by the address on the WAN, and by that of their pod."""
    made = World()
    for name, known in meshes.items():
        network = f"net-{name}"
        held = config(known, router(name, network))
        made.gateways[GATEWAYS[name]] = made.gateways[EGRESS[name]] = (network, held)
        hello = helloworld(name, PODS[name]).sidecar(network=network)
        made.workloads[network, PODS[name]] = config(known, hello)
    return made


def call(made: World, known: Mesh, name: str = "east") -> list[Answer]:
    caller = config(known, sleep(name).sidecar(network=f"net-{name}"))
    return made.call(f"net-{name}", caller, Connection(address=VIP, port=5000, http="http/1.1"), host=HELLO)


def outcome(found: list[Answer]) -> list[tuple[str, str, str]]:
    return [(answer.gateway, answer.address, answer.closed) for answer in found]


def test_local_instances_first_and_others_through_both_gateways() -> None:
    east, west = alone("east", "east", "west"), alone("west", "east", "west")
    made = world(east=east, west=west)
    near, far = call(made, east)
    assert outcome([near, far]) == [("", PODS["east"], ""), (f"{EGRESS['east']} {GATEWAYS['west']}", PODS["west"], "")]
    assert (near.share, far.share) == (1.0, 0.0)
    assert near.sni == far.sni == SNI
    assert far.mtls
    assert far.peers == ("spiffe://cluster.local/ns/sample/sa/helloworld",)


def test_where_none_is_ready_here_the_other_cluster_answers() -> None:
    east, west = alone("east", "west", ready=False), alone("west", "east")
    (far,) = call(world(east=east, west=west), east)
    assert outcome([far]) == [(f"{EGRESS['east']} {GATEWAYS['west']}", PODS["west"], "")]
    assert far.share == 1.0


def test_what_comes_from_outside_is_never_led_outside_again() -> None:
    east, west = alone("east", "west", ready=False), alone("west", "east", ready=False)
    made = world(east=east, west=west)
    assert [answer.closed for answer in call(made, east)] == ["gateway: no healthy upstream"]
    (name,) = (key for key in west.resources(router("west", "net-west").id, LDS) if key == "0.0.0.0_15443")
    verdict = config(west, router("west", "net-west")).arriving(
        Connection(address="x", port=15443, tls=True, sni=SNI, alpn=("istio",)), at=15443
    )
    assert (name, verdict.cluster) == ("0.0.0.0_15443", "outbound_.5000_._.helloworld.sample.svc.cluster.local")
    assert verdict.targets == ()


def test_the_egress_port_leads_out_only() -> None:
    east = alone("east", "east", "west", "north")
    gateway = config(east, router("east", "net-east"))
    hello = Connection(address="x", port=15446, tls=True, sni=SNI, alpn=("istio",))
    verdict = gateway.arriving(hello, at=15446)
    assert {(target.address, target.port) for target in verdict.targets} == {
        (GATEWAYS["west"], 15443),
        (GATEWAYS["north"], 15443),
    }
    local = Connection(
        address="x", port=15446, tls=True, sni="outbound_.5000_._.helloworld.sample.svc.cluster.local", alpn=("istio",)
    )
    assert gateway.arriving(local, at=15446).closed


def test_without_an_egress_gateway_the_other_gateways_are_called() -> None:
    east, west = alone("east", "west", ready=False, with_egress=False), alone("west", "east")
    (far,) = call(world(east=east, west=west), east)
    assert outcome([far]) == [(GATEWAYS["west"], PODS["west"], "")]


def test_a_service_that_runs_elsewhere_only() -> None:
    east = mesh("east", cluster("east", "net-east", config=True), sleep().rows(), egress("east", EGRESS["east"]),
                [global_gateway("east"), entry("east", "west")])  # fmt: skip
    made = world(west=alone("west"))
    made.gateways[EGRESS["east"]] = ("net-east", config(east, router("east", "net-east")))
    (far,) = call(made, east)
    assert outcome([far]) == [(f"{EGRESS['east']} {GATEWAYS['west']}", PODS["west"], "")]


def test_gateways_come_and_go_with_the_entry_and_the_names_in_it() -> None:
    east = alone("east", "west", ready=False)
    gateway = router("east", "net-east")
    hello = Connection(address="x", port=15446, tls=True, sni=SNI, alpn=("istio",))

    def out() -> set[str]:
        return {target.address for target in config(east, gateway).arriving(hello, at=15446).targets}

    assert out() == {GATEWAYS["west"]}
    east.apply([put(entry("east", "west", "north"))])
    assert out() == {GATEWAYS["west"], GATEWAYS["north"]}
    named = EntryAddress(address="gw.west.example", ports=(("http", 443),))
    east.apply([put(entry("east", endpoints=(named,), resolution=Resolution.DNS))])
    assert out() == set()
    assert [str(one.where) for one in east.problems()] == ["ServiceEntry sample/helloworld in cluster east"]
    assert east.hostnames() == ("gw.west.example",)
    east.apply([put(ResolvedName(cluster="east", name="gw.west.example", addresses=("9.9.9.9",)))])
    assert out() == {"9.9.9.9"}
    assert east.problems() == []
    east.apply([drop(entry("east"))])
    assert SNI not in east.resources(gateway.id, CDS)
    assert "0.0.0.0_15446" not in east.resources(gateway.id, LDS)


def test_only_hosts_of_the_mesh_are_global() -> None:
    east = alone("east")
    east.apply([put(entry("east", "west", internal=False))])
    assert SNI not in east.resources(config_id(east), CDS)


def config_id(known: Mesh) -> str:
    """The gateway's id, connected."""
    proxy = router("east", "net-east")
    known.connect(proxy)
    return proxy.id


@pytest.mark.parametrize(
    "app",
    [
        App("west", "helloworld", [PODS["west"]], vip="10.96.0.1", mesh=False),
        App("west", "helloworld", [PODS["west"]], vip="", ports=(port(5000),)),
    ],
    ids=["no proxy", "headless"],
)
def test_what_cannot_cross_networks_is_not_exposed(app: App) -> None:
    west = alone("west")
    west.apply([put(row) for row in app.rows()])
    gateway = config(west, router("west", "net-west"))
    verdict = gateway.arriving(Connection(address="x", port=15443, tls=True, sni=SNI, alpn=("istio",)), at=15443)
    assert verdict.closed or not verdict.targets
