"""What the real Envoy does with load assignments: the model in `spread` and the mesh's own rules, seen to hold."""

import time
from pathlib import Path

import msgspec
import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from isthmus.envoy import clusters
from isthmus.envoy.clusters import Destination
from isthmus.envoy.endpoints import load_assignment
from isthmus.envoy.spread import spread
from isthmus.model.mesh import Assignment, LbEndpoint, MeshService
from isthmus.model.rows import Locality, OutlierDetection, Protocol, ServicePort, TrafficPolicy
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import XdsResource
from tests.envoy.running import HOST, free_ports, running

WEB = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=(), clusters=("east", "west"))
NAME = "outbound|80||web.ns.svc.cluster.local"
SETTINGS = MeshSettings(config_cluster="east", mark=0)


def cluster(**policy: object) -> XdsResource:
    """The cluster of a service that gateways may stand for."""
    destination = Destination(
        WEB,
        ServicePort("http", 80, Protocol.HTTP),
        policy=TrafficPolicy(**policy),  # type: ignore[arg-type]
        gateways=True,
    )
    return clusters.outbound(destination, SETTINGS)


def member(port: int, **fields: object) -> LbEndpoint:
    """An endpoint that takes plaintext."""
    values: dict[str, object] = {
        "weight": 1,
        "mtls": False,
        "network": "net",
        "cluster": "east",
        "workload": "",
        "locality": Locality("r"),
    }
    return LbEndpoint(address=HOST, port=port, **(values | fields))  # type: ignore[arg-type]


ASSIGNMENTS = [
    pytest.param([{"weight": 3}, {"weight": 1}], 140, id="weights"),
    pytest.param([{}, {"healthy": False}, {"priority": 1}], 140, id="half of the nearest is gone"),
    pytest.param(
        [{"weight": 1}, {"weight": 3, "healthy": False}, {"priority": 1, "weight": 5}],
        140,
        id="health is that of weights",
    ),
    pytest.param([{}, {}, {"healthy": False}, {"priority": 1}], 100, id="a threshold of its own"),
    pytest.param(
        [{"healthy": False}, {"priority": 1}, {"priority": 1, "healthy": False}, {"priority": 2}], 140, id="three"
    ),
]


@pytest.mark.parametrize(("members", "factor"), ASSIGNMENTS)
def test_traffic_goes_where_the_model_says(members: list[dict[str, object]], factor: int, tmp_path: Path) -> None:
    ports = free_ports(len(members))
    found = tuple(member(port, **fields) for port, fields in zip(ports, members, strict=True))
    made = load_assignment(NAME, Assignment(found, overprovisioning=factor))
    expected = {one.member.port: one.share for one in spread(endpoint_pb2.ClusterLoadAssignment.FromString(made.body))}
    with running(tmp_path, cluster(), made, dict.fromkeys(ports, 200)) as envoy:
        calls = envoy.call(1000)
    assert {port: calls[port, 200] / 1000 for port in ports} == pytest.approx(expected, abs=0.06)


def test_an_address_counts_only_where_it_is_first(tmp_path: Path) -> None:
    """Why a gateway comes once: what it has in other priorities is dropped without a word."""
    near, shared = free_ports(2)
    members = (member(near), member(shared, weight=3), member(shared, weight=7, priority=1))
    with running(tmp_path, cluster(), load_assignment(NAME, Assignment(members)), {near: 200, shared: 200}) as envoy:
        hosts = [
            (h["address"]["socket_address"]["port_value"], h.get("priority", 0), h["weight"]) for h in envoy.hosts()
        ]
    assert sorted(hosts) == sorted([(near, 0, 1), (shared, 0, 3)])


def test_a_gateway_may_come_again_in_another_form(tmp_path: Path) -> None:
    gone, other, shared = free_ports(3)
    members = (
        member(gone, weight=3, healthy=False),
        member(shared, weight=1, gateway=True),
        member(other, weight=6, priority=1),
        msgspec.structs.replace(member(shared, weight=3, gateway=True, priority=1), address=f"::ffff:{HOST}"),
    )
    made = load_assignment(NAME, Assignment(members))
    expected: dict[int, float] = {gone: 0}
    for one in spread(endpoint_pb2.ClusterLoadAssignment.FromString(made.body)):
        expected[one.member.port] = expected.get(one.member.port, 0) + one.share
    with running(tmp_path, cluster(), made, dict.fromkeys((gone, other, shared), 200)) as envoy:
        calls = envoy.call(1000)
    assert {port: calls[port, 200] / 1000 for port in expected} == pytest.approx(expected, abs=0.06)
    assert expected[shared] == pytest.approx(0.35 + 0.65 / 3)


@pytest.mark.parametrize("said", [OutlierDetection(consecutive_5xx=3), None])
def test_what_is_answered_through_a_gateway_does_not_take_it_out(said: OutlierDetection | None, tmp_path: Path) -> None:
    """istio#52435: one bad pod behind a gateway is not the whole cluster. A pod reached directly is taken out."""
    pod, gateway, good = free_ports(3)
    members = (member(pod), member(good), member(gateway, gateway=True, cluster="west", network="other"))
    backends = {pod: 503, gateway: 503, good: 200}
    made = load_assignment(NAME, Assignment(members))
    with running(tmp_path, cluster(outlier_detection=said), made, backends) as envoy:
        deadline = time.monotonic() + 10
        while pod not in envoy.ejected() and time.monotonic() < deadline:
            envoy.call(10)
        assert envoy.ejected() == {pod}
        calls = envoy.call(100)
    assert calls[gateway, 503] == pytest.approx(50, abs=2)
