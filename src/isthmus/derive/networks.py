"""Which network something is in, and through which addresses a network is entered."""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network

import msgspec

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import NetworkDefinition, NetworkEntry
from isthmus.model.peering import PeerLink
from isthmus.model.rows import Labels, Namespace, Node, Service, labels, labels_match

NODE_SELECTOR = "traffic.istio.io/nodeSelector"
DEFAULT_GATEWAY_PORT = 15443
HBONE_PORT = 15008


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
    """The gateways that a Service with the network label stands for (NW4, NW5), each once (NW8).

    A port that it does not expose is 0, mutual TLS and HBONE apart.
    """
    network = label(service.labels, NETWORK_LABEL)
    exposed = {known.port for known in service.ports}
    mtls, hbone = (number if number in exposed else 0 for number in (gateway_port(service), HBONE_PORT))
    return _at_service(network, service, (mtls, hbone), nodes, resolve) if network else ()


def _at_service(
    network: str, service: Service, wanted: tuple[int, int], nodes: Iterable[Node], resolve: Resolve
) -> tuple[NetworkGateway, ...]:
    """Its load balancer's addresses and external IPs, or those of the nodes that its annotation selects (NW5).

    Both `wanted` ports, for mutual TLS and for HBONE, are behind others there; Istio leaves the latter as it is.
    """
    numbers, addresses = wanted, (*service.ingress_addresses, *service.external_ips)
    selector = node_selector(service)
    if selector is not None:
        behind = {known.port: known.node_port for known in service.ports}
        numbers = (behind.get(wanted[0], 0), behind.get(wanted[1], 0))
        addresses = tuple(a for node in nodes if labels_match(selector, node.labels) for a in node.external_addresses)
    if not any(numbers):
        return ()
    return tuple(
        NetworkGateway(network, service.cluster, address, *numbers) for address in resolved(addresses, resolve)
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
    return _at_service(network, service, (entry.port, 0), nodes, resolve)


def gateways_at(network: str, cluster: str, entry: NetworkEntry, resolve: Resolve) -> tuple[NetworkGateway, ...]:
    """The gateways at a literal address or host name; `cluster` empty leads to any cluster of the network (NW7)."""
    return tuple(
        NetworkGateway(network, cluster, address, entry.port, entry.hbone_port)
        for address in resolved((entry.address,), resolve)
    )


def gateways_of_link(link: PeerLink, resolve: Resolve) -> tuple[NetworkGateway, ...]:
    """The gateways of a linked peer's network: where its own services are entered with HBONE (NW18)."""
    if not link.network or not link.hbone_port:
        return ()
    found = resolved(link.addresses, resolve)
    names = (link.gateway_identity,) if link.gateway_identity else ()
    return tuple(NetworkGateway(link.network, link.peer, address, 0, link.hbone_port, names) for address in found)


def merged(found: Iterable[NetworkGateway]) -> tuple[NetworkGateway, ...]:
    """The gateways as a set (NW8). One of which another says the same and more, such as whose it is, is left out."""
    unique = set(found)
    return tuple(sorted(one for one in unique if not any(_says_more(other, one) for other in unique - {one})))


def kept_by(found: Iterable[NetworkGateway], identities: Iterable[str]) -> tuple[NetworkGateway, ...]:
    """The gateways, those for HBONE with the identities that they may prove (AM7)."""
    names = tuple(sorted(identities))
    return tuple(msgspec.structs.replace(one, identities=names) if one.hbone_port else one for one in found)


def _says_more(other: NetworkGateway, one: NetworkGateway) -> bool:
    return (
        one.address == other.address
        and one.cluster in ("", other.cluster)
        and one.port in (0, other.port)
        and one.hbone_port in (0, other.hbone_port)
        and set(one.identities) <= set(other.identities)
    )


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
