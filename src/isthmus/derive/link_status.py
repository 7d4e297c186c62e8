"""What a link is told about itself: conditions and addresses of a Gateway of class `istio-remote`, as plain data."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from isthmus.derive.gateway_status import ACCEPTED, PROGRAMMED, Json, condition, dated
from isthmus.derive.networks import is_ip
from isthmus.model.peering import PeerLink


class LinkSeen(msgspec.Struct, frozen=True):
    """How a link stands, in the eyes of one control plane. Times are seconds since the epoch."""

    state: str
    by: str
    since: float | None = None
    updated: float | None = None
    round_trip: float | None = None
    error: str = ""
    services_in: int = 0
    services_out: int | None = None
    refused: int = 0

    @property
    def essence(self) -> tuple[object, ...]:
        """What is told at once when it changes; the rest is told with it, or now and then."""
        return (self.state, self.error, self.services_in, self.services_out, self.refused)


def leader(instance: str, replicas: Iterable[tuple[str, bool]]) -> bool:
    """True if this replica is the one that tells links how they stand: the first by name of those that are ready.

    `replicas` are (name, ready). Each sees the same pods, so that no election is needed; while two see them
    differently both write, once each.
    """
    first = min((name for name, ready in replicas if ready), default=instance)
    return instance == first


def link_status(link: PeerLink, seen: LinkSeen, generation: int, before: Mapping[str, Any], now: str) -> Json:
    """The status of a link. Conditions of others in it stay; the date of one changes with its status only."""
    accepted = condition(ACCEPTED, ACCEPTED, f"The link to cluster {link.peer}; nothing is run for it")
    return {
        "conditions": dated([accepted, _programmed(link, seen)], generation, before, now),
        "addresses": [{"type": "IPAddress" if is_ip(one) else "Hostname", "value": one} for one in link.addresses],
    }


def duplicate_status(link: PeerLink, reason: str, generation: int, before: Mapping[str, Any], now: str) -> Json:
    """The status of a link that another one takes the place of."""
    fresh = [
        condition(ACCEPTED, "Conflicted", reason, good=False),
        condition(PROGRAMMED, "Invalid", f"Cluster {link.peer} has another link", good=False),
    ]
    return {"conditions": dated(fresh, generation, before, now)}


def _programmed(link: PeerLink, seen: LinkSeen) -> Json:
    if seen.state == "inbound":
        text = f"Cluster {link.peer} is let in, nothing of it is asked for"
        return condition(PROGRAMMED, "InboundOnly", _sentence([text, *_services(seen)], seen))
    if seen.state == "connected":
        facts = [f"Connected since {stamp(seen.since)}", *_services(seen)]
        if seen.round_trip is not None:
            facts.append(f"round trip {1000 * seen.round_trip:.1f} ms")
        facts.append(f"last update {stamp(seen.updated)}")
        return condition(PROGRAMMED, "Connected", _sentence(facts, seen))
    facts = [seen.error or "Not connected yet"]
    if seen.services_in:
        facts.append(f"{seen.services_in} services stay as last told at {stamp(seen.updated)}")
    return condition(PROGRAMMED, "NotConnected", _sentence(facts, seen), good=False)


def _services(seen: LinkSeen) -> list[str]:
    told = [] if seen.state == "inbound" else [f"{seen.services_in} services in"]
    told += [] if seen.services_out is None else [f"{seen.services_out} services out"]
    return [*told, *([f"{seen.refused} claims refused"] if seen.refused else [])]


def _sentence(facts: list[str], seen: LinkSeen) -> str:
    return f"{'; '.join(facts)} (says {seen.by})"


def stamp(when: float | None) -> str:
    """A time as RFC 3339 has it."""
    return "never" if when is None else datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
