"""Clusters: transport, versions, limits, and what takes an endpoint out."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from isthmus.envoy import clusters, upstream
from isthmus.envoy.clusters import Destination
from isthmus.model.locality import Warmup
from isthmus.model.mesh import MeshService
from isthmus.model.rows import ConnectionPool, OutlierDetection, Protocol, ServicePort, TrafficPolicy
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import XdsResource

SETTINGS = MeshSettings(config_cluster="east")
WEB = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=())
HEADLESS = MeshService(namespace="ns", name="db", host="db.ns.svc.cluster.local", ports=(), headless=True)
PEER = "spiffe://cluster.local/ns/ns/sa/web"


def decoded(resource: XdsResource | None) -> cluster_pb2.Cluster:
    """The message."""
    assert resource is not None
    return cluster_pb2.Cluster.FromString(resource.body)


def outbound(
    protocol: Protocol = Protocol.HTTP, *, service: MeshService = WEB, **fields: object
) -> cluster_pb2.Cluster:
    """An outbound cluster of port 80."""
    values: dict[str, object] = {"peers": (PEER,)}
    destination = Destination(service, ServicePort("p", 80, protocol), **(values | fields))  # type: ignore[arg-type]
    return decoded(clusters.outbound(destination, SETTINGS))


def tls(socket: object) -> tls_pb2.UpstreamTlsContext:
    """The context of a client's TLS socket."""
    return tls_pb2.UpstreamTlsContext.FromString(socket.typed_config.value)  # type: ignore[attr-defined]


def test_automatic_mtls_follows_the_endpoint() -> None:
    cluster = outbound()
    mesh, plain = cluster.transport_socket_matches
    assert dict(mesh.match) == {"tlsMode": "istio"}
    assert dict(plain.match) == {}
    assert (mesh.transport_socket.name, plain.transport_socket.name) == (
        "envoy.transport_sockets.tls",
        "envoy.transport_sockets.raw_buffer",
    )
    context = tls(mesh.transport_socket)
    assert context.sni == "outbound_.80_._.web.ns.svc.cluster.local"
    common = context.common_tls_context
    assert common.tls_certificate_sds_secret_configs[0].name == "default"
    validation = common.combined_validation_context
    assert validation.validation_context_sds_secret_config.name == "ROOTCA"
    assert [m.matcher.exact for m in validation.default_validation_context.match_typed_subject_alt_names] == [PEER]
    source = common.tls_certificate_sds_secret_configs[0].sds_config
    assert source.api_config_source.grpc_services[0].envoy_grpc.cluster_name == "sds-grpc"
    assert (source.initial_fetch_timeout.seconds, source.HasField("initial_fetch_timeout")) == (0, True)


def test_without_known_peers_only_the_trust_domain_is_accepted() -> None:
    context = tls(outbound(peers=()).transport_socket_matches[0].transport_socket)
    (san,) = (
        context.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    )
    assert san.matcher.prefix == "spiffe://cluster.local/"


@pytest.mark.parametrize(
    ("protocol", "alpn"),
    [
        (Protocol.HTTP, ["istio-http/1.1", "istio", "http/1.1"]),
        (Protocol.HTTP2, ["istio-h2", "istio", "h2"]),
        (Protocol.GRPC, ["istio-h2", "istio", "h2"]),
        (Protocol.TCP, ["istio-peer-exchange", "istio"]),
        (Protocol.TLS, ["istio-peer-exchange", "istio"]),
    ],
)
def test_alpn_and_http_version(protocol: Protocol, alpn: list[str]) -> None:
    cluster = outbound(protocol)
    assert list(tls(cluster.transport_socket_matches[0].transport_socket).common_tls_context.alpn_protocols) == alpn
    options = cluster.typed_extension_protocol_options.get(upstream.HTTP_OPTIONS)
    if not protocol.is_http:
        assert options is None
        return
    assert options is not None
    explicit = http_protocol_options_pb2.HttpProtocolOptions.FromString(options.value).explicit_http_config
    kind = "http_protocol_options" if protocol is Protocol.HTTP else "http2_protocol_options"
    assert explicit.WhichOneof("protocol_config") == kind


@pytest.mark.parametrize(
    ("mode", "sni", "socket", "expected_sni"),
    [
        ("DISABLE", "", "", ""),
        ("ISTIO_MUTUAL", "", "mesh", "outbound_.80_.v1_.web.ns.svc.cluster.local"),
        ("ISTIO_MUTUAL", "x.example.com", "mesh", "x.example.com"),
        ("SIMPLE", "", "plain", "web.ns.svc.cluster.local"),
        ("SIMPLE", "x.example.com", "plain", "x.example.com"),
        ("MUTUAL", "", "plain", "web.ns.svc.cluster.local"),
    ],
)
def test_a_rule_decides_the_transport(mode: str, sni: str, socket: str, expected_sni: str) -> None:
    cluster = outbound(subset="v1", policy=TrafficPolicy(tls_mode=mode, sni=sni))
    assert not cluster.transport_socket_matches
    if not socket:
        assert not cluster.HasField("transport_socket")
        return
    context = tls(cluster.transport_socket)
    assert context.sni == expected_sni
    has_certificate = bool(context.common_tls_context.tls_certificate_sds_secret_configs)
    assert has_certificate is (socket == "mesh")


@pytest.mark.parametrize(
    ("mode", "all_mtls", "secured"),
    [("", True, True), ("", False, False), ("ISTIO_MUTUAL", False, True), ("DISABLE", True, False)],
)
def test_headless_goes_where_the_caller_meant(mode: str, all_mtls: bool, secured: bool) -> None:
    cluster = outbound(service=HEADLESS, headless_mtls=all_mtls, policy=TrafficPolicy(tls_mode=mode))
    assert cluster.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert cluster.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    assert cluster.HasField("transport_socket") is secured


@pytest.mark.parametrize(
    ("balancer", "policy"),
    [
        ("", "ROUND_ROBIN"),
        ("LEAST_REQUEST", "LEAST_REQUEST"),
        ("LEAST_CONN", "LEAST_REQUEST"),
        ("RANDOM", "RANDOM"),
        ("PASSTHROUGH", "CLUSTER_PROVIDED"),
        ("NEW_ONE", "ROUND_ROBIN"),
    ],
)
def test_balancers(balancer: str, policy: str) -> None:
    cluster = outbound(policy=TrafficPolicy(load_balancer=balancer))
    assert cluster_pb2.Cluster.LbPolicy.Name(cluster.lb_policy) == policy


def options(cluster: cluster_pb2.Cluster) -> dict[tuple[int, int], int]:
    """Socket options by level and name."""
    return {(o.level, o.name): o.int_value for o in cluster.upstream_bind_config.socket_options}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (Protocol.HTTP, {(1, 36): 1337, (6, 18): 2000}),
        (Protocol.GRPC, {(1, 36): 1337}),
        (Protocol.TCP, {(1, 36): 1337}),
    ],
)
def test_upstream_connections_are_marked_and_only_http1_may_not_stall(
    protocol: Protocol, expected: dict[tuple[int, int], int]
) -> None:
    cluster = outbound(protocol)
    assert options(cluster) == expected
    assert cluster.connect_timeout.seconds == 1
    assert cluster.upstream_connection_options.tcp_keepalive.keepalive_time.value == 3


def test_socket_options_follow_the_settings() -> None:
    bare = MeshSettings(config_cluster="c", mark=0, stall_timeout=0)
    assert options(decoded(clusters.passthrough(bare))) == {}
    destination = Destination(WEB, ServicePort("p", 80, Protocol.HTTP))
    assert options(decoded(clusters.outbound(destination, bare))) == {}
    assert options(decoded(clusters.inbound(80, Protocol.HTTP, SETTINGS))) == {(1, 36): 1337}
    assert options(decoded(clusters.sni_dnat(destination, SETTINGS))) == {(1, 36): 1337}


def test_the_last_path_is_never_taken_away() -> None:
    cluster = outbound()
    outlier = cluster.outlier_detection
    for endpoints in range(1, 200):
        ejected = sum(
            1 for out in range(endpoints) if 100 * (out + 1) / endpoints <= outlier.max_ejection_percent.value
        )
        assert ejected < endpoints
        assert ejected >= min(endpoints - 1, 99)
    assert cluster.common_lb_config.healthy_panic_threshold.value == 1
    assert cluster.common_lb_config.HasField("healthy_panic_threshold")
    assert outlier.split_external_local_origin_errors
    assert (outlier.consecutive_local_origin_failure.value, outlier.enforcing_consecutive_5xx.value) == (3, 0)
    assert (outlier.interval.seconds, outlier.base_ejection_time.seconds, outlier.max_ejection_time.seconds) == (
        1,
        3,
        15,
    )


def test_limits_are_those_of_the_rule_and_none_otherwise() -> None:
    free = outbound().circuit_breakers.thresholds[0]
    assert {free.max_connections.value, free.max_requests.value, free.max_retries.value} == {2**32 - 1}
    pool = ConnectionPool(
        max_connections=1, connect_timeout=0.25, http1_max_pending_requests=2, http2_max_requests=3, max_retries=4,
        max_requests_per_connection=5, idle_timeout=6,
    )  # fmt: skip
    detection = OutlierDetection(
        consecutive_5xx=7, consecutive_gateway_errors=0, base_ejection_time=60, min_health_percent=30
    )
    cluster = outbound(Protocol.GRPC, policy=TrafficPolicy(connection_pool=pool, outlier_detection=detection))
    limits = cluster.circuit_breakers.thresholds[0]
    assert [
        limits.max_connections.value,
        limits.max_pending_requests.value,
        limits.max_requests.value,
        limits.max_retries.value,
    ] == [1, 2, 3, 4]
    assert cluster.connect_timeout.nanos == 250_000_000
    versions = http_protocol_options_pb2.HttpProtocolOptions.FromString(
        cluster.typed_extension_protocol_options[upstream.HTTP_OPTIONS].value
    )
    assert versions.common_http_protocol_options.max_requests_per_connection.value == 5
    assert versions.common_http_protocol_options.idle_timeout.seconds == 6
    assert versions.explicit_http_config.http2_protocol_options.max_concurrent_streams.value == 3
    outlier = cluster.outlier_detection
    assert (outlier.consecutive_5xx.value, outlier.enforcing_consecutive_5xx.value) == (7, 100)
    assert outlier.enforcing_consecutive_gateway_failure.value == 0
    assert (outlier.base_ejection_time.seconds, outlier.max_ejection_time.seconds) == (60, 60)
    assert cluster.common_lb_config.healthy_panic_threshold.value == 30


def test_a_gateways_cluster_passes_bytes_on() -> None:
    destination = Destination(WEB, ServicePort("p", 80, Protocol.HTTP), peers=(PEER,))
    cluster = decoded(clusters.sni_dnat(destination, SETTINGS))
    assert cluster.name == "outbound_.80_._.web.ns.svc.cluster.local"
    assert not cluster.HasField("transport_socket")
    assert not cluster.transport_socket_matches
    assert not cluster.typed_extension_protocol_options
    assert cluster.eds_cluster_config.service_name == cluster.name


@pytest.mark.parametrize(("protocol", "is_http"), [(Protocol.HTTP, True), (Protocol.GRPC, True), (Protocol.TCP, False)])
def test_the_workload_is_reached_at_the_address_that_was_meant(protocol: Protocol, is_http: bool) -> None:
    cluster = decoded(clusters.inbound(8080, protocol, SETTINGS))
    assert (cluster.name, cluster.type) == ("inbound|8080||", cluster_pb2.Cluster.ORIGINAL_DST)
    assert cluster.upstream_bind_config.source_address.address == "127.0.0.6"
    assert (upstream.HTTP_OPTIONS in cluster.typed_extension_protocol_options) is is_http
    assert not cluster.HasField("outlier_detection")
    other = decoded(clusters.inbound_passthrough(SETTINGS))
    assert other.upstream_bind_config.source_address.address == "127.0.0.6"


def test_equal_content_has_one_version() -> None:
    destination = Destination(WEB, ServicePort("p", 80, Protocol.HTTP), peers=(PEER,))
    first, second = (clusters.outbound(destination, SETTINGS) for _ in range(2))
    assert first is not second
    assert first == second
    assert first.version == second.version


def test_answers_through_gateways_do_not_take_them_out() -> None:
    options = outbound(gateways=True).typed_extension_protocol_options[upstream.HTTP_OPTIONS]
    found = http_protocol_options_pb2.HttpProtocolOptions.FromString(options.value)
    status, direct = (
        rule.http_response_headers_match.headers[0] for rule in found.outlier_detection.error_matcher.and_match.rules
    )
    assert (status.name, direct.name, direct.present_match) == (":status", upstream.GATEWAY_HEADER, False)
    assert [one.name.rpartition(".")[2] for one in found.http_filters] == ["header_mutation", "upstream_codec"]
    plain = outbound().typed_extension_protocol_options[upstream.HTTP_OPTIONS]
    assert not http_protocol_options_pb2.HttpProtocolOptions.FromString(plain.value).http_filters


@pytest.mark.parametrize(("gateways", "enforced"), [(True, 0), (False, 100)])
def test_of_grpc_through_gateways_only_connections_count(gateways: bool, enforced: int) -> None:
    policy = TrafficPolicy(outlier_detection=OutlierDetection(consecutive_5xx=3))
    found = outbound(Protocol.GRPC, gateways=gateways, policy=policy).outlier_detection
    assert found.enforcing_consecutive_5xx.value == enforced
    assert found.enforcing_consecutive_gateway_failure.value == enforced
    assert found.enforcing_consecutive_local_origin_failure.value == 100


@pytest.mark.parametrize(("said", "percent"), [(None, 99), (100, 99), (99, 99), (10, 10)])
def test_the_last_endpoint_stays_whatever_a_rule_says(said: int | None, percent: int) -> None:
    policy = TrafficPolicy(outlier_detection=OutlierDetection(max_ejection_percent=said))
    assert outbound(policy=policy).outlier_detection.max_ejection_percent.value == percent


@pytest.mark.parametrize(
    ("balancer", "field"),
    [("", "round_robin_lb_config"), ("LEAST_REQUEST", "least_request_lb_config"), ("RANDOM", None)],
)
def test_endpoints_warm_up(balancer: str, field: str | None) -> None:
    cluster = outbound(policy=TrafficPolicy(load_balancer=balancer, warmup=Warmup(30, 5, 2)))
    assert cluster.WhichOneof("lb_config") == field
    if field is not None:
        start = getattr(cluster, field).slow_start_config
        assert (start.slow_start_window.seconds, start.min_weight_percent.value, start.aggression.default_value) == (
            30,
            5,
            2,
        )
