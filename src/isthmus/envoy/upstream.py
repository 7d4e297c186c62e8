"""How connections to endpoints are made, kept and given up: socket options, protocol versions, outlier detection.

The numbers answer one question: a gateway dies, or the network behind it is cut, while a service has endpoints
elsewhere. What a caller may notice is at most the requests that were on the wire.

* A new connection that does not come up within `connect_timeout` (handshake included) fails, and so is tried
  elsewhere by the route's retry policy: no error, some latency.
* Keepalive finds idle pooled connections that are dead. HTTP/2 connections ping. HTTP/1.1 ones have TCP_USER_TIMEOUT,
  which bounds how long sent bytes stay without acknowledgement, and only they: the kernel also ends a connection
  whose peer is alive but has not read for so long, which a database may well do during a bulk load.
* Three local failures in a row take an endpoint out at once, for 3 s, then 6 s, 9 s, up to 15 s while it goes on.
* `max_ejection_percent` 99: with n endpoints at most n-1 are ever out, whatever n, so the last path stays; no
  endpoint of a single one is taken out. A rule can lower the percentage, not raise it.
* The one that stays may be one that is told as not ready, so that all others are out. Only then is there a panic, by a
  threshold of 1 %: all are tried rather than none. With one endpoint left of five, traffic goes to that one.
* A gateway is one endpoint that stands for many. That one pod behind it answers 503 says nothing about the others, so
  only failed connections take a gateway out, never what was answered through it (istio#52435).
"""

import msgspec
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.common.matcher.v3 import matcher_pb2 as http_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, socket_option_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2

from isthmus.envoy.build import Message, boolean, packed, seconds, u32
from isthmus.envoy.endpoints import GATEWAY_KEY
from isthmus.model.locality import Warmup
from isthmus.model.rows import ConnectionPool, OutlierDetection, Protocol

SOL_SOCKET, SO_MARK = 1, 36
IPPROTO_TCP, TCP_USER_TIMEOUT = 6, 18
KEEPALIVE_PROBES, KEEPALIVE_TIME, KEEPALIVE_INTERVAL = 3, 3, 1
PING_INTERVAL, PING_TIMEOUT = 1.0, 1.0

UNLIMITED = 2**32 - 1
MAX_EJECTION_PERCENT = 99
NOTHING_LEFT_PERCENT = 1
"""The least panic threshold above none, as Envoy rounds to whole percents."""

GATEWAY_HEADER = "x-isthmus-gateway"
"""On the way from endpoint to router only: the network of the gateway that an answer came through."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bind_config(mark: int, *, stall_timeout: float = 0) -> Message:
    """Socket options of upstream connections: the mark that exempts from capture, and how long a stall may last."""
    options = []
    if mark:
        options.append(_option(SOL_SOCKET, SO_MARK, mark))
    if stall_timeout:
        options.append(_option(IPPROTO_TCP, TCP_USER_TIMEOUT, round(stall_timeout * 1000)))
    return address_pb2.BindConfig(socket_options=options)


def inbound_bind_config(mark: int) -> Message:
    """The same for connections to the workload itself, from the address that capture lets through to it.

    A connection to the pod's own address with the proxy's mark and any other source is one where the proxy chose
    its own workload as the endpoint: capture sends that to the inbound listener, so this one must differ.
    """
    config = bind_config(mark)
    config.source_address.CopyFrom(_any_port("127.0.0.6"))
    config.extra_source_addresses.add(address=_any_port("::6"))
    return config


def _any_port(address: str) -> Message:
    return address_pb2.SocketAddress(address=address, port_value=0)


def _option(level: int, name: int, value: int) -> Message:
    return socket_option_pb2.SocketOption(
        level=level, name=name, int_value=value, state=socket_option_pb2.SocketOption.STATE_PREBIND
    )


def connection_options() -> Message:
    """TCP keepalive."""
    return cluster_pb2.UpstreamConnectionOptions(
        tcp_keepalive=address_pb2.TcpKeepalive(
            keepalive_probes=u32(KEEPALIVE_PROBES),
            keepalive_time=u32(KEEPALIVE_TIME),
            keepalive_interval=u32(KEEPALIVE_INTERVAL),
        )
    )


def protocol_options(
    protocol: Protocol, pool: ConnectionPool | None = None, *, gateways: bool = False
) -> dict[str, Message]:
    """typed_extension_protocol_options: which HTTP version endpoints of this port get; none for bytes.

    `gateways`: some endpoints may be gateways, whose answers must not count against them.
    """
    if not protocol.is_http:
        return {}
    options = http_protocol_options_pb2.HttpProtocolOptions()
    explicit = options.explicit_http_config
    if protocol is Protocol.HTTP:
        explicit.http_protocol_options.SetInParent()
    else:
        explicit.http2_protocol_options.CopyFrom(_http2(pool))
    if pool is not None and pool.max_requests_per_connection:
        options.common_http_protocol_options.max_requests_per_connection.value = pool.max_requests_per_connection
    if pool is not None and pool.idle_timeout:
        options.common_http_protocol_options.idle_timeout.CopyFrom(seconds(pool.idle_timeout))
    if gateways:
        options.outlier_detection.error_matcher.CopyFrom(_errors_of_endpoints())
        options.http_filters.extend(_mark_gateways())
    return {HTTP_OPTIONS: packed(options)}


def _errors_of_endpoints() -> Message:
    """What counts as an error of the endpoint: 5xx, unless the answer came through a gateway."""
    matched = http_pb2.MatchPredicate
    status = route_components_pb2.HeaderMatcher(name=":status")
    status.string_match.safe_regex.regex = "5[0-9][0-9]"
    direct = route_components_pb2.HeaderMatcher(name=GATEWAY_HEADER, present_match=False)
    rules = [
        matched(http_response_headers_match=http_pb2.HttpHeadersMatch(headers=[header])) for header in (status, direct)
    ]
    return matched(and_match=matched.MatchSet(rules=rules))


def _mark_gateways() -> list[Message]:
    """Filters between router and endpoint: an answer through a gateway gets a header, which routes take off again."""
    mutation = mutation_rules_pb2.HeaderMutation
    value = base_pb2.HeaderValue(key=GATEWAY_HEADER, value=f"%UPSTREAM_METADATA(istio:{GATEWAY_KEY})%")
    mark = base_pb2.HeaderValueOption(header=value, append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    mutations = header_mutation_pb2.Mutations(
        response_mutations=[mutation(remove=GATEWAY_HEADER), mutation(append=mark)]
    )
    chain = [
        ("envoy.filters.http.header_mutation", header_mutation_pb2.HeaderMutation(mutations=mutations)),
        ("envoy.filters.http.upstream_codec", upstream_codec_pb2.UpstreamCodec()),
    ]
    return [hcm_pb2.HttpFilter(name=name, typed_config=packed(config)) for name, config in chain]


def slow_start(warmup: Warmup | None) -> Message | None:
    """How the share of an endpoint that joins grows; None: it gets all of it at once."""
    if warmup is None:
        return None
    return cluster_pb2.Cluster.SlowStartConfig(
        slow_start_window=seconds(warmup.duration),
        aggression=base_pb2.RuntimeDouble(default_value=warmup.aggression, runtime_key="isthmus.slow_start"),
        min_weight_percent=percent_pb2.Percent(value=warmup.minimum),
    )


def downstream_protocol() -> dict[str, Message]:
    """typed_extension_protocol_options: the endpoint gets the HTTP version that the caller spoke."""
    use = http_protocol_options_pb2.HttpProtocolOptions.UseDownstreamHttpConfig(
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(),
        http2_protocol_options=_http2(None),
    )
    options = http_protocol_options_pb2.HttpProtocolOptions(use_downstream_protocol_config=use)
    return {HTTP_OPTIONS: packed(options)}


def tunnels_in(keepalive: protocol_pb2.KeepaliveSettings | None = None) -> protocol_pb2.Http2ProtocolOptions:
    """HTTP/2 of who takes tunnels.

    A tunnel ends with a reset. Envoy's other codec takes more than 33 resets a second, a thousand at once apart, for an
    attack, and ends the connection with all tunnels that are open in it.
    """
    return protocol_pb2.Http2ProtocolOptions(
        allow_connect=True, use_oghttp2_codec=boolean(True), connection_keepalive=keepalive
    )


def keepalive() -> Message:
    """Pings of HTTP/2."""
    return protocol_pb2.KeepaliveSettings(interval=seconds(PING_INTERVAL), timeout=seconds(PING_TIMEOUT))


def _http2(pool: ConnectionPool | None) -> Message:
    """Pings find a dead connection that carries many requests; max_concurrent_streams as Istio's."""
    options = protocol_pb2.Http2ProtocolOptions(connection_keepalive=keepalive())
    if pool is not None and pool.http2_max_requests:
        options.max_concurrent_streams.value = min(pool.http2_max_requests, 2**31 - 1)
    return options


def circuit_breakers(pool: ConnectionPool | None = None) -> Message:
    """Limits of one destination; without a rule there are none (Envoy's own default is 3 retries at a time)."""
    rule = pool or ConnectionPool()
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=u32(rule.max_connections or UNLIMITED),
        max_pending_requests=u32(rule.http1_max_pending_requests or UNLIMITED),
        max_requests=u32(rule.http2_max_requests or UNLIMITED),
        max_retries=u32(rule.max_retries or UNLIMITED),
        track_remaining=True,
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def outlier_detection(rule: OutlierDetection | None = None, *, answers: bool = True) -> Message:
    """When an endpoint is taken out. A DestinationRule replaces what it names of the defaults above.

    Without `answers` only failed connections count, not what endpoints answer.
    """
    said = rule or OutlierDetection()
    if not answers:
        said = msgspec.structs.replace(said, consecutive_5xx=0, consecutive_gateway_errors=0)
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=u32(_or(said.consecutive_5xx, 5)),
        enforcing_consecutive_5xx=u32(100 if said.consecutive_5xx else 0),
        consecutive_gateway_failure=u32(_or(said.consecutive_gateway_errors, 5)),
        enforcing_consecutive_gateway_failure=u32(0 if said.consecutive_gateway_errors == 0 else 100),
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=u32(_or(said.consecutive_local_origin_failures, 3)),
        enforcing_consecutive_local_origin_failure=u32(0 if said.consecutive_local_origin_failures == 0 else 100),
        enforcing_success_rate=u32(0),
        enforcing_local_origin_success_rate=u32(0),
        interval=seconds(said.interval or 1),
        base_ejection_time=seconds(said.base_ejection_time or 3),
        max_ejection_time=seconds(max(said.base_ejection_time or 0, 15)),
        max_ejection_percent=u32(min(_or(said.max_ejection_percent, MAX_EJECTION_PERCENT), MAX_EJECTION_PERCENT)),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def common_lb(rule: OutlierDetection | None = None) -> Message:
    """Panic where nothing is left that is healthy, unless a rule's minHealthPercent says otherwise."""
    percent = _or(rule.min_health_percent if rule is not None else None, NOTHING_LEFT_PERCENT)
    return cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=percent))
