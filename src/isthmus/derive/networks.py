"""Which network something is in, and through which addresses a network is entered."""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network

import msgspec

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import NetworkDefinition, NetworkEntry
from isthmus.model.rows import Labels, Namespace, Node, Service, labels, labels_match

NODE_SELECTOR = "traffic.istio.io/nodeSelector"
DEFAULT_GATEWAY_PORT = 15443


def label(found: Labels, name: str) -> str:
    """The value of a label, empty if absent."""
    for key, value in found:
        if key == name:
            return value
    return ""


class Home(msgspec.Struct, frozen=True, gc=False):
    """Where the workloads of a cluster are that say nothing themselves: its network, else by address range (NW1)."""

    network: str = ""
    ranges: tuple[tuple[str, str], ...] = ()


def home(cluster: str, system_namespace: Namespace | None, definitions: Sequence[NetworkDefinition]) -> Home:
    """The label on the system namespace, else `fromRegistry`; only where neither speaks, `fromCidr` counts (NW3)."""
    found = label(system_namespace.labels, NETWORK_LABEL) if system_namespace is not None else ""
    if not found:
        found = next((network.name for network in definitions if cluster in network.registries), "")
    if found:
        return Home(found)
    return Home(ranges=tuple((cidr, network.name) for network in definitions for cidr in network.cidrs))


def network_of(on_workload: Labels, home: Home, address: str = "") -> str:
    """The label on the workload, else what holds for its cluster and address (NW1)."""
    found = label(on_workload, NETWORK_LABEL) or home.network
    if found or not home.ranges or not is_ip(address):
        return found
    here = ip_address(address)
    return next((network for cidr, network in home.ranges if here in ip_network(cidr)), "")


Resolve = Callable[[str], tuple[str, ...]]
"""The addresses that a host name was last found to have."""


def gateways_of_service(
    service: Service, nodes: Iterable[Node] = (), resolve: Resolve = lambda _: ()
) -> tuple[NetworkGateway, ...]:
    """The gateways that a Service with the network label stands for (NW4, NW5), each once (NW8)."""
    network = label(service.labels, NETWORK_LABEL)
    wanted = gateway_port(service)
    if not network or all(known.port != wanted for known in service.ports):
        return ()
    return _at_service(network, service, wanted, nodes, resolve)


def _at_service(
    network: str, service: Service, wanted: int, nodes: Iterable[Node], resolve: Resolve
) -> tuple[NetworkGateway, ...]:
    """Its load balancer's addresses and external IPs, or those of the nodes that its annotation selects (NW5)."""
    number, addresses = wanted, (*service.ingress_addresses, *service.external_ips)
    selector = node_selector(service)
    if selector is not None:
        number = next((known.node_port for known in service.ports if known.port == wanted), 0)
        addresses = tuple(a for node in nodes if labels_match(selector, node.labels) for a in node.external_addresses)
    if not number:
        return ()
    return tuple(
        NetworkGateway(network=network, cluster=service.cluster, address=address, port=number)
        for address in resolved(addresses, resolve)
    )


def resolved(addresses: Iterable[str], resolve: Resolve) -> tuple[str, ...]:
    """IP addresses as they are, host names by what they mean: EDS takes nothing else (SH25). Each once."""
    found = (one for address in addresses for one in ((address,) if is_ip(address) else resolve(address)))
    return tuple(dict.fromkeys(found))


def names_in(addresses: Iterable[str]) -> tuple[str, ...]:
    """The host names among the addresses."""
    return tuple(address for address in addresses if not is_ip(address))


def gateways_of_registry_service(
    network: str, entry: NetworkEntry, service: Service, nodes: Iterable[Node] = (), resolve: Resolve = lambda _: ()
) -> tuple[NetworkGateway, ...]:
    """The gateways of a `registryServiceName`; a Service with the network label speaks for itself (NW6, NW7)."""
    if label(service.labels, NETWORK_LABEL):
        return ()
    return _at_service(network, service, entry.port, nodes, resolve)


def gateways_at(network: str, cluster: str, entry: NetworkEntry, resolve: Resolve) -> tuple[NetworkGateway, ...]:
    """The gateways at a literal address or host name; `cluster` empty leads to any cluster of the network (NW7)."""
    return tuple(
        NetworkGateway(network=network, cluster=cluster, address=address, port=entry.port)
        for address in resolved((entry.address,), resolve)
    )


def merged(found: Iterable[NetworkGateway]) -> tuple[NetworkGateway, ...]:
    """The gateways as a set (NW8). One that leads to any cluster is left out where another says which one."""
    unique = set(found)
    placed = {(gateway.address, gateway.port) for gateway in unique if gateway.cluster}
    return tuple(sorted(g for g in unique if g.cluster or (g.address, g.port) not in placed))


def registry_service(entry: NetworkEntry) -> tuple[str, str]:
    """(namespace, name) of the Service that an entry names."""
    name, namespace, *_ = entry.service.split(".")
    return namespace, name


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
