"""Network, listener and HTTP filters, as all listeners use them."""

from collections.abc import Iterable, Sequence
from typing import Any

from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from isthmus.envoy.access_log import GATEWAY, INBOUND, More, access_log
from isthmus.envoy.build import Message, boolean, packed, seconds, u32
from isthmus.envoy.http_routes import CORS, FAULT

TCP_ATTEMPTS = 3
"""Connects that a TCP connection may try, each at another endpoint: a dead gateway costs a moment, not a failure."""

HTTP_ALPN = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector says of bytes that are HTTP."""


def tcp_proxy(
    to: str | Sequence[tuple[str, int]], direction: str, *, attempts: int = TCP_ATTEMPTS, log: More = ()
) -> Message:
    """Carry a connection to a cluster, or to one of several by weight; `log` are further fields of the access log.

    Connections between networks live long, so a gateway logs them when they come up, too (`log_type` tells which).
    """
    shares = [(to, 1)] if isinstance(to, str) else to
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=shares[0][0],
        max_connect_attempts=u32(attempts),
        access_log=[access_log(direction, log)],
    )
    if len(shares) == 1:
        proxy.cluster = shares[0][0]
    for name, weight in shares if len(shares) > 1 else ():
        proxy.weighted_clusters.clusters.add(name=name, weight=weight)
    if direction == GATEWAY:
        proxy.access_log_options.flush_access_log_on_connected = True
    return listener_components_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def quiet_tcp_proxy(cluster: str) -> Message:
    """Carry a connection to a cluster, in a listener that logs itself."""
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=cluster, cluster=cluster, max_connect_attempts=u32(TCP_ATTEMPTS))
    return listener_components_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def http_manager(
    stat_prefix: str, direction: str, *, before: Iterable[Message] = (), log: More = (), **fields: Any
) -> Message:
    """An HTTP connection manager; `fields` say where its routes are and how it treats client certificates.

    `before` are HTTP filters that stand before the router, `log` further fields of the access log.
    """
    chain = [("envoy.filters.http.router", router_pb2.Router())]
    if direction != INBOUND:  # what routes may ask for: nothing happens unless one does
        chain = [(FAULT, fault_pb2.HTTPFault()), (CORS, cors_pb2.Cors()), *chain]
    routing = [hcm_pb2.HttpFilter(name=name, typed_config=packed(config)) for name, config in chain]
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        http_filters=[*before, *routing],
        access_log=[access_log(direction, log)],
        normalize_path=boolean(True),
        stream_idle_timeout=seconds(0),
        server_header_transformation=hcm_pb2.HttpConnectionManager.PASS_THROUGH,
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(accept_http_10=True),
        **{"use_remote_address": boolean(False), "upgrade_configs": [upgrade("websocket")], **fields},
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )


def upgrade(kind: str) -> Message:
    """An upgrade that an HTTP connection manager allows: `websocket` or `CONNECT`."""
    return hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type=kind)


def original_dst() -> Message:
    """The address that the caller meant before capture."""
    return _listener_filter("envoy.filters.listener.original_dst", original_dst_pb2.OriginalDst())


def tls_inspector() -> Message:
    """SNI and ALPN of the ClientHello."""
    return _listener_filter("envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector())


def http_inspector() -> Message:
    """Whether plaintext is HTTP."""
    return _listener_filter("envoy.filters.listener.http_inspector", http_inspector_pb2.HttpInspector())


def _listener_filter(name: str, message: Message) -> Message:
    return listener_components_pb2.ListenerFilter(name=name, typed_config=packed(message))
