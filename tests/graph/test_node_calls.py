"""Calls of ambient pods through the model of Envoy's matching: how endpoints are reached, and who gets in."""

from typing import Any

import pytest
from msgspec.structs import replace

from isthmus.envoy.match import Connection
from isthmus.envoy.match_node import NodeConfig
from isthmus.graph.mesh import Mesh
from isthmus.model.policy import AuthorizationPolicy, Condition, PolicyAction, PolicyRule
from isthmus.model.rows import MtlsMode, PeerAuthentication, Proxy, Row
from isthmus.xds.resource import CDS, EDS, LDS, RDS
from tests.graph.test_node_proxies import ambient, node, world
from tests.graph.world import App, cluster, helloworld, mesh, port, sleep

SLEEP, HELLO = "uid-sleep-east-0", "uid-helloworld-east-0"
WHO = "spiffe://cluster.local/ns/sample/sa/sleep"
SERVER = "spiffe://cluster.local/ns/sample/sa/helloworld"
HOST = "helloworld.sample.svc.cluster.local:5000"


def held(found: Mesh, proxy: Proxy | None = None) -> NodeConfig:
    """What the node's proxy holds."""
    proxy = proxy or node()
    found.connect(proxy)
    return NodeConfig({type_url: found.resources(proxy.id, type_url) for type_url in (CDS, EDS, LDS, RDS)})


def to(address: str, number: int) -> Connection:
    """A connection that is meant for there."""
    return Connection(address=address, port=number)


def test_a_service_a_pod_and_anything_else() -> None:
    config = held(world())
    assert config.identity(SLEEP) == WHO
    service = config.pod_leaving(SLEEP, to("10.96.0.1", 5000))
    assert {(one.address, one.tunnel, one.peers, one.share) for one in service.targets} == {
        ("10.0.0.11", "to_hbone", (SERVER,), 0.5),
        ("10.0.0.12", "to_hbone", (SERVER,), 0.5),
    }
    (pod,) = config.pod_leaving(SLEEP, to("10.0.0.12", 7777)).targets
    assert (pod.address, pod.port, pod.tunnel, pod.peers) == ("10.0.0.12", 7777, "connect_originate", (SERVER,))
    (other,) = config.pod_leaving(SLEEP, to("192.0.2.1", 443)).targets
    assert (other.address, other.port, other.tunnel) == ("192.0.2.1", 443, "")
    assert config.pod_leaving(SLEEP, to("10.96.0.1", 15001)).closed


def test_a_service_of_some_namespaces_is_reached_by_hbone_too() -> None:
    own = App("east", "own", ["10.0.0.40"], vip="10.96.0.40", ports=(port(80),), service={"export_to": (".",)})
    (target,) = held(world(ambient(own))).pod_leaving(SLEEP, to("10.96.0.40", 80)).targets
    assert target.tunnel == "to_hbone"


def policy(action: PolicyAction = PolicyAction.DENY, **rule: Any) -> AuthorizationPolicy:
    """A policy with one rule."""
    return AuthorizationPolicy(
        cluster="east", namespace="sample", name="p", action=action, rules=(PolicyRule(**rule),)
    )  # fmt: skip


PRINCIPAL: dict[str, Any] = {"sources": ((Condition("source.principal", ("cluster.local/ns/sample/sa/sleep",)),),)}
DOMAIN: dict[str, Any] = {"sources": ((Condition("source.trustDomain", ("west.local",)),),)}
PORT: dict[str, Any] = {"operations": ((Condition("destination.port", ("5000",)),),)}
NOT_PORT: dict[str, Any] = {"operations": ((Condition("destination.port", (), ("5000",)),),)}
PATH: dict[str, Any] = {"operations": ((Condition("request.path", ("/x",)),),)}
WEST = "spiffe://west.local/ns/sample/sa/sleep"
ALLOW = PolicyAction.ALLOW


@pytest.mark.parametrize(
    ("row", "authority", "peer", "admitted"),
    [
        (None, "10.0.0.11:5000", WHO, True),
        (None, HOST, WHO, True),
        (None, HOST.upper(), WHO, True),
        (None, "10.0.0.11:65535", WHO, True),
        (None, "10.0.0.12:5000", WHO, False),
        (None, "other.sample.svc.cluster.local:5000", WHO, False),
        (None, "10.0.0.11:15001", WHO, False),
        (None, "10.0.0.11:05000", WHO, False),
        (None, "10.0.0.11:0", WHO, False),
        (None, "10.0.0.11:15006", WHO, False),
        (None, "10.0.0.11:15008", WHO, False),
        (None, "10.0.0.11:5000", "spiffe://elsewhere/ns/sample/sa/sleep", False),
        (policy(**PRINCIPAL), "10.0.0.11:5000", WHO, False),
        (policy(**PRINCIPAL), "10.0.0.11:5000", WEST, True),
        (policy(**DOMAIN), "10.0.0.11:5000", WEST, False),
        (policy(**DOMAIN), "10.0.0.11:5000", WHO, True),
        (policy(ALLOW, **DOMAIN), "10.0.0.11:5000", WHO, False),
        (policy(ALLOW, **DOMAIN), HOST, WEST, True),
        (policy(**PORT), "10.0.0.11:5000", WHO, False),
        (policy(**PORT), HOST, WHO, False),
        (policy(**PORT), "10.0.0.11:5001", WHO, True),
        (policy(**NOT_PORT), "10.0.0.11:5001", WHO, False),
        (policy(**NOT_PORT), HOST, WHO, True),
        (policy(ALLOW, **PORT), "10.0.0.11:5001", WHO, False),
        (policy(**PATH), HOST, WHO, False),
        (policy(ALLOW, **PATH), HOST, WHO, False),
    ],
)
def test_who_gets_in_by_hbone(row: AuthorizationPolicy | None, authority: str, peer: str, admitted: bool) -> None:
    west = cluster("west", "net-west", trust_domain="west.local")
    found = held(world(west, [row] if row is not None else []))
    verdict = found.pod_tunnelled(HELLO, authority, peer)
    assert not verdict.closed if admitted else verdict.closed, verdict
    if admitted:
        (target,) = verdict.targets
        port_asked = 5000 if authority.lower() == HOST else int(authority.rpartition(":")[2])
        assert (target.address, target.port) == ("10.0.0.11", port_asked)


def strict(mode: MtlsMode, *ports: tuple[int, MtlsMode]) -> list[Row]:
    """A PeerAuthentication of the namespace, or of the service's pods if it says ports."""
    selector = (("app", "helloworld"),) if ports else ()
    return [
        PeerAuthentication(cluster="east", namespace="sample", name="p", mode=mode, port_modes=ports, selector=selector)
    ]


@pytest.mark.parametrize(
    ("rows", "number", "admitted"),
    [
        ([], 5000, True),
        (strict(MtlsMode.STRICT), 5000, False),
        (strict(MtlsMode.DISABLE), 5000, True),
        (strict(MtlsMode.STRICT, (5000, MtlsMode.PERMISSIVE)), 5000, True),
        (strict(MtlsMode.STRICT, (5000, MtlsMode.PERMISSIVE)), 5001, False),
        (strict(MtlsMode.PERMISSIVE, (5000, MtlsMode.STRICT)), 5000, False),
        (strict(MtlsMode.PERMISSIVE, (5000, MtlsMode.STRICT)), 5001, True),
        ([policy(**PRINCIPAL)], 5000, True),
        ([policy(ALLOW, **PRINCIPAL)], 5000, False),
        ([policy(**PORT)], 5000, False),
        ([], 15006, False),
    ],
)
def test_who_gets_in_plain(rows: list[Row], number: int, admitted: bool) -> None:
    verdict = held(world(rows)).pod_arriving(HELLO, to("10.0.0.11", number))
    assert bool(verdict.closed) is not admitted, verdict


def test_hbone_gets_in_where_plain_does_not() -> None:
    assert not held(world(strict(MtlsMode.STRICT))).pod_tunnelled(HELLO, HOST, WHO).closed


def test_what_is_not_ready_gets_nothing_where_a_neighbour_is() -> None:
    east = cluster("east", "net-east", config=True)
    two = helloworld("east", "10.0.0.11", "10.0.0.12")
    rows = ambient(two)
    piece = two.slice_row()
    waiting = replace(piece, endpoints=(replace(piece.endpoints[0], ready=False), piece.endpoints[1]))
    config = held(mesh("east", east, ambient(sleep()), rows, waiting))
    shares = {one.address: one.share for one in config.pod_leaving(SLEEP, to("10.96.0.1", 5000)).targets}
    assert shares == {"10.0.0.12": 1.0}
