"""Listeners of a gateway. AUTO_PASSTHROUGH: the SNI of mesh mTLS names the service, and its bytes are passed on
unopened, so that the identities of client and server meet end to end. PASSTHROUGH: routes say where an SNI goes."""

from collections.abc import Iterable
from functools import cache

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as direct_response_pb2

from isthmus.envoy import filters, naming, tls
from isthmus.envoy.access_log import GATEWAY
from isthmus.envoy.build import packed, seconds, socket_address
from isthmus.model.mesh import MeshService
from isthmus.model.rows import GatewayServer
from isthmus.xds.resource import LDS, XdsResource
from isthmus.xds.wire import length_delimited

AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"

PEEK_SECONDS = 5
"""How long a gateway waits for a ClientHello before it closes."""

PROBE_ANSWER = "isthmus gateway\n"

_FILTER_CHAINS = 3
"""Number of the repeated field in Listener."""


def exposes(hosts: Iterable[str], host: str) -> bool:
    """True if the host is within one of the server's hosts (SN3)."""
    return any(pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in hosts)


def exposed(
    servers: Iterable[GatewayServer], service: MeshService, alias: str = "", named: str = ""
) -> tuple[str, ...]:
    """The host names under which AUTO_PASSTHROUGH servers expose the service: its own, and its global `alias`.

    A mesh-wide name is exposed with the service that it means, whose name is `named`: servers say `*.local`.
    One that is local to its cluster is never exposed (CL4), nor what is outside of the mesh, or where callers choose;
    nor a global name itself, which would lead out of the cluster again.
    """
    if not tunnelled(service):
        return ()
    hosts = [host for server in servers if server.tls_mode == AUTO_PASSTHROUGH for host in server.hosts]
    if service.union_of is not None:
        return (service.host,) if exposes(hosts, service.host) or exposes(hosts, named) else ()
    return tuple(name for name in (service.host, alias) if name and exposes(hosts, name))


def tunnelled(service: MeshService) -> bool:
    """True if a gateway for HBONE may let other networks reach the service: the same as for mutual TLS, if exposed."""
    return not (service.cluster_local or service.caller_chooses or service.external or service.stands_for is not None)


def passthrough_chain(port: int, host: str, subset: str, *, alias: str = "") -> bytes:
    """The encoded filter chain of one port of a service (SN3): its SNI exactly, and the ALPN of mesh mTLS.

    Envoy compares names in lower case. `alias`: another name by which the SNI means the same destination.
    """
    destination = naming.sni_dnat(port, host, subset)
    name = naming.sni_dnat(port, alias or host, subset)
    message = listener_components_pb2.FilterChain(
        name=name,
        filter_chain_match=listener_components_pb2.FilterChainMatch(
            server_names=[name.lower()], transport_protocol="tls", application_protocols=tls.MESH_ALPN
        ),
        filters=[filters.tcp_proxy(destination, GATEWAY)],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


@cache
def probe_chain() -> bytes:
    """The encoded filter chain that answers a probe: its TLS ends here, and it is closed after the handshake.

    A probe needs no identity, so that a control plane that is none of the mesh's workloads can look. It meets the
    gateway's certificate, which whoever calls through the gateway trusts the issuer of, and reaches nothing else.
    """
    # With nothing to say the connection would be closed before the handshake.
    answer = direct_response_pb2.Config(response=base_pb2.DataSource(inline_string=PROBE_ANSWER))
    message = listener_components_pb2.FilterChain(
        name=naming.PROBE_SNI,
        filter_chain_match=listener_components_pb2.FilterChainMatch(
            server_names=[naming.PROBE_SNI], transport_protocol="tls"
        ),
        transport_socket=tls.probed_socket(),
        transport_socket_connect_timeout=seconds(PEEK_SECONDS),
        filters=[
            listener_components_pb2.Filter(name="envoy.filters.network.direct_response", typed_config=packed(answer))
        ],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def port_listener(port: int, chains: Iterable[bytes], *, inspect: bool = True) -> XdsResource | None:
    """The listener of a port of a gateway; None while it exposes nothing, as Envoy wants a chain.

    What matches no chain is closed: on an AUTO_PASSTHROUGH port unknown SNI, foreign ALPN, plaintext.
    Without `inspect` nothing waits for a caller's first bytes: the server may be the one to begin.
    """
    joined = b"".join(length_delimited(_FILTER_CHAINS, chain) for chain in chains)
    if not joined:
        return None
    name = naming.port_listener(port)
    head = listener_pb2.Listener(
        name=name,
        address=socket_address("0.0.0.0", port),
        listener_filters=[filters.tls_inspector()] if inspect else [],
        listener_filters_timeout=seconds(PEEK_SECONDS),
        traffic_direction=base_pb2.OUTBOUND,
    ).SerializeToString(deterministic=True)
    return XdsResource(LDS, name, head + joined)
