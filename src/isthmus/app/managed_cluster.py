"""One cluster over its life: first list, restore, rotation of credentials, outage, end. Rows go only by swaps."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from msgspec.structs import replace

from isthmus.app.cluster_session import ExtraWatch, Session
from isthmus.app.cluster_settings import CLOSED, ERROR, SYNCED, SYNCING, TIMEOUT, ClusterSettings, ClusterStatus
from isthmus.base.clock import Clock
from isthmus.base.errors import Problem
from isthmus.edge.checkpoint import Checkpoint
from isthmus.edge.kube_client import KubeClient
from isthmus.ingest.kinds import kinds_of
from isthmus.ingest.observed import Observed
from isthmus.ingest.place import Place
from isthmus.kube.kubeconfig import Access
from isthmus.model.rows import Cluster, Row
from isthmus.tables.changes import Change, Drop, Put, Replace

log = structlog.get_logger()

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task in the group of whoever owns the clusters."""

Extra = Iterable[tuple[str, ExtraWatch]]
"""Watches of a session beside those of the kinds, with their names."""


class ManagedCluster:
    """A cluster that this control plane knows.

    `live` is the session whose view is served; `pending` one with newer credentials that has not listed yet. The
    pending one takes over as one swap when it has listed everything, so endpoints never vanish in between (RS4).
    """

    def __init__(
        self,
        cluster: str,
        *,
        settings: ClusterSettings,
        clock: Clock,
        emit: Callable[[list[Change]], None],
        spawn: Spawn,
        kept: Checkpoint | None = None,
    ) -> None:
        self.id = cluster
        self.digest = ""
        self.config = cluster == settings.config_cluster
        self.secret = kept.secret if kept else ""
        self.dirty = False
        self.settled = asyncio.Event()
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._spawn = spawn
        self._kept = kept
        self._place = Place(cluster, settings.domain, settings.system_namespace)
        self._observed = Observed(cluster, kinds_of(config=self.config))
        self._live: Session | None = None
        self._pending: Session | None = None
        self._tasks: dict[Session, asyncio.Task[None]] = {}
        self._secret_error = ""
        self._stale = False
        self._seen_before: float | None = None
        self._row: Cluster | None = None
        self._since = clock.monotonic()
        self._pending_since = self._since
        self._timed_out = False
        self._closed = False
        self._changed = asyncio.Event()

    # What its owner tells it.

    def offer(self, access: Access | None, *, secret: str = "", error: str = "", extra: Extra = ()) -> None:
        """Credentials to use from now on; None with an error if they cannot be used: what worked goes on."""
        self.secret = secret
        self._secret_error = error
        self._stop(self._pending)
        self._pending = None
        self._changed.set()
        if access is None or (self._live is not None and self._live.access == access):
            return
        session = Session(
            self._place,
            access,
            self._observed,
            settings=self._settings,
            clock=self._clock,
            changes=self._pass_on,
            changed=self._changed.set,
        )
        self._pending = session
        self._pending_since = self._clock.monotonic()
        task = self._spawn(session.run(extra))
        self._tasks[session] = task
        task.add_done_callback(lambda _: self._tasks.pop(session, None))

    async def run(self) -> None:
        """Decide when a session takes over, when to restore and when to stop waiting, until cancelled."""
        try:
            while True:
                self._changed.clear()
                self._decide()
                try:
                    async with asyncio.timeout(self._next_decision()):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._close()

    def remove(self) -> None:
        """The cluster is not known any more: its rows go at once (RS5)."""
        changes: list[Change] = [Replace(table, (self.id,), ()) for table in self._observed.tables()]
        if self._row is not None:
            self._emit([*changes, Drop(Cluster.TABLE, self._row.key)])
        self._row = None
        self._closed = True
        self._stop(self._live)
        self._stop(self._pending)

    def restore(self) -> None:
        """Serve the rows of the checkpoint, marked stale, until the cluster has been listed."""
        if self._kept is None or self._live is not None or self._row is not None:
            return
        self._observed.load(self._kept.rows)
        if self._pending is not None:
            for name in self._observed.kinds.keys() - self._pending.listed:
                self._pending.view.inherit(name, self._observed)
        log.info("restored from checkpoint", cluster=self.id, rows=self._observed.count(), written=self._kept.written)
        self._seen_before = self._kept.contact
        self._kept = None
        self._stale = True
        self._swap_in(self._observed)

    def contact(self, source: str) -> None:
        """A watch beside those of the kinds heard the server."""
        for session in self._sessions():
            session.contact(source)

    def failed(self, source: str, message: str) -> None:
        """A watch beside those of the kinds failed."""
        for session in self._sessions():
            session.failed(source, message)

    def _sessions(self) -> tuple[Session, ...]:
        return tuple(session for session in (self._pending, self._live) if session)

    # What it tells.

    @property
    def client(self) -> KubeClient | None:
        """The client that works, else the one that is being tried."""
        return next((session.client for session in reversed(self._sessions()) if session.client), None)

    @property
    def error(self) -> str:
        """What is wrong now, the reason that a person can mend first."""
        return self._secret_error or next((session.error for session in self._sessions() if session.error), "")

    @property
    def trust_domain(self) -> str:
        """That of the rows in force; empty before there are any."""
        return self._row.trust_domain if self._row is not None else ""

    @property
    def complete(self) -> bool:
        """True if the rows in force are those of a session that has listed everything."""
        return self._live is not None and self._live.complete

    def status(self) -> ClusterStatus:
        """The truth now."""
        session = self._pending or self._live
        return ClusterStatus(
            id=self.id,
            secret=self.secret,
            server=session.access.server if session else "",
            status=self._status(),
            last_contact=self._last_contact(),
            last_error=self.error,
            rows=self._observed.count(),
            stale=self._stale,
            config=self.config,
        )

    def problems(self) -> list[Problem]:
        """What is wrong with the cluster's objects."""
        return self._observed.problems()

    def rows_by_kind(self) -> dict[str, list[Row]]:
        """What is in force, now."""
        return self._observed.by_kind()

    def checkpoint(self) -> Checkpoint:
        """What to keep for a restart."""
        server = self._live.access.server if self._live else ""
        now = self._clock.now()
        contact = self._last_contact()
        return Checkpoint(self.id, self.secret, server, now, self._observed.dump(), now if contact is None else contact)

    def _last_contact(self) -> float | None:
        """When the server was last heard, also before a restart."""
        contacts = [s.last_contact for s in self._sessions() if s.last_contact is not None]
        return max(contacts, default=self._seen_before)

    def _status(self) -> str:
        if self._closed:
            return CLOSED
        if self.complete and not self.error:
            return SYNCED
        if self._timed_out and self._row is None:
            return TIMEOUT
        return ERROR if self.error else SYNCING

    # Decisions.

    def _decide(self) -> None:
        pending = self._pending
        if pending is not None and self._may_take_over(pending):
            self._take_over(pending)
        if self.complete and self._stale:
            self._stale = False
            self._update_row()
        waited = self._clock.monotonic() - self._since
        if self._row is None and self._kept is not None and (self.error or waited >= self._settings.restore_after):
            self.restore()
        if self._row is None and not self.config and 0 < self._settings.remote_timeout <= waited:
            self._timed_out = True
        if self._row is not None or self._timed_out:
            self.settled.set()

    def _may_take_over(self, pending: Session) -> bool:
        """When all is listed; or, after the time-out, with what is listed, if there is nothing better (RS4, RS6)."""
        if pending.complete:
            return True
        waited = self._clock.monotonic() - self._pending_since
        worse = self._live is None or bool(self._live.error)
        limit = self._settings.remote_timeout
        return bool(pending.listed) and worse and 0 < limit <= waited and not self.config

    def _take_over(self, session: Session) -> None:
        self._stop(self._live)
        for name in session.view.kinds.keys() - session.listed:
            session.view.inherit(name, self._observed)
        self._live, self._pending = session, None
        self._kept = None
        self._observed = session.view
        self._stale = self._stale and not session.complete
        session.live = True
        self._swap_in(session.view)

    def _next_decision(self) -> float | None:
        """Seconds until time alone may change a decision; None: never."""
        now = self._clock.monotonic()
        times: list[float] = []
        if self._row is None:
            if self._kept is not None:
                times.append(self._since + self._settings.restore_after)
            if not self._timed_out and self._settings.remote_timeout > 0:
                times.append(self._since + self._settings.remote_timeout)
        if self._pending is not None and self._settings.remote_timeout > 0:
            times.append(self._pending_since + self._settings.remote_timeout)
        ahead = [at - now for at in times if at > now]
        return min(ahead) + 0.01 if ahead else None

    # Rows.

    def _swap_in(self, view: Observed) -> None:
        """All rows of the cluster in one revision."""
        self._row = self._cluster_row()
        changes: list[Change] = [Put(Cluster.TABLE, self._row.key, self._row)]
        changes += view.swap(table for table in view.tables() if table != Cluster.TABLE)
        self.dirty = not self._stale
        self.settled.set()
        self._emit(changes)

    def _pass_on(self, changes: list[Change]) -> None:
        """Changes of the live session. The cluster's own row is made here, for its sources are several."""
        self.dirty = True
        rest = [change for change in changes if change.table != Cluster.TABLE]
        if len(rest) != len(changes):
            self._update_row()
        if rest:
            self._emit(rest)

    def _update_row(self) -> None:
        row = self._cluster_row()
        if self._row is not None and row != self._row:
            self._row = row
            self._emit([Put(Cluster.TABLE, row.key, row)])

    def _cluster_row(self) -> Cluster:
        """The cluster's row: trust domain by its own mesh configuration, else the config cluster's (TR6)."""
        default = Cluster(cluster=self.id, name=self.id, trust_domain=self._settings.trust_domain)
        found: Row = next(self._observed.rows(Cluster.TABLE), default)
        assert isinstance(found, Cluster)
        return replace(found, config=self.config, stale=self._stale)

    # Ends.

    def _stop(self, session: Session | None) -> None:
        if session is not None:
            session.live = False
            if session in self._tasks:
                self._tasks[session].cancel()

    def _close(self) -> None:
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
