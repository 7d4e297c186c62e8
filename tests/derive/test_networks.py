"""Networks and gateways: NW1, NW4, NW5, NW8, SH8."""

import pytest
from msgspec.structs import replace

from isthmus.derive import networks
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import NetworkDefinition, NetworkEntry
from isthmus.model.peering import PeerLink
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


NODES = [
    Node(cluster="east", name="n1", labels=labels({"edge": "yes"}), external_addresses=("5.5.5.1",)),
    Node(cluster="east", name="n2", external_addresses=("5.5.5.2", "name")),
]

BY_CIDR = NetworkDefinition("ranged", cidrs=("10.1.0.0/16", "fd00::/8"))
BY_REGISTRY = NetworkDefinition("listed", registries=("c",), cidrs=("10.1.0.0/16",))


@pytest.mark.parametrize(
    ("on_pod", "on_namespace", "definitions", "network"),
    [
        ({NETWORK: "pod"}, {NETWORK: "default"}, (BY_REGISTRY,), "pod"),
        ({}, {NETWORK: "default"}, (BY_REGISTRY,), "default"),
        ({}, {}, (), ""),
        ({}, None, (), ""),
        ({NETWORK: "pod"}, None, (), "pod"),
        ({}, {}, (BY_CIDR, BY_REGISTRY), "listed"),
        ({}, None, (BY_CIDR,), "ranged"),
        ({}, None, (NetworkDefinition("far", cidrs=("10.2.0.0/16",)),), ""),
        ({}, None, (NetworkDefinition("other", registries=("d",)),), ""),
        ({}, None, (NetworkDefinition("a", registries=("c",)), NetworkDefinition("b", registries=("c",))), "a"),
    ],
)
def test_the_network_of_a_workload_nw1_nw3(
    on_pod: dict[str, str],
    on_namespace: dict[str, str] | None,
    definitions: tuple[NetworkDefinition, ...],
    network: str,
) -> None:
    system = None if on_namespace is None else Namespace(cluster="c", name="s", labels=labels(on_namespace))
    home = networks.home("c", system, definitions)
    assert networks.network_of(labels(on_pod), home, "10.1.2.3") == network


@pytest.mark.parametrize(("address", "network"), [("fd00::1", "ranged"), ("10.2.0.1", ""), ("name", ""), ("", "")])
def test_ranges_of_both_families(address: str, network: str) -> None:
    assert networks.network_of((), networks.home("c", None, (BY_CIDR,)), address) == network


RESOLVED = {"lb.example.com": ("3.3.3.3", "fd00::3")}


def resolve(name: str) -> tuple[str, ...]:
    return RESOLVED.get(name, ())


def test_host_names_are_what_they_mean_nw5_sh25() -> None:
    row = service(ingress_addresses=("lb.example.com", "1.1.1.1"), external_ips=("other.example.com", "3.3.3.3"))
    found = networks.gateways_of_service(row, resolve=resolve)
    assert [gateway.address for gateway in found] == ["3.3.3.3", "fd00::3", "1.1.1.1"]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (service(marks={}, ingress_addresses=("1.1.1.1",), ports=()), [("1.1.1.1", 443)]),
        (service(marks={}, external_ips=("lb.example.com",)), [("3.3.3.3", 443), ("fd00::3", 443)]),
        (service(ingress_addresses=("1.1.1.1",)), []),
        (service(marks={}), []),
        (
            service(
                marks={},
                type="NodePort",
                annotations=labels({"traffic.istio.io/nodeSelector": "{}"}),
                ports=(ServicePort("tls", 443, node_port=31000),),
            ),
            [("5.5.5.1", 31000), ("5.5.5.2", 31000)],
        ),
    ],
)
def test_gateways_by_the_name_of_a_service_nw6_nw7(row: Service, found: list[tuple[str, int]]) -> None:
    entry = NetworkEntry(443, service="gw.gw.svc.cluster.local")
    assert networks.registry_service(entry) == ("gw", "gw")
    gateways = networks.gateways_of_registry_service("n", entry, row, NODES, resolve)
    assert [(gateway.address, gateway.port) for gateway in gateways] == found
    assert {(gateway.network, gateway.cluster) for gateway in gateways} <= {("n", "east")}


def test_gateways_at_an_address_lead_to_any_cluster_nw7() -> None:
    entry = NetworkEntry(15443, address="lb.example.com")
    assert networks.gateways_at("n", "", entry, resolve) == (
        NetworkGateway("n", "", "3.3.3.3", 15443),
        NetworkGateway("n", "", "fd00::3", 15443),
    )


def test_gateways_are_a_set_nw8() -> None:
    one, same = NetworkGateway("n", "west", "1.1.1.1", 1), NetworkGateway("n", "west", "1.1.1.1", 1)
    anywhere, other = NetworkGateway("n", "", "1.1.1.1", 1), NetworkGateway("n", "", "1.1.1.1", 2)
    assert networks.merged([other, one, anywhere, same]) == (other, one)


def test_what_says_less_of_a_gateway_is_left_out() -> None:
    both = NetworkGateway("n", "west", "1.1.1.1", 15443, 15008)
    less = [NetworkGateway("n", "west", "1.1.1.1", 15443), NetworkGateway("n", "", "1.1.1.1", 0, 15008)]
    elsewhere = NetworkGateway("n", "east", "1.1.1.1", 0, 15008)
    assert networks.merged([both, *less, elsewhere]) == (elsewhere, both)


def test_who_says_which_identity_a_gateway_proves_says_more() -> None:
    named = NetworkGateway("n", "west", "1.1.1.1", 0, 15008, ("spiffe://w/ns/g/sa/ew",))
    assert networks.merged([named, NetworkGateway("n", "west", "1.1.1.1", 0, 15008)]) == (named,)
    both = [NetworkGateway("n", "west", "1.1.1.1", 15443), NetworkGateway("n", "west", "1.1.1.2", 0, 15008)]
    assert [one.identities for one in networks.kept_by(both, ["b", "a"])] == [(), ("a", "b")]


def test_gateways_of_a_link() -> None:
    link = PeerLink(
        cluster="east", name="l", peer="west", network="n", addresses=("lb.example.com",), hbone_port=15008, xds_port=1
    )
    assert networks.gateways_of_link(link, resolve) == (
        NetworkGateway("n", "west", "3.3.3.3", 0, 15008),
        NetworkGateway("n", "west", "fd00::3", 0, 15008),
    )
    assert networks.gateways_of_link(replace(link, hbone_port=0), resolve) == ()
    assert networks.gateways_of_link(replace(link, network=""), resolve) == ()


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


HBONE = ServicePort("hbone", 15008, node_port=31008)


@pytest.mark.parametrize(
    ("ports", "kind", "found"),
    [
        ((MTLS, HBONE), "LoadBalancer", [("1.1.1.1", 15443, 15008)]),
        ((HBONE,), "LoadBalancer", [("1.1.1.1", 0, 15008)]),
        ((ServicePort("h", 80),), "LoadBalancer", []),
        ((HBONE,), "NodePort", [("5.5.5.1", 0, 31008), ("5.5.5.2", 0, 31008)]),
    ],
)
def test_gateways_for_hbone_nw4(ports: tuple[ServicePort, ...], kind: str, found: list[tuple[str, int, int]]) -> None:
    notes = labels({"traffic.istio.io/nodeSelector": "{}"})
    row = service(ports=ports, type=kind, ingress_addresses=("1.1.1.1",), annotations=notes)
    gateways = networks.gateways_of_service(row, NODES)
    assert [(gateway.address, gateway.port, gateway.hbone_port) for gateway in gateways] == found


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
