"""The words of tunnels: names of internal listeners, and what endpoints say of themselves to them (SH18)."""

from isthmus.envoy.naming import CONNECT_ORIGINATE, INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE

NAMES = (CONNECT_ORIGINATE, INNER_CONNECT_ORIGINATE, OUTER_CONNECT_ORIGINATE)
"""Names of internal listeners, and of the clusters behind them."""

TO_HBONE, TO_GATEWAY, TO_PLAIN = "to_hbone", "to_gateway", "to_plain"
WITHIN_NODE = (TO_HBONE, TO_GATEWAY, TO_PLAIN)
"""Names of internal listeners of node proxies, which take CONNECT (see `node_tunnels`)."""

ORIGINAL_DST = "envoy.filters.listener.original_dst"
"""Filter metadata of an endpoint: `local` is the address that its internal listener takes for the destination."""

WAYPOINT = "waypoint"
"""Beside `local`: where the tunnel ends instead, if that is not the destination itself."""

PEERS, GATEWAY_PEERS, TARGET = "peers", "gateway_peers", "hbone_target_address"
"""Filter metadata `istio` of an endpoint: identities of the server (divided by commas), those of the gateway, without
which any workload of an accepted trust domain is one, and within `double_hbone` the service's `host:port`."""

TUNNEL_MATCH = {"tunnel": "http"}
"""The `envoy.transport_socket_match` of endpoints that internal listeners lead to."""

DOUBLE_HBONE = "double_hbone"
"""`LbEndpoint.tunnel` of a gateway that HBONE within HBONE leads through."""

SOURCE_HEADER, FROM_WAYPOINT = "x-istio-source", "waypoint"
"""In a CONNECT to the gateway of another network: a waypoint sends it, so that no other one has to (AM12)."""
