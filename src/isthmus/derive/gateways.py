"""What the servers of Gateways take, and which VirtualServices are bound to them."""

from collections.abc import Iterable
from enum import StrEnum

from isthmus.base.labels import EXPOSE_ISTIOD_LABEL
from isthmus.derive.networks import label
from isthmus.derive.visibility import exported, narrower
from isthmus.model.managed import ManagedGateway
from isthmus.model.routing import VirtualService
from isthmus.model.rows import GatewayServer

HTTP_PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
TLS_PROTOCOLS = ("HTTPS", "TLS")
TERMINATING = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL")

HBONE = "HBONE"
CONTROL_PLANE = "ISTIOD"
"""Protocols of servers that only Gateways of ours have."""

CONTROL_PLANE_GATEWAY = "istiod-gateway"
"""Name of the Gateway that exposes the control plane (PR1)."""


class Takes(StrEnum):
    """What a server does with a connection."""

    AUTO = "auto"
    """Mesh mTLS is passed on by the service that its SNI names."""
    SNI = "sni"
    """TLS is passed on unopened, by tls routes."""
    HTTP = "http"
    """Requests, by http routes; TLS before them is opened."""
    BYTES = "bytes"
    """Connections, by tcp routes; TLS before them is opened."""
    HBONE = "hbone"
    """Tunnels of the mesh to global services, of which only the outer TLS is opened (AM11)."""
    CONTROL_PLANE = "control-plane"
    """TLS that the control plane opens itself."""


def takes(server: GatewayServer) -> Takes:
    """What the server does with a connection, by its protocol and TLS mode."""
    if server.protocol == HBONE:
        return Takes.HBONE
    if server.protocol == CONTROL_PLANE:
        return Takes.CONTROL_PLANE
    if server.tls_mode == "AUTO_PASSTHROUGH":
        return Takes.AUTO
    if server.tls_mode == "PASSTHROUGH":
        return Takes.SNI
    if server.protocol in HTTP_PROTOCOLS or server.protocol == "HTTPS":
        return Takes.HTTP
    return Takes.BYTES


def passes_on(server: GatewayServer) -> bool:
    """True if what arrives was chosen by the caller and is passed on as it is."""
    return takes(server) in (Takes.AUTO, Takes.HBONE, Takes.CONTROL_PLANE)


def managed_servers(row: ManagedGateway) -> tuple[GatewayServer, ...]:
    """The servers of a Gateway that this mesh runs: HBONE (NW16), mutual TLS by SNI (NW15), the control plane."""
    exposed = label(row.labels, EXPOSE_ISTIOD_LABEL)
    found = []
    for one in row.listeners:
        if one.fault:
            continue
        if one.protocol == HBONE:
            found.append(GatewayServer(port=one.port, protocol=HBONE, hosts=("*",), tls_mode="ISTIO_MUTUAL"))
        elif one.auto:
            hosts = (one.hostname or "*",)
            found.append(GatewayServer(port=one.port, protocol="TLS", hosts=hosts, tls_mode="AUTO_PASSTHROUGH"))
        elif str(one.port) == exposed:
            found.append(GatewayServer(port=one.port, protocol=CONTROL_PLANE, hosts=("*",), tls_mode="PASSTHROUGH"))
    return tuple(found)


def opens_tls(server: GatewayServer) -> bool:
    """True if the server ends TLS itself."""
    return server.protocol in TLS_PROTOCOLS and server.tls_mode in TERMINATING


def bound_hosts(server: GatewayServer, row: VirtualService) -> tuple[str, ...]:
    """The hosts for which a server goes by an object: those of both, if the server lets its namespace bind."""
    places = server.binds or ("*",) * len(server.hosts)
    allowed = [host for host, place in zip(server.hosts, places, strict=True) if place in ("*", row.namespace)]
    found = (narrower(mine.lower(), theirs) for theirs in row.hosts for mine in allowed)
    return tuple(dict.fromkeys(host for host in found if host))


def bound(
    server: GatewayServer, rows: Iterable[VirtualService], namespace: str
) -> list[tuple[VirtualService, tuple[str, ...]]]:
    """The objects that a server of a gateway in `namespace` goes by, with their hosts there, the oldest first."""
    found = []
    for row in rows:
        if server.gateway in row.gateways and exported(row.export_to, row.namespace, namespace):
            hosts = bound_hosts(server, row)
            if hosts:
                found.append((row, hosts))
    return sorted(found, key=lambda pair: (pair[0].created, pair[0].namespace, pair[0].name))
