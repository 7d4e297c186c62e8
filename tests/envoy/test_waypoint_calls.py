"""Calls through a waypoint, and from a sidecar to an ambient workload: with real Envoys on both ends."""

from pathlib import Path

import pytest
from envoy.config.listener.v3 import listener_pb2
from msgspec.structs import replace

from isthmus.base.labels import GATEWAY_NAME_LABEL, USE_WAYPOINT_LABEL, WAYPOINT_FOR_LABEL
from isthmus.base.names import spiffe_id
from isthmus.envoy import hbone
from isthmus.envoy.build import resource, socket_address
from isthmus.envoy.filter_state import INSTEAD, SERVER_NAMES, Entry, setter
from isthmus.graph.mesh import Mesh
from isthmus.model.managed import WAYPOINT_CLASS, Listener, ManagedGateway
from isthmus.model.rows import Namespace, Protocol, Row, labels
from isthmus.model.rows import Proxy as ProxyRow
from isthmus.xds.resource import CDS, EDS, LDS, RDS, XdsResource
from tests.envoy.loopback import Answered, Proxy, application, authority, envoys, get
from tests.envoy.policies import operation, policy, source
from tests.envoy.running import free_ports
from tests.graph import world

SERVER, WAYPOINT, CALLER = "127.0.32.1", "127.0.32.2", "127.0.32.3"
VIP = "10.96.0.7"
PORTS = (world.port(80, target="5000"), world.port(90, Protocol.TCP, target="5001"))
WEB = world.App("east", "web", [SERVER], "shop", vip=VIP, ports=PORTS, mesh=False)
GATE = world.App(
    "east", "gate", [WAYPOINT], "shop", vip="10.96.0.9", ports=(world.port(15008, Protocol.TCP),), mesh=False
)
SLEEP = world.App("east", "sleep", [CALLER], "client", vip="10.96.0.2")
HOST = "web.shop.svc.cluster.local"


def identity(app: world.App) -> str:
    """Who an application is."""
    return spiffe_id("cluster.local", app.namespace, app.name)


def gateway(serves: str = "") -> ManagedGateway:
    """The Gateway of the waypoint."""
    return ManagedGateway(
        cluster="east",
        namespace="shop",
        name="gate",
        class_name=WAYPOINT_CLASS,
        listeners=(Listener("mesh", 15008, "HBONE"),),
        labels=labels({WAYPOINT_FOR_LABEL: serves} if serves else {}),
    )


def gateway_proxy(*, network: str = "") -> ProxyRow:
    """The proxy of the waypoint."""
    marks = labels({"app": "gate", GATEWAY_NAME_LABEL: "gate"})
    return GATE.sidecar(type="waypoint", labels=marks, network=network)


def mesh(*rows: Row, waypoint: bool, serves: str = "") -> Mesh:
    """A shop whose pods take HBONE; its namespace goes through a waypoint, or not."""
    marks = {USE_WAYPOINT_LABEL: "gate"} if waypoint else {}
    shop = [
        Namespace(cluster="east", name="shop", labels=labels(marks)),
        WEB.service_row(),
        WEB.slice_row(),
        *(replace(pod, redirection="enabled") for pod in WEB.pod_rows()),
    ]
    groups: list[Row | list[Row]] = [shop, GATE.rows(), gateway(serves), SLEEP.rows(), list(rows)]
    return world.mesh("east", world.cluster("east", config=True), *groups, mark=0)


def held(made: Mesh, proxy: ProxyRow, listeners: tuple[str, ...] = ()) -> dict[str, dict[str, XdsResource]]:
    """What a proxy holds; of its listeners only those named, if any are."""
    made.connect(proxy)
    found = {type_url: dict(made.resources(proxy.id, type_url)) for type_url in (CDS, EDS, LDS, RDS)}
    if listeners:
        found[LDS] = {name: one for name, one in found[LDS].items() if name in listeners}
    return found


ORIGINATE = ("connect_originate", "inner_connect_originate", "outer_connect_originate")


def call(directory: Path, made: Mesh, number: int = 80, path: str = "/x") -> Answered:
    """A call of the service by a workload with a sidecar that makes HBONE."""
    # The pod's own end of tunnels is that of a sidecar here: what its node's proxy does is not the question.
    end = held(made, WEB.sidecar(hbone=True), ("connect_terminate", "inbound_hbone"))
    end[CDS] = {name: one for name, one in end[CDS].items() if name.startswith(("inbound", "Inbound", "BlackHole"))}
    (port,) = free_ports(1)
    # HTTP services share a listener for each port number; where a connection was meant to go is the capture's to say.
    entry = "0.0.0.0_80" if number == 80 else f"{VIP}_90"
    mine = held(made, SLEEP.sidecar(hbone=True), (*ORIGINATE, entry))
    proxies = [
        Proxy(SERVER, identity(WEB), end),
        Proxy(WAYPOINT, identity(GATE), held(made, gateway_proxy())),
        Proxy(CALLER, identity(SLEEP), mine, moved={entry: port}),
    ]
    with application(SERVER, 5000), application(SERVER, 5001), envoys(directory, authority(), *proxies):
        return get(CALLER, port, path, host=HOST)


@pytest.mark.parametrize(("number", "target"), [(80, 5000), (90, 5001)])
def test_a_sidecar_calls_an_ambient_workload_as_itself(tmp_path: Path, number: int, target: int) -> None:
    answered = call(tmp_path, mesh(waypoint=False), number)
    assert (answered.status, answered.seen["at"]) == (200, [SERVER, target])
    assert answered.caller == (identity(SLEEP) if number == 80 else "")


@pytest.mark.parametrize(("number", "target"), [(80, 5000), (90, 5001)])
def test_through_a_waypoint_the_workload_meets_the_waypoint(tmp_path: Path, number: int, target: int) -> None:
    """It knows the client, too: it tells its policies, and the workload accepts nobody but the waypoint."""
    only_gate = policy(
        "w",
        "shop",
        selector={"matchLabels": {"app": "web"}},
        rules=[source(principals=["cluster.local/ns/shop/sa/gate"])],
    )
    only_sleep = policy(
        "s",
        "shop",
        targetRefs=[{"kind": "Service", "name": "web"}],
        rules=[source(principals=["cluster.local/ns/client/sa/sleep"])],
    )
    answered = call(tmp_path, mesh(only_gate, only_sleep, waypoint=True), number)
    assert (answered.status, answered.seen["at"]) == (200, [SERVER, target])
    assert answered.caller == (identity(GATE) if number == 80 else "")


def test_who_goes_by_the_waypoint_is_refused_by_a_workload_that_wants_it(tmp_path: Path) -> None:
    only_gate = policy(
        "w",
        "shop",
        selector={"matchLabels": {"app": "web"}},
        rules=[source(principals=["cluster.local/ns/shop/sa/gate"])],
    )
    assert call(tmp_path, mesh(only_gate, waypoint=False)) == Answered(403, {})


@pytest.mark.parametrize(("path", "status"), [("/open/x", 200), ("/closed", 403)])
def test_the_waypoint_looks_into_requests(tmp_path: Path, path: str, status: int) -> None:
    rule = operation(methods=["GET"], paths=["/open/*"])
    row = policy("p", "shop", targetRefs=[{"kind": "Service", "name": "web"}], rules=[rule])
    assert call(tmp_path, mesh(row, waypoint=True), path=path).status == status


def directly(directory: Path, made: Mesh, path: str) -> Answered:
    """A call of the pod's own address, as the proxy of a node makes it: by the waypoint's address, for the pod's."""
    end = held(made, WEB.sidecar(hbone=True), ("connect_terminate", "inbound_hbone"))
    end[CDS] = {name: one for name, one in end[CDS].items() if name.startswith(("inbound", "Inbound", "BlackHole"))}
    gate = GATE.sidecar(type="waypoint", labels=labels({"app": "gate", GATEWAY_NAME_LABEL: "gate"}))
    (port,) = free_ports(1)
    mine = held(made, SLEEP.sidecar(hbone=True), ("connect_originate",))
    who = setter(Entry(SERVER_NAMES, identity(GATE)), Entry(INSTEAD, f"{WAYPOINT}:15008"))
    listener = listener_pb2.Listener(name="direct", address=socket_address(CALLER, port))
    listener.filter_chains.add(filters=[who, hbone.tunnel("connect_originate", f"{SERVER}:5000")])
    mine[LDS]["direct"] = resource(LDS, "direct", listener)
    proxies = [
        Proxy(SERVER, identity(WEB), end),
        Proxy(WAYPOINT, identity(GATE), held(made, gate)),
        Proxy(CALLER, identity(SLEEP), mine),
    ]
    with application(SERVER, 5000), envoys(directory, authority(), *proxies):
        return get(CALLER, port, path, host=f"{SERVER}:5000")


@pytest.mark.parametrize(("path", "status"), [("/open/x", 200), ("/closed", 403)])
def test_the_waypoint_looks_into_requests_for_a_pods_own_address(tmp_path: Path, path: str, status: int) -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}
    row = policy("p", "shop", targetRefs=[target], rules=[operation(methods=["GET"], paths=["/open/*"])])
    answered = directly(tmp_path, mesh(row, waypoint=True, serves="workload"), path)
    assert answered.status == status
    if status == 200:
        assert (answered.seen["at"], answered.caller) == ([SERVER, 5000], identity(GATE))
