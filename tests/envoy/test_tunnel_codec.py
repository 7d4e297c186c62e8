"""Who takes tunnels speaks HTTP/2 with the codec that does not take their ends for an attack."""

from collections.abc import Callable

import pytest
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from isthmus.envoy import connect, hbone_gateway, node_tunnels, tunnels
from isthmus.xds.resource import XdsResource

Chains = list[listener_components_pb2.FilterChain]


def chains(made: XdsResource) -> Chains:
    """Those of a listener."""
    return list(listener_pb2.Listener.FromString(made.body).filter_chains)


TAKERS: dict[str, Callable[[], Chains]] = {
    "sidecar or waypoint": lambda: chains(connect.terminate(("east.example",))),
    "gateway": lambda: [listener_components_pb2.FilterChain.FromString(hbone_gateway.chain(15008, ("east.example",)))],
    **{f"node, {name}": lambda name=name: chains(node_tunnels.listener(name)) for name in tunnels.WITHIN_NODE},  # type: ignore[misc]
}


@pytest.mark.parametrize("taker", TAKERS)
def test_many_short_tunnels_end_none_of_the_others(taker: str) -> None:
    managers = []
    for chain in TAKERS[taker]():
        for one in chain.filters:
            manager = hcm_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                managers.append(manager)
    assert managers
    for manager in managers:
        assert manager.http2_protocol_options.allow_connect
        assert manager.http2_protocol_options.use_oghttp2_codec.value
