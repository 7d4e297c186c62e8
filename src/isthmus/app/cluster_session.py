"""One set of credentials of one cluster at work: a client, a watcher for each kind, and a probe."""

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import structlog

from isthmus.app.cluster_settings import ClusterSettings
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.kube_watch import Watcher
from isthmus.ingest.kinds import Kind, Observation, observer
from isthmus.ingest.observed import Observed
from isthmus.ingest.place import Place
from isthmus.kube.events import Applied, ContactLost, ContactRegained, Deleted, Fact, Failed, Replaced
from isthmus.kube.kubeconfig import Access
from isthmus.kube.watch import WatchMachine
from isthmus.tables.changes import Change

log = structlog.get_logger()

FORBIDDEN = 403

ExtraWatch = Callable[[KubeClient], Watcher[Any]]
"""Makes one more watcher for a session's client."""


class Session:
    """Reads one cluster with one set of credentials into `view`.

    `changed` is called when a kind was listed or an error came or went; `changes` gets what an observation changes in
    `view`, once the session is `live`. What a kind held before stays in the view until the kind has been listed.
    """

    def __init__(
        self,
        place: Place,
        access: Access,
        before: Observed,
        *,
        settings: ClusterSettings,
        clock: Clock,
        changes: Callable[[list[Change]], None],
        changed: Callable[[], None],
    ) -> None:
        self.access = access
        self.live = False
        self.client: KubeClient | None = None
        self.last_contact: float | None = None
        self.listed: set[str] = set()
        self.view = Observed(place.cluster, before.kinds.values())
        for name in self.view.kinds:
            self.view.inherit(name, before)
        self._place = place
        self._settings = settings
        self._clock = clock
        self._changes = changes
        self._changed = changed
        self._errors: dict[str, str] = {}
        self._watchers: dict[str, Watcher[Any]] = {}
        self._reachable = True

    async def run(self, extra: Iterable[tuple[str, ExtraWatch]] = ()) -> None:
        """Watch until cancelled."""
        try:
            self.client = await KubeClient.connect(self.access, self._settings.client)
        except IsthmusError as error:
            self._note("client", str(error))
            return
        kinds: list[tuple[str, ExtraWatch]] = [
            (kind.name, partial(self._watcher, kind)) for kind in self.view.kinds.values()
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for name, make in (*kinds, *extra):
                    group.create_task(self._keep_watching(name, make, self.client))
                group.create_task(self._probe(self.client))
        finally:
            await self.client.aclose()

    async def _keep_watching(self, name: str, make: ExtraWatch, client: KubeClient) -> None:
        """A watch that fails by a defect of ours begins anew, and harms no other."""
        while True:
            watcher = make(client)
            self._watchers[name] = watcher
            try:
                await watcher.run()
            except Exception as error:
                log.exception("watch failed", cluster=self._place.cluster, source=name)
                self._note(name, f"internal error: {error!r}; please report it")
            await asyncio.sleep(self._settings.watch.backoff_most)

    @property
    def complete(self) -> bool:
        """True if every kind was listed."""
        return len(self.listed) == len(self.view.kinds)

    @property
    def error(self) -> str:
        """What is wrong now; empty if nothing is."""
        precise = next((text for source, text in self._errors.items() if source != "probe"), "")
        return precise or self._errors.get("probe", "")

    def contact(self, source: str) -> None:
        """The server was heard by this watch, and accepted who asked."""
        self.last_contact = self._clock.now()
        self._note("probe", "")
        self._note(source, "")

    def failed(self, source: str, message: str) -> None:
        """A watch beside those of the kinds failed."""
        self._note(source, message)

    def _watcher(self, kind: Kind[Any], client: KubeClient) -> Watcher[Observation]:
        machine = WatchMachine(
            kind.resource,
            observer(kind, self._place),
            scope=kind.scope(self._place),
            options=self._settings.watch,
            jitter=random.random,
        )
        return Watcher(client, machine, facts=partial(self._learn, kind), contact=partial(self.contact, kind.name))

    def _learn(self, kind: Kind[Any], facts: list[Fact[Observation]]) -> None:
        changes: list[Change] = []
        listed = False
        for fact in facts:
            match fact:
                case Applied(found):
                    changes += self.view.put(kind.name, found)
                case Deleted(found):
                    changes += self.view.drop(kind.name, found)
                case Replaced(values):
                    changes += self.view.replace(kind.name, values)
                    listed = self._mark_listed(kind)
                case Failed(status, message):
                    listed = self._failed(kind, status, message) or listed
        if self.live and changes:
            self._changes(changes)
        if listed:
            self._changed()

    def _mark_listed(self, kind: Kind[Any]) -> bool:
        new = kind.name not in self.listed
        self.listed.add(kind.name)
        return new

    def _failed(self, kind: Kind[Any], status: int, message: str) -> bool:
        """True if this counts as listed: a kind that may be missing from an account's rights is done without."""
        if kind.optional and status == FORBIDDEN:
            return self._mark_listed(kind)
        self._note(kind.name, message)
        return False

    def _note(self, source: str, error: str) -> None:
        """Remember what is wrong, or that nothing is wrong any more; tell if that is news."""
        if self._errors.get(source, "") == error:
            return
        known = set(self._errors.values())
        if error:
            self._errors[source] = error
        else:
            del self._errors[source]
        if error and error not in known:
            log.warning("cluster cannot be read", cluster=self._place.cluster, source=source, error=error)
        elif not self._errors:
            log.info("cluster answers again", cluster=self._place.cluster)
        self._changed()

    async def _probe(self, client: KubeClient) -> None:
        """Ask a quiet server whether it is there; tell the watchers when it goes and comes."""
        while True:
            await asyncio.sleep(self._settings.probe_interval)
            if self.last_contact is not None and self._reachable:
                quiet = self._clock.now() - self.last_contact
                if quiet < self._settings.probe_interval:
                    continue
            try:
                await client.probe(within=self._settings.probe_timeout)
            except IsthmusError as error:
                self._lost(error)
            else:
                self.contact("probe")
                if not self._reachable:
                    self._reachable = True
                    self._nudge(ContactRegained())

    def _lost(self, error: IsthmusError) -> None:
        self._note("probe", str(error))
        if self._reachable and not isinstance(error, KubeError):
            self._reachable = False
            self._nudge(ContactLost())

    def _nudge(self, event: ContactLost | ContactRegained) -> None:
        for watcher in self._watchers.values():
            watcher.nudge(event)
