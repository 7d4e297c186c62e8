"""The inside of a node proxy between services and endpoints: internal listeners that take CONNECT.

A TCP proxy that connects to an internal listener is connected at once, whatever becomes of the tunnel behind it, so it
would never try another endpoint. Therefore the cluster of a service speaks HTTP/2 CONNECT even here: an answer comes
when the tunnel stands, or the application has accepted. What fails before is tried at another endpoint, and counts
against the one that failed. A refusal is no failure: what a server says no to is a connection that it closes, or one
pod that is refused would take endpoints from its neighbours. Which listener an endpoint has says how it is reached:

```
to_hbone     the CONNECT goes on to the endpoint, for its own address          (`connect_originate`)
to_gateway   it goes on within a second tunnel to a gateway, for the service   (`inner_connect_originate`)
to_plain     it ends here, and its bytes go to the endpoint as they are
```
"""

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from isthmus.envoy import filters, hbone, naming, upstream
from isthmus.envoy.access_log import OUTBOUND, access_log
from isthmus.envoy.build import Message, boolean, packed, seconds, u32
from isthmus.envoy.filter_state import setter
from isthmus.envoy.tunnels import TO_GATEWAY, TO_HBONE, TO_PLAIN
from isthmus.xds.resource import XdsResource

ATTEMPTS = 5
"""Endpoints that a connection may try."""

CONNECT = "CONNECT"
ENDPOINT = "endpoint"
"""The authority of a CONNECT within the proxy, where which endpoint is meant is said by the connection."""


REFUSALS = """
function envoy_on_response(handle)
  local status = tonumber(handle:headers():get(":status"))
  if status >= 400 and status < 500 then
    handle:body(true):setBytes("")
    handle:headers():replace(":status", "200")
  end
end
"""
"""A tunnel that the other end refuses (401, 403, 404) comes up and ends at once, without a byte."""


def listener(name: str) -> XdsResource:
    """One of these listeners. Raises KeyError for any other name."""
    return _LISTENERS[name]()


def proxy(cluster: str) -> Message:
    """The network filter that carries a connection to the cluster of a service."""
    config = tcp_proxy_pb2.TcpProxy(
        stat_prefix=cluster,
        cluster=cluster,
        max_connect_attempts=u32(ATTEMPTS),
        tunneling_config=tcp_proxy_pb2.TcpProxy.TunnelingConfig(hostname=ENDPOINT),
    )
    return listener_components_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(config))


def _to_hbone() -> XdsResource:
    manager = _manager(TO_HBONE, naming.CONNECT_ORIGINATE, authority="%DOWNSTREAM_LOCAL_ADDRESS%")
    return hbone.internal_listener(TO_HBONE, [setter(*hbone.TO_ENDPOINT), manager], before=[filters.original_dst()])


def _to_gateway() -> XdsResource:
    manager = _manager(TO_GATEWAY, naming.INNER_CONNECT_ORIGINATE, authority=hbone.SERVICE)
    return hbone.internal_listener(TO_GATEWAY, [setter(*hbone.TO_SERVICE), manager])


def _to_plain() -> XdsResource:
    manager = _manager(TO_PLAIN, naming.PASSTHROUGH)
    return hbone.internal_listener(TO_PLAIN, [manager], before=[filters.original_dst()])


_LISTENERS = {TO_HBONE: _to_hbone, TO_GATEWAY: _to_gateway, TO_PLAIN: _to_plain}


def _manager(name: str, cluster: str, *, authority: str = "") -> Message:
    """Leads every CONNECT to a cluster: as a CONNECT for `authority`, or without that its bytes."""
    upgrade = route_components_pb2.RouteAction.UpgradeConfig(upgrade_type=CONNECT)
    action = route_components_pb2.RouteAction(cluster=cluster, timeout=seconds(0))
    if authority:
        action.host_rewrite = authority
    else:
        upgrade.connect_config.SetInParent()
    action.upgrade_configs.append(upgrade)
    match = route_components_pb2.RouteMatch(connect_matcher=route_components_pb2.RouteMatch.ConnectMatcher())
    route = route_components_pb2.Route(match=match, route=action)
    host = route_components_pb2.VirtualHost(name=name, domains=["*"], routes=[route])
    judge = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=REFUSALS))
    chain = {"envoy.filters.http.lua": judge, "envoy.filters.http.router": router_pb2.Router()}
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=name,
        codec_type=hcm_pb2.HttpConnectionManager.HTTP2,
        http_filters=[hcm_pb2.HttpFilter(name=one, typed_config=packed(config)) for one, config in chain.items()],
        route_config=route_pb2.RouteConfiguration(virtual_hosts=[host], validate_clusters=boolean(False)),
        http2_protocol_options=upstream.tunnels_in(),
        stream_idle_timeout=seconds(0),
        use_remote_address=boolean(False),
        access_log=[access_log(OUTBOUND)],
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )
