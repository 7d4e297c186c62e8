"""The inbound listener of a workload: who may connect to which port, and how.

For each port that a service names, and for all others together:

| mode | mesh mTLS | other TLS | plaintext |
|---|---|---|---|
| STRICT | terminated | closed | closed |
| PERMISSIVE | terminated | passed on as bytes | taken |
| DISABLE | passed on as bytes | passed on as bytes | taken |

Mesh mTLS is recognised by ALPN where other TLS is possible too. The application learns the caller's identity from
`x-forwarded-client-cert`, which is always made here and never taken from a caller.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.envoy import connect, filters, naming, rbac, tls
from isthmus.envoy.access_log import INBOUND
from isthmus.envoy.build import Message, ads, boolean, resource, seconds, socket_address
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import MtlsMode, Protocol
from isthmus.model.scopes import InboundPort, InboundProfile
from isthmus.xds.resource import LDS, XdsResource

FilterChain = listener_components_pb2.FilterChain
FilterChainMatch = listener_components_pb2.FilterChainMatch
Predicate = listener_components_pb2.ListenerFilterChainMatchPredicate

PEEK_SECONDS = 5
"""How long to wait for a caller's first bytes before taking it for plaintext of a protocol where the server begins."""

HTTP_SERVER_ALPN = ("h2", "http/1.1")
TCP_SERVER_ALPN = ("istio-peer-exchange",)


class Guard(NamedTuple):
    """Who may call a workload: the policies that hold for it, and the trust domains that mesh mTLS accepts (TR4)."""

    accepted: tuple[str, ...]
    policies: tuple[AuthorizationPolicy, ...] = ()


def hbone_inbound(profile: InboundProfile, guard: Guard) -> XdsResource:
    """The internal listener for what came by HBONE: the same ports and policies. Tunnels are mutual TLS already, so no
    port's mode closes anything, and callers are known by the tunnel's peer."""
    ports = [port for port in profile.ports if port.port not in naming.RESERVED_PORTS]
    chains = [
        *(_reserved(port) for port in sorted({*naming.RESERVED_PORTS, naming.HBONE_PORT})),
        *(_tunnelled(port, guard) for port in ports if port.port != naming.HBONE_PORT),
        _tunnelled(InboundPort(0, Protocol.TCP, profile.mode), guard),
    ]
    return connect.internal_listener(naming.INBOUND_HBONE, chains)


def _reserved(port: int) -> Message:
    """Nobody reaches the proxy's own ports by a tunnel."""
    return FilterChain(
        name=f"blackhole_{port}",
        filter_chain_match=FilterChainMatch(destination_port={"value": port}),
        filters=[filters.tcp_proxy(naming.BLACK_HOLE, INBOUND, attempts=1)],
    )


def _tunnelled(port: InboundPort, guard: Guard) -> Message:
    return FilterChain(
        name=f"{_label(port)}_hbone", filter_chain_match=_match(port), filters=_handlers(port, guard, tunnelled=True)
    )


def virtual_inbound(profile: InboundProfile, guard: Guard) -> XdsResource:
    """The listener that capture redirects to."""
    chains = [_blackhole()]
    for port in profile.ports:
        if port.port not in naming.RESERVED_PORTS:
            chains.extend(_chains(port, guard))
    chains.extend(_chains(InboundPort(0, Protocol.TCP, profile.mode), guard))
    message = listener_pb2.Listener(
        name=naming.VIRTUAL_INBOUND,
        address=socket_address("0.0.0.0", naming.INBOUND_PORT),
        use_original_dst=boolean(False),
        listener_filters=[filters.original_dst(), _tls_inspector(profile)],
        listener_filters_timeout=seconds(PEEK_SECONDS),
        continue_on_listener_filters_timeout=True,
        filter_chains=chains,
        traffic_direction=base_pb2.INBOUND,
    )
    return resource(LDS, naming.VIRTUAL_INBOUND, message)


def _tls_inspector(profile: InboundProfile) -> Message:
    """Looks at the first bytes, except on ports without mTLS, where the server may begin."""
    inspector = filters.tls_inspector()
    plain = [port.port for port in profile.ports if port.mode is MtlsMode.DISABLE and not port.protocol.is_http]
    rules = [Predicate(destination_port_range={"start": port, "end": port + 1}) for port in plain]
    if len(rules) == 1:
        inspector.filter_disabled.CopyFrom(rules[0])
    elif rules:
        inspector.filter_disabled.CopyFrom(Predicate(or_match=Predicate.MatchSet(rules=rules)))
    return inspector


def _blackhole() -> Message:
    """Nobody connects to the capture port itself: that would be a loop."""
    return FilterChain(
        name="virtualInbound-blackhole",
        filter_chain_match=FilterChainMatch(destination_port={"value": naming.INBOUND_PORT}),
        filters=[filters.tcp_proxy(naming.BLACK_HOLE, INBOUND, attempts=1)],
    )


def _chains(port: InboundPort, guard: Guard) -> Iterator[Message]:
    """The filter chains of one port; port 0 is all ports that have none of their own."""
    if port.mode is not MtlsMode.DISABLE:
        yield _mesh_chain(port, guard)
    if port.mode is not MtlsMode.STRICT:
        name = f"{_label(port)}_plain"
        yield FilterChain(
            name=name,
            filter_chain_match=_match(port, transport_protocol="raw_buffer"),
            filters=_handlers(port, guard),
        )
        yield FilterChain(
            name=f"{_label(port)}_tls",
            filter_chain_match=_match(port, transport_protocol="tls"),
            filters=_connection(port, guard),
        )


def _mesh_chain(port: InboundPort, guard: Guard) -> Message:
    """Mesh mTLS. Where nothing else is allowed any TLS is taken for it, and refused in the handshake if it is not."""
    strict = port.mode is MtlsMode.STRICT
    match = _match(port, transport_protocol="tls", application_protocols=() if strict else tls.MESH_ALPN)
    alpn = HTTP_SERVER_ALPN if port.protocol.is_http else TCP_SERVER_ALPN
    return FilterChain(
        name=f"{_label(port)}_mtls",
        filter_chain_match=match,
        transport_socket=tls.server_socket(trust_domains=guard.accepted, alpn=alpn),
        transport_socket_connect_timeout=seconds(15),
        filters=_handlers(port, guard),
    )


def _match(port: InboundPort, **fields: object) -> Message:
    destination = {"destination_port": {"value": port.port}} if port.port else {}
    return FilterChainMatch(**destination, **fields)


def _label(port: InboundPort) -> str:
    return f"inbound_{port.port}" if port.port else "inbound_any"


def _cluster(port: InboundPort) -> str:
    return naming.inbound(port.port) if port.port else naming.INBOUND_PASSTHROUGH


def _connection(port: InboundPort, guard: Guard, *, tunnelled: bool = False) -> list[Message]:
    log = (*rbac.log_fields(guard.policies, rbac.NETWORK_FILTER), *(connect.PEER_LOG if tunnelled else ()))
    guards = rbac.network_filters(guard.policies, tunnelled=tunnelled)
    return [*guards, filters.tcp_proxy(_cluster(port), INBOUND, attempts=1, log=log)]


def _handlers(port: InboundPort, guard: Guard, *, tunnelled: bool = False) -> list[Message]:
    if not port.protocol.is_http:
        return _connection(port, guard, tunnelled=tunnelled)
    manager = hcm_pb2.HttpConnectionManager
    name = naming.inbound_hbone(port.port) if tunnelled else naming.inbound(port.port)
    known: dict[str, Any] = {"forward_client_cert_details": manager.SANITIZE}
    if not tunnelled:
        known = {
            "forward_client_cert_details": manager.SANITIZE_SET,
            "set_current_client_cert_details": manager.SetCurrentClientCertDetails(uri=True),
        }
    http = filters.http_manager(
        f"inbound_{port.port}",
        INBOUND,
        before=rbac.http_filters(),
        log=(*rbac.log_fields(guard.policies, rbac.HTTP_FILTER), *(connect.PEER_LOG if tunnelled else ())),
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=name),
        **known,
    )
    return [http]
