"""The east-west gateway for HBONE (AM11): the way into a network for what other networks send through double tunnels.

Its listener ends the outer TLS with the gateway's own identity and takes only callers whose certificate is of an
accepted trust domain. They say by CONNECT which port of which service they mean; the bytes inside, which are TLS
between caller and workload, are carried to the HBONE port of an endpoint as they are. Whatever else is asked for is
answered 404: services that are not exposed, addresses of pods, other methods than CONNECT.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.envoy import filters, naming, tls, upstream
from isthmus.envoy.access_log import GATEWAY
from isthmus.envoy.build import Message, ads, boolean, seconds
from isthmus.envoy.http_routes import retries
from isthmus.envoy.routes import as_part
from isthmus.envoy.tunnels import FROM_WAYPOINT, SOURCE_HEADER
from isthmus.model.mesh import MeshService
from isthmus.xds.resource import RDS, XdsResource

ALPN = ("h2",)
CONNECT = "CONNECT"

HANDSHAKE_SECONDS = 15
KEEPALIVE_SECONDS = 10
"""A caller whose network is cut is noticed, so that what it held open behind the gateway ends, too."""

ATTEMPTS = 2
"""Endpoints that are tried besides the first, as long as none took the connection."""


def routes_name(port: int) -> str:
    """The route configuration of an HBONE listener."""
    return f"hbone.{port}"


def chain(port: int, trust_domains: Iterable[str]) -> bytes:
    """The encoded filter chain of the listener: callers with a certificate of these trust domains."""
    name = routes_name(port)
    manager = hcm_pb2.HttpConnectionManager
    http = filters.http_manager(
        name,
        GATEWAY,
        codec_type=manager.HTTP2,
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=name),
        use_remote_address=boolean(True),
        http2_protocol_options=_http2(),
        upgrade_configs=[filters.upgrade(CONNECT)],
        forward_client_cert_details=manager.SANITIZE,
    )
    message = listener_components_pb2.FilterChain(
        name=name,
        filter_chain_match=listener_components_pb2.FilterChainMatch(transport_protocol="tls"),
        transport_socket=tls.server_socket(trust_domains=trust_domains, alpn=ALPN),
        transport_socket_connect_timeout=seconds(HANDSHAKE_SECONDS),
        filters=[http],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _http2() -> Message:
    interval = seconds(KEEPALIVE_SECONDS)
    return upstream.tunnels_in(protocol_pb2.KeepaliveSettings(interval=interval, timeout=interval))


def virtual_host(service: MeshService, port: int, *, waypoint: bool = False) -> bytes:
    """The encoded part of a route configuration that lets callers through to one port of a service.

    Its name with the port is the whole `:authority` (Envoy compares in lower case). `waypoint`: callers are led to the
    service's waypoint, unless they are one themselves and did its work already (AM12).
    """
    authority = f"{service.host}:{port}".lower()
    found = [_route(naming.inbound_vip(port, service.host))]
    if waypoint:
        source = route_components_pb2.HeaderMatcher(name=SOURCE_HEADER)
        source.string_match.exact = FROM_WAYPOINT
        found[0].match.headers.append(source)
        found.append(_route(naming.inbound_vip(port, service.host, naming.BY_WAYPOINT)))
    message = route_components_pb2.VirtualHost(name=authority, domains=[authority], routes=found)
    return as_part(message.SerializeToString(deterministic=True))


def _route(cluster: str) -> Message:
    # The time limit of a route would count from the end of what the caller sends: half-closed tunnels live on.
    action = route_components_pb2.RouteAction(cluster=cluster, timeout=seconds(0))
    tunnel = action.upgrade_configs.add(upgrade_type=CONNECT)
    tunnel.connect_config.SetInParent()
    action.retry_policy.CopyFrom(retries("connect-failure,refused-stream", ATTEMPTS))
    match = route_components_pb2.RouteMatch()
    match.connect_matcher.SetInParent()
    return route_components_pb2.Route(name=cluster, match=match, route=action)


def route_configuration(port: int, parts: Iterable[bytes]) -> XdsResource:
    """The routes of an HBONE listener: nothing else than these is answered with something else than 404."""
    name = routes_name(port)
    head = route_pb2.RouteConfiguration(name=name, validate_clusters=boolean(False))
    return XdsResource(RDS, name, b"".join((head.SerializeToString(deterministic=True), *parts)))
