"""Load assignments are encoded by hand: the bytes must be those of the messages."""

from typing import Any

import pytest
from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import wrappers_pb2
from msgspec.structs import replace

from isthmus.envoy.build import metadata
from isthmus.envoy.endpoints import load_assignment
from isthmus.model.mesh import Assignment, LbEndpoint
from isthmus.model.rows import Locality

HERE = Locality("r", "z", "s")
THERE = Locality("q")


def member(address: str = "10.0.0.1", port: int = 80, **fields: object) -> LbEndpoint:
    """A member with defaults."""
    values: dict[str, object] = {
        "weight": 1,
        "mtls": True,
        "network": "net",
        "cluster": "east",
        "workload": "w;ns;c;r;east",
        "locality": HERE,
    }
    return LbEndpoint(address=address, port=port, **(values | fields))  # type: ignore[arg-type]


def built(name: str, groups: list[list[LbEndpoint]], factor: int = 140) -> bytes:
    """The same as messages."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    for group in groups:
        where = group[0].locality
        message.endpoints.append(
            endpoint_components_pb2.LocalityLbEndpoints(
                locality=base_pb2.Locality(region=where.region, zone=where.zone, sub_zone=where.subzone),
                lb_endpoints=[_message(one) for one in group],
                load_balancing_weight=wrappers_pb2.UInt32Value(value=sum(one.weight for one in group)),
                priority=group[0].priority,
            )
        )
    if any(one.priority for group in groups for one in group):
        message.policy.weighted_priority_health = True
        if factor != 140:
            message.policy.overprovisioning_factor.value = factor
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _message(one: LbEndpoint) -> endpoint_components_pb2.LbEndpoint:
    socket = address_pb2.SocketAddress(address=one.address, port_value=one.port)
    socket.ipv4_compat = one.address.startswith("::ffff:")
    address = address_pb2.Address(socket_address=socket)
    facts: dict[str, dict[str, Any]] = {
        "istio": {"workload": one.workload, "cluster": one.cluster, "network": one.network}
    }
    if one.gateway:
        facts["istio"]["gateway"] = one.network
    if one.mtls:
        facts["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    if one.tunnel:
        listener = "inner_connect_originate" if one.gateway else "connect_originate"
        place = f"[{one.address}]:{one.port}" if ":" in one.address else f"{one.address}:{one.port}"
        inner = address_pb2.EnvoyInternalAddress(server_listener_name=listener, endpoint_id=place)
        address = address_pb2.Address(envoy_internal_address=inner)
        local = f"{one.address[7:]}:{one.port}" if one.address.startswith("::ffff:") else place
        facts["envoy.filters.listener.original_dst"] = {"local": local}
        facts["envoy.transport_socket_match"] = {"tunnel": "http"}
        facts["istio"]["peers"] = one.identity
        if one.gateway:
            facts["istio"]["double_hbone"] = {"hbone_target_address": "h:80"}
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address),
        health_status=health_check_pb2.UNKNOWN if one.healthy else health_check_pb2.UNHEALTHY,
        metadata=metadata(**facts),
        load_balancing_weight=wrappers_pb2.UInt32Value(value=one.weight),
    )


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [[member()]],
        [[member(), member("10.0.0.2", 65535, weight=300, mtls=False)], [member("1.2.3.4", 15443, locality=THERE)]],
        [[member()], [member("fd00::1", locality=THERE, priority=1)], [member("x", locality=Locality(), priority=2)]],
        [[member(), member("10.0.0.9", healthy=False)], [member("x", priority=1)]],
        [[member()], [member("::ffff:1.1.1.1", 15443, gateway=True, priority=1)]],
        [[member()], [member("1.1.1.1", 15443, gateway=True, workload=";;;;west", weight=70000)]],
        [
            [
                member(mtls=False, tunnel="hbone", identity="spiffe://td/ns/n/sa/s"),
                member("fd00::1", mtls=False, tunnel="hbone", healthy=False),
            ]
        ],
        [
            [member("1.1.1.1", 15008, gateway=True, mtls=False, tunnel="double_hbone", weight=7)],
            [member("::ffff:1.1.1.1", 15008, gateway=True, mtls=False, tunnel="double_hbone", priority=1)],
        ],
    ],
)
def test_bytes_are_those_of_the_messages(groups: list[list[LbEndpoint]]) -> None:
    flat = tuple(one for group in groups for one in group)
    for factor in (100, 140):
        made = load_assignment("outbound|80||h", Assignment(flat, overprovisioning=factor))
        assert made.body == built("outbound|80||h", groups, factor)


def test_a_gateway_to_any_network_is_known_as_one() -> None:
    out = member("1.1.1.1", 15445, gateway=True, network="")
    body = load_assignment("x", Assignment((out,))).body
    message = endpoint_pb2.ClusterLoadAssignment.FromString(body)
    (found,) = (one for group in message.endpoints for one in group.lb_endpoints)
    assert found.metadata.filter_metadata["istio"]["gateway"] == "*"


def test_who_must_be_at_a_tunnels_end_tells_endpoints_of_a_node_apart() -> None:
    """Envoy keeps the connections of an endpoint whose metadata alone are others: they would ask for whom was there."""
    one, other = (member(mtls=False, tunnel="hbone", identity=f"spiffe://td/ns/n/sa/{name}") for name in "ab")
    gateway = member("1.1.1.1", 15008, gateway=True, mtls=False, tunnel="double_hbone")

    def places(row: LbEndpoint, *peers: str, of_node: bool = True) -> set[str]:
        body = load_assignment("outbound|80||h", Assignment((row,)), peers, of_node=of_node).body
        (group,) = endpoint_pb2.ClusterLoadAssignment.FromString(body).endpoints
        return {found.endpoint.address.envoy_internal_address.endpoint_id for found in group.lb_endpoints}

    assert places(one) == places(one)
    assert places(one) != places(other)
    assert places(gateway, "a") != places(gateway, "a", "b")
    assert places(replace(gateway, entrance=("x",)), "a") != places(gateway, "a")
    assert places(one, of_node=False) == places(other, of_node=False)
