"""Waypoints: which one a service's callers go through, and what a waypoint answers to."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from isthmus.base.labels import USE_WAYPOINT_LABEL, USE_WAYPOINT_NAMESPACE_LABEL, WAYPOINT_FOR_LABEL
from isthmus.derive.horizon import HBONE, Candidate
from isthmus.derive.networks import HBONE_PORT, label
from isthmus.model import managed
from isthmus.model.managed import SAME, ManagedGateway
from isthmus.model.mesh import Assignment, HostKey, LbEndpoint
from isthmus.model.rows import Labels, labels_match

NONE = "none"
SERVICE, WORKLOAD, ALL = "service", "workload", "all"

FOR_SERVICES = (SERVICE, ALL)
"""Kinds of traffic that calls of services are among."""


def named(labels: Labels, namespace: str) -> HostKey | str | None:
    """The waypoint that labels in a namespace name, the word `none`, or None where they say nothing."""
    name = label(labels, USE_WAYPOINT_LABEL)
    if not name:
        return None
    if name == NONE:
        return NONE
    return (label(labels, USE_WAYPOINT_NAMESPACE_LABEL) or namespace, name)


def chosen(namespace: str, labels: Sequence[Labels]) -> HostKey | None:
    """The waypoint of something in a namespace: what its own labels say, else those of the namespace."""
    for found in labels:
        said = named(found, namespace)
        if said is not None:
            return said if isinstance(said, tuple) else None
    return None


FOR_WORKLOADS = (WORKLOAD, ALL)
"""Kinds of traffic that calls of pods' own addresses are among."""


class Reason(StrEnum):
    """Why a waypoint that is named is not gone through."""

    MISSING = "missing"
    UNREADY = "unready"
    OTHER_TRAFFIC = "other traffic"
    DENIED = "denied"
    ELSEWHERE = "elsewhere"


class Bound(msgspec.Struct, frozen=True):
    """The waypoint that something names, and why it is not gone through, if it is not."""

    waypoint: HostKey
    reason: Reason | None = None


def obstacle(row: ManagedGateway, kinds: tuple[str, ...]) -> Reason | None:
    """Why nobody goes through a waypoint for traffic of some kinds, if so. One that never served is not waited for."""
    if (label(row.labels, WAYPOINT_FOR_LABEL) or SERVICE) not in kinds:
        return Reason.OTHER_TRAFFIC
    return Reason.UNREADY if row.unready else None


def admits(row: ManagedGateway, namespace: str, labels: Labels) -> bool:
    """True if services of a namespace with these labels may go through: its listener's `allowedRoutes` say so."""
    listener = next((one for one in row.listeners if one.port == HBONE_PORT and not one.fault), None)
    match listener.allowed if listener is not None else SAME:
        case managed.EVERYWHERE:
            return True
        case managed.SELECTED:
            return listener is not None and labels_match(listener.selector, labels)
    return row.namespace == namespace


def as_end(candidate: Candidate) -> Candidate:
    """An endpoint of a waypoint as what it is: tunnels end there, whatever it says of the pod's traffic."""
    endpoint = msgspec.structs.replace(candidate.endpoint, hbone=True)
    return msgspec.structs.replace(candidate, endpoint=endpoint, mtls=False)


def through(assignment: Assignment, address: str, port: int) -> Assignment:
    """The way to an address and port through these endpoints of a waypoint: by HBONE, with that as authority.

    Members that are no near endpoints of the waypoint are left out: across networks a service is called by its name,
    and the waypoint over there is for its own gateway to find (AM12).
    """
    members = [_via(member, address, port) for member in assignment.members if member.tunnel == HBONE]
    return msgspec.structs.replace(assignment, members=tuple(members))


def _via(member: LbEndpoint, address: str, port: int) -> LbEndpoint:
    at = f"[{member.address}]" if ":" in member.address else member.address
    return msgspec.structs.replace(member, address=address, port=port, waypoint=f"{at}:{member.port}", mtls=False)
