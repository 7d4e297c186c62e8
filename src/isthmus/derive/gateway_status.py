"""What a Gateway of ours is told about itself: conditions, addresses and listeners of its status, as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from isthmus.derive.networks import is_ip
from isthmus.model.managed import (
    EAST_WEST_CLASS,
    HOSTNAME_CONFLICT,
    PROTOCOL_CONFLICT,
    WAYPOINT_CLASS,
    Listener,
    ManagedGateway,
)
from isthmus.model.rows import Service, Workload

Json = dict[str, Any]

ACCEPTED, PROGRAMMED = "Accepted", "Programmed"


class Seen(msgspec.Struct, frozen=True):
    """What is there of what runs for a Gateway; `error` is why something cannot be made, if it cannot.

    `parameters`: the same, where what is laid over it is to blame.
    """

    service: Service | None = None
    pods: tuple[Workload, ...] = ()
    error: str = ""
    parameters: str = ""


def class_status(generation: int, before: Mapping[str, Any], now: str) -> Json:
    """The status of a GatewayClass of ours. `now` is the time as RFC 3339 has it, `before` the status as it is."""
    fresh = [condition(ACCEPTED, ACCEPTED, "The control plane looks after Gateways of this class")]
    return {"conditions": dated(fresh, generation, before, now)}


def gateway_status(row: ManagedGateway, seen: Seen, generation: int, before: Mapping[str, Any], now: str) -> Json:
    """The status of a Gateway. Conditions of others in it stay; the date of one changes with its status only."""
    addresses = addresses_of(seen.service) or ([row.host] if row.host and "." in row.host else [])
    told = addresses if row.class_name != WAYPOINT_CLASS or _served(seen, before) else []
    fresh = [_accepted(row, seen), _programmed(row, seen, addresses)]
    listeners = before.get("listeners")
    known = {one.get("name"): one for one in listeners if isinstance(one, dict)} if isinstance(listeners, list) else {}
    return {
        "conditions": dated(fresh, generation, before, now),
        "addresses": [{"type": "IPAddress" if is_ip(one) else "Hostname", "value": one} for one in told],
        "listeners": [
            {
                "name": one.name,
                "attachedRoutes": 0,
                "supportedKinds": [],
                "conditions": dated(_of_listener(one, fresh[1]), generation, known.get(one.name) or {}, now),
            }
            for one in row.listeners
        ],
    }


def _served(seen: Seen, before: Mapping[str, Any]) -> bool:
    """True if a waypoint serves, or has served: nobody goes past it any more, whatever becomes of its pods."""
    return bool(before.get("addresses")) or any(pod.ready for pod in seen.pods)


def addresses_of(service: Service | None) -> list[str]:
    """Where a Gateway is reached: its load balancer, or for one within the cluster its virtual addresses."""
    if service is None:
        return []
    if service.type == "LoadBalancer":
        return list(dict.fromkeys((*service.ingress_addresses, *service.external_ips)))
    return list(dict.fromkeys((*service.external_ips, *service.cluster_ips)))


def _accepted(row: ManagedGateway, seen: Seen) -> Json:
    if row.fault or seen.parameters:
        reason, text = (row.fault, row.message) if row.fault else ("InvalidParameters", seen.parameters)
        return condition(ACCEPTED, reason, text, good=False)
    broken = [one for one in row.listeners if one.fault]
    if broken and len(broken) == len(row.listeners):
        text = "; ".join(f"{one.name}: {one.message}" for one in broken)
        return condition(ACCEPTED, "ListenersNotValid", f"No listener can be used: {text}", good=False)
    if broken:
        text = "; ".join(f"{one.name}: {one.message}" for one in broken)
        return condition(ACCEPTED, "ListenersNotValid", f"Without effect: {text}")
    return condition(ACCEPTED, ACCEPTED, "Resource accepted")


def _programmed(row: ManagedGateway, seen: Seen, addresses: Sequence[str]) -> Json:
    name = f"{row.namespace}/{row.name}"
    ready = sum(pod.ready for pod in seen.pods)
    if row.listeners and all(one.fault for one in row.listeners):
        return condition(PROGRAMMED, "Invalid", "No listener can be used", good=False)
    wrong = row.message or seen.parameters or seen.error
    if wrong:
        return condition(PROGRAMMED, "Invalid", wrong, good=False)
    if row.class_name == EAST_WEST_CLASS and not row.network:
        text = "The label topology.istio.io/network is missing: it names the network that this is the way into"
        return condition(PROGRAMMED, "Invalid", text, good=False)
    if row.host:
        if not addresses:
            text = f"Service {row.host} has no address: nothing is run for a Gateway that names one"
            return condition(PROGRAMMED, "AddressNotAssigned", text, good=False)
        return condition(PROGRAMMED, PROGRAMMED, f"Run by others, reached at {', '.join(addresses)}")
    if row.address and addresses and row.address not in addresses:
        text = f"Service {name} was given {', '.join(addresses)}, not {row.address}: the cluster cannot give that"
        return condition(PROGRAMMED, "AddressNotUsable", text, good=False)
    if not addresses:
        text = f"Service {name} has no address yet: the cluster must give it a load balancer"
        return condition(PROGRAMMED, "AddressNotAssigned", text, good=False)
    if not ready:
        text = f"No pod of Deployment {name} is ready"
        return condition(PROGRAMMED, "Pending", text, good=False)
    return condition(PROGRAMMED, PROGRAMMED, f"{ready} ready, reached at {', '.join(addresses)}")


def _of_listener(one: Listener, programmed: Json) -> list[Json]:
    refs = condition("ResolvedRefs", "ResolvedRefs", "It refers to nothing")
    if one.refs:
        text = "tls.certificateRefs has no effect: the mesh's own certificates are shown, leave it out"
        refs = condition("ResolvedRefs", "InvalidCertificateRef", text, good=False)
    apart = condition("Conflicted", "NoConflicts", "No other listener is in its way", good=False)
    if one.fault in (PROTOCOL_CONFLICT, HOSTNAME_CONFLICT):
        apart = condition("Conflicted", one.fault, one.message)
    if one.fault:
        return [
            condition(ACCEPTED, one.fault, one.message, good=False),
            condition(PROGRAMMED, "Invalid", one.message, good=False),
            apart,
            refs,
        ]
    return [condition(ACCEPTED, ACCEPTED, "Listener accepted"), {**programmed}, apart, refs]


def condition(kind: str, reason: str, message: str, *, good: bool = True) -> Json:
    """A condition of a status, without its date."""
    return {"type": kind, "status": "True" if good else "False", "reason": reason, "message": message}


def dated(fresh: Iterable[Json], generation: int, before: Mapping[str, Any], now: str) -> list[Json]:
    """Conditions with their dates, those of others kept."""
    found = before.get("conditions")
    known = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    by_type = {one.get("type"): one for one in known}
    made = []
    for one in fresh:
        old = by_type.pop(one["type"], {})
        since = old.get("lastTransitionTime") if old.get("status") == one["status"] else None
        made.append({**one, "observedGeneration": generation, "lastTransitionTime": since or now})
    return [*made, *by_type.values()]
