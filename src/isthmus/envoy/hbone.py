"""HBONE origination: a connection becomes an HTTP/2 CONNECT over mutual TLS to the destination's port 15008.

Endpoints that are reached so are internal addresses: Envoy connects to a listener of its own, which makes the tunnel.
What it must know of the endpoint comes in the endpoint's metadata (SH18):

```
endpoint  hbone         ─ connect_originate ─ CONNECT <pod>:<port> ─ mTLS, server is the endpoint's identity ─ pod:15008
endpoint  double_hbone  ─ inner_connect_originate ─ CONNECT <host>:<port> ─ mTLS, server is one of the service's
                        ─ outer_connect_originate ─ CONNECT <host>:<port> ─ mTLS to the gateway ─ gateway:<its port>
```

The inner TLS ends at the destination pod: a gateway passes bytes on. Inner connections are not pooled, or all streams
of a pair would meet the one pod that the first one met; outer ones are (AM15).

Envoy is connected to a listener of its own at once, whatever becomes of the tunnel; a request that is sent then is lost
if nothing does. Therefore proxies that look into requests speak TLS even to these listeners, a TLS that is up when
the tunnel is (`tls.waiting_server_socket`): what fails before is a connection that did not come up, which is tried at
another endpoint, and counts against the one that failed. The proxies of nodes carry bytes only and have a lighter way
(`node_tunnels`).

Who the client is: a proxy with one identity shows the certificate `default`. A node proxy speaks for many pods: there
the pod's listener says which identity (`filter_state.IDENTITY`) and in which network namespace the socket is made
(`filter_state.NETNS`), and both are part of the key of connection pools, so that pods never share a connection.
TLS sessions are not resumed: a session remembers the identity that it was made with, and tickets know of no pods.

Where a server ends first, its end of the tunnel resets the stream after the last byte. Envoy would make a TCP reset of
that, and throw away what is still on its way to the caller; `agent.bootstrap` tells it not to.
"""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.local_address_selectors.filter_state_override.v3 import config_pb2 as selector_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.metadata.v3 import metadata_pb2

from isthmus.envoy import filters, tls, upstream
from isthmus.envoy.access_log import OUTBOUND, access_log
from isthmus.envoy.build import Message, packed, resource, seconds, struct
from isthmus.envoy.filter_state import INSTEAD, LOCAL_ADDRESS, SERVER_NAMES, Entry, setter
from isthmus.envoy.naming import CONNECT_ORIGINATE, HBONE_PORT, INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE
from isthmus.envoy.tunnels import (
    DOUBLE_HBONE,
    GATEWAY_PEERS,
    ORIGINAL_DST,
    PEERS,
    SOURCE_HEADER,
    TARGET,
    TUNNEL_MATCH,
    WAYPOINT,
)
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import CDS, LDS, XdsResource

NOBODY = "spiffe://"
"""Matches the names of all: who the server must be exactly is said by connection."""

ATTEMPTS = 3
"""Tunnels that are tried through one gateway: it chooses an endpoint for each, and knows nothing of those inside."""

IDLE_SECONDS = 600
"""After which an unused connection of tunnels is closed."""

Cluster = cluster_pb2.Cluster


class Origin(msgspec.Struct, frozen=True):
    """The proxy whose tunnels these are: it has `many` identities, or one. `accepted`: trust domains of gateways."""

    settings: MeshSettings
    many: bool = False
    accepted: tuple[str, ...] = ()


def listener(name: str, *, source: str = "") -> XdsResource:
    """One of the internal listeners by name. Raises KeyError for any other name.

    `source` is what gateways of other networks are told of who calls (AM12).
    """
    return _outer_listener(source) if name == OUTER_CONNECT_ORIGINATE else _LISTENERS[name]()


def cluster(name: str, origin: Origin) -> XdsResource:
    """The cluster behind one of the internal listeners. Raises KeyError for any other name."""
    return _CLUSTERS[name](origin)


# -- listeners ----------------------------------------------------------------------------------------------------


TO_ENDPOINT = (
    Entry(SERVER_NAMES, f"%DYNAMIC_METADATA(istio:{PEERS})%"),
    Entry(INSTEAD, f"%DYNAMIC_METADATA({ORIGINAL_DST}:{WAYPOINT})%", optional=True),
)
"""What a tunnel to an endpoint goes by: who must be there, and where it ends instead if there is a waypoint."""

_TARGET_STATE, _GATEWAY_STATE = "isthmus.hbone.target", "isthmus.hbone.gateway"

TO_SERVICE = (
    Entry(SERVER_NAMES, f"%DYNAMIC_METADATA(istio:{PEERS})%"),
    Entry(_TARGET_STATE, f"%DYNAMIC_METADATA(istio:{DOUBLE_HBONE}:{TARGET})%", once=True),
    Entry(_GATEWAY_STATE, f"%DYNAMIC_METADATA(istio:{GATEWAY_PEERS})%", once=True, optional=True),
    Entry(LOCAL_ADDRESS, f"%DYNAMIC_METADATA({ORIGINAL_DST}:local)%", once=True),
)
"""What a tunnel to a service behind a gateway goes by; the last three are for the outer tunnel."""

SERVICE = f"%FILTER_STATE({_TARGET_STATE}:PLAIN)%"
"""The authority of both tunnels to a service."""


def _connect_listener() -> XdsResource:
    carry = tunnel(CONNECT_ORIGINATE, "%DOWNSTREAM_LOCAL_ADDRESS%")
    chain = [setter(*TO_ENDPOINT), carry]
    return internal_listener(CONNECT_ORIGINATE, chain, before=[filters.original_dst()], waiting=True)


def _inner_listener() -> XdsResource:
    chain = [setter(*TO_SERVICE), tunnel(INNER_CONNECT_ORIGINATE, SERVICE, attempts=ATTEMPTS)]
    return internal_listener(INNER_CONNECT_ORIGINATE, chain, waiting=True)


def _outer_listener(source: str) -> XdsResource:
    names = Entry(SERVER_NAMES, f"%FILTER_STATE({_GATEWAY_STATE}:PLAIN)%", optional=True)
    carry = tunnel(OUTER_CONNECT_ORIGINATE, SERVICE, source=source)
    return internal_listener(OUTER_CONNECT_ORIGINATE, [setter(names), carry], before=[filters.original_dst()])


_LISTENERS = {
    CONNECT_ORIGINATE: _connect_listener,
    INNER_CONNECT_ORIGINATE: _inner_listener,
}


def internal_listener(
    name: str, chain: list[Message], *, before: list[Message] | None = None, waiting: bool = False
) -> XdsResource:
    """A listener that only Envoy itself connects to; `waiting`: by TLS that is up when what is behind it is."""
    socket = tls.waiting_server_socket() if waiting else None
    message = listener_pb2.Listener(
        name=name,
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        listener_filters=before or [],
        filter_chains=[listener_components_pb2.FilterChain(filters=chain, transport_socket=socket)],
    )
    return resource(LDS, name, message)


def tunnel(name: str, authority: str, *, source: str = "", attempts: int = 1) -> Message:
    """Carry the connection in a CONNECT for `authority` (a format string) to the cluster of the same name.

    `attempts`: so many tunnels are tried.
    """
    config = tcp_proxy_pb2.TcpProxy.TunnelingConfig(hostname=authority)
    if source:
        config.headers_to_add.add(header=base_pb2.HeaderValue(key=SOURCE_HEADER, value=source))
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=name,
        cluster=name,
        tunneling_config=config,
        access_log=[access_log(OUTBOUND)],
    )
    if attempts > 1:
        proxy.max_connect_attempts.value = attempts
    return listener_components_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


# -- clusters -----------------------------------------------------------------------------------------------------


def _connect_cluster(origin: Origin) -> XdsResource:
    return _to_address(CONNECT_ORIGINATE, origin, port=HBONE_PORT, prefixes=(NOBODY,))


def _outer_cluster(origin: Origin) -> XdsResource:
    prefixes = tuple(f"spiffe://{domain}/" for domain in origin.accepted)
    return _to_address(OUTER_CONNECT_ORIGINATE, origin, port=0, prefixes=prefixes)


def _to_address(name: str, origin: Origin, *, port: int, prefixes: tuple[str, ...]) -> XdsResource:
    """To the address that the connection means, at `port` instead of its own if that is given."""
    message = _base(
        name,
        origin,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        cleanup_interval=seconds(60),
        transport_socket=tls.tunnel_client_socket(prefixes, many=origin.many),
        upstream_bind_config=bind_config(origin.settings.mark, many=origin.many),
        upstream_connection_options=upstream.connection_options(),
        typed_extension_protocol_options=connect_protocol(pooled=True),
    )
    if port:
        message.original_dst_lb_config.upstream_port_override.value = port
    return resource(CDS, name, message)


def _inner_cluster(origin: Origin) -> XdsResource:
    inside = internal_socket(tls.tunnel_client_socket((NOBODY,), many=origin.many))
    message = _base(
        INNER_CONNECT_ORIGINATE,
        origin,
        type=Cluster.STATIC,
        load_assignment=internal_assignment(INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE),
        transport_socket=inside,
        typed_extension_protocol_options=connect_protocol(pooled=False),
    )
    return resource(CDS, INNER_CONNECT_ORIGINATE, message)


_CLUSTERS = {
    CONNECT_ORIGINATE: _connect_cluster,
    INNER_CONNECT_ORIGINATE: _inner_cluster,
    OUTER_CONNECT_ORIGINATE: _outer_cluster,
}


def _base(name: str, origin: Origin, **fields: Any) -> Message:
    return Cluster(
        name=name,
        connect_timeout=seconds(origin.settings.connect_timeout),
        circuit_breakers=upstream.circuit_breakers(),
        **fields,
    )


def connect_protocol(*, pooled: bool, pings: bool = True) -> dict[str, Message]:
    """HTTP/2 that carries CONNECT; a connection that is not pooled serves one stream. Within Envoy nobody pings."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.common_http_protocol_options.idle_timeout.CopyFrom(seconds(IDLE_SECONDS))
    if not pooled:
        options.common_http_protocol_options.max_requests_per_connection.value = 1
    http2 = protocol_pb2.Http2ProtocolOptions(allow_connect=True)
    if pings:
        http2.connection_keepalive.CopyFrom(upstream.keepalive())
    options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    return {upstream.HTTP_OPTIONS: packed(options)}


def bind_config(mark: int, *, many: bool, source: str = "") -> Message:
    """Where upstream sockets are made: with many identities in the network namespace that the connection says.

    The override applies to a source address, so there is one, be it any.
    """
    config = upstream.bind_config(mark)
    if many or source:
        config.source_address.CopyFrom(address_pb2.SocketAddress(address=source or "0.0.0.0", port_value=0))
        sixth = address_pb2.SocketAddress(address="::6" if source else "::", port_value=0)
        config.extra_source_addresses.add(address=sixth)
    if many:
        config.local_address_selector.CopyFrom(
            extension_pb2.TypedExtensionConfig(
                name="envoy.upstream.local_address_selector.filter_state_override",
                typed_config=packed(selector_pb2.Config()),
            )
        )
    return config


# -- ways to internal listeners -----------------------------------------------------------------------------------


def internal_cluster(name: str, listener_name: str, origin: Origin, **fields: Any) -> XdsResource:
    """A cluster that is an internal listener; what the connection shares goes with it."""
    message = _base(
        name,
        origin,
        type=Cluster.STATIC,
        load_assignment=internal_assignment(name, listener_name),
        transport_socket=internal_socket(),
        **fields,
    )
    return resource(CDS, name, message)


def internal_assignment(name: str, listener_name: str) -> Message:
    """An assignment of one member, an internal listener."""
    internal = address_pb2.EnvoyInternalAddress(server_listener_name=listener_name)
    address = address_pb2.Address(envoy_internal_address=internal)
    member = endpoint_components_pb2.LbEndpoint(endpoint=endpoint_components_pb2.Endpoint(address=address))
    group = endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[member])
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[group])


def internal_socket(inside: Message | None = None) -> Message:
    """Towards an internal listener, with the endpoint's metadata and what the connection shares; plain, or TLS."""
    source = internal_upstream_pb2.InternalUpstreamTransport.MetadataValueSource
    host = metadata_pb2.MetadataKind(host=metadata_pb2.MetadataKind.Host())
    config = internal_upstream_pb2.InternalUpstreamTransport(
        passthrough_metadata=[source(kind=host, name=name) for name in (ORIGINAL_DST, "istio")],
        transport_socket=inside or tls.plain_socket(),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.internal_upstream", typed_config=packed(config))


def socket_matches(plain: list[Message]) -> list[Message]:
    """Transport socket matches of a cluster whose endpoints may be tunnelled; `plain` are those for all others."""
    waiting = internal_socket(tls.waiting_client_socket())
    tunnel = Cluster.TransportSocketMatch(name="tunnel", match=struct(TUNNEL_MATCH), transport_socket=waiting)
    return [tunnel, *plain]
