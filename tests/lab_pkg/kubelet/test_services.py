"""ClusterIPs and names out of Services and EndpointSlices."""

from typing import Any

import pytest

from isthmus_lab.kubelet.services import is_called_from_outside, name_table, service_ports
from isthmus_lab.net.rules import ServicePort


def service(name: str, ip: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"clusterIP": ip, "ports": list(ports)}}


def endpoints(name: str, port: dict[str, Any], *found: dict[str, Any]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    return {
        "metadata": {"name": f"{name}-x", "namespace": "ns", "labels": labels},
        "addressType": "IPv4",
        "ports": [port],
        "endpoints": list(found),
    }


READY = {"addresses": ["10.0.0.2"], "conditions": {"ready": True}, "hostname": "pod-0"}
UNKNOWN = {"addresses": ["10.0.0.1"], "conditions": {}}
UNREADY = {"addresses": ["10.0.0.3"], "conditions": {"ready": False}}
HTTP = {"name": "http", "port": 8080, "protocol": "TCP"}


def test_ports_go_to_ready_endpoints_by_name() -> None:
    services = [
        service("web", "10.96.0.2", {"name": "http", "port": 80}, {"name": "other", "port": 81, "protocol": "UDP"}),
        service("headless", "None", {"name": "http", "port": 80}),
        service("sctp", "10.96.0.3", {"port": 1, "protocol": "SCTP"}),
    ]
    slices = [endpoints("web", HTTP, READY, UNKNOWN, UNREADY), endpoints("web", HTTP, READY), endpoints("x", HTTP)]
    assert service_ports(services, slices) == [
        ServicePort("10.96.0.2", "tcp", 80, (("10.0.0.1", 8080), ("10.0.0.2", 8080))),
        ServicePort("10.96.0.2", "udp", 81, ()),
    ]


def test_names() -> None:
    services = [
        service("web", "10.96.0.2"),
        service("headless", "None"),
        {"metadata": {"name": "ext", "namespace": "ns"}, "spec": {"type": "ExternalName", "externalName": "a.b"}},
    ]
    table = name_table(services, [endpoints("headless", HTTP, READY, UNREADY)])
    assert table == {
        "web.ns.svc.cluster.local": ("10.96.0.2",),
        "headless.ns.svc.cluster.local": ("10.0.0.2",),
        "pod-0.headless.ns.svc.cluster.local": ("10.0.0.2",),
    }


@pytest.mark.parametrize(
    ("kind", "selector", "namespace", "outside"),
    [
        ("LoadBalancer", {"app": "gw"}, "ns", True),
        ("LoadBalancer", {"app": "gw", "more": "x"}, "ns", False),
        ("LoadBalancer", {}, "ns", False),
        ("LoadBalancer", {"app": "gw"}, "other", False),
        ("ClusterIP", {"app": "gw"}, "ns", False),
    ],
)
def test_pods_behind_load_balancers_are_called_from_outside(
    kind: str, selector: dict[str, str], namespace: str, outside: bool
) -> None:
    pod = {"metadata": {"namespace": "ns", "labels": {"app": "gw", "x": "y"}}}
    service = {"metadata": {"namespace": namespace}, "spec": {"type": kind, "selector": selector}}
    assert is_called_from_outside(pod, [service]) is outside
