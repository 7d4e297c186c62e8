"""Waypoints: who goes through them, what they answer to, by which routes and policies."""

from collections.abc import Iterable
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from msgspec.structs import replace

from isthmus.base.labels import GATEWAY_NAME_LABEL, USE_WAYPOINT_LABEL, USE_WAYPOINT_NAMESPACE_LABEL, WAYPOINT_FOR_LABEL
from isthmus.envoy.match import Config, Connection, Verdict, select_chain
from isthmus.graph.mesh import Mesh
from isthmus.model.managed import WAYPOINT_CLASS, Listener, ManagedGateway
from isthmus.model.routing import Destination, HttpMatch, HttpRoute, MatchKind, StringMatch, VirtualService, Weighted
from isthmus.model.rows import Namespace, Protocol, Proxy, Row, labels
from isthmus.xds.resource import CDS, EDS, LDS, RDS
from tests.envoy.policies import operation, policy, source
from tests.graph.world import App, cluster, drop, mesh, port, put

HOST = "web.shop.svc.cluster.local"
VIP = "10.96.0.7"
WEB = App(
    "east", "web", ["10.0.0.11", "10.0.0.12"], "shop", vip=VIP, ports=(port(80), port(9000, Protocol.TCP)), mesh=False
)
OTHER = App("east", "other", ["10.0.0.21"], "shop", vip="10.96.0.8", mesh=False)
WAYPOINT = App(
    "east", "gate", ["10.0.0.31", "10.0.0.32"], "shop", vip="10.96.0.9", ports=(port(15008, Protocol.TCP),),
    pod_labels={GATEWAY_NAME_LABEL: "gate"},
)  # fmt: skip
SLEEP = App("east", "sleep", ["10.0.0.2"], "client", vip="10.96.0.2")
CALLER, STRANGER = "spiffe://cluster.local/ns/client/sa/sleep", "spiffe://cluster.local/ns/client/sa/stranger"


def gate(namespace: str = "shop", **marks: str) -> ManagedGateway:
    """The Gateway of the waypoint."""
    listener = Listener("mesh", 15008, "HBONE")
    return ManagedGateway(
        cluster="east",
        namespace=namespace,
        name="gate",
        class_name=WAYPOINT_CLASS,
        listeners=(listener,),
        labels=labels(marks),
    )


def captured(app: App) -> list[Row]:
    """An application in ambient mode."""
    return [app.service_row(), app.slice_row(), *(replace(pod, redirection="enabled") for pod in app.pod_rows())]


def namespace(**marks: str) -> Namespace:
    """The namespace of the shop."""
    return Namespace(cluster="east", name="shop", labels=labels(marks))


def waypoint_proxy(app: App = WAYPOINT) -> Proxy:
    """The waypoint's proxy."""
    return app.sidecar(type="waypoint", labels=labels({"app": app.name, GATEWAY_NAME_LABEL: "gate"}))


def world(*rows: Row) -> Mesh:
    """A shop in ambient mode with a waypoint, if its namespace or services say that they want it."""
    waypoint = [*WAYPOINT.rows(), gate()]
    return mesh(
        "east", cluster("east", config=True), captured(WEB), captured(OTHER), waypoint, SLEEP.rows(), list(rows)
    )


USED = namespace(**{USE_WAYPOINT_LABEL: "gate"})
CLIENT = SLEEP.sidecar(hbone=True)


def config(made: Mesh, proxy: Proxy) -> Config:
    """What a proxy holds."""
    made.connect(proxy)
    return Config({type_url: made.resources(proxy.id, type_url) for type_url in (CDS, EDS, LDS, RDS)})


def at_waypoint(made: Mesh, authority: str = f"{HOST}:80", peer: str = CALLER, **request: str) -> Verdict:
    """What becomes of a call at the waypoint."""
    return config(made, waypoint_proxy()).tunnelled(authority, peer, **({"host": "web"} | request))


def members(made: Mesh, proxy: Proxy, name: str) -> list[tuple[str, str, str]]:
    """(listener, what is asked for, where the tunnel ends instead) of the members of a cluster."""
    made.connect(proxy)
    found = made.resource(proxy.id, EDS, name)
    assert found is not None
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(found.body)
    out = []
    for group in assignment.endpoints:
        for one in group.lb_endpoints:
            about = dict(one.metadata.filter_metadata.get("envoy.filters.listener.original_dst", {}).items())
            internal = one.endpoint.address.envoy_internal_address.server_listener_name
            out.append((internal, about.get("local", ""), about.get("waypoint", "")))
    return out


# -- who goes through it ------------------------------------------------------------------------------------------


def unready() -> ManagedGateway:
    return replace(gate(), unready=True)


def down() -> list[Row]:
    """The pods of the waypoint, none of which is ready."""
    slices = WAYPOINT.slice_row()
    ends = tuple(replace(one, ready=False) for one in slices.endpoints)
    return [replace(slices, endpoints=ends), *(replace(pod, ready=False) for pod in WAYPOINT.pod_rows())]


def open_to(allowed: str, **selector: str) -> ManagedGateway:
    """The waypoint in another namespace, for services of some namespaces."""
    listener = Listener("mesh", 15008, "HBONE", allowed=allowed, selector=labels(selector))
    return replace(gate("gates"), listeners=(listener,))


FAR = App("east", "gate", ["10.0.0.51"], "gates", vip="10.96.0.19", ports=(port(15008, Protocol.TCP),))
FAR_USED = namespace(**{USE_WAYPOINT_LABEL: "gate", USE_WAYPOINT_NAMESPACE_LABEL: "gates", "team": "a"})


@pytest.mark.parametrize(
    ("gateway", "through"),
    [
        pytest.param(open_to("Same"), False, id="its own namespace's only"),
        pytest.param(open_to("All"), True, id="everybody's"),
        pytest.param(open_to("Selector", team="a"), True, id="those of some namespaces"),
        pytest.param(open_to("Selector", team="b"), False, id="those of other namespaces"),
    ],
)
def test_whose_services_a_waypoint_takes(gateway: ManagedGateway, through: bool) -> None:
    made = world(FAR_USED, gateway, *FAR.rows())
    found = made.graph.peek(made.meshwide.waypoints.of_host, ("east", ("shop", "web")))
    assert found == (("gates", "gate") if through else None)
    told = [one for one in made.problems() if "allowedRoutes" in one.remedy]
    assert [one.where.kind for one in told] == ([] if through else ["Namespace"])


@pytest.mark.parametrize(
    ("rows", "where", "said"),
    [
        pytest.param([USED, gate()], "", "", id="in use"),
        pytest.param(
            [namespace(**{USE_WAYPOINT_LABEL: "absent"})], "Namespace", "shop/absent does not exist", id="missing"
        ),
        pytest.param([USED, unready()], "Namespace", "shop/gate never was ready", id="not ready yet"),
        pytest.param(
            [USED, gate(**{WAYPOINT_FOR_LABEL: "none"})],
            "Namespace",
            "is not for calls of services",
            id="other traffic",
        ),
        pytest.param([USED, *down()], "Gateway", "no pod of this waypoint", id="all pods gone"),
    ],
)
def test_waypoints_that_do_not_work_are_told(rows: list[Row], where: str, said: str) -> None:
    found = [one for one in world(*rows).problems() if "waypoint" in one.message]
    assert [one.where.kind for one in found] == ([where] if where else [])
    assert all(said in one.message and one.remedy for one in found)


def test_callers_wait_for_no_waypoint_that_never_served_and_go_past_none_that_did() -> None:
    """As in Istio: before it serves calls go on directly; afterwards they fail rather than go past its policies."""
    made = world(USED, unready())
    direct = [("connect_originate", "10.0.0.11:80", ""), ("connect_originate", "10.0.0.12:80", "")]
    assert members(made, CLIENT, f"outbound|80||{HOST}") == direct
    made.apply([put(gate())])
    assert {way for _, _, way in members(made, CLIENT, f"outbound|80||{HOST}")} == {
        "10.0.0.31:15008",
        "10.0.0.32:15008",
    }
    made.apply([put(row) for row in down()])
    assert members(made, CLIENT, f"outbound|80||{HOST}") == []


@pytest.mark.parametrize(
    ("rows", "through"),
    [
        pytest.param([], False, id="nobody says so"),
        pytest.param([USED], True, id="its namespace"),
        pytest.param([namespace(**{USE_WAYPOINT_LABEL: "none"})], False, id="its namespace says none"),
        pytest.param([namespace(**{USE_WAYPOINT_LABEL: "absent"})], False, id="a waypoint that is not there"),
        pytest.param(
            [namespace(**{USE_WAYPOINT_LABEL: "gate", USE_WAYPOINT_NAMESPACE_LABEL: "elsewhere"})],
            False,
            id="of another namespace, where there is none",
        ),
        pytest.param([USED, gate(**{WAYPOINT_FOR_LABEL: "workload"})], False, id="a waypoint for workloads only"),
        pytest.param([USED, gate(**{WAYPOINT_FOR_LABEL: "all"})], True, id="a waypoint for everything"),
    ],
)
def test_who_goes_through_a_waypoint(rows: list[Row], through: bool) -> None:
    made = world(*rows)
    assert made.graph.peek(made.meshwide.waypoints.of_host, ("east", ("shop", "web"))) == (
        ("shop", "gate") if through else None
    )
    assert at_waypoint(made).closed == ("" if through else f"404: {HOST}:80 is not taken")


def test_a_service_says_more_than_its_namespace() -> None:
    row = replace(WEB.service_row(), labels=labels({USE_WAYPOINT_LABEL: "none"}))
    made = world(USED, row)
    assert at_waypoint(made).closed == f"404: {HOST}:80 is not taken"
    assert at_waypoint(made, "other.shop.svc.cluster.local:5000").closed == ""


def test_the_label_counts_at_once_both_ways() -> None:
    made = world()
    made.apply([put(USED)])
    assert at_waypoint(made).closed == ""
    made.apply([drop(gate())])
    assert at_waypoint(made).closed == f"404: {HOST}:80 is not taken"


def test_clients_that_make_hbone_reach_the_service_at_its_waypoint() -> None:
    """They ask the waypoint's pods for the service's address; who must answer is the waypoint."""
    assert members(world(USED), CLIENT, f"outbound|80||{HOST}") == [
        ("connect_originate", f"{VIP}:80", "10.0.0.31:15008"),
        ("connect_originate", f"{VIP}:80", "10.0.0.32:15008"),
    ]


def test_without_a_waypoint_they_reach_the_pods() -> None:
    assert members(world(), CLIENT, f"outbound|80||{HOST}") == [
        ("connect_originate", "10.0.0.11:80", ""),
        ("connect_originate", "10.0.0.12:80", ""),
    ]


def test_a_sidecar_without_hbone_goes_by_as_ever() -> None:
    assert members(world(USED), SLEEP.sidecar(), f"outbound|80||{HOST}") == [("", "", ""), ("", "", "")]


def test_the_waypoint_reaches_the_pods_themselves() -> None:
    assert members(world(USED), waypoint_proxy(), f"outbound|80||{HOST}") == [
        ("connect_originate", "10.0.0.11:80", ""),
        ("connect_originate", "10.0.0.12:80", ""),
    ]


def test_routes_count_once() -> None:
    """What the waypoint does by the rules of the service, clients that go through it do not do before."""
    rows = VirtualService(
        cluster="east",
        namespace="shop",
        name="web",
        hosts=(HOST,),
        http=(HttpRoute(destinations=(Weighted(Destination("other.shop.svc.cluster.local", port=5000)),)),),
    )
    call = Connection(address=VIP, port=80, http="http/1.1")
    through = config(world(USED, rows), CLIENT).leaving(call, host=HOST)
    beside = config(world(USED, rows), SLEEP.sidecar()).leaving(call, host=HOST)
    assert (through.cluster, beside.cluster) == (f"outbound|80||{HOST}", "outbound|5000||other.shop.svc.cluster.local")


# -- what it answers to -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "cluster_"),
    [
        (f"{HOST}:80", f"outbound|80||{HOST}"),
        ("web.shop.mesh.internal:80", ""),
        (f"{VIP}:80", f"outbound|80||{HOST}"),
        (f"{VIP}:9000", f"outbound|9000||{HOST}"),
        (f"{VIP}:81", ""),
        ("10.0.0.11:80", ""),
        ("sleep.client.svc.cluster.local:5000", ""),
    ],
)
def test_what_a_tunnel_may_ask_for(authority: str, cluster_: str) -> None:
    assert at_waypoint(world(USED), authority).cluster == cluster_


def test_a_foreign_caller_is_refused_in_the_handshake() -> None:
    assert at_waypoint(world(USED), peer="spiffe://foreign/ns/client/sa/sleep").closed.startswith("TLS:")


def test_it_goes_by_the_routes_of_the_service() -> None:
    admin = HttpMatch(uri=StringMatch(MatchKind.PREFIX, "/other"))
    rows = VirtualService(
        cluster="east",
        namespace="shop",
        name="web",
        hosts=(HOST,),
        http=(
            HttpRoute(
                matches=(admin,), destinations=(Weighted(Destination("other.shop.svc.cluster.local", port=5000)),)
            ),
            HttpRoute(destinations=(Weighted(Destination(HOST)),)),
        ),
    )
    made = world(USED, rows)
    assert at_waypoint(made, path="/other/x").cluster == "outbound|5000||other.shop.svc.cluster.local"
    assert at_waypoint(made, path="/x").cluster == f"outbound|80||{HOST}"


# -- policies -----------------------------------------------------------------------------------------------------


def refused(made: Mesh, peer: str, path: str = "/") -> tuple[bool, bool]:
    """Whether a request, and a connection to the port without HTTP, are refused."""
    return (
        bool(at_waypoint(made, peer=peer, path=path).closed),
        bool(at_waypoint(made, f"{VIP}:9000", peer=peer).closed),
    )


GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        pytest.param({"targetRefs": [{"kind": "Service", "name": "web"}]}, "shop", id="attached to the service"),
        pytest.param({"targetRefs": [GATEWAY]}, "shop", id="attached to the waypoint"),
        pytest.param(
            {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": WAYPOINT_CLASS}]},
            "istio-system",
            id="attached to all waypoints",
        ),
    ],
)
def test_callers_are_those_who_opened_the_tunnels(fields: dict[str, Any], at: str) -> None:
    row = policy("p", at, **fields, rules=[source(principals=["cluster.local/ns/client/sa/sleep"])])
    made = world(USED, row)
    assert (refused(made, CALLER), refused(made, STRANGER)) == ((False, False), (True, True))


@pytest.mark.parametrize(("at", "closed"), [("10.0.0.2", True), ("10.0.9.9", False), ("", False)])
def test_callers_are_where_the_tunnel_was_opened(at: str, closed: bool) -> None:
    to = {"targetRefs": [{"kind": "Service", "name": "web"}]}
    made = world(USED, policy("p", "shop", **to, action="DENY", rules=[source(ipBlocks=["10.0.0.0/24"])]))
    found = config(made, waypoint_proxy())
    for authority in (f"{HOST}:80", f"{VIP}:9000"):
        assert bool(found.tunnelled(authority, CALLER, source=at, host="web").closed) is closed


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(policy("p", "shop", targetRefs=[{"kind": "Service", "name": "other"}]), id="another service"),
        pytest.param(policy("p", "shop", selector={"matchLabels": {"app": "web"}}), id="workloads: at the workload"),
        pytest.param(policy("p", "client", targetRefs=[GATEWAY]), id="a Gateway of that name elsewhere"),
    ],
)
def test_policies_for_something_else_do_not_count(row: Row) -> None:
    assert refused(world(USED, row), STRANGER) == (False, False)


def test_what_is_asked_for_counts_at_the_waypoint() -> None:
    rule = operation(methods=["GET"], paths=["/open/*"])
    made = world(USED, policy("p", "shop", targetRefs=[{"kind": "Service", "name": "web"}], rules=[rule]))
    assert refused(made, CALLER, "/open/x") == (False, True)
    assert refused(made, CALLER, "/closed") == (True, True)


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_policy_by_the_callers_cluster(action: str) -> None:
    """With a trust domain for each cluster, a source's cluster is its trust domain."""
    row = policy("p", "shop", action=action, targetRefs=[GATEWAY], rules=[source(trustDomains=["west.example"])])
    others = cluster("west", trust_domain="west.example")
    made = world(USED, row, *others)
    west = "spiffe://west.example/ns/client/sa/sleep"
    allowed = action == "ALLOW"
    assert (refused(made, west), refused(made, CALLER)) == ((not allowed,) * 2, (allowed,) * 2)


def test_a_policy_for_a_service_binds_to_no_workload() -> None:
    row = policy("p", "shop", targetRefs=[{"kind": "Service", "name": "web"}])
    made = world(USED, row)
    held: Iterable[Any] = made.graph.peek(made.meshwide.bound_policies, "shop")
    assert list(held) == []


def test_a_mesh_wide_name_is_no_way_around_a_waypoint_and_its_policies() -> None:
    row = replace(WEB.service_row(), labels=labels({"solo.io/service-scope": "global"}))
    made = world(USED, row)
    name = "web.shop.mesh.internal"
    assert at_waypoint(made, f"{name}:80", host=name).closed == ""
    made.apply(
        [
            put(
                policy(
                    "strict",
                    "shop",
                    targetRefs=[{"kind": "Service", "name": "web"}],
                    rules=[source(principals=["nobody"])],
                )
            )
        ]
    )
    assert at_waypoint(made, f"{name}:80", host=name).closed == at_waypoint(made).closed != ""
    made.apply([put(namespace())])
    assert at_waypoint(made, f"{name}:80", host=name).closed == f"404: {name}:80 is not taken"


# -- calls of pods' own addresses ---------------------------------------------------------------------------------

NODE = Proxy(cluster="east", namespace="istio-system", name="node-1", type="node", node="east-node")
POD = "10.0.0.11"
FOR_ALL = gate(**{WAYPOINT_FOR_LABEL: "all"})


def labelled_pods(**marks: str) -> list[Row]:
    return [replace(pod, redirection="enabled", labels=labels({"app": "web", **marks})) for pod in WEB.pod_rows()]


def way_of_pod(made: Mesh, address: str = POD) -> str:
    """The chain by which the proxy of a node sends to a pod's own address."""
    found = config(made, NODE).listeners["workloads"]
    chain = select_chain(found, Connection(address=address, port=8080))
    return chain.name if chain is not None else ""


@pytest.mark.parametrize(
    ("rows", "through"),
    [
        pytest.param([FOR_ALL], False, id="nobody says so"),
        pytest.param([USED, FOR_ALL], True, id="its namespace, a waypoint for everything"),
        pytest.param([USED, gate(**{WAYPOINT_FOR_LABEL: "workload"})], True, id="a waypoint for workloads"),
        pytest.param([USED, gate()], False, id="a waypoint for services"),
        pytest.param([FOR_ALL, *labelled_pods(**{USE_WAYPOINT_LABEL: "gate"})], True, id="the pod itself"),
        pytest.param([USED, FOR_ALL, *labelled_pods(**{USE_WAYPOINT_LABEL: "none"})], False, id="the pod says none"),
        pytest.param([USED, replace(FOR_ALL, unready=True)], False, id="a waypoint that never served"),
        pytest.param([USED, replace(FOR_ALL, cluster="west")], False, id="a waypoint of another cluster"),
    ],
)
def test_who_goes_through_a_waypoint_to_a_pods_own_address(rows: list[Row], through: bool) -> None:
    made = world(*rows)
    identity = "spiffe://cluster.local/ns/shop/sa/web"
    assert way_of_pod(made) == ("waypoint/shop/gate" if through else identity)
    taken = at_waypoint(made, f"{POD}:8080")
    assert (taken.cluster, taken.closed) == (("workloads", "") if through else ("", f"404: {POD}:8080 is not taken"))
    if through:
        inner = select_chain(config(made, waypoint_proxy()).listeners["workloads"], Connection(address=POD, port=8080))
        assert inner is not None
        assert inner.name == identity


def test_a_service_goes_by_its_own_waypoint_whatever_its_pods_say() -> None:
    made = world(FOR_ALL, *labelled_pods(**{USE_WAYPOINT_LABEL: "gate"}))
    assert members(made, CLIENT, f"outbound|80||{HOST}")[0] == ("connect_originate", f"{POD}:80", "")


def test_pods_of_waypoints_are_behind_none() -> None:
    made = world(USED, FOR_ALL, *(replace(pod, redirection="enabled") for pod in WAYPOINT.pod_rows()))
    assert not way_of_pod(made, "10.0.0.31").startswith("waypoint/")


@pytest.mark.parametrize(("peer", "refused_"), [(CALLER, False), (STRANGER, True)])
def test_policies_of_the_waypoint_hold_for_pods_too(peer: str, refused_: bool) -> None:
    row = policy("p", "shop", targetRefs=[GATEWAY], rules=[source(principals=["cluster.local/ns/client/sa/sleep"])])
    assert bool(at_waypoint(world(USED, FOR_ALL, row), f"{POD}:8080", peer).closed) is refused_


def test_the_address_of_a_pod_that_leaves_is_nobodys() -> None:
    made = world(USED, FOR_ALL)
    assert way_of_pod(made) == "waypoint/shop/gate"
    made.apply([put(replace(pod, redirection="")) for pod in WEB.pod_rows()])
    assert way_of_pod(made) == "nobody"
    assert at_waypoint(made, f"{POD}:8080").closed == f"404: {POD}:8080 is not taken"
