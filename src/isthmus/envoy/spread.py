"""What Envoy makes of a load assignment: which endpoint gets which share, at which priority, when some are gone.

Envoy's rules, in its own whole numbers (docs: "Priority levels", "Overprovisioning"; source: load_balancer_impl.cc):

* A priority is available by its healthy share times the overprovisioning factor (140 % unless the assignment says
  otherwise), at most 100 %: with more than 5 of 7 endpoints healthy it takes everything. What is above goes on to the
  next priorities. The healthy share counts endpoints, or their weights with `weighted_priority_health`.
* If all priorities together are less than 100 % available, what each takes is scaled up to 100 %.
* Within a priority, traffic is shared among its healthy endpoints by weight.
* An address counts where it is first; Envoy drops it silently where it comes again, in whatever priority. A gateway
  may come a second time in the form `::ffff:198.18.1.2`; its plain address is told for both.

Not modelled: panic thresholds above 1 %, weights of localities, degraded endpoints, slow start. The mesh uses none of
the first three, and slow start passes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from isthmus.envoy.build import Message
from isthmus.envoy.tunnels import DOUBLE_HBONE, PEERS, TARGET, TO_PLAIN
from isthmus.model.mesh import MAPPED

OVERPROVISIONING = 140
"""Envoy's default factor, in per cent."""

HEALTHY = (health_check_pb2.UNKNOWN, health_check_pb2.HEALTHY)

Assignment = endpoint_pb2.ClusterLoadAssignment


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of an assignment as Envoy sees it.

    `weight` counts within the priority; `healthy` is what the control plane says; `locality` is region/zone/sub-zone.
    `cluster`, `network` and `workload` are those of the metadata, empty if it has none. `tunnel`: the internal listener
    that reaches it, which is told this address; for a gateway, `authority` is the service that is asked for beyond it.
    """

    address: str
    port: int
    priority: int = 0
    weight: int = 1
    healthy: bool = True
    locality: str = ""
    cluster: str = ""
    network: str = ""
    workload: str = ""
    peers: tuple[str, ...] = ()
    tunnel: str = ""
    authority: str = ""


class Share(msgspec.Struct, frozen=True):
    """The share of all traffic that an endpoint gets, from 0 to 1."""

    member: Member
    share: float


Gone = Callable[[Member], bool]
"""Which endpoints do not answer: ejected, refused, cut off. `lambda m: m.network == "net-west"` is a lost network."""


def nothing_gone(_: Member) -> bool:
    """Everything answers."""
    return False


def members(assignment: Message) -> Iterator[Member]:
    """The endpoints of a ClusterLoadAssignment that Envoy uses, each address where it is first."""
    seen: set[tuple[str, int, str]] = set()
    for group in assignment.endpoints:
        place = group.locality
        locality = "/".join((place.region, place.zone, place.sub_zone)).rstrip("/")
        for one in group.lb_endpoints:
            address, port, tunnel = place_of(one.endpoint.address)
            if (address, port, tunnel) in seen:
                continue
            seen.add((address, port, tunnel))
            about = dict(one.metadata.filter_metadata.get("istio", {}).items())
            yield Member(
                address=address.removeprefix(MAPPED),
                port=port,
                priority=group.priority,
                weight=int(one.load_balancing_weight.value) or 1,
                healthy=one.health_status in HEALTHY,
                locality=locality,
                cluster=str(about.get("cluster", "")),
                network=str(about.get("network", "")),
                workload=str(about.get("workload", "")),
                peers=tuple(one for one in str(about.get(PEERS, "")).split(",") if one),
                tunnel=tunnel,
                authority=str(_struct(about, DOUBLE_HBONE).get(TARGET, "")),
            )


def _struct(about: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = about.get(key)
    return {} if found is None else dict(found.items())


def place_of(address: Message) -> tuple[str, int, str]:
    """Address, port and tunnel of an endpoint: one behind an internal listener is told apart by where it leads."""
    if address.HasField("envoy_internal_address"):
        inner = address.envoy_internal_address
        place, _, waypoint = inner.endpoint_id.partition("#")[0].partition(";")
        host, _, port = place.rpartition(":")
        name = "" if inner.server_listener_name == TO_PLAIN else inner.server_listener_name
        return host.strip("[]"), int(port or 0), f"{name};{waypoint}" if waypoint else name
    return address.socket_address.address, address.socket_address.port_value, ""


def spread(assignment: Message, gone: Gone = nothing_gone) -> list[Share]:
    """Every endpoint of an assignment with its share of the traffic once Envoy knows that some are gone.

    The answer to "what if": what is gone keeps its line with share 0. All shares are 0 if nothing healthy is left:
    Envoy then tries all of them again (panic), and none of them answers.
    """
    found = [member if not gone(member) else _lost(member) for member in members(assignment)]
    policy = assignment.policy
    factor = policy.overprovisioning_factor.value if policy.HasField("overprovisioning_factor") else OVERPROVISIONING
    loads = priority_loads([_availability(part, policy.weighted_priority_health, factor) for part in _levels(found)])
    totals = [sum(member.weight for member in part if member.healthy) for part in _levels(found)]
    return [
        Share(member, loads[member.priority] / 100 * member.weight / totals[member.priority] if member.healthy else 0.0)
        for member in found
    ]


def priority_loads(availability: Sequence[int]) -> list[int]:
    """Per cent of the traffic that goes to each priority, from how available each is in per cent (0 to 100)."""
    total = min(sum(availability), 100)
    if not total:
        return [0 for _ in availability]
    left, loads = 100, []
    for one in availability:
        loads.append(min(left, one * 100 // total))
        left -= loads[-1]
    # What rounding left over goes to the first priority that can take traffic, as in Envoy.
    loads[next(i for i, one in enumerate(availability) if one)] += left
    return loads


def _levels(found: Sequence[Member]) -> list[list[Member]]:
    levels: list[list[Member]] = [[] for _ in range(1 + max((member.priority for member in found), default=-1))]
    for member in found:
        levels[member.priority].append(member)
    return levels


def _availability(level: Iterable[Member], weighted: bool, factor: int) -> int:
    """How available a priority is, in whole per cent."""
    level = list(level)
    total = sum(member.weight if weighted else 1 for member in level)
    healthy = sum(member.weight if weighted else 1 for member in level if member.healthy)
    return min(100, factor * healthy // total) if total else 0


def _lost(member: Member) -> Member:
    return msgspec.structs.replace(member, healthy=False)
