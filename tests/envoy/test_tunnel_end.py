"""HBONE that ends at a sidecar: with the real Envoy, from certificates to the application."""

from pathlib import Path

import pytest

from isthmus.base.names import spiffe_id
from isthmus.graph.mesh import Mesh
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyAction, PolicyRule
from isthmus.model.rows import Protocol, Row, labels
from isthmus.xds.resource import CDS, LDS, RDS
from tests.envoy.loopback import Answered, Proxy, application, authority, entrance, envoys, get
from tests.envoy.running import free_ports
from tests.graph import world

SERVER, CALLER = "127.0.31.1", "127.0.31.2"
HELLO = world.App(
    "east",
    "hello",
    [SERVER],
    vip="10.96.0.7",
    ports=(world.port(80, target="5000"), world.port(90, Protocol.TCP, target="5001")),
)
FRIEND, STRANGER = spiffe_id("cluster.local", "sample", "friend"), spiffe_id("cluster.local", "sample", "stranger")
HOST = "hello.sample.svc.cluster.local"


def mesh(*rows: Row) -> Mesh:
    """A cluster with the server."""
    return world.mesh("east", world.cluster("east", "net", config=True), HELLO.rows(), list(rows), mark=0)


def only_friends() -> AuthorizationPolicy:
    """A policy by the caller's identity, for connections and requests alike."""
    friend = PolicyRule(sources=((Condition("source.principal", (FRIEND.removeprefix("spiffe://"),)),),))
    return AuthorizationPolicy(
        cluster="east", namespace="sample", name="friends", selector=labels({"app": "hello"}), rules=(friend,)
    )


def ask(directory: Path, made: Mesh, identity: str, authority_: str, **headers: str) -> Answered:
    """A request through a tunnel to the server's sidecar; the CONNECT has these headers."""
    proxy = HELLO.sidecar(network="net", hbone=True)
    made.connect(proxy)
    resources = {type_url: made.resources(proxy.id, type_url) for type_url in (CDS, LDS, RDS)}
    mine = {name: one for name, one in resources[CDS].items() if name.startswith(("inbound", "Inbound", "BlackHole"))}
    resources[CDS] = mine
    resources[LDS] = {
        name: one for name, one in resources[LDS].items() if name in ("connect_terminate", "inbound_hbone")
    }
    (port,) = free_ports(1)
    listener, cluster = entrance("in", CALLER, port, authority_, SERVER, headers)
    server = Proxy(SERVER, spiffe_id("cluster.local", "sample", "hello"), resources)
    caller = Proxy(CALLER, identity, {}, [listener], [cluster])
    with application(SERVER, 5000), application(SERVER, 5001), envoys(directory, authority(), server, caller):
        return get(CALLER, port, "/there")


@pytest.mark.parametrize(
    ("authority_", "port"),
    [
        pytest.param(f"{SERVER}:5000", 5000, id="its address"),
        pytest.param(f"{SERVER}:5001", 5001, id="its address, where no HTTP is spoken of"),
        pytest.param(f"{HOST}:80", 5000, id="a service that it belongs to"),
        pytest.param("hello.sample.mesh.internal:80", 5000, id="by the service's name in the mesh"),
        pytest.param(f"{HOST}:90", 5001, id="another port of it"),
    ],
)
def test_what_the_workload_is_asked_for_it_gets(tmp_path: Path, authority_: str, port: int) -> None:
    answered = ask(tmp_path, mesh(only_friends()), FRIEND, authority_)
    assert (answered.status, answered.seen["path"], answered.seen["at"]) == (200, "/there", [SERVER, port])
    assert answered.caller == (FRIEND if port == 5000 else "")


@pytest.mark.parametrize(
    ("identity", "authority_", "status"),
    [
        pytest.param(STRANGER, f"{SERVER}:5000", 403, id="a caller whom the policy does not let in, by request"),
        pytest.param(STRANGER, f"{SERVER}:5001", 0, id="and by connection"),
        pytest.param(FRIEND, f"{CALLER}:5000", 0, id="another address"),
        pytest.param(FRIEND, f"{HOST}:81", 0, id="a port that the service does not have"),
        pytest.param(FRIEND, "other.sample.svc.cluster.local:80", 0, id="another service"),
        pytest.param(FRIEND, f"{SERVER}:15006", 0, id="the proxy itself"),
        pytest.param("spiffe://foreign.example/ns/sample/sa/friend", f"{SERVER}:5000", 0, id="a foreign trust domain"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, identity: str, authority_: str, status: int) -> None:
    assert ask(tmp_path, mesh(only_friends()), identity, authority_) == Answered(status, {})


@pytest.mark.parametrize("port", [5000, 5001])
@pytest.mark.parametrize("key", ["source.ip", "remote.ip"])
def test_where_a_caller_is_is_not_for_the_caller_to_say(tmp_path: Path, port: int, key: str) -> None:
    here = PolicyRule(sources=((Condition(key, ("127.0.0.0/8",)),),))
    near = AuthorizationPolicy(cluster="east", namespace="sample", name="near", action=PolicyAction.DENY, rules=(here,))
    said = {"x-forwarded-for": "10.9.9.9"}
    found = ask(tmp_path, mesh(near), FRIEND, f"{SERVER}:{port}", **said)
    assert found == Answered(403 if port == 5000 else 0, {})
