"""Listeners: capture, services, workloads, gateways; read back from their bytes."""

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as direct_response_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from isthmus.envoy import inbound, outbound, router
from isthmus.model.mesh import MeshService
from isthmus.model.rows import GatewayServer, MtlsMode, Protocol
from isthmus.model.scopes import InboundPort, InboundProfile
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import XdsResource

SETTINGS = MeshSettings(config_cluster="east", trust_domain_aliases=("old",))
GUARD = inbound.Guard(accepted=SETTINGS.trust_domains)


def decoded(resource: XdsResource | None) -> listener_pb2.Listener:
    """The message."""
    assert resource is not None
    return listener_pb2.Listener.FromString(resource.body)


def manager(chain: object) -> hcm_pb2.HttpConnectionManager:
    """The HTTP connection manager of a chain."""
    (one,) = chain.filters  # type: ignore[attr-defined]
    return hcm_pb2.HttpConnectionManager.FromString(one.typed_config.value)


def proxied(chain: object) -> tcp_proxy_pb2.TcpProxy:
    """The TCP proxy of a chain."""
    (one,) = chain.filters  # type: ignore[attr-defined]
    return tcp_proxy_pb2.TcpProxy.FromString(one.typed_config.value)


@pytest.mark.parametrize(("allow_any", "cluster"), [(True, "PassthroughCluster"), (False, "BlackHoleCluster")])
def test_capture_hands_over_or_passes(allow_any: bool, cluster: str) -> None:
    listener = decoded(outbound.virtual_outbound(MeshSettings(config_cluster="c", allow_any=allow_any)))
    assert listener.use_original_dst.value
    assert listener.address.socket_address.port_value == 15001
    loop, rest = listener.filter_chains
    assert loop.filter_chain_match.destination_port.value == 15001
    assert proxied(loop).cluster == "BlackHoleCluster"
    assert proxied(rest).cluster == cluster


def test_http_listener_takes_routes_from_the_stream() -> None:
    listener = decoded(outbound.http_listener(80, SETTINGS))
    assert not listener.bind_to_port.value
    http = manager(listener.filter_chains[0])
    assert http.rds.route_config_name == "80"
    assert http.rds.config_source.HasField("ads")
    assert (http.stream_idle_timeout.seconds, http.HasField("stream_idle_timeout")) == (0, True)
    assert http.forward_client_cert_details == hcm_pb2.HttpConnectionManager.SANITIZE
    assert proxied(listener.default_filter_chain).cluster == "PassthroughCluster"


def test_tcp_listener_tries_several_endpoints() -> None:
    listener = decoded(outbound.tcp_listener("10.0.0.1", 90, "outbound|90||h"))
    assert (listener.name, listener.bind_to_port.value) == ("10.0.0.1_90", False)
    proxy = proxied(listener.filter_chains[0])
    assert (proxy.cluster, proxy.max_connect_attempts.value) == ("outbound|90||h", 3)


def test_the_application_learns_who_called_and_callers_cannot_say_it() -> None:
    profile = InboundProfile(ports=(InboundPort(8080, Protocol.HTTP, MtlsMode.PERMISSIVE),))
    listener = decoded(inbound.virtual_inbound(profile, GUARD))
    chains = {chain.name: chain for chain in listener.filter_chains}
    for name in ("inbound_8080_mtls", "inbound_8080_plain"):
        http = manager(chains[name])
        assert http.forward_client_cert_details == hcm_pb2.HttpConnectionManager.SANITIZE_SET
        assert http.set_current_client_cert_details.uri
        assert http.rds.route_config_name == "inbound|8080||"
    context = tls_pb2.DownstreamTlsContext.FromString(chains["inbound_8080_mtls"].transport_socket.typed_config.value)
    assert context.require_client_certificate.value
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    assert [m.matcher.prefix for m in validation.match_typed_subject_alt_names] == [
        "spiffe://cluster.local/",
        "spiffe://old/",
    ]


@pytest.mark.parametrize(
    ("mode", "kinds"),
    [
        (MtlsMode.STRICT, ["mtls"]),
        (MtlsMode.PERMISSIVE, ["mtls", "plain", "tls"]),
        (MtlsMode.DISABLE, ["plain", "tls"]),
    ],
)
def test_chains_of_a_port_and_of_all_others(mode: MtlsMode, kinds: list[str]) -> None:
    profile = InboundProfile(ports=(InboundPort(90, Protocol.TCP, mode),), mode=mode)
    listener = decoded(inbound.virtual_inbound(profile, GUARD))
    names = [chain.name for chain in listener.filter_chains]
    assert names == ["virtualInbound-blackhole"] + [
        f"inbound_{what}_{kind}" for what in ("90", "any") for kind in kinds
    ]
    assert not listener.HasField("default_filter_chain")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_where_no_tls_is_expected_the_server_may_speak_first(count: int) -> None:
    plain = tuple(InboundPort(3306 + index, Protocol.TCP, MtlsMode.DISABLE) for index in range(count))
    ports = (*plain, InboundPort(80, Protocol.HTTP, MtlsMode.DISABLE), InboundPort(90, Protocol.TCP, MtlsMode.STRICT))
    listener = decoded(inbound.virtual_inbound(InboundProfile(ports=ports), GUARD))
    disabled = listener.listener_filters[1].filter_disabled
    ranges = [disabled] if count == 1 else list(disabled.or_match.rules)
    assert [rule.destination_port_range.start for rule in ranges] == [port.port for port in plain]


def test_the_ports_of_capture_itself_are_nobodys() -> None:
    profile = InboundProfile(ports=(InboundPort(15006, Protocol.HTTP, MtlsMode.PERMISSIVE),))
    listener = decoded(inbound.virtual_inbound(profile, GUARD))
    assert [c.name for c in listener.filter_chains if c.filter_chain_match.destination_port.value == 15006] == [
        "virtualInbound-blackhole"
    ]


@pytest.mark.parametrize(
    ("hosts", "host", "within"),
    [
        (("*.local",), "web.ns.svc.cluster.local", True),
        (("*",), "web.ns.svc.cluster.local", True),
        (("web.ns.svc.cluster.local",), "web.ns.svc.cluster.local", True),
        (("*.ns.svc.cluster.local",), "web.ns.svc.cluster.local", True),
        (("*.other.svc.cluster.local",), "web.ns.svc.cluster.local", False),
        (("*.example.com", "*.local"), "web.ns.svc.cluster.local", True),
        ((), "web.ns.svc.cluster.local", False),
        (("*cal",), "web.ns.svc.cluster.local", False),
    ],
)
def test_hosts_of_a_server(hosts: tuple[str, ...], host: str, within: bool) -> None:
    assert router.exposes(hosts, host) is within


@pytest.mark.parametrize(
    ("mode", "fields", "exposed"),
    [
        ("AUTO_PASSTHROUGH", {}, True),
        ("PASSTHROUGH", {}, False),
        ("AUTO_PASSTHROUGH", {"cluster_local": True}, False),
        ("AUTO_PASSTHROUGH", {"headless": True}, False),
    ],
)
def test_what_a_gateway_exposes(mode: str, fields: dict[str, bool], exposed: bool) -> None:
    service = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=(), **fields)  # type: ignore[arg-type]
    server = GatewayServer(port=15443, protocol="TLS", hosts=("*.local",), tls_mode=mode)
    assert bool(router.exposed([server], service)) is exposed


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (("*.local",), ("web.ns.svc.cluster.local",)),
        (("*.global",), ("web.ns.global",)),
        (("*.local", "web.ns.global"), ("web.ns.svc.cluster.local", "web.ns.global")),
        (("*.example",), ()),
    ],
)
def test_a_service_is_exposed_under_its_own_and_its_global_name(hosts: tuple[str, ...], found: tuple[str, ...]) -> None:
    service = MeshService(namespace="ns", name="web", host="web.ns.svc.cluster.local", ports=())
    server = GatewayServer(port=15443, protocol="TLS", hosts=hosts, tls_mode="AUTO_PASSTHROUGH")
    assert router.exposed([server], service, "web.ns.global") == found
    meant = MeshService(namespace="ns", name="web.ns.global", host="web.ns.global", ports=(), stands_for=("ns", "web"))
    assert router.exposed([server], meant) == ()


def test_a_gateway_passes_by_exact_sni_and_logs_connections_as_they_come_up() -> None:
    chains = [router.passthrough_chain(80, "web.ns.svc.cluster.local", subset) for subset in ("", "v1")]
    listener = decoded(router.port_listener(15443, chains))
    assert listener.name == "0.0.0.0_15443"
    first, second = listener.filter_chains
    assert list(first.filter_chain_match.server_names) == ["outbound_.80_._.web.ns.svc.cluster.local"]
    assert list(second.filter_chain_match.server_names) == ["outbound_.80_.v1_.web.ns.svc.cluster.local"]
    assert not first.HasField("transport_socket")
    proxy = proxied(first)
    assert proxy.cluster == first.name
    assert proxy.access_log_options.flush_access_log_on_connected


def test_a_gateway_answers_probes_without_wanting_an_identity() -> None:
    (probe,) = decoded(router.port_listener(15443, [router.probe_chain()])).filter_chains
    assert list(probe.filter_chain_match.server_names) == ["probe.gateway.isthmus.dev"]
    context = tls_pb2.DownstreamTlsContext.FromString(probe.transport_socket.typed_config.value)
    assert not context.require_client_certificate.value
    assert not context.common_tls_context.HasField("combined_validation_context")
    (only,) = probe.filters
    assert only.name == "envoy.filters.network.direct_response"
    assert direct_response_pb2.Config.FromString(only.typed_config.value).response.inline_string, "else no handshake"


def test_a_gateway_with_nothing_to_expose_has_no_listener() -> None:
    assert router.port_listener(15443, []) is None
