"""Waypoints and callers from other networks: who is led to one by the gateway, and who must answer (AM12, AM14)."""

from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from msgspec.structs import replace

from isthmus.base.labels import GATEWAY_NAME_LABEL, USE_WAYPOINT_LABEL
from isthmus.graph.mesh import Mesh
from isthmus.model.managed import WAYPOINT_CLASS, Listener, ManagedGateway
from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.networks import ApiGateway
from isthmus.model.rows import Namespace, Protocol, Row, labels
from isthmus.proto import peering_pb2
from isthmus.xds.resource import EDS, LDS, PEER_SERVICE, RDS
from tests.graph.test_hbone_gateways import GLOBAL, MESH_HOST, OWN_HOST, ROUTER, captured, hello, members, world
from tests.graph.world import App, helloworld, port, sleep

USED = Namespace(cluster="east", name="sample", labels=labels({USE_WAYPOINT_LABEL: "gate"}))
GATE = ManagedGateway(
    cluster="east",
    namespace="sample",
    name="gate",
    class_name=WAYPOINT_CLASS,
    listeners=(Listener("mesh", 15008, "HBONE"),),
)
WAY_IN = ApiGateway(
    cluster="east",
    namespace="istio-gateways",
    name="istio-eastwest",
    network="net-east",
    entries=(NetworkEntry(0, address="198.18.1.9", hbone_port=15008),),
)
ENDS = (port(15008, Protocol.TCP),)


def gate(*, meshwide: bool) -> list[Row]:
    """The waypoint of the namespace, which other networks may know of, or not."""
    app = App("east", "gate", ["10.0.0.41"], vip="10.96.0.41", ports=ENDS, service=GLOBAL if meshwide else {})
    return [USED, GATE, app.service_row(), app.slice_row(), *app.pod_rows()]


def ways(made: Mesh) -> dict[str, list[tuple[str, str]]]:
    """What may be asked for at the gateway -> (what a header must be, cluster) of each route in order."""
    made.connect(ROUTER)
    found = made.resource(ROUTER.id, RDS, "hbone.15008")
    assert found is not None
    return {
        host.domains[0]: [
            (route.match.headers[0].string_match.exact if route.match.headers else "", route.route.cluster)
            for route in host.routes
        ]
        for host in route_pb2.RouteConfiguration.FromString(found.body).virtual_hosts
    }


def test_the_gateway_leads_to_a_global_waypoint_whoever_is_none_itself() -> None:
    made = world(hello(), gate(meshwide=True))
    for host in (OWN_HOST, MESH_HOST):
        assert ways(made)[f"{host}:5000"] == [
            ("waypoint", f"inbound-vip|5000|tcp|{host}"),
            ("", f"inbound-vip|5000|waypoint|{host}"),
        ]
        assert members(made, f"inbound-vip|5000|waypoint|{host}") == {"10.0.0.41:15008": 1}
        assert set(members(made, f"inbound-vip|5000|tcp|{host}")) == {f"10.0.0.{n}:15008" for n in (11, 12, 13)}


def test_a_waypoint_that_is_not_global_is_for_its_own_network() -> None:
    made = world(hello(), gate(meshwide=False))
    assert ways(made)[f"{OWN_HOST}:5000"] == [("", f"inbound-vip|5000|tcp|{OWN_HOST}")]


def peers_of(made: Mesh) -> set[str]:
    """Who may answer a client in west for the mesh-wide name, beyond the gateway."""
    client = sleep("west", "10.0.0.2").sidecar(network="net-west", hbone=True)
    made.connect(client)
    found = made.resource(client.id, EDS, f"outbound|5000||{MESH_HOST}")
    assert found is not None
    (one,) = endpoint_pb2.ClusterLoadAssignment.FromString(found.body).endpoints[0].lb_endpoints
    assert one.endpoint.address.envoy_internal_address.server_listener_name == "inner_connect_originate"
    return set(str(dict(one.metadata.filter_metadata["istio"].items())["peers"]).split(","))


def test_the_waypoint_may_answer_for_the_service() -> None:
    account = "spiffe://cluster.local/ns/sample/sa/{}"
    assert peers_of(world(hello(), [WAY_IN], gate(meshwide=False))) == {account.format("helloworld")}
    assert peers_of(world(hello(), [WAY_IN], gate(meshwide=True))) == {
        account.format("helloworld"),
        account.format("gate"),
    }


def test_peers_are_told_who_answers() -> None:
    made = world(hello(), gate(meshwide=True))
    told = made.exports.resources(PEER_SERVICE)["sample/helloworld"]
    row = peering_pb2.Service.FromString(told.body)
    assert [name.rpartition("/")[2] for name in row.identities] == ["gate", "helloworld"]


def test_a_waypoint_says_of_itself_that_it_is_one() -> None:
    """So that no waypoint over there does everything again."""
    made = world(hello(), gate(meshwide=True), captured(helloworld("west", "10.0.0.11", service=GLOBAL)))
    app = App("east", "gate", ["10.0.0.41"], vip="10.96.0.41", ports=ENDS)
    marks = labels({"app": "gate", GATEWAY_NAME_LABEL: "gate"})
    said = {}
    for kind in ("waypoint", "sidecar"):
        proxy = replace(app.sidecar(network="net-east", type=kind, labels=marks, hbone=True), name=f"{kind}-0")
        made.connect(proxy)
        found = made.resource(proxy.id, LDS, "outer_connect_originate")
        assert found is not None
        (chain,) = listener_pb2.Listener.FromString(found.body).filter_chains
        tunnel = tcp_proxy_pb2.TcpProxy.FromString(chain.filters[-1].typed_config.value).tunneling_config
        said[kind] = [(one.header.key, one.header.value) for one in tunnel.headers_to_add]
    assert said == {"waypoint": [("x-istio-source", "waypoint")], "sidecar": []}
