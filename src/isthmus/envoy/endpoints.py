"""Load assignments: members as derived, grouped by locality, encoded."""

from itertools import groupby
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from isthmus.envoy.build import Message, metadata, resource, socket_address, u32
from isthmus.model.mesh import Assignment, LbEndpoint
from isthmus.model.rows import Locality
from isthmus.xds.resource import EDS, XdsResource


def load_assignment(name: str, assignment: Assignment) -> XdsResource:
    """The ClusterLoadAssignment of a cluster; one without members is sent too, so that nobody waits for it."""
    groups = [
        _group(priority, gateway, locality, list(members))
        for (priority, gateway, locality), members in groupby(assignment.members, key=_group_key)
    ]
    return resource(EDS, name, endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=groups))


def _group_key(member: LbEndpoint) -> tuple[int, bool, Locality]:
    return (member.priority, member.gateway, member.locality)


def _group(priority: int, gateway: bool, locality: Locality, members: list[LbEndpoint]) -> Message:
    del gateway
    return endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone),
        lb_endpoints=[_member(member) for member in members],
        load_balancing_weight=u32(sum(member.weight for member in members)),
        priority=priority,
    )


def _member(member: LbEndpoint) -> Message:
    facts: dict[str, dict[str, Any]] = {
        "istio": {"workload": member.workload, "cluster": member.cluster, "network": member.network}
    }
    if member.mtls:
        facts["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=socket_address(member.address, member.port)),
        metadata=metadata(**facts),
        load_balancing_weight=u32(member.weight),
    )
