"""HBONE where it ends: mutual TLS on 15008, HTTP/2 CONNECT, and what that carries handed to an internal listener.

The internal listener knows of the outer connection only what filter state tells it: where the caller wanted to go
(from `:authority`, as the destination that it restores), from which address, and under which identity. All three are
part of what connections are told apart by, so that a connection made for one caller is never given to another.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, substitution_format_string_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.type.metadata.v3 import metadata_pb2

from isthmus.envoy import filters, naming, tls, upstream
from isthmus.envoy.access_log import INBOUND, More, access_log
from isthmus.envoy.build import Message, ads, boolean, metadata, packed, resource, seconds, socket_address
from isthmus.envoy.rbac_conditions import PEER_ADDRESS, PEER_PRINCIPAL
from isthmus.xds.resource import CDS, LDS, RDS, XdsResource

ORIGINAL_DST = "envoy.filters.listener.original_dst"
HCM = "envoy.filters.network.http_connection_manager"
ALPN = ("h2",)
HASHABLE = "envoy.hashable_string"
"""Filter state that takes part in choosing a connection; plain strings do not, and would leak between callers."""

PEER_LOG: More = (("downstream_peer_uri_san", f"%FILTER_STATE({PEER_PRINCIPAL}:PLAIN)%"),)
"""Who the caller is, for the access log of what came out of a tunnel."""

CLIENT_CERTIFICATE = "x-forwarded-client-cert"

CONNECT_TIMEOUT = 15


class Way(NamedTuple):
    """One thing that callers may ask for: authorities, and the cluster that they mean."""

    name: str
    authorities: tuple[str, ...]
    cluster: str


def terminate(trust_domains: Iterable[str], *, direction: str = INBOUND) -> XdsResource:
    """The listener of a proxy's own HBONE port, for callers of the mesh; its routes say where to."""
    manager = hcm_pb2.HttpConnectionManager
    http = manager(
        stat_prefix=naming.CONNECT_TERMINATE,
        http_filters=[
            told_inside(),
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router())),
        ],
        rds=hcm_pb2.Rds(config_source=ads(), route_config_name=naming.CONNECT_TERMINATE),
        access_log=[access_log(direction)],
        stream_idle_timeout=seconds(0),
        use_remote_address=boolean(True),  # policies ask where callers are: not what they say of it
        http2_protocol_options=upstream.tunnels_in(),
        upgrade_configs=[manager.UpgradeConfig(upgrade_type="CONNECT")],
    )
    message = listener_pb2.Listener(
        name=naming.CONNECT_TERMINATE,
        address=socket_address("0.0.0.0", naming.HBONE_PORT),
        filter_chains=[
            listener_components_pb2.FilterChain(
                name=naming.CONNECT_TERMINATE,
                transport_socket=tls.server_socket(trust_domains=trust_domains, alpn=ALPN),
                transport_socket_connect_timeout=seconds(CONNECT_TIMEOUT),
                filters=[listener_components_pb2.Filter(name=HCM, typed_config=packed(http))],
            )
        ],
        traffic_direction=base_pb2.INBOUND,
    )
    return resource(LDS, naming.CONNECT_TERMINATE, message)


def told_inside() -> Message:
    """The HTTP filter that says to the inside where the caller wanted to go, and who and where it is."""
    values = [
        _state(f"{ORIGINAL_DST}.local_ip", "%REQ(:AUTHORITY)%"),
        _state(f"{ORIGINAL_DST}.remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%"),
        _state(PEER_ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", factory_key="envoy.network.ip"),
        _state(PEER_PRINCIPAL, "%DOWNSTREAM_PEER_URI_SAN%", factory_key=HASHABLE),
    ]
    config = set_filter_state_pb2.Config(on_request_headers=values)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.set_filter_state", typed_config=packed(config))


def _state(key: str, text: str, *, factory_key: str = "") -> Message:
    return value_pb2.FilterStateValue(
        object_key=key,
        factory_key=factory_key,
        format_string=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=text)
        ),
        shared_with_upstream=value_pb2.FilterStateValue.ONCE,
    )


def routes(ways: Iterable[Way]) -> XdsResource:
    """Which authorities are taken, and where they lead; anything else is answered 404. The first way keeps a name."""
    taken: set[str] = set()
    hosts = []
    for way in ways:
        names = [name for name in dict.fromkeys(way.authorities) if name.lower() not in taken]
        taken.update(name.lower() for name in names)
        if names:
            hosts.append(route_components_pb2.VirtualHost(name=way.name, domains=names, routes=[_connect(way.cluster)]))
    message = route_pb2.RouteConfiguration(name=naming.CONNECT_TERMINATE, virtual_hosts=hosts)
    message.validate_clusters.value = False
    return resource(RDS, naming.CONNECT_TERMINATE, message)


def _connect(cluster: str) -> Message:
    action = route_components_pb2.RouteAction(cluster=cluster, timeout=seconds(0), idle_timeout=seconds(0))
    upgrade = action.upgrade_configs.add(upgrade_type="CONNECT")
    upgrade.connect_config.SetInParent()
    match = route_components_pb2.RouteMatch()
    match.connect_matcher.SetInParent()
    return route_components_pb2.Route(name="connect", match=match, route=action)


def authority(address: str, port: int) -> str:
    """An address and port as they stand in `:authority`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def inside(name: str, listener: str, *, local: str = "") -> XdsResource:
    """The cluster that leads to an internal listener; `local`: with this destination, whatever the authority says."""
    address = address_pb2.Address(
        envoy_internal_address=address_pb2.EnvoyInternalAddress(server_listener_name=listener)
    )
    member = endpoint_components_pb2.LbEndpoint(endpoint=endpoint_components_pb2.Endpoint(address=address))
    if local:
        member.metadata.CopyFrom(metadata(**{ORIGINAL_DST: {"local": local}}))
    message = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=seconds(1),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name, endpoints=[endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=[member])]
        ),
        circuit_breakers=upstream.circuit_breakers(),
        transport_socket=internal_socket((ORIGINAL_DST,) if local else ()),
    )
    return resource(CDS, name, message)


def internal_socket(passed: Sequence[str] = ()) -> Message:
    """The transport to an internal listener; filter state goes along, and `passed` metadata of the endpoint."""
    sources = [
        internal_upstream_pb2.InternalUpstreamTransport.MetadataValueSource(
            kind=metadata_pb2.MetadataKind(host=metadata_pb2.MetadataKind.Host()), name=name
        )
        for name in passed
    ]
    config = internal_upstream_pb2.InternalUpstreamTransport(
        passthrough_metadata=sources, transport_socket=tls.plain_socket()
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.internal_upstream", typed_config=packed(config))


def internal_listener(
    name: str, chains: Iterable[Message], *, before: Sequence[Message] = (), **fields: Any
) -> XdsResource:
    """A listener that only this Envoy reaches; it restores where the caller wanted to go, and from where.

    `before` are further listener filters.
    """
    message = listener_pb2.Listener(
        name=name,
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        listener_filters=[filters.original_dst(), *before],
        filter_chains=list(chains),
        traffic_direction=base_pb2.INBOUND,
        **fields,
    )
    return resource(LDS, name, message)


def identified(routes_: Message) -> None:
    """Let a virtual host or route tell the application who calls, as mutual TLS without a tunnel does."""
    routes_.request_headers_to_add.add(
        header=base_pb2.HeaderValue(key=CLIENT_CERTIFICATE, value=f"URI=%FILTER_STATE({PEER_PRINCIPAL}:PLAIN)%"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
