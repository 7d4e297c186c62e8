"""Two API servers and a control plane's cluster manager, for scenarios."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from isthmus.app.cluster_settings import ClusterSettings, ClusterStatus
from isthmus.app.clusters import ClusterManager
from isthmus.edge.clock import SystemClock
from isthmus.kube.kubeconfig import Access
from isthmus.kube.watch import WatchOptions
from isthmus.model.rows import Cluster, Row
from isthmus.tables.changes import Change, Drop, Put, Replace
from tests.fake_kube import FakeKube

FAST = WatchOptions(backoff_first=0.02, backoff_most=0.1, missing_confirm=0.02, missing_retry=0.2)
Json = dict[str, Any]


class Tables:
    """A stand-in for the mesh: applies changes, and remembers each revision."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Any], Row] = {}
        self.revisions: list[list[Change]] = []

    def apply(self, changes: list[Change]) -> None:
        """One revision."""
        self.revisions.append(changes)
        for change in changes:
            match change:
                case Put(table, key, row):
                    assert isinstance(row, Row)
                    self.rows[table, key] = row
                case Drop(table, key):
                    self.rows.pop((table, key), None)
                case Replace(table, prefix, rows):
                    for at in [at for at in self.rows if at[0] == table and at[1][: len(prefix)] == prefix]:
                        del self.rows[at]
                    for key, row in rows:
                        assert isinstance(row, Row)
                        self.rows[table, key] = row

    def names(self, table: str, cluster: str) -> set[str]:
        """Names of a table's rows of one cluster."""
        return {key[2] for at, key in self.rows if at == table and key[0] == cluster}

    def cluster(self, name: str) -> Cluster | None:
        """A cluster's row."""
        found = self.rows.get((Cluster.TABLE, (name, "", name)))
        assert found is None or isinstance(found, Cluster)
        return found


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class World:
    """A config cluster `east`, a remote `west`, and a control plane in east."""

    def __init__(self, east: FakeKube, west: FakeKube, directory: str) -> None:
        self.east = east
        self.west = west
        self.directory = directory
        self.tables = Tables()
        self.manager = self._manager()
        self._task: asyncio.Task[None] | None = None

    def _manager(self, **more: Any) -> ClusterManager:
        fields: dict[str, Any] = {
            "config_cluster": "east",
            "access": Access(server=self.east.url, token="good"),
            "watch": FAST,
            "checkpoint_dir": self.directory,
            "checkpoint_interval": 0.02,
            "remote_timeout": 3.0,
            "restore_after": 0.2,
            "probe_interval": 0.05,
            "probe_timeout": 0.2,
        }
        settings = ClusterSettings(**(fields | more))
        return ClusterManager(settings, emit=self.tables.apply, clock=SystemClock())

    async def start(self, **more: Any) -> None:
        """Start a control plane that knows nothing but its checkpoint."""
        self.tables = Tables()
        self.manager = self._manager(**more)
        self._task = asyncio.create_task(self.manager.run())

    async def synced(self, within: float = 20.0) -> None:
        """Wait for the manager."""
        async with asyncio.timeout(within):
            await self.manager.synced()

    async def stop(self) -> None:
        """Stop the control plane."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def status(self, cluster: str = "west") -> ClusterStatus:
        """A cluster's status now."""
        return next(status for status in self.manager.statuses() if status.id == cluster)

    def services(self, cluster: str = "west") -> set[str]:
        """The services in the mesh."""
        return self.tables.names("services", cluster)

    async def link(self, *, server: str = "", token: str = "good", name: str = "west", secret: str = "") -> None:
        """Put a remote secret for west into east."""
        await self.east.put(
            "secrets", remote_secret({name: kubeconfig(server or self.west.url, token)}, secret or name)
        )


def kubeconfig(server: str, token: str) -> str:
    """A kubeconfig as a remote secret holds it."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return json.dumps(document)


def remote_secret(configs: dict[str, str], name: str) -> Json:
    """A remote secret."""
    return {
        "metadata": {
            "name": f"istio-remote-secret-{name}",
            "namespace": "istio-system",
            "labels": {"istio/multiCluster": "true"},
        },
        "data": {cluster: base64.b64encode(text.encode()).decode() for cluster, text in configs.items()},
    }


def service(name: str) -> Json:
    """A service."""
    return {"metadata": {"name": name, "namespace": "sample"}, "spec": {"ports": [{"port": 80}]}}


Scenario = Callable[[World], Awaitable[None]]


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """Two API servers with a service each; no control plane yet."""
    async with FakeKube() as east, FakeKube() as west:
        await east.put("services", service("in-east"))
        await west.put("services", service("in-west"))
        made = World(east, west, str(directory))
        try:
            yield made
        finally:
            await made.stop()


def play(directory: Path, scenario: Scenario) -> None:
    """Run a scenario in a fresh world."""

    async def run() -> None:
        async with world(directory) as made:
            await scenario(made)

    asyncio.run(run())


def seen(tables: Tables, cluster: str) -> list[set[str]]:
    """The cluster's services after each revision since it appeared."""
    replayed, found = Tables(), []
    for revision in tables.revisions:
        replayed.apply(revision)
        if replayed.cluster(cluster):
            found.append(replayed.names("services", cluster))
    return found
