"""Which network something is in, and through which addresses a network is entered."""

from collections.abc import Iterable
from ipaddress import ip_address

from isthmus.model.mesh import NetworkGateway
from isthmus.model.rows import Labels, Namespace, Service

NETWORK_LABEL = "topology.istio.io/network"
GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
DEFAULT_GATEWAY_PORT = 15443


def label(labels: Labels, name: str) -> str:
    """The value of a label, empty if absent."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def workload_network(labels: Labels, system_namespace: Namespace | None) -> str:
    """The label on the workload, else the cluster's default: the label on its system namespace (NW1)."""
    found = label(labels, NETWORK_LABEL)
    if found or system_namespace is None:
        return found
    return label(system_namespace.labels, NETWORK_LABEL)


def gateways_of_service(service: Service) -> tuple[NetworkGateway, ...]:
    """The gateways that a Service with the network label stands for (NW4, NW5).

    Host names are left out: EDS needs addresses (SH25).
    """
    network = label(service.labels, NETWORK_LABEL)
    port = gateway_port(service)
    if not network or all(known.port != port for known in service.ports):
        return ()
    addresses = dict.fromkeys((*service.ingress_addresses, *service.external_ips))
    return tuple(
        NetworkGateway(network=network, cluster=service.cluster, address=address, port=port)
        for address in addresses
        if is_ip(address)
    )


def gateway_port(service: Service) -> int:
    """The service port that takes mesh mTLS: the label, or 15443, also where the label is no port number (NW4)."""
    text = label(service.labels, GATEWAY_PORT_LABEL)
    return int(text) if text.isdecimal() and 0 < int(text) < 65536 else DEFAULT_GATEWAY_PORT


def gateways_of_network(network: str, services: Iterable[Service]) -> tuple[NetworkGateway, ...]:
    """All gateways of one network, equal ones once (NW8), in a stable order."""
    found = {gateway for service in services for gateway in gateways_of_service(service)}
    return tuple(sorted(gateway for gateway in found if gateway.network == network))


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
