"""From a proxy to what it shares with others: inbound ports and a gateway's servers."""

import pytest

from isthmus.derive import proxies
from isthmus.model.mesh import WorkloadMode
from isthmus.model.rows import (
    Gateway,
    GatewayServer,
    Labels,
    MtlsMode,
    Protocol,
    Service,
    ServicePort,
    SlicePort,
    Workload,
    labels,
)

POD = Workload(cluster="c", namespace="ns", name="p", ports=(SlicePort("web", 8080),))


def service(name: str, *ports: ServicePort, created: str = "1", selector: Labels = ()) -> Service:
    """A service of the workload."""
    return Service(cluster="c", namespace="ns", name=name, ports=ports, created=created, selector=selector)


@pytest.mark.parametrize(
    ("target", "number"), [("", 80), ("8081", 8081), ("web", 8080), ("nothing", 0), ("0", 0), ("70000", 0)]
)
def test_the_target_of_a_service_port(target: str, number: int) -> None:
    assert proxies.target_port(ServicePort("http", 80, Protocol.HTTP, target), POD) == number


def test_ports_protocols_and_modes() -> None:
    rows = [
        service("young", ServicePort("tcp", 80, Protocol.TCP, "8080"), created="2"),
        service(
            "old", ServicePort("http", 80, Protocol.HTTP, "web"), ServicePort("dns", 53, Protocol.UDP), created="1"
        ),
        service("lost", ServicePort("http", 81, Protocol.HTTP, "nothing")),
    ]
    mode = WorkloadMode(MtlsMode.STRICT, ((8080, MtlsMode.DISABLE), (9090, MtlsMode.PERMISSIVE)))
    found = proxies.inbound_profile(rows, POD, mode)
    assert [(port.port, port.protocol, port.mode) for port in found.ports] == [
        (8080, Protocol.HTTP, MtlsMode.DISABLE),
        (9090, Protocol.TCP, MtlsMode.PERMISSIVE),
    ]
    assert found.mode is MtlsMode.STRICT


def test_replicas_have_equal_profiles() -> None:
    rows = [service("a", ServicePort("http", 80, Protocol.HTTP)), service("b", ServicePort("tcp", 90))]
    first, second = (proxies.inbound_profile(order, POD, WorkloadMode()) for order in (rows, rows[::-1]))
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    ("selector", "picked"), [({"a": "1"}, True), ({"a": "1", "b": "2"}, True), ({"a": "2"}, False), ({}, False)]
)
def test_selectors(selector: dict[str, str], picked: bool) -> None:
    assert proxies.selects(service("s", selector=labels(selector)), labels({"a": "1", "b": "2"})) is picked


def gateway(name: str, *servers: GatewayServer, selector: dict[str, str] | None = None) -> Gateway:
    """A Gateway object."""
    return Gateway(cluster="c", namespace="ns", name=name, selector=labels(selector or {}), servers=servers)


def test_servers_of_all_gateways_that_select_the_proxy_each_once() -> None:
    tls = GatewayServer(port=15443, protocol="TLS", hosts=("*.local",), tls_mode="AUTO_PASSTHROUGH", name="one")
    http = GatewayServer(port=80, protocol="HTTP", hosts=("*",))
    found = proxies.router_servers(
        [
            gateway("a", tls),
            gateway("b", GatewayServer(port=15443, protocol="TLS", hosts=("*.local",), tls_mode="AUTO_PASSTHROUGH")),
            gateway("c", http, selector={"istio": "ew"}),
            gateway("d", GatewayServer(port=1, protocol="TCP", hosts=("*",)), selector={"istio": "other"}),
        ],
        labels({"istio": "ew"}),
        [
            service(
                "gw", ServicePort("http", 80, Protocol.HTTP, "8080"), ServicePort("tls", 15443, Protocol.TLS, "15443")
            )
        ],
    )
    assert sorted((server.port, server.protocol) for server in found) == [(8080, "HTTP"), (15443, "TLS")]
