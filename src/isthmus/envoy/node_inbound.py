"""How a node proxy receives for a pod: HBONE at 15008, and what comes in plain at 15006, inside the pod's namespace.

HBONE callers have shown who they are; then the pod's AuthorizationPolicies decide, for each CONNECT, before a socket
to the application is made. They are in routes that come apart from the listener, so that what is open follows a change
with its next CONNECT; and the listener's chain is another one then, so that what policies let in before it drains.
Which port a policy is about is known here, where the CONNECT's authority is read: rules that come to a route are those
for its port. An authority is an address of the pod with any port, or a service that the pod is behind with the
service's port, as callers in other networks say it (SH18); all else is refused.

Plain callers get in where PeerAuthentication allows it (PERMISSIVE, DISABLE), and have no name for policies.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from isthmus.envoy import filters, hbone, naming, rbac, rbac_ports, tls, upstream
from isthmus.envoy.access_log import INBOUND, access_log
from isthmus.envoy.build import Message, ads, boolean, packed, resource, seconds, socket_address
from isthmus.envoy.filter_state import NETNS, Entry, setter
from isthmus.model.mesh import AmbientPod
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import MtlsMode
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import CDS, LDS, RDS, XdsResource

TUNNELLED = "inbound_tunnelled"
PLAIN = "inbound_plain"

PROXY_SOURCE = "127.0.0.6"
"""Source of connections to the application: capture lets it through."""

CONNECT = "CONNECT"
ANY_PORT = 0
ANY = "[1-9][0-9]{0,4}"
"""A port as it is written, in one way only: with a zero before it, it would not be the port that policies name."""

Cluster = cluster_pb2.Cluster
FilterChain = listener_components_pb2.FilterChain
FilterChainMatch = listener_components_pb2.FilterChainMatch


class Doorman(msgspec.Struct, frozen=True):
    """Who may come in: trust domains of callers (TR4), and the policies that hold for the pod."""

    accepted: tuple[str, ...]
    policies: tuple[AuthorizationPolicy, ...] = ()


def in_pod(pod: AmbientPod, port: int) -> Message:
    """An address at which Envoy listens inside a pod."""
    address = socket_address("0.0.0.0", port)
    address.socket_address.network_namespace_filepath = pod.netns
    return address


# -- HBONE --------------------------------------------------------------------------------------------------------


def hbone_listener(name: str, pod: AmbientPod, doorman: Doorman) -> XdsResource:
    """The listener that ends tunnels to a pod."""
    chain = FilterChain(
        transport_socket=tls.tunnel_server_socket(trust_domains=doorman.accepted, certificate=pod.identity),
        transport_socket_connect_timeout=seconds(15),
        name=f"hbone {_digest(doorman.policies)}",
        filters=[setter(Entry(NETNS, pod.netns, once=True)), _manager(name, doorman.policies)],
    )
    message = listener_pb2.Listener(
        name=name,
        address=in_pod(pod, naming.HBONE_PORT),
        filter_chains=[chain],
        traffic_direction=base_pb2.INBOUND,
    )
    return resource(LDS, name, message)


def _digest(policies: tuple[AuthorizationPolicy, ...]) -> str:
    """Another one for other policies."""
    return blake2b(msgspec.json.encode(policies), digest_size=8).hexdigest()


def hbone_routes(name: str, pod: AmbientPod, policies: tuple[AuthorizationPolicy, ...]) -> XdsResource:
    """The routes of the listener of that name: what tunnels to the pod may ask for, and for whom."""
    virtual_host = route_components_pb2.VirtualHost(name="pod", domains=["*"], routes=list(_routes(pod, policies)))
    message = route_pb2.RouteConfiguration(name=name, virtual_hosts=[virtual_host], validate_clusters=boolean(False))
    return resource(RDS, name, message)


def _manager(name: str, policies: tuple[AuthorizationPolicy, ...]) -> Message:
    router = hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=TUNNELLED,
        codec_type=hcm_pb2.HttpConnectionManager.HTTP2,
        http_filters=[*rbac.http_filters(), router],
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=name),
        http2_protocol_options=upstream.tunnels_in(upstream.keepalive()),
        stream_idle_timeout=seconds(0),
        use_remote_address=boolean(True),  # policies ask where callers are: not what they say of it
        access_log=[access_log(INBOUND, rbac.log_fields(policies, rbac.HTTP_FILTER))],
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )


def _routes(pod: AmbientPod, policies: tuple[AuthorizationPolicy, ...]) -> Iterator[Message]:
    """Services first, then ports that policies tell apart, then all other ports; never those of the proxy itself."""
    first = _host(pod.addresses[0])
    for host, port, target in pod.targets:
        exact = string_pb2.StringMatcher(exact=f"{host}:{port}", ignore_case=True)
        yield _route(exact, rbac_ports.at_port(policies, target), rewrite=f"{first}:{target}")
    for port in sorted(naming.TUNNEL_PORTS):
        refused = route_components_pb2.Route(
            match=_match(_own(pod, str(port))),
            direct_response=route_components_pb2.DirectResponseAction(status=400),
        )
        yield refused
    for port in sorted(rbac_ports.ports_of(policies) - naming.TUNNEL_PORTS):
        yield _route(_own(pod, str(port)), rbac_ports.at_port(policies, port))
    yield _route(_own(pod, ANY), rbac_ports.at_port(policies, ANY_PORT))


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _own(pod: AmbientPod, port: str) -> Message:
    """Matches an address of the pod with a port, which is a pattern."""
    addresses = "|".join(re.escape(_host(address)) for address in pod.addresses)
    return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=f"(?:{addresses}):{port}"))


def _match(authority: Message) -> Message:
    return route_components_pb2.RouteMatch(
        connect_matcher=route_components_pb2.RouteMatch.ConnectMatcher(),
        headers=[route_components_pb2.HeaderMatcher(name=":authority", string_match=authority)],
    )


def _route(authority: Message, policies: Iterable[AuthorizationPolicy], *, rewrite: str = "") -> Message:
    """Tunnels for an authority end here, if the policies let them; `rewrite` is where it is in the pod."""
    upgrade = route_components_pb2.RouteAction.UpgradeConfig(
        upgrade_type=CONNECT, connect_config=route_components_pb2.RouteAction.UpgradeConfig.ConnectConfig()
    )
    action = route_components_pb2.RouteAction(cluster=TUNNELLED, upgrade_configs=[upgrade], timeout=seconds(0))
    if rewrite:
        action.host_rewrite_literal = rewrite
    return route_components_pb2.Route(
        name=rewrite, match=_match(authority), route=action, typed_per_filter_config=rbac.tunnel_rules(policies)
    )


def hbone_cluster(settings: MeshSettings) -> XdsResource:
    """The application, at the address and port that the CONNECT is for. All pods share it, but no connection."""
    by_authority = Cluster.OriginalDstLbConfig(use_http_header=True, http_header_name=":authority")
    return _to_application(TUNNELLED, settings, original_dst_lb_config=by_authority)


# -- plain --------------------------------------------------------------------------------------------------------


def plain_listener(name: str, pod: AmbientPod, policies: tuple[AuthorizationPolicy, ...]) -> XdsResource:
    """The listener that capture redirects to what comes in outside of tunnels."""
    modes = {port: mode for port, mode in pod.mode.ports if port not in naming.TUNNEL_PORTS}
    chains = [_refusing(FilterChainMatch(destination_port={"value": naming.INBOUND_PORT}), "loop")]
    for port, mode in sorted(modes.items()):
        match = FilterChainMatch(destination_port={"value": port})
        chains.append(_plain_chain(match, f"plain_{port}", mode, pod, policies))
    chains.append(_plain_chain(FilterChainMatch(), "plain", pod.mode.mode, pod, policies))
    message = listener_pb2.Listener(
        name=name,
        address=in_pod(pod, naming.INBOUND_PORT),
        listener_filters=[filters.original_dst()],
        filter_chains=chains,
        traffic_direction=base_pb2.INBOUND,
    )
    return resource(LDS, name, message)


def _plain_chain(
    match: Message, name: str, mode: MtlsMode, pod: AmbientPod, policies: tuple[AuthorizationPolicy, ...]
) -> Message:
    if mode is MtlsMode.STRICT:
        return _refusing(match, name)
    log = rbac.log_fields(policies, rbac.NETWORK_FILTER)
    return FilterChain(
        name=name,
        filter_chain_match=match,
        filters=[
            setter(Entry(NETNS, pod.netns, once=True)),
            *rbac.network_filters(policies),
            filters.tcp_proxy(PLAIN, INBOUND, attempts=1, log=log),
        ],
    )


def _refusing(match: Message, name: str) -> Message:
    return FilterChain(
        name=f"{name}_refused",
        filter_chain_match=match,
        filters=[filters.tcp_proxy(naming.BLACK_HOLE, INBOUND, attempts=1)],
    )


def plain_cluster(settings: MeshSettings) -> XdsResource:
    """The application, at the address that the caller meant."""
    return _to_application(PLAIN, settings)


def _to_application(name: str, settings: MeshSettings, **fields: object) -> XdsResource:
    message = Cluster(
        name=name,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        cleanup_interval=seconds(60),
        connect_timeout=seconds(settings.connect_timeout),
        circuit_breakers=upstream.circuit_breakers(),
        upstream_bind_config=hbone.bind_config(settings.mark, many=True, source=PROXY_SOURCE),
        upstream_connection_options=upstream.connection_options(),
        **fields,
    )
    return resource(CDS, name, message)
