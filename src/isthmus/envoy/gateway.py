"""Listeners of a gateway that take connections and requests by VirtualServices, beside those passed on by SNI alone."""

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from isthmus.envoy import filters, rbac, streams, tls
from isthmus.envoy.access_log import GATEWAY
from isthmus.envoy.build import Message, ads, boolean, packed
from isthmus.envoy.routes import Rules
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.rows import GatewayServer
from isthmus.xds.resource import RDS, XdsResource

HTTP_ALPN = ("h2", "http/1.1")


def http_routes_name(server: GatewayServer) -> str:
    """The route configuration of a server: plain HTTP shares one for each port, HTTPS has one for each server."""
    if not server.tls_mode:
        return f"http.{server.port}"
    namespace, _, name = server.gateway.partition("/")
    return f"https.{server.port}.{server.name or server.number}.{name}.{namespace}"


def server_socket(server: GatewayServer, trust_domains: Iterable[str]) -> Message | None:
    """How the server ends TLS; None if it has no certificate, so that it must not listen."""
    alpn = HTTP_ALPN if server.protocol == "HTTPS" else ()
    if server.tls_mode == "ISTIO_MUTUAL":
        return tls.server_socket(trust_domains=trust_domains, alpn=alpn)
    if not (server.certificate_file and server.key_file):
        return None
    common = tls_pb2.CommonTlsContext(
        alpn_protocols=alpn,
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        tls_certificates=[
            common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(filename=server.certificate_file),
                private_key=base_pb2.DataSource(filename=server.key_file),
            )
        ],
    )
    mutual = server.tls_mode in ("MUTUAL", "OPTIONAL_MUTUAL")
    if mutual:
        if not server.ca_file:
            return None
        common.validation_context.trusted_ca.filename = server.ca_file
        for name in server.subject_alt_names:
            kind = common_pb2.SubjectAltNameMatcher.URI if "://" in name else common_pb2.SubjectAltNameMatcher.DNS
            common.validation_context.match_typed_subject_alt_names.add(san_type=kind).matcher.exact = name
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=common, require_client_certificate=boolean(server.tls_mode == "MUTUAL")
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def server_names(server: GatewayServer) -> list[str]:
    """The SNI that a server takes; nothing is any."""
    return [] if "*" in server.hosts else sorted({host.lower() for host in server.hosts})


def http_chain(server: GatewayServer, socket: Message | None, policies: Iterable[AuthorizationPolicy] = ()) -> Message:
    """The filter chain of an HTTP server; what callers say of themselves in headers is replaced by what is known."""
    name = http_routes_name(server)
    manager = hcm_pb2.HttpConnectionManager
    http = filters.http_manager(
        name,
        GATEWAY,
        before=rbac.http_filters(),
        log=rbac.log_fields(policies, rbac.HTTP_FILTER),
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=name),
        use_remote_address=boolean(True),
        forward_client_cert_details=manager.SANITIZE_SET if socket is not None else manager.SANITIZE,
        set_current_client_cert_details=manager.SetCurrentClientCertDetails(uri=True, dns=True),
    )
    message = listener_components_pb2.FilterChain(name=name, filters=[http])
    if socket is not None:
        message.filter_chain_match.transport_protocol = "tls"
        message.filter_chain_match.server_names.extend(server_names(server))
        message.transport_socket.CopyFrom(socket)
    return message


def stream_chains(
    found: Iterable[streams.Stream],
    server: GatewayServer,
    socket: Message | None,
    policies: Iterable[AuthorizationPolicy] = (),
) -> list[Message]:
    """The filter chains of a server that carries bytes: TLS by its SNI, or whatever comes, if the policies allow it."""
    with_tls = bool(server.tls_mode)
    guards = rbac.network_filters(policies)
    made = [streams.chain(stream, GATEWAY, tls=with_tls, socket=socket) for stream in found]
    for chain in made:
        carriers = list(chain.filters)
        del chain.filters[:]
        chain.filters.extend([*guards, *carriers])
    return made


def leave_out(chain: Message, seen: set[tuple[str, str, str]]) -> bool:
    """Take the names away that other chains of the listener have; False if none is left.

    Envoy refuses a listener in which two chains match the same.
    """
    match = chain.filter_chain_match
    ranges = [f"{one.address_prefix}/{one.prefix_len.value}" for one in match.prefix_ranges] or [""]

    def claims(name: str) -> set[tuple[str, str, str]]:
        return {(name, match.transport_protocol, place) for place in ranges}

    left = [name for name in list(match.server_names) or [""] if seen.isdisjoint(claims(name))]
    for name in left:
        seen |= claims(name)
    del match.server_names[:]
    match.server_names.extend(name for name in left if name)
    return bool(left)


def virtual_host(host: str, port: int, rules: Iterable[Rules]) -> Message:
    """What a gateway does with requests for a host: the rules of all objects bound to it, the oldest's first."""
    found = [route for part in rules for route in part.made()]
    return route_components_pb2.VirtualHost(
        name=f"{host}:{port}", domains=[host], routes=found, include_request_attempt_count=True
    )


def redirecting_host(host: str, port: int, rest: Message | None) -> Message:
    """A host whose plain requests are sent to HTTPS."""
    message = rest or route_components_pb2.VirtualHost(name=f"{host}:{port}", domains=[host])
    message.require_tls = route_components_pb2.VirtualHost.ALL
    return message


def route_configuration(
    name: str, virtual_hosts: Iterable[Message], policies: Iterable[AuthorizationPolicy] = ()
) -> XdsResource:
    """The routes of a server, for whom the policies let in; a host that is not among them is answered 404."""
    message = route_pb2.RouteConfiguration(
        name=name,
        validate_clusters=boolean(False),
        ignore_port_in_host_matching=True,
        virtual_hosts=list(virtual_hosts),
        typed_per_filter_config=rbac.route_rules(policies),
    )
    return XdsResource(RDS, name, message.SerializeToString(deterministic=True))
