"""Which network something is in, and through which addresses a network is entered."""

from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from isthmus.model.mesh import NetworkGateway
from isthmus.model.rows import Labels, Namespace, Node, Service, labels, labels_match

NETWORK_LABEL = "topology.istio.io/network"
GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
NODE_SELECTOR = "traffic.istio.io/nodeSelector"
DEFAULT_GATEWAY_PORT = 15443


def label(found: Labels, name: str) -> str:
    """The value of a label, empty if absent."""
    for key, value in found:
        if key == name:
            return value
    return ""


def workload_network(on_workload: Labels, system_namespace: Namespace | None) -> str:
    """The label on the workload, else the cluster's default: the label on its system namespace (NW1)."""
    found = label(on_workload, NETWORK_LABEL)
    if found or system_namespace is None:
        return found
    return label(system_namespace.labels, NETWORK_LABEL)


def gateways_of_service(service: Service, nodes: Iterable[Node] = ()) -> tuple[NetworkGateway, ...]:
    """The gateways that a Service with the network label stands for (NW4, NW5), each once (NW8).

    Its load balancer's addresses and external IPs, or the external addresses of the nodes that its annotation
    selects, with the node port. Host names are left out: EDS needs addresses (SH25).
    """
    network = label(service.labels, NETWORK_LABEL)
    wanted = gateway_port(service)
    port = next((known for known in service.ports if known.port == wanted), None)
    if not network or port is None:
        return ()
    number, addresses = port.port, (*service.ingress_addresses, *service.external_ips)
    selector = node_selector(service)
    if selector is not None:
        number = port.node_port
        addresses = tuple(a for node in nodes if labels_match(selector, node.labels) for a in node.external_addresses)
    return tuple(
        NetworkGateway(network=network, cluster=service.cluster, address=address, port=number)
        for address in dict.fromkeys(addresses)
        if number and is_ip(address)
    )


def by_node_port(service: Service) -> bool:
    """True if the gateway is reached by its nodes' addresses (NW5)."""
    return service.type == "NodePort" and bool(label(service.annotations, NODE_SELECTOR))


def node_selector(service: Service) -> Labels | None:
    """The labels of the nodes by which a gateway is reached; None if it is not, or they cannot be read (NW5)."""
    if not by_node_port(service):
        return None
    try:
        return labels(msgspec.json.decode(label(service.annotations, NODE_SELECTOR), type=dict[str, str]))
    except msgspec.DecodeError:
        return None


def gateway_port(service: Service) -> int:
    """The service port that takes mesh mTLS: the label, or 15443, also where the label is no port number (NW4)."""
    text = label(service.labels, GATEWAY_PORT_LABEL)
    return int(text) if text.isdecimal() and 0 < int(text) < 65536 else DEFAULT_GATEWAY_PORT


def is_ip(text: str) -> bool:
    """True for an IPv4 or IPv6 address."""
    return family(text) != 0


def family(text: str) -> int:
    """4 or 6; a v4-mapped address counts as 4 (SH8); 0 for anything that is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return 0
    mapped = getattr(address, "ipv4_mapped", None)
    return 4 if mapped is not None else address.version


def families(addresses: Iterable[str]) -> tuple[int, ...]:
    """The IP versions that a proxy can reach: () if unknown or both, as it then keeps all gateways (SH8)."""
    found = {family(address) for address in addresses} - {0}
    return tuple(found) if len(found) == 1 else ()
