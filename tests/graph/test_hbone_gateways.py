"""East-west gateways for HBONE as configuration: what they listen on, which services they pass on, and to whom."""

from pathlib import Path
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from msgspec.structs import replace

from isthmus.envoy.match import Connection
from isthmus.envoy.spread import spread
from isthmus.graph.mesh import Mesh
from isthmus.model.managed import Listener, ManagedGateway
from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.networks import ApiGateway
from isthmus.model.peering import PeerBundle, PeerEndpoints, PeerLink, PeerService, ServiceScope
from isthmus.model.rows import (
    EndpointSlice,
    Protocol,
    Proxy,
    Row,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
    labels,
)
from isthmus.xds.resource import CDS, EDS, LDS, RDS
from tests.envoy.acceptance import everything, validate
from tests.graph.calls import config
from tests.graph.world import App, cluster, drop, helloworld, mesh, port, put, sleep

SPACE, NAME = "istio-gateways", "istio-eastwest"
MESH_HOST = "helloworld.sample.mesh.internal"
OWN_HOST = "helloworld.sample.svc.cluster.local"
GLOBAL = {"labels": labels({"solo.io/service-scope": "global"})}
MARKS = labels({"topology.istio.io/network": "net-east", "istio.io/expose-istiod": "15012"})

GATEWAY = ManagedGateway(
    cluster="east",
    namespace=SPACE,
    name=NAME,
    class_name="istio-eastwest",
    network="net-east",
    labels=MARKS,
    listeners=(
        Listener("cross-network", 15008, "HBONE", "Passthrough"),
        Listener("xds-tls", 15012, "TLS", "Passthrough"),
    ),
)
ROUTER = Proxy(
    cluster="east",
    namespace=SPACE,
    name="ew-0",
    type="router",
    network="net-east",
    requested_network_view=("net-east",),
    addresses=("10.0.0.9",),
    labels=labels({"gateway.networking.k8s.io/gateway-name": NAME}),
)
ISTIOD = App(
    "east",
    "istiod",
    ["10.0.0.21"],
    namespace="istio-system",
    vip="10.96.0.9",
    mesh=False,
    ports=(
        port(15012, Protocol.TLS, name="https-dns"),
        port(15013, Protocol.TLS, name="tls-peers"),
    ),
)


def captured(app: App, *, states: tuple[str, ...] = ()) -> list[Row]:
    """An application in ambient mode; `states` are its pods' redirection, `enabled` if not said."""
    rows: list[Row] = [app.service_row(), app.slice_row()]
    for index, pod in enumerate(app.pod_rows()):
        rows.append(replace(pod, tls_mode="", redirection=(states or ("enabled",) * 9)[index]))
    return rows


def world(*more: list[Row], gateway: ManagedGateway = GATEWAY) -> Mesh:
    """East with a gateway for HBONE; west in another network, with overlapping addresses."""
    return mesh("east", cluster("east", "net-east", config=True), cluster("west", "net-west"), [gateway], *more)


def hello(*, service: dict[str, Any] | None = None, where: str = "east", **fields: Any) -> list[Row]:
    addresses = ["10.0.0.11", "10.0.0.12", "10.0.0.13"] if where == "east" else ["10.0.0.11"]
    return captured(helloworld(where, *addresses, service=GLOBAL if service is None else service), **fields)


def authorities(made: Mesh) -> dict[str, str]:
    """What may be asked for by CONNECT -> cluster."""
    made.connect(ROUTER)
    found = made.resource(ROUTER.id, RDS, "hbone.15008")
    if found is None:
        return {}
    message = route_pb2.RouteConfiguration.FromString(found.body)
    return {
        domain: route.route.cluster
        for host in message.virtual_hosts
        for domain in host.domains
        for route in host.routes
        if route.match.HasField("connect_matcher")
    }


def members(made: Mesh, name: str) -> dict[str, float]:
    """Address and port of the endpoints of a cluster of the gateway -> share."""
    made.connect(ROUTER)
    found = made.resource(ROUTER.id, EDS, name)
    assert found is not None
    shares = spread(endpoint_pb2.ClusterLoadAssignment.FromString(found.body))
    return {f"{one.member.address}:{one.member.port}": one.share for one in shares}


def test_only_global_services_may_be_asked_for() -> None:
    private = captured(App("east", "private", ["10.0.0.31"], vip="10.96.0.31"))
    found = authorities(world(hello(), private))
    assert found == {
        f"{MESH_HOST}:5000": f"inbound-vip|5000|tcp|{MESH_HOST}",
        f"{OWN_HOST}:5000": f"inbound-vip|5000|tcp|{OWN_HOST}",
    }


@pytest.mark.parametrize(
    ("service", "found"),
    [
        ({}, False),
        (GLOBAL, True),
        ({"labels": labels({"istio.io/global": "true"})}, True),
        ({"labels": labels({"solo.io/service-scope": "global-only"})}, True),
        (GLOBAL | {"export_to": (".",)}, False),
    ],
)
def test_the_scope_of_a_service_opens_the_gateway(service: dict[str, Any], found: bool) -> None:
    assert bool(authorities(world(hello(service=service)))) is found


@pytest.mark.parametrize("name", [MESH_HOST, OWN_HOST])
def test_bytes_go_to_the_hbone_port_of_the_networks_own_endpoints_in_equal_shares(name: str) -> None:
    made = world(hello(), hello(where="west"))
    third = pytest.approx(1 / 3)
    found = {f"10.0.0.{n}:15008": third for n in (11, 12, 13)}
    assert members(made, f"inbound-vip|5000|tcp|{name}") == found


def test_shares_follow_what_is_captured_and_ready() -> None:
    made = world(hello(states=("enabled", "pending", "enabled")))
    name = f"inbound-vip|5000|tcp|{MESH_HOST}"
    assert members(made, name) == {"10.0.0.11:15008": 0.5, "10.0.0.13:15008": 0.5}
    app = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13", service=GLOBAL)
    piece = app.slice_row()
    left = tuple(replace(one, ready=index == 2) for index, one in enumerate(piece.endpoints))
    made.apply([put(replace(piece, endpoints=left))])
    assert members(made, name) == {"10.0.0.13:15008": 1.0}


def test_clusters_of_the_same_network_are_behind_one_gateway_where_the_service_is_global_there() -> None:
    rows = [*cluster("south", "net-east"), *captured(helloworld("south", "10.0.0.41", service=GLOBAL))]
    name = f"inbound-vip|5000|tcp|{MESH_HOST}"
    assert len(members(world(hello(), rows), name)) == 4
    private = [*cluster("south", "net-east"), *captured(helloworld("south", "10.0.0.41"))]
    assert len(members(world(hello(), private), name)) == 3


def test_what_peers_export_never_goes_round_through_a_gateway() -> None:
    theirs = PeerService(
        cluster="far",
        namespace="sample",
        name="helloworld",
        scope=ServiceScope.GLOBAL,
        ports=(port(5000),),
        endpoints=(PeerEndpoints("net-far", healthy=3, total=3), PeerEndpoints("net-east", healthy=3, total=3)),
    )
    made = world(hello(), [theirs])
    assert len(members(made, f"inbound-vip|5000|tcp|{MESH_HOST}")) == 3
    alone = world([theirs])
    assert authorities(alone) == {}


def test_the_listener_wants_a_certificate_of_the_mesh_or_of_a_linked_trust_domain() -> None:
    bundle = PeerBundle(cluster="east", name="far.example", roots="")
    made = world(hello(), [bundle])
    made.connect(ROUTER)
    found = made.resource(ROUTER.id, LDS, "0.0.0.0_15008")
    assert found is not None
    for domain in ("cluster.local", "far.example"):
        assert f"spiffe://{domain}/".encode() in found.body
    made.apply([drop(bundle)])
    found = made.resource(ROUTER.id, LDS, "0.0.0.0_15008")
    assert found is not None
    assert b"spiffe://far.example/" not in found.body


@pytest.mark.parametrize(
    ("sni", "target"),
    [("istiod.istio-system.svc", 15012), ("", 15012), ("istiod-peers.istio-system.svc", 15013)],
)
def test_tls_to_the_control_plane_is_passed_on_by_its_sni(sni: str, target: int) -> None:
    made = config(world(ISTIOD.rows()), ROUTER)
    verdict = made.arriving(Connection(address="198.18.0.1", port=15012, tls=True, sni=sni, alpn=("h2",)), at=15012)
    assert {(one.address, one.port) for one in verdict.targets} == {("10.0.0.21", target)}


@pytest.mark.parametrize(
    ("row", "listeners"),
    [
        (GATEWAY, {"0.0.0.0_15008", "0.0.0.0_15012"}),
        (replace(GATEWAY, labels=MARKS[1:]), {"0.0.0.0_15008"}),
        (replace(GATEWAY, cluster="west"), set()),
        (replace(GATEWAY, namespace="other"), set()),
        (replace(GATEWAY, listeners=(Listener("x", 15008, "HBONE", fault="UnsupportedProtocol"),)), set()),
    ],
)
def test_a_proxy_has_the_listeners_of_the_gateway_that_it_is_run_for(row: ManagedGateway, listeners: set[str]) -> None:
    made = world(hello(), ISTIOD.rows(), gateway=row)
    made.connect(ROUTER)
    assert {name for name, found in made.resources(ROUTER.id, LDS).items() if found.body} == listeners


def test_a_listener_for_sidecars_passes_mutual_tls_on_beside() -> None:
    """NW15: one gateway for both data planes."""
    tls = Listener("tls", 15443, "TLS", "Passthrough", auto=True)
    made = world(helloworld("east", "10.0.0.11").rows(), gateway=replace(GATEWAY, listeners=(*GATEWAY.listeners, tls)))
    name = f"outbound_.5000_._.{OWN_HOST}"
    verdict = config(made, ROUTER).arriving(
        Connection(address="198.18.0.1", port=15443, tls=True, sni=name, alpn=("istio",)), at=15443
    )
    assert {(one.address, one.port) for one in verdict.targets} == {("10.0.0.11", 5000)}


SERVICE = Service(
    cluster="west",
    namespace=SPACE,
    name=NAME,
    type="LoadBalancer",
    ports=(ServicePort("cross-network", 15008),),
    labels=labels({"topology.istio.io/network": "net-west"}),
    ingress_addresses=("198.18.17.9",),
)
BEHIND = EndpointSlice(
    cluster="west",
    namespace=SPACE,
    name="ew-1",
    service=NAME,
    endpoints=(SliceEndpoint(addresses=("10.0.0.9",), pod="ew-0"),),
)
POD = Workload(cluster="west", namespace=SPACE, name="ew-0", service_account="ew")
LINK = PeerLink(
    cluster="east",
    name="far",
    peer="far",
    network="net-far",
    addresses=("198.18.33.9",),
    hbone_port=15008,
    gateway_identity="spiffe://far.example/ns/gw/sa/far",
)


@pytest.mark.parametrize(
    ("rows", "network", "identities"),
    [
        ([SERVICE, BEHIND, POD], "net-west", ("spiffe://cluster.local/ns/istio-gateways/sa/ew",)),
        ([SERVICE], "net-west", ()),
        ([LINK], "net-far", ("spiffe://far.example/ns/gw/sa/far",)),
        ([ApiGateway(cluster="east", namespace=SPACE, name=NAME, network="net-east",
                     entries=(NetworkEntry(0, address="198.18.1.9", hbone_port=15008),))],
         "net-east", ("spiffe://cluster.local/ns/istio-gateways/sa/istio-eastwest",)),
    ],
)  # fmt: skip
def test_who_a_gateway_must_be_is_known_am7(rows: list[Row], network: str, identities: tuple[str, ...]) -> None:
    found = {one.network: one.identities for one in world(rows).gateways()}
    assert found == {network: identities}


def test_callers_are_told_who_the_gateway_must_be() -> None:
    made = world([SERVICE, BEHIND, POD], hello(where="west"), sleep().rows())
    client = sleep().sidecar(network="net-east", hbone=True)
    made.connect(client)
    found = made.resource(client.id, EDS, f"outbound|5000||{MESH_HOST}")
    assert found is not None
    message = endpoint_pb2.ClusterLoadAssignment.FromString(found.body)
    [member] = [member for group in message.endpoints for member in group.lb_endpoints]
    about = member.metadata.filter_metadata["istio"]
    assert about["gateway_peers"] == "spiffe://cluster.local/ns/istio-gateways/sa/ew"
    assert about["peers"] == "spiffe://cluster.local/ns/sample/sa/helloworld"


def test_a_change_of_one_pod_computes_its_service_again_and_no_route() -> None:
    made = world(hello())
    made.connect(ROUTER)
    for kind in (CDS, EDS, LDS, RDS):
        made.subscribe(ROUTER.id, kind, ["*"])
    app = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13", service=GLOBAL)
    pod = replace(app.pod_rows()[0], tls_mode="", redirection="pending")
    dirty = made.apply([put(pod)])
    assert {kind for kind in dirty[ROUTER.id] if dirty[ROUTER.id][kind]} == {EDS}
    assert "envoy.routes" not in {table for table, _ in made.recomputed}


def test_envoy_takes_it(tmp_path: Path) -> None:
    made = world(hello(), ISTIOD.rows())
    made.connect(ROUTER)
    assert validate(tmp_path, everything(made, ROUTER.id)) == ""
