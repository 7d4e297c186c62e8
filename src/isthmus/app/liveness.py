"""Keeps looking at clusters, has the liveness machine decide, and carries out what it decided.

What is decided enters the mesh as rows, the journal as entries, and the config cluster as Kubernetes events.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from isthmus.app.cluster_settings import ClusterStatus
from isthmus.app.kube_events import EventWriter
from isthmus.base.clock import Clock
from isthmus.base.errors import Problem
from isthmus.derive import signals
from isthmus.derive.declared import Declared, declared, missing, wanted_state
from isthmus.derive.liveness import Decision, LivenessMachine, Memory, Observation, describe
from isthmus.derive.signals import Reading, Track
from isthmus.edge.gateway_probe import GatewayProber
from isthmus.edge.journal import Journal
from isthmus.edge.whole_file import replace_file
from isthmus.graph.mesh import Mesh
from isthmus.model.liveness import ClusterStanding, DrainPlan, Health, Signal
from isthmus.model.mesh import NetworkGateway
from isthmus.tables.changes import Change, Drop, Put

log = structlog.get_logger()

TICK = 1.0
"""Seconds between decisions."""

STATE_FILE = "liveness.json"


class Kept(msgspec.Struct):
    """What is kept for a restart: what was decided, and which gateways were ever seen to serve."""

    memories: dict[str, Memory] = msgspec.field(default_factory=dict)
    reached: list[str] = msgspec.field(default_factory=list)
    answering: list[str] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class World:
    """What the keeper looks at."""

    mesh: Mesh
    statuses: Callable[[], Sequence[ClusterStatus]]
    roots: Callable[[], bytes]
    votes: Callable[[float], Mapping[str, signals.Votes]]


class LivenessKeeper:
    """`load` before the start, `begin` when the mesh knows what was declared, then `run`."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        *,
        directory: str,
        emit: Callable[[list[Change]], None],
        events: EventWriter,
    ) -> None:
        self.journal = Journal(directory)
        self._world = world
        self._clock = clock
        self._emit = emit
        self._events = events
        self._file = Path(directory, STATE_FILE) if directory else None
        self._kept = b""
        self._machine = LivenessMachine()
        self._prober = GatewayProber()
        self._tracks: dict[NetworkGateway, Track] = {}
        self._answering: set[str] = set()
        self._reached: set[str] = set()
        self._due: dict[NetworkGateway, float] = {}
        self._readings: dict[str, dict[Signal, Reading]] = {}
        self._rows: dict[str, ClusterStanding] = {}
        self._begun = False

    async def load(self) -> None:
        """Take up what the process before this one knew."""
        await self.journal.load()
        if self._file is None:
            return
        try:
            self._kept = await asyncio.to_thread(self._file.read_bytes)
            kept = msgspec.json.decode(self._kept, type=Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("standings cannot be restored", file=str(self._file), error=str(error))
            return
        self._machine = LivenessMachine(kept.memories)
        self._reached, self._answering = set(kept.reached), set(kept.answering)

    def begin(self) -> None:
        """Bring standings that are in force into the mesh, before any proxy is answered."""
        if not self._begun:
            self._begun = True
            self._decide()

    async def run(self) -> None:
        """Look and decide until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run())
            while True:
                for gateway in self._due_gateways():
                    group.create_task(self._probe(gateway))
                if self._begun:
                    self._decide()
                    await self._keep()
                await asyncio.sleep(TICK)

    # -- looking --------------------------------------------------------------------------------------------------

    @property
    def declared(self) -> Declared:
        """What the operator said, now."""
        sources = self._world.mesh.sources
        clusters = [row for _, row in sources.mesh_clusters.rows()]
        policies = [row for _, row in sources.liveness_policies.rows()]
        return declared(clusters, policies, self._world.mesh.settings.config_cluster)

    def unreached(self) -> list[str]:
        """Required clusters that were never reached, not even before a restart."""
        reached = self._ever_reached()
        return [cluster for cluster in self.declared.required() if not reached.get(cluster)]

    def problems(self) -> list[Problem]:
        """What is wrong with the declared clusters."""
        found = self.declared
        return sorted([*found.problems, *missing(found, self._ever_reached())])

    def _ever_reached(self) -> dict[str, bool]:
        return {status.id: status.last_contact is not None for status in self._world.statuses()}

    def _due_gateways(self) -> list[NetworkGateway]:
        """Those whose next probe is due. Who left is forgotten."""
        now, said = self._clock.monotonic(), self.declared
        known = self._world.mesh.gateways()
        for gone in self._tracks.keys() - set(known):
            del self._tracks[gone], self._due[gone]
        due = []
        for gateway in known:
            if gateway not in self._tracks:
                self._tracks[gateway] = Track(reached=_address(gateway) in self._reached)
            if now >= self._due.get(gateway, 0.0):
                self._due[gateway] = now + said.policy(gateway.cluster).probe_interval
                due.append(gateway)
        return due

    async def _probe(self, gateway: NetworkGateway) -> None:
        within = self.declared.policy(gateway.cluster).probe_timeout
        port = gateway.port or gateway.hbone_port
        found = await self._prober.probe(gateway.address, port, roots=self._world.roots(), within=within)
        track, address = self._tracks.get(gateway), _address(gateway)
        if track is None:
            return
        # One that answered before and now only takes connections does not serve: something else is at its port.
        good = found.good and (found.answered or address not in self._answering)
        track.saw(good, self._clock.now(), found.text)
        if found.answered:
            self._answering.add(address)
        if good:
            self._reached.add(address)

    def _look(self, now: float) -> dict[str, Observation]:
        said, votes = self.declared, self._world.votes(now)
        seen = {}
        for status in self._world.statuses():
            tracks = {_address(g): track for g, track in self._tracks.items() if g.cluster == status.id}
            looks = {
                Signal.API_SERVER: signals.api_server(status.last_contact, status.last_error, now),
                Signal.GATEWAY: signals.gateways(tracks),
                Signal.DATA_PLANE: signals.data_plane(votes.get(status.id)),
            }
            before = self._readings.get(status.id, {})
            row = said.clusters.get(status.id)
            seen[status.id] = Observation(
                readings={name: before.get(name, Reading()).now(*_at(look, now)) for name, look in looks.items()},
                policy=said.policy(status.id),
                votes=votes.get(status.id, signals.Votes()),
                state=wanted_state(row),
                plan=row.drain if row is not None else DrainPlan(),
            )
        self._readings = {cluster: dict(one.readings) for cluster, one in seen.items()}
        return seen

    # -- deciding -------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        now = self._clock.now()
        decisions = self._machine.step(now, self._look(now))
        self.journal.add(decisions)
        self._tell(decisions)
        rows = {row.name: row for row in self._machine.standings()}
        changes: list[Change] = [Put(row.TABLE, row.key, row) for row in rows.values()]
        changes += [Drop(row.TABLE, row.key) for name, row in self._rows.items() if name not in rows]
        if rows != self._rows:
            self._rows = rows
            self._emit(changes)

    def _tell(self, decisions: Sequence[Decision]) -> None:
        names = {subject: row.name for subject, row in self.declared.clusters.items()}
        for one in decisions:
            log.info(
                "cluster", cluster=one.cluster, what=one.what, before=one.before, after=one.after, reason=one.reason
            )
            self._events.put(one, names.get(one.cluster, one.cluster))

    async def _keep(self) -> None:
        """Write down what a restart must know, if it changed."""
        if self._file is None:
            return
        kept = msgspec.json.encode(Kept(self._machine.memories, sorted(self._reached), sorted(self._answering)))
        try:
            await self.journal.flush()
            if kept != self._kept:
                await asyncio.to_thread(replace_file, self._file, kept)
                self._kept = kept
        except OSError as error:
            log.warning("standings not kept", file=str(self._file), error=error.strerror)

    # -- telling --------------------------------------------------------------------------------------------------

    def page(self) -> list[dict[str, Any]]:
        """How each cluster stands, why, and what its signals say."""
        said, reached = self.declared, self._ever_reached()
        return [self._entry(cluster, said, reached) for cluster in sorted(reached.keys() | said.clusters.keys())]

    def _entry(self, cluster: str, said: Declared, reached: Mapping[str, bool]) -> dict[str, Any]:
        memory, row = self._machine.memories.get(cluster), said.clusters.get(cluster)
        readings = self._readings.get(cluster, {})
        return {
            "cluster": cluster,
            "config": cluster == self._world.mesh.settings.config_cluster,
            "standing": describe(memory) if memory is not None else "unknown",
            "weight": memory.weight if memory is not None else None,
            "since": memory.since if memory is not None and memory.since else None,
            "reason": (memory.stopped or memory.because) if memory is not None else "",
            "stopped": memory.stopped if memory is not None else "",
            "state": wanted_state(row),
            "declared": row is not None,
            "required": row is not None and row.required,
            "reached": reached.get(cluster, False),
            "signals": {name.value: readings.get(name, Reading()) for name in Signal},
            "rules": [f"{rule}: {rule.action}" for rule in said.policy(cluster).rules],
        }


def _at(look: tuple[Health, str], now: float) -> tuple[Health, float, str]:
    return (look[0], now, look[1])


def _address(gateway: NetworkGateway) -> str:
    host = f"[{gateway.address}]" if ":" in gateway.address else gateway.address
    return f"{host}:{gateway.port or gateway.hbone_port}"
