"""Keeps the WorkloadEntries of machines that are connected to this control plane in its config cluster (VM1-VM7).

What an entry says and when it goes is decided by `derive.registration`; here it is written. Every entry has a lock:
its machine may come back while its going is being written. An API server that does not answer holds up only what
needs it: a machine whose entry is known is served, and its registration is written later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus.derive import registration
from isthmus.derive.registration import Json, Machine
from isthmus.edge.control_plane import Backoff
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube.requests import WORKLOAD_ENTRIES
from isthmus.model.external import DISCONNECTED_AT, GROUP, WorkloadEntry, WorkloadGroup
from isthmus.trust.caller import Caller
from isthmus.xds.node import Node

log = structlog.get_logger()

Key = tuple[str, str]
"""(namespace, name) of a WorkloadEntry of the config cluster."""

CONFLICT, NOT_FOUND = 409, 404
LONGEST_MESSAGE = 1024
ATTEMPTS = 5
"""Reads and writes of one entry while others write it, too."""


class RegistrationError(IsthmusError):
    """A machine cannot be registered now; it will ask again."""


class RegistrationDeniedError(IsthmusError):
    """A machine may not be what it asks to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarSettings:
    """`instance` is this control plane's pod. Seconds: how long an entry outlives its machine, and between sweeps."""

    instance: str
    grace: float = 10.0
    sweep: float = 100.0
    first_retry: float = 0.5
    longest_retry: float = 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """What the mesh knows: rows of the config cluster, and the control planes' pods that exist there."""

    group: Callable[[Key], WorkloadGroup | None]
    entry: Callable[[Key], WorkloadEntry | None]
    entries: Callable[[], Collection[WorkloadEntry]]
    instances: Callable[[], Collection[str]]


@dataclass(eq=False, slots=True)
class _Entry:
    """One entry that this instance looks after; `made` False: somebody wrote it, and only its health is ours (VM7)."""

    made: bool
    streams: int = 0
    health: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Registrar:
    """Told by the xDS service who comes, goes and is healthy."""

    def __init__(
        self, settings: RegistrarSettings, clock: Clock, *, known: Known, client: Callable[[], KubeClient | None]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._known = known
        self._client = client
        self._entries: dict[Key, _Entry] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Sweep now and then, until cancelled; background writes live as long as this."""
        async with asyncio.TaskGroup() as self._group:
            while True:
                # First only what is left of the time before a restart is noted; machines get their grace to come back.
                await asyncio.sleep(self._settings.grace)
                await self._sweep()
                await asyncio.sleep(max(0.0, self._settings.sweep - self._settings.grace))

    # -- a machine's stream ---------------------------------------------------------------------------------------

    async def arrive(self, node: Node, caller: Caller | None) -> Key | None:
        """A proxy connected: its entry exists when this returns; None if it asks for none.

        Raises RegistrationError or RegistrationDeniedError.
        """
        claimed = _text(node.metadata, "WORKLOAD_ENTRY")
        if claimed:
            return self._claim((node.namespace, claimed), caller)
        name = _text(node.metadata, "AUTO_REGISTER_GROUP")
        if not name:
            return None
        group = self._known.group((node.namespace, name))
        if group is None:
            raise RegistrationError(f"there is no WorkloadGroup {node.namespace}/{name}", "Create it")
        machine = _machine(node, name)
        wrong = registration.refusal(group, caller)
        if wrong:
            raise RegistrationDeniedError(wrong, "Create its token with `isthmus workload entry configure`")
        return await self._register(machine, group)

    def _claim(self, key: Key, caller: Caller | None) -> Key:
        found = self._known.entry(key)
        if found is None:
            raise RegistrationError(f"there is no WorkloadEntry {key[0]}/{key[1]}", "Create it")
        wrong = registration.claim_refusal(found, caller)
        if wrong:
            raise RegistrationDeniedError(wrong, "Claim the entry with a token of its service account")
        self._entries.setdefault(key, _Entry(made=False)).streams += 1
        return key

    async def _register(self, machine: Machine, group: WorkloadGroup) -> Key:
        wanted = registration.manifest(machine, group, instance=self._settings.instance, now=self._clock.now())
        key = (group.namespace, wanted["metadata"]["name"])
        entry = self._entries.setdefault(key, _Entry(made=True))
        entry.streams += 1
        try:
            async with entry.lock:
                await self._write(key, wanted)
        except UnreachableError as error:
            if self._known.entry(key) is None:
                self._forget(key, entry)
                raise RegistrationError(f"{key[0]}/{key[1]} cannot be written: {error}", error.remedy) from error
            log.warning("machine is known, and its registration is written later", entry=key, error=str(error))
            self._later(self._insist(key, entry, lambda: self._write(key, wanted)))
        except IsthmusError:
            self._forget(key, entry)
            raise
        log.info("machine registered", entry=key, address=machine.address)
        return key

    def _forget(self, key: Key, entry: _Entry) -> None:
        """A stream that was not let in."""
        entry.streams -= 1
        if entry.streams == 0:
            del self._entries[key]

    def leave(self, key: Key) -> None:
        """One of a machine's streams ended."""
        entry = self._entries[key]
        entry.streams -= 1
        if entry.streams == 0:
            self._later(self._depart(key, entry))

    def report(self, key: Key, message: str) -> None:
        """A machine says how it is; empty: healthy (VM6). It is written into its entry, so not at any length."""
        message = message[:LONGEST_MESSAGE]
        entry = self._entries.get(key)
        if entry is None or entry.health == message:
            return
        entry.health = message
        log.info("machine's health", entry=key, healthy=not message, message=message)
        self._later(self._insist(key, entry, lambda: self._write_health(key, message), lambda: entry.health == message))

    # -- what is written ------------------------------------------------------------------------------------------

    async def _write(self, key: Key, wanted: Json) -> None:
        """Create the entry, or make the one that is there ours."""
        client = self._connected()
        for _ in range(ATTEMPTS):
            found = await client.find(WORKLOAD_ENTRIES, *key)
            try:
                if found is None:
                    await client.create(WORKLOAD_ENTRIES, wanted, namespace=key[0])
                    return
                if registration.annotation(found, GROUP) != registration.annotation(wanted, GROUP):
                    raise RegistrationError(
                        f"WorkloadEntry {key[0]}/{key[1]} was not made by this group", "Delete or rename it"
                    )
                body = registration.merged(found, wanted)
                await client.replace(WORKLOAD_ENTRIES, body, namespace=key[0], name=key[1])
                return
            except KubeError as error:
                if error.status not in (CONFLICT, NOT_FOUND):
                    raise
        raise RegistrationError(f"WorkloadEntry {key[0]}/{key[1]} is being written by others", "It is tried again")

    async def _write_health(self, key: Key, message: str) -> None:
        client = self._connected()
        found = await client.get(WORKLOAD_ENTRIES, *key)
        body = registration.with_health(found.get("status"), message, self._clock.now())
        await client.patch_status(WORKLOAD_ENTRIES, body, namespace=key[0], name=key[1])

    async def _depart(self, key: Key, entry: _Entry) -> None:
        """Note that the machine is gone; if it stays away, take its entry, or its health, away (VM5)."""

        def gone() -> bool:
            return entry.streams == 0

        if entry.made:
            await self._insist(key, entry, lambda: self._note_departure(key), gone)
        await asyncio.sleep(self._settings.grace)
        if entry.streams == 0:
            await self._insist(key, entry, lambda: self._remove(key, entry), gone)
        if entry.streams == 0 and self._entries.get(key) is entry:
            del self._entries[key]

    async def _note_departure(self, key: Key) -> None:
        found = await self._mine(key)
        if found is not None:
            body = registration.departed(found, self._clock.now())
            await self._connected().patch(WORKLOAD_ENTRIES, body, namespace=key[0], name=key[1])

    async def _remove(self, key: Key, entry: _Entry) -> None:
        """Unless the machine is connected elsewhere by now."""
        client = self._connected()
        if not entry.made:
            found = await client.get(WORKLOAD_ENTRIES, *key)
            body = registration.without_health(found.get("status"))
            await client.patch_status(WORKLOAD_ENTRIES, body, namespace=key[0], name=key[1])
        elif (mine := await self._mine(key)) is not None:
            await client.delete(WORKLOAD_ENTRIES, *key, version=registration.version(mine))
            log.info("machine is gone, and its entry with it", entry=key)

    async def _mine(self, key: Key) -> Json | None:
        """The entry if this instance is the one that the machine connected to last."""
        found = await self._connected().find(WORKLOAD_ENTRIES, *key)
        return found if found is not None and registration.is_controlled_by(found, self._settings.instance) else None

    async def _sweep(self) -> None:
        settings = self._settings
        found = registration.sweep(
            self._known.entries(),
            instance=settings.instance,
            connected=[key for key, entry in self._entries.items() if entry.streams],
            alive=self._known.instances(),
            now=self._clock.now(),
            grace=settings.grace,
        )
        try:
            for row in found.adopt:
                await self._adopt(row)
            for row in found.delete:
                await self._sweep_away((row.namespace, row.name))
        except IsthmusError as error:
            log.warning("entries of machines that are gone stay for now", error=str(error))

    async def _adopt(self, row: WorkloadEntry) -> None:
        """Unless somebody else did in the meantime."""
        client = self._connected()
        found = await client.find(WORKLOAD_ENTRIES, row.namespace, row.name)
        if found is not None and registration.is_controlled_by(found, row.controller):
            body = registration.adopted(found, self._settings.instance, self._clock.now())
            await client.patch(WORKLOAD_ENTRIES, body, namespace=row.namespace, name=row.name)

    async def _sweep_away(self, key: Key) -> None:
        """What the watch told may be old by now: look again."""
        client = self._connected()
        found = await client.find(WORKLOAD_ENTRIES, *key)
        if found is not None and registration.annotation(found, DISCONNECTED_AT):
            await client.delete(WORKLOAD_ENTRIES, *key, version=registration.version(found))
            log.info("machine was gone, and its entry is now, too", entry=key)

    # -- how ------------------------------------------------------------------------------------------------------

    def _connected(self) -> KubeClient:
        client = self._client()
        if client is None:
            raise UnreachableError("the config cluster is not connected yet", "It is tried again")
        return client

    def _later(self, work: Any) -> None:
        """Do it in the background; after the end there is nobody left to do it for."""
        if self._group is None:
            work.close()
            return
        self._group.create_task(work)

    async def _insist(
        self, key: Key, entry: _Entry, write: Callable[[], Awaitable[None]], wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Write until it worked, is not wanted any more, or makes no sense any more."""
        backoff = Backoff(self._settings.first_retry, self._settings.longest_retry)
        while wanted():
            try:
                async with entry.lock:
                    if wanted():
                        await write()
                return
            except KubeError as error:
                if error.status == NOT_FOUND:
                    return
                log.warning("entry of a machine not written", entry=key, error=str(error))
            except IsthmusError as error:
                log.warning("entry of a machine not written", entry=key, error=str(error))
            except Exception:
                log.exception("entry of a machine not written", entry=key)
                return
            await asyncio.sleep(backoff.delay())


def _machine(node: Node, group: str) -> Machine:
    found = node.metadata.get("LABELS")
    labels = {key: text for key, text in found.items() if isinstance(text, str)} if isinstance(found, Mapping) else {}
    where = "/".join(node.locality).rstrip("/")
    return Machine(
        namespace=node.namespace,
        group=group,
        address=node.address,
        network=_text(node.metadata, "NETWORK"),
        labels=tuple(sorted(labels.items())),
        locality=where,
    )


def _text(metadata: Mapping[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value if isinstance(value, str) else ""
