"""What sidecars and waypoints send into a tunnel waits until it is up: the TLS that they speak to themselves."""

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.internal_upstream.v3 import internal_upstream_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from isthmus.envoy.match import TLS
from isthmus.model.rows import Proxy
from tests.graph.test_waypoints import CLIENT, HOST, USED, config, waypoint_proxy, world

KINDS = pytest.mark.parametrize("proxy", [CLIENT, waypoint_proxy()], ids=["sidecar", "waypoint"])
VERSION = common_pb2.TlsParameters.TLSv1_2


@KINDS
@pytest.mark.parametrize("number", [80, 9000])
def test_requests_and_bytes_are_sent_once_the_server_has_answered_twice(proxy: Proxy, number: int) -> None:
    cluster = config(world(USED), proxy).cluster(f"outbound|{number}||{HOST}")
    assert cluster is not None
    (tunnel,) = (one for one in cluster.transport_socket_matches if one.name == "tunnel")
    inside = internal_upstream_pb2.InternalUpstreamTransport.FromString(tunnel.transport_socket.typed_config.value)
    assert inside.transport_socket.name == TLS
    spoken = tls_pb2.UpstreamTlsContext.FromString(inside.transport_socket.typed_config.value)
    # With a session, or TLS 1.3, one answer would do, which a listener gives before it has reached anybody.
    assert spoken.common_tls_context.tls_params.tls_maximum_protocol_version == VERSION
    assert spoken.max_session_keys.value == 0
    assert spoken.HasField("max_session_keys")


@KINDS
@pytest.mark.parametrize("name", ["connect_originate", "inner_connect_originate"])
def test_the_listeners_that_make_tunnels_speak_it(proxy: Proxy, name: str) -> None:
    found = config(world(USED), proxy).listeners[name]
    (chain,) = listener_pb2.Listener.FromString(found.SerializeToString()).filter_chains
    assert chain.transport_socket.name == TLS
    spoken = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    assert spoken.common_tls_context.tls_params.tls_maximum_protocol_version == VERSION
    assert spoken.disable_stateless_session_resumption
    assert not spoken.require_client_certificate.value
