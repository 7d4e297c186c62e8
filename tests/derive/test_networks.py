"""Networks and gateways: NW1, NW4, NW5, NW8, SH8."""

import pytest

from isthmus.derive import networks
from isthmus.model.rows import Namespace, Node, Service, ServicePort, labels

NETWORK = "topology.istio.io/network"
PORT = "networking.istio.io/gatewayPort"
MTLS = ServicePort("tls", 15443)


def service(
    *, marks: dict[str, str] | None = None, ports: tuple[ServicePort, ...] = (MTLS,), **fields: object
) -> Service:
    """A gateway's Service."""
    return Service(
        cluster="east",
        namespace="gw",
        name="gw",
        labels=labels({NETWORK: "n"} if marks is None else marks),
        ports=ports,
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("on_pod", "on_namespace", "network"),
    [
        ({NETWORK: "pod"}, {NETWORK: "default"}, "pod"),
        ({}, {NETWORK: "default"}, "default"),
        ({}, {}, ""),
        ({}, None, ""),
        ({NETWORK: "pod"}, None, "pod"),
    ],
)
def test_the_pod_says_its_network_else_the_system_namespace(
    on_pod: dict[str, str], on_namespace: dict[str, str] | None, network: str
) -> None:
    system = None if on_namespace is None else Namespace(cluster="c", name="s", labels=labels(on_namespace))
    assert networks.workload_network(labels(on_pod), system) == network


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (service(ingress_addresses=("1.1.1.1", "1.1.1.2")), [("1.1.1.1", 15443), ("1.1.1.2", 15443)]),
        (service(external_ips=("2.2.2.2",)), [("2.2.2.2", 15443)]),
        (service(ingress_addresses=("1.1.1.1",), external_ips=("1.1.1.1",)), [("1.1.1.1", 15443)]),
        (service(ingress_addresses=("lb.example.com", "fd00::1")), [("fd00::1", 15443)]),
        (service(ingress_addresses=("1.1.1.1",), ports=(ServicePort("h", 80),)), []),
        (service(ingress_addresses=("1.1.1.1",), marks={}), []),
        (service(), []),
        (
            service(
                ingress_addresses=("1.1.1.1",), marks={NETWORK: "n", PORT: "443"}, ports=(ServicePort("t", 443), MTLS)
            ),
            [("1.1.1.1", 443)],
        ),
        (service(ingress_addresses=("1.1.1.1",), marks={NETWORK: "n", PORT: "many"}), [("1.1.1.1", 15443)]),
        (service(ingress_addresses=("1.1.1.1",), marks={NETWORK: "n", PORT: "99999"}), [("1.1.1.1", 15443)]),
    ],
)
def test_gateways_of_a_labelled_service(row: Service, found: list[tuple[str, int]]) -> None:
    assert [(gateway.address, gateway.port) for gateway in networks.gateways_of_service(row)] == found


NODES = [
    Node(cluster="east", name="n1", labels=labels({"edge": "yes"}), external_addresses=("5.5.5.1",)),
    Node(cluster="east", name="n2", external_addresses=("5.5.5.2", "name")),
]


@pytest.mark.parametrize(
    ("annotation", "kind", "found"),
    [
        ("{}", "NodePort", [("5.5.5.1", 31443), ("5.5.5.2", 31443)]),
        ('{"edge": "yes"}', "NodePort", [("5.5.5.1", 31443)]),
        ('{"edge": "no"}', "NodePort", []),
        ("{}", "LoadBalancer", [("1.1.1.1", 15443)]),
        ("edge", "NodePort", [("1.1.1.1", 15443)]),
        ("", "NodePort", [("1.1.1.1", 15443)]),
    ],
)
def test_gateways_reached_by_their_nodes(annotation: str, kind: str, found: list[tuple[str, int]]) -> None:
    row = service(
        ports=(ServicePort("tls", 15443, node_port=31443),),
        type=kind,
        ingress_addresses=("1.1.1.1",),
        annotations=labels({"traffic.istio.io/nodeSelector": annotation}),
    )
    assert [(gateway.address, gateway.port) for gateway in networks.gateways_of_service(row, NODES)] == found


@pytest.mark.parametrize(
    ("text", "version"), [("1.2.3.4", 4), ("fd00::1", 6), ("::ffff:1.2.3.4", 4), ("name", 0), ("", 0)]
)
def test_address_families(text: str, version: int) -> None:
    assert networks.family(text) == version


@pytest.mark.parametrize(
    ("addresses", "found"),
    [(("1.2.3.4",), (4,)), (("fd00::1",), (6,)), (("1.2.3.4", "fd00::1"), ()), ((), ()), (("x",), ())],
)
def test_a_proxy_of_both_or_no_family_takes_any_gateway(addresses: tuple[str, ...], found: tuple[int, ...]) -> None:
    assert networks.families(addresses) == found
