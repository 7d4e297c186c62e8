"""ClusterManager against API servers in this process: start, outage, rotation, removal, restart, the truth."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

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


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[BlockBuster]:
    """Whatever blocks the event loop fails the test."""
    with blockbuster_ctx("isthmus") as found:
        yield found


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


async def until(condition: Callable[[], object], *, within: float = 5.0) -> None:
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
            "remote_timeout": 0.5,
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

    async def synced(self, within: float = 5.0) -> None:
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


def test_own_and_remote_clusters_are_listed_and_followed(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        assert w.services("east") == {"in-east"}
        assert w.services() == {"in-west"}
        assert w.tables.cluster("east") == Cluster(cluster="east", name="east", config=True)
        assert w.tables.cluster("west") == Cluster(cluster="west", name="west")
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        await w.west.delete("services", "in-west", "sample")
        await until(lambda: w.services() == {"late"})
        assert [(s.id, s.status) for s in w.manager.statuses()] == [("east", "synced"), ("west", "synced")]

    play(tmp_path, scenario)


def test_a_cluster_appears_in_one_revision(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        first = [
            r
            for r in w.tables.revisions
            if any(c.table == "services" and c.prefix == ("west",) for c in r if isinstance(c, Replace))
        ]
        assert len(first) == 1
        assert {c.table for c in first[0]} == {
            "clusters",
            "namespaces",
            "nodes",
            "services",
            "endpointslices",
            "workloads",
        }

    play(tmp_path, scenario)


def test_remote_clusters_are_not_asked_for_policy(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        asked = {request.split("?")[0].rpartition("/")[2] for request in w.west.requests}
        assert asked >= {"services", "pods", "nodes", "namespaces", "endpointslices", "configmaps"}
        assert not asked & {"gateways", "peerauthentications", "destinationrules", "secrets"}

    play(tmp_path, scenario)


def test_outage_changes_no_row_and_the_status_says_so(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        before = dict(w.tables.rows)
        await w.west.stop()
        await until(lambda: w.status().status == "error")
        assert "connect" in w.status().last_error
        assert w.tables.rows == before
        assert w.status().rows == 1
        w.west.objects.clear()
        await w.west.start()
        await w.west.put("services", service("new"))
        w.west.oldest = w.west.version
        await until(lambda: w.services() == {"new"})
        await until(lambda: w.status().status == "synced")

    play(tmp_path, scenario)


def test_silence_is_noticed_and_its_end_too(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.hanging = True
        await until(lambda: w.status().status == "error")
        assert "does not answer" in w.status().last_error
        assert w.services() == {"in-west"}
        w.west.hanging = False
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"} and w.status().status == "synced")

    play(tmp_path, scenario)


def test_rotation_swaps_when_the_new_credentials_have_listed(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.tokens = {"good", "better"}
        await w.link(token="better")
        await until(lambda: any("/services" in r and "watch" in r for r in w.west.requests[-20:]))
        w.west.tokens = {"better"}
        await w.west.drop_watches()
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"} and w.status().status == "synced")
        assert all("in-west" in names for names in seen(w.tables, "west"))

    play(tmp_path, scenario)


def seen(tables: Tables, cluster: str) -> list[set[str]]:
    """The cluster's services after each revision since it appeared."""
    replayed, found = Tables(), []
    for revision in tables.revisions:
        replayed.apply(revision)
        if replayed.cluster(cluster):
            found.append(replayed.names("services", cluster))
    return found


@pytest.mark.parametrize(
    ("server", "token", "words"),
    [("", "bad", "told: Unauthorized"), ("http://127.0.0.1:1", "good", "127.0.0.1:1"), ("nowhere", "good", "no URL")],
)
def test_wrong_secret_shows_its_error_and_keeps_what_worked(
    tmp_path: Path, server: str, token: str, words: str
) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.link(server=server, token=token)
        await until(lambda: words in w.status().last_error)
        assert w.status().status == "error"
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        await w.link()
        await until(lambda: w.status().status == "synced" and not w.status().last_error)
        assert all("in-west" in names for names in seen(w.tables, "west"))

    play(tmp_path, scenario)


def test_deleted_secret_removes_the_clusters_rows_at_once(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.east.delete("secrets", "istio-remote-secret-west", "istio-system")
        await until(lambda: not w.services())
        assert w.tables.cluster("west") is None
        assert [s.id for s in w.manager.statuses()] == ["east"]
        await w.link()
        await until(lambda: w.services() == {"in-west"})

    play(tmp_path, scenario)


def test_second_secret_for_a_cluster_is_ignored_and_takes_over_when_the_first_goes(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.link(secret="zz-second", server="http://127.0.0.1:1")
        await until(lambda: any("already" in p.message for p in w.manager.problems()))
        assert w.status().status == "synced"
        await w.east.delete("secrets", "istio-remote-secret-zz-second", "istio-system")
        await until(lambda: not w.manager.problems())
        assert w.services() == {"in-west"}

    play(tmp_path, scenario)


def test_never_seen_cluster_stops_blocking_after_the_timeout_and_joins_later(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.west.stop()
        await w.link()
        await w.start()
        with pytest.raises(TimeoutError):
            await w.synced(within=0.3)
        await w.synced()
        assert w.status().status == "timeout"
        assert w.status().last_error
        assert w.tables.cluster("west") is None
        await w.west.start()
        await until(lambda: w.services() == {"in-west"} and w.status().status == "synced")

    play(tmp_path, scenario)


def test_own_cluster_is_waited_for_without_limit(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.east.stop()
        await w.start(remote_timeout=0.1)
        with pytest.raises(TimeoutError):
            await w.synced(within=0.5)
        assert w.status("east").status == "error"
        assert not w.tables.revisions
        await w.east.start()
        await w.synced()

    play(tmp_path, scenario)


def test_restart_while_a_remote_is_dead_serves_its_rows_marked_stale(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.west.stop()
        await w.start(remote_timeout=30)
        await w.synced()
        assert w.services() == {"in-west"}
        row = w.tables.cluster("west")
        assert row is not None
        assert row.stale
        assert w.status().stale
        assert w.status().status == "error"
        assert w.status().last_contact is not None
        w.west.objects.clear()
        await w.west.start()
        await w.west.put("services", service("new"))
        await until(lambda: w.services() == {"new"})
        await until(lambda: w.status().status == "synced")
        row = w.tables.cluster("west")
        assert row is not None
        assert not row.stale

    play(tmp_path, scenario)


def test_restart_while_a_remote_is_silent_waits_a_moment_then_restores(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        w.west.hanging = True
        await w.start(remote_timeout=30, probe_interval=60)
        await w.synced()
        assert w.services() == {"in-west"}
        assert w.status().stale

    play(tmp_path, scenario)


def test_restart_while_the_own_api_server_is_dead_knows_all_clusters(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.east.stop()
        await w.start()
        await w.synced()
        assert w.services("east") == {"in-east"}
        assert w.services() == {"in-west"}
        assert "own API server" in w.status().last_error
        await w.east.start()
        await until(lambda: w.status().status == w.status("east").status == "synced")
        assert not w.status().stale

    play(tmp_path, scenario)


def test_secret_deleted_while_down_is_not_restored(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await w.west.stop()
        await w.east.delete("secrets", "istio-remote-secret-west", "istio-system")
        await w.start()
        await w.synced()
        assert not w.services()
        await until(lambda: not list(tmp_path.glob("west*")))

    play(tmp_path, scenario)


def damage(directory: Path) -> None:
    """Cut the end off every file."""
    for path in directory.iterdir():
        path.write_bytes(path.read_bytes()[:-9])


def test_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        await w.stop()
        await asyncio.to_thread(damage, tmp_path)
        await w.start()
        await w.synced()
        assert w.services() == {"in-west"}

    play(tmp_path, scenario)


def test_missing_right_to_an_optional_kind_does_not_block(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.west.refusals = {"nodes": (403, "Forbidden")}
        await w.link()
        await w.start()
        await w.synced()
        assert w.services() == {"in-west"}
        assert w.status().status == "synced"

    play(tmp_path, scenario)


def test_missing_right_to_a_needed_kind_is_an_error_and_the_rest_is_used_after_the_timeout(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.west.refusals = {"pods": (403, "Forbidden")}
        await w.link()
        await w.start()
        await w.synced()
        await until(lambda: w.services() == {"in-west"})
        assert w.status().status == "error"
        assert "Forbidden" in w.status().last_error
        w.west.refusals = {}
        await until(lambda: w.status().status == "synced")

    play(tmp_path, scenario)


def test_custom_kinds_that_are_not_installed_count_as_empty(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        w.east.missing = {"gateways", "destinationrules", "peerauthentications"}
        await w.start()
        await w.synced()
        w.east.missing = set()
        server = {
            "port": {"number": 15443, "protocol": "TLS"},
            "tls": {"mode": "AUTO_PASSTHROUGH"},
            "hosts": ["*.local"],
        }
        await w.east.put("gateways", {"metadata": {"name": "g", "namespace": "a"}, "spec": {"servers": [server]}})
        await until(lambda: w.tables.names("gateways", "east") == {"g"})

    play(tmp_path, scenario)


def test_malformed_object_is_reported_and_harms_nothing(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        broken = service("in-west") | {"spec": {"ports": [{"port": "eighty"}]}}
        await w.west.put("services", broken)
        await w.west.put("services", service("late"))
        await until(lambda: w.services() == {"in-west", "late"})
        (problem,) = w.manager.problems()
        assert str(problem.where) == "Service sample/in-west in cluster west"
        assert problem.field == "spec.ports[0].port"
        await w.west.compact()
        await until(lambda: any("/services?limit" in r for r in w.west.requests[-12:]))
        assert w.services() == {"in-west", "late"}
        await w.west.put("services", service("in-west"))
        await until(lambda: not w.manager.problems())

    play(tmp_path, scenario)


def test_trust_domain_comes_from_the_clusters_own_mesh_config(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        mesh = {
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": "trustDomain: west.example"},
        }
        await w.west.put("configmaps", mesh)
        await w.link()
        await w.start()
        await w.synced()
        row = w.tables.cluster("west")
        assert row is not None
        assert row.trust_domain == "west.example"
        mesh["data"] = {"mesh": "trustDomain: changed.example"}
        await w.west.put("configmaps", mesh)
        await until(lambda: (w.tables.cluster("west") or row).trust_domain == "changed.example")

    play(tmp_path, scenario)


def test_one_secret_may_hold_several_clusters(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        both = {"west": kubeconfig(w.west.url, "good"), "south": kubeconfig(w.west.url, "good")}
        await w.east.put("secrets", remote_secret(both, "both"))
        await w.start()
        await w.synced()
        assert w.services("west") == w.services("south") == {"in-west"}
        await w.east.put("secrets", remote_secret({"west": both["west"]}, "both"))
        await until(lambda: not w.services("south"))
        assert w.services("west") == {"in-west"}

    play(tmp_path, scenario)


def test_token_review_goes_to_the_cluster_named(tmp_path: Path) -> None:
    async def scenario(w: World) -> None:
        await w.link()
        await w.start()
        await w.synced()
        w.west.tokens.add("proxy")
        assert (await w.manager.review("west", "proxy", "istio-ca"))["authenticated"] is True
        assert (await w.manager.review("east", "proxy", "istio-ca"))["authenticated"] is False
        assert set(w.manager.clusters()) == {"east", "west"}

    play(tmp_path, scenario)
