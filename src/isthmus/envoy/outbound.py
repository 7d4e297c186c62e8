"""Outbound listeners of a sidecar: what leaves the workload is captured to one port and handed on by destination.

* `virtualOutbound` takes everything and hands it to the listener of its original address; what none claims passes
  through (or nowhere).
* A TCP service has a listener at each of its addresses, a headless one at each of its pods: no two clash.
* HTTP shares one listener for each port number, which tells services apart by host. What is not HTTP there, or has
  an unknown host, passes through. An address listener wins over it, so a TCP service may use the same number.

Protocol: the port's appProtocol or the prefix of its name decides (ingest); a port that says nothing is TCP.
"""

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.envoy import filters, naming, streams
from isthmus.envoy.access_log import OUTBOUND
from isthmus.envoy.build import Message, ads, boolean, resource, seconds, socket_address
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import LDS, XdsResource

PEEK_SECONDS = 5
"""How long a connection that rules tell apart by SNI may take to say what it is."""


class Streams(msgspec.Struct, frozen=True):
    """What a VirtualService says of connections to a service: TLS by its SNI, and whatever comes."""

    tls: tuple[streams.Stream, ...] = ()
    tcp: tuple[streams.Stream, ...] = ()


NO_STREAMS = Streams()

FilterChain = listener_components_pb2.FilterChain
FilterChainMatch = listener_components_pb2.FilterChainMatch


def virtual_outbound(settings: MeshSettings) -> XdsResource:
    """The listener that capture redirects to."""
    blackhole = FilterChain(
        name="virtualOutbound-blackhole",
        filter_chain_match=FilterChainMatch(destination_port={"value": naming.OUTBOUND_PORT}),
        filters=[filters.tcp_proxy(naming.BLACK_HOLE, OUTBOUND, attempts=1)],
    )
    message = listener_pb2.Listener(
        name=naming.VIRTUAL_OUTBOUND,
        address=socket_address("0.0.0.0", naming.OUTBOUND_PORT),
        use_original_dst=boolean(True),
        listener_filters=[filters.original_dst()],
        filter_chains=[blackhole, _otherwise(settings)],
        traffic_direction=base_pb2.OUTBOUND,
    )
    return resource(LDS, naming.VIRTUAL_OUTBOUND, message)


def tcp_listener(address: str, port: int, cluster: str, rules: Streams = NO_STREAMS) -> XdsResource:
    """The listener of a TCP service at one address; what no rule takes goes to the cluster."""
    name = naming.address_listener(address, port)
    chains = [streams.chain(one, OUTBOUND, tls=True) for one in rules.tls]
    chains += [streams.chain(one, OUTBOUND, tls=False) for one in rules.tcp]
    if not any(not one.subnets for one in rules.tcp):
        chains.append(FilterChain(name=cluster, filters=[filters.tcp_proxy(cluster, OUTBOUND)]))
    message = listener_pb2.Listener(
        name=name,
        address=socket_address(address, port),
        bind_to_port=boolean(False),
        filter_chains=chains,
        traffic_direction=base_pb2.OUTBOUND,
    )
    if rules.tls:
        message.listener_filters.append(filters.tls_inspector())
        message.listener_filters_timeout.CopyFrom(seconds(PEEK_SECONDS))
        message.continue_on_listener_filters_timeout = True
    return resource(LDS, name, message)


def http_listener(port: int, settings: MeshSettings) -> XdsResource:
    """The listener of all HTTP services on one port number; its routes are the route configuration `<port>`."""
    name = naming.port_listener(port)
    routes = hcm_pb2.Rds(config_source=ads(), route_config_name=str(port))
    http = FilterChain(
        name=f"http_{port}",
        filter_chain_match=FilterChainMatch(transport_protocol="raw_buffer", application_protocols=filters.HTTP_ALPN),
        filters=[filters.http_manager(f"outbound_{name}", OUTBOUND, rds=routes)],
    )
    message = listener_pb2.Listener(
        name=name,
        address=socket_address("0.0.0.0", port),
        bind_to_port=boolean(False),
        listener_filters=[filters.tls_inspector(), filters.http_inspector()],
        listener_filters_timeout=seconds(0),
        continue_on_listener_filters_timeout=True,
        filter_chains=[http],
        default_filter_chain=_otherwise(settings),
        traffic_direction=base_pb2.OUTBOUND,
    )
    return resource(LDS, name, message)


def _otherwise(settings: MeshSettings) -> Message:
    """What nobody claims: to where the caller meant to go, or nowhere."""
    cluster = naming.PASSTHROUGH if settings.allow_any else naming.BLACK_HOLE
    return FilterChain(name="virtualOutbound-catchall", filters=[filters.tcp_proxy(cluster, OUTBOUND, attempts=1)])
