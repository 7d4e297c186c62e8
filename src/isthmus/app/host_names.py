"""Host names of gateways, kept resolved: each is asked for again when its answer is old (SH26)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import structlog

from isthmus.dns.lookup import Lookup, pause
from isthmus.edge.whole_file import replace_file
from isthmus.model.networks import ResolvedName
from isthmus.tables.changes import Change, Drop, Put

log = structlog.get_logger()

FIRST_ANSWER = 3.0
"""Seconds in which the start waits for names that were never resolved: without them a network may have no gateway."""

FILE = "resolved-names.json"


class HostNames:
    """Follows the names that the mesh wants. Rows go to `emit`, in the event loop's thread."""

    def __init__(
        self,
        config_cluster: str,
        *,
        lookup: Callable[[str], Awaitable[Lookup | None]],
        emit: Callable[[list[Change]], None],
        keep_in: Path | None = None,
    ) -> None:
        """`keep_in`: where answers survive a restart at which no name server answers."""
        self._cluster = config_cluster
        self._lookup = lookup
        self._emit = emit
        self._file = keep_in / FILE if keep_in is not None else None
        self._known: dict[str, tuple[str, ...]] = {}
        self._kept: dict[str, tuple[str, ...]] = {}
        self._wanted: frozenset[str] = frozenset()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: set[str] = set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Condition()

    def want(self, names: Iterable[str]) -> None:
        """These are the names that matter now."""
        wanted = frozenset(names)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def settled(self) -> None:
        """Return when every wanted name was asked for once, or was known, or has taken too long."""
        try:
            async with asyncio.timeout(FIRST_ANSWER), self._answered:
                await self._answered.wait_for(lambda: self._wanted <= self._asked | self._known.keys())
        except TimeoutError:
            log.warning("host names not resolved", names=sorted(self._wanted - self._asked))

    async def run(self) -> None:
        """Follow until cancelled."""
        self._kept = await asyncio.to_thread(_read, self._file)
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for name in self._tasks.keys() - self._wanted:
                    self._tasks.pop(name).cancel()
                    self._forget(name)
                for name in sorted(self._wanted - self._tasks.keys()):
                    self._tasks[name] = group.create_task(self._follow(name))
                await self._changed.wait()

    async def _follow(self, name: str) -> None:
        if name in self._kept:
            await self._learn(name, self._kept.pop(name))
        while True:
            answer = await self._lookup(name)
            if answer is not None:
                await self._learn(name, answer.addresses)
            else:
                log.warning("no name server answers", name=name, kept=list(self._known.get(name, ())))
            self._asked.add(name)
            async with self._answered:
                self._answered.notify_all()
            await asyncio.sleep(pause(answer, known=name in self._known))

    async def _learn(self, name: str, addresses: tuple[str, ...]) -> None:
        if self._known.get(name) == addresses:
            return
        log.info("host name resolved", name=name, addresses=list(addresses))
        self._known[name] = addresses
        row = ResolvedName(cluster=self._cluster, name=name, addresses=addresses)
        self._emit([Put(row.TABLE, row.key, row)])
        await asyncio.to_thread(_write, self._file, dict(self._known))

    def _forget(self, name: str) -> None:
        self._asked.discard(name)
        if self._known.pop(name, None) is not None:
            self._emit([Drop(ResolvedName.TABLE, (self._cluster, "", name))])


def _read(path: Path | None) -> dict[str, tuple[str, ...]]:
    try:
        found = json.loads(path.read_text()) if path else {}
        return {str(name): tuple(map(str, addresses)) for name, addresses in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(path: Path | None, known: dict[str, tuple[str, ...]]) -> None:
    if path is None:
        return
    try:
        replace_file(path, json.dumps(known, sort_keys=True).encode())
    except OSError as error:
        log.warning("resolved names cannot be kept", error=str(error))
