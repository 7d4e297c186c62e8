"""Small parts that every builder needs, and the names by which resources are known (XD8)."""

from ipaddress import ip_address, ip_network
from typing import NamedTuple

from google.protobuf.message import Message

from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.model.rows import Protocol, ServicePort
from isthmus.proto import workload_pb2 as pb
from isthmus.xds.resource import ADDRESS, WORKLOAD, XdsResource
from isthmus.xds.wire import length_delimited

HBONE_PORT = 15008

_APP_PROTOCOLS = {
    Protocol.HTTP: pb.HTTP11,
    Protocol.HTTP2: pb.HTTP2,
    Protocol.GRPC: pb.GRPC,
    Protocol.TLS: pb.TLS,
}


class Waypoint(NamedTuple):
    """The Service of a waypoint: where traffic for a workload or service goes first."""

    namespace: str
    host: str
    port: int = HBONE_PORT


def encoded(message: Message) -> bytes:
    """Equal content gives equal bytes, and so the same version."""
    return message.SerializeToString(deterministic=True)


def workload_address(name: str, body: bytes) -> XdsResource:
    """A workload as `istio.workload.Address`; `body` is the encoded Workload."""
    return XdsResource(ADDRESS, name, length_delimited(1, body))


def bare_workload(name: str, body: bytes) -> XdsResource:
    """A workload as `istio.workload.Workload`."""
    return XdsResource(WORKLOAD, name, body)


def service_address(name: str, body: bytes) -> XdsResource:
    """A service as `istio.workload.Address`; `body` is the encoded Service."""
    return XdsResource(ADDRESS, name, length_delimited(2, body))


def packed_ip(text: str) -> bytes:
    """4 or 16 bytes; none for what is no address."""
    try:
        return ip_address(text).packed
    except ValueError:
        return b""


def network_address(network: str, text: str) -> pb.NetworkAddress | None:
    """An address, or a range, within a network; None for what is neither."""
    try:
        if "/" in text:
            cidr = ip_network(text, strict=False)
            return pb.NetworkAddress(network=network, address=cidr.network_address.packed, length=cidr.prefixlen)
        return pb.NetworkAddress(network=network, address=ip_address(text).packed)
    except ValueError:
        return None


def waypoint_address(waypoint: Waypoint | None) -> pb.GatewayAddress | None:
    """By host name, so that ztunnel balances over the waypoint's pods."""
    if waypoint is None:
        return None
    where = pb.NamespacedHostname(namespace=waypoint.namespace, hostname=waypoint.host)
    return pb.GatewayAddress(hostname=where, hbone_mtls_port=waypoint.port)


def trust_domain_field(domain: str) -> str:
    """The default is left out (AM9)."""
    return "" if domain == DEFAULT_DOMAIN else domain


def app_protocol(port: ServicePort) -> pb.AppProtocol:
    """What a port speaks, as far as it is known."""
    return _APP_PROTOCOLS.get(port.protocol, pb.UNKNOWN)


def service_name(namespace: str, host: str) -> str:
    """The name of a service's resource, and its key in a workload's services."""
    return f"{namespace}/{host}"


def alias(network: str, address: str) -> str:
    """The name by which somebody who knows only an address asks."""
    return f"{network}/{address}"
