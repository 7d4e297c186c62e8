"""Draining a cluster: what would move, the refusal, the steps as they are taken, and the way back."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.cli.output import Cell, Colour, table
from isthmus.cli.places import Place, Seen, ask, declare, patient_ask, standings
from isthmus.cli.proxies import PodName, ask_proxy
from isthmus.kube.requests import PODS, Scope

MOVES = ("SERVICE", "HERE", "ELSEWHERE", "CALLERS IN", "ANSWERED BY", "THEN BY")
PROGRESS = ("TIME", "SEEN BY", "STANDING", "PROXIES", "GATEWAY CONNECTIONS")
LOOK_EVERY = 1.0
GATEWAYS = "istio=eastwestgateway"
CONNECTIONS = r"/stats?format=json&usedonly&filter=^listener\.[^a].*15443\.downstream_cx_active$"


class DrainStoppedError(IsthmusError):
    """A control plane stopped the drain and gave the cluster its traffic back."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What one control plane says would move, for the callers of its own cluster."""

    callers: str
    moves: Sequence[Mapping[str, Any]]

    @property
    def homeless(self) -> list[str]:
        """Services that run nowhere else."""
        return [_service(move) for move in self.moves if move["stays"]]


async def preview(found: Sequence[Place], cluster: str) -> list[Preview]:
    """What would move, as one control plane of each place tells it."""
    seen = await ask(found, f"/debug/drain?cluster={cluster}")
    first = {one.context: one for one in reversed(seen)}
    return [Preview(str(one.body["config"]) or one.context, one.body["moves"]) for one in first.values()]


def print_preview(found: Sequence[Preview]) -> None:
    """A line for each service and each cluster whose callers are asked about."""
    rows = [
        (
            _service(move),
            str(move["here"]),
            str(move["elsewhere"]),
            one.callers,
            "by name" if move["headless"] else _shares(move["before"]),
            _then(move),
        )
        for one in found
        for move in one.moves
    ]
    if rows:
        table(MOVES, sorted(rows))
    else:
        print("No service has an endpoint there: nothing moves.")


def _service(move: Mapping[str, Any]) -> str:
    return f"{move['namespace']}/{move['name']}"


def _shares(parts: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{cluster} {share:.0%}" for cluster, share in parts) or "nobody"


def _then(move: Mapping[str, Any]) -> Cell:
    if move["stays"]:
        return Cell("stays: it has no other home", Colour.UNSURE)
    return Cell("by name: not moved", Colour.UNSURE) if move["headless"] else Cell(_shares(move["after"]))


@dataclass
class Progress:
    """Follows the standing of a cluster until it is as wanted, and prints each change."""

    found: Sequence[Place]
    cluster: str
    quiet: bool
    _lines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _widths: tuple[int, ...] = (8, 0, len("returning 25%"), 0, 0)

    async def until(self, *, drained: bool, wait_for_connections: bool, patience: float) -> None:
        """Wait. Raises DrainStoppedError, or UnreachableError when the time is over."""
        deadline = time.monotonic() + patience
        while True:
            seen = await patient_ask(self.found, "/debug/liveness")
            known = standings(seen, self.cluster) if seen else {}
            synced = await self._synced()
            open_connections = await self._connections(seen) if drained else None
            for by, entry in known.items():
                self._line(by, entry, synced.get(by, ("-", False))[0], open_connections)
            if drained and (stopped := next((e["stopped"] for e in known.values() if e["stopped"]), "")):
                raise DrainStoppedError(f"the drain was stopped: {stopped}", "Traffic is as it was; see isthmus events")
            done = bool(known) and all(_is(entry, drained=drained) for entry in known.values())
            acknowledged = all(synced.get(by, ("", False))[1] for by in known)
            if done and acknowledged and not (wait_for_connections and open_connections):
                return
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"not {'drained' if drained else 'active'} after {patience:g} s"
                    + (f": {open_connections} connections are open" if done and open_connections else ""),
                    "It goes on; see isthmus cluster list; isthmus cluster undrain undoes it",
                )
            await asyncio.sleep(LOOK_EVERY)

    def _line(self, by: str, entry: Mapping[str, Any], proxies: str, connections: int | None) -> None:
        shown = (by, entry["standing"], proxies, "-" if connections is None else str(connections))
        if self.quiet or self._lines.get(by) == shown:
            return
        head = not self._lines
        self._lines[by] = shown
        now = datetime.now().strftime("%H:%M:%S")
        self._widths = table(PROGRESS, [(now, *shown)], widths=self._widths, head=head)

    async def _synced(self) -> dict[str, tuple[str, bool]]:
        """How many proxies of each control plane have their endpoints, and whether all have."""
        result = {}
        for one in await patient_ask(self.found, "/debug/syncz"):
            states = [
                kind["state"] for proxy in one.body["proxies"] for kind in proxy["types"] if kind["type"] == "EDS"
            ]
            good = sum(state == "SYNCED" for state in states)
            result[one.by] = (f"{good}/{len(states)}", good == len(states))
        return result

    async def _connections(self, seen: Sequence[Seen]) -> int | None:
        """Open connections of the drained cluster's gateways; None if none of the places is that cluster."""
        own = {one.context for one in seen for entry in one.body["clusters"] if _is_own(entry, self.cluster)}
        place = next((place for place in self.found if place.context in own), None)
        if place is None:
            return None
        pods = await place.client.list(PODS, Scope(place.namespace, label_selector=GATEWAYS))
        names = [pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        try:
            answers = [await ask_proxy(place.client, PodName(name, place.namespace), CONNECTIONS) for name in names]
        except IsthmusError:
            return None
        return sum(map(_sum, answers))


def _is(entry: Mapping[str, Any], *, drained: bool) -> bool:
    return bool(entry["weight"] == (0 if drained else 100))


def _is_own(entry: Mapping[str, Any], cluster: str) -> bool:
    return bool(entry["cluster"] == cluster and entry["config"])


def _sum(stats: bytes) -> int:
    import msgspec

    found = msgspec.json.decode(stats)
    return sum(int(stat.get("value", 0)) for stat in found.get("stats", ()))


async def drain(found: Sequence[Place], cluster: str, spec: Mapping[str, Any], *, before: Mapping[str, str]) -> None:
    """Declare the cluster drained everywhere; if that fails somewhere, it is taken back everywhere."""
    done: list[Place] = []
    try:
        for place in found:
            done.append(place)
            await declare(place, cluster, {**spec, "state": "drained"})
    except IsthmusError:
        await restore(done, cluster, before)
        raise


async def restore(found: Sequence[Place], cluster: str, before: Mapping[str, str]) -> None:
    """Declare what was declared before."""
    for place in found:
        await declare(place, cluster, {"state": before.get(place.context, "active")})
