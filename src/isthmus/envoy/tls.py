"""Mesh mTLS on both ends: certificates over SDS from the agent, exact peers, Istio's ALPN and SNI."""

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import json_format
from xds.type.v3 import typed_struct_pb2

from isthmus.envoy.build import Message, agent_sds, boolean, extension, packed, u32
from isthmus.envoy.naming import SDS_CLUSTER
from isthmus.model.rows import Protocol

CERTIFICATE = "default"
ROOTS = "ROOTCA"

MESH_ALPN = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What a client of the mesh offers; a server takes any of these for mesh mTLS (SN3)."""

TCP_ALPN = ("istio-peer-exchange", "istio")
HTTP1_ALPN = ("istio-http/1.1", "istio", "http/1.1")
HTTP2_ALPN = ("istio-h2", "istio", "h2")
TUNNEL_ALPN = ("h2",)

NO_CERTIFICATE = "nobody"
"""Asked for where a connection names no certificate: there is none of that name, so nothing is sent."""

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls"
_ON_DEMAND = f"{_TYPES}.cert_selectors.on_demand_secret.v3.Config"
_FROM_CONNECTION = f"{_TYPES}.cert_mappers.filter_state_override.v3.Config"


def client_alpn(protocol: Protocol) -> tuple[str, ...]:
    """What a client offers for a port of this protocol."""
    if protocol in (Protocol.HTTP2, Protocol.GRPC):
        return HTTP2_ALPN
    return HTTP1_ALPN if protocol is Protocol.HTTP else TCP_ALPN


def client_socket(*, sni: str, alpn: Iterable[str], peers: Iterable[str], fallback_prefix: str) -> Message:
    """Mesh mTLS towards a service: its endpoints must be one of `peers` exactly (TR5).

    A service with no known identity has no endpoint either; while that may differ by a moment, its peers must at
    least have `fallback_prefix`. Istio would check nothing.
    """
    matchers = [_uri(exact=peer) for peer in peers] or [_uri(prefix=fallback_prefix)]
    context = tls_pb2.UpstreamTlsContext(common_tls_context=_common(matchers, alpn), sni=sni)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def originating_socket(*, sni: str) -> Message:
    """Ordinary TLS towards a server outside the mesh, as a rule of mode SIMPLE without a CA wants it: not verified.

    A rule that also wants a client certificate gets this, too, and the server refuses it: closed, not open.
    """
    context = tls_pb2.UpstreamTlsContext(common_tls_context=tls_pb2.CommonTlsContext(), sni=sni)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def server_socket(*, trust_domains: Iterable[str], alpn: Iterable[str]) -> Message:
    """Mesh mTLS of a workload: clients need a certificate of an accepted trust domain (TR4)."""
    matchers = [_uri(prefix=f"spiffe://{domain}/") for domain in trust_domains]
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_common(matchers, alpn), require_client_certificate=boolean(True)
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def tunnel_client_socket(prefixes: Iterable[str], *, many: bool) -> Message:
    """Mesh mTLS of tunnels: the server's name has one of the prefixes, and is what the connection says it must be.

    `many`: the certificate is the one that the connection names, otherwise the proxy's own. Nothing is resumed:
    a session is tied to the identity that it was made with.
    """
    common = _common([_uri(prefix=one) for one in prefixes], TUNNEL_ALPN)
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    if many:
        del common.tls_certificate_sds_secret_configs[:]
        common.custom_tls_certificate_selector.CopyFrom(_named_by_connection())
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, max_session_keys=u32(0))
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def tunnel_server_socket(*, trust_domains: Iterable[str], certificate: str = CERTIFICATE) -> Message:
    """Mesh mTLS of tunnels as a server, with the certificate of that name: a node proxy has one for each identity."""
    common = _common([_uri(prefix=f"spiffe://{domain}/") for domain in trust_domains], TUNNEL_ALPN)
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_certificate_sds_secret_configs[0].name = certificate
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common, require_client_certificate=boolean(True))
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def waiting_client_socket() -> Message:
    """TLS towards `waiting_server_socket`. The other end is this very process, so nobody is verified."""
    common = tls_pb2.CommonTlsContext(tls_params=_two_flights())
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, max_session_keys=u32(0))
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def waiting_server_socket() -> Message:
    """TLS of an internal listener whose handshake ends when its TCP proxy has reached the other side, and not before.

    A TCP proxy reads nothing from its caller until then, and a whole handshake of TLS 1.2 needs the server to read
    twice. (In TLS 1.3, or with a session, the client is content with the server's first answer.) The certificate is the
    proxy's own only because there must be one.
    """
    source = agent_sds(SDS_CLUSTER)
    common = tls_pb2.CommonTlsContext(
        tls_params=_two_flights(),
        tls_certificate_sds_secret_configs=[secret_pb2.SdsSecretConfig(name=CERTIFICATE, sds_config=source)],
    )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common, disable_stateless_session_resumption=True)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def _two_flights() -> Message:
    version = common_pb2.TlsParameters.TLSv1_2
    return common_pb2.TlsParameters(tls_minimum_protocol_version=version, tls_maximum_protocol_version=version)


def _named_by_connection() -> Message:
    """The certificate that the connection's filter state names, asked for when it is first needed.

    The Python packages lack these two messages, so they go as structs.
    """
    mapper = {
        "name": "envoy.tls.upstream_certificate_mappers.filter_state_override",
        "typed_config": {
            "@type": _TYPED_STRUCT,
            "type_url": _FROM_CONNECTION,
            "value": {"default_value": NO_CERTIFICATE},
        },
    }
    source = json_format.MessageToDict(agent_sds(SDS_CLUSTER), preserving_proto_field_name=True)
    config = typed_struct_pb2.TypedStruct(type_url=_ON_DEMAND)
    config.value.update({"config_source": source, "certificate_mapper": mapper})
    return extension("envoy.tls.certificate_selectors.on_demand_secret", config)


_TYPED_STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"


def probed_socket() -> Message:
    """TLS with the proxy's own certificate towards somebody who need not have one."""
    source = agent_sds(SDS_CLUSTER)
    common = tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        tls_certificate_sds_secret_configs=[secret_pb2.SdsSecretConfig(name=CERTIFICATE, sds_config=source)],
    )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def plain_socket() -> Message:
    """No TLS."""
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(raw_buffer_pb2.RawBuffer())
    )


def _common(matchers: list[Message], alpn: Iterable[str]) -> Message:
    source = agent_sds(SDS_CLUSTER)
    return tls_pb2.CommonTlsContext(
        alpn_protocols=list(alpn),
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        tls_certificate_sds_secret_configs=[secret_pb2.SdsSecretConfig(name=CERTIFICATE, sds_config=source)],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=matchers),
            validation_context_sds_secret_config=secret_pb2.SdsSecretConfig(name=ROOTS, sds_config=source),
        ),
    )


def _uri(*, exact: str = "", prefix: str = "") -> Message:
    matcher = string_pb2.StringMatcher(exact=exact) if exact else string_pb2.StringMatcher(prefix=prefix)
    return common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=matcher)
