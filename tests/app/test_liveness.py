"""The keeper: looks become rows, journal and events; what was decided is in force again after a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from isthmus.app import liveness
from isthmus.app.cluster_settings import ClusterStatus
from isthmus.app.kube_events import EventWriter, event, reason
from isthmus.app.liveness import LivenessKeeper, World
from isthmus.derive.liveness import Decision
from isthmus.edge.clock import SystemClock
from isthmus.edge.gateway_probe import Probe
from isthmus.model.liveness import (
    Action,
    ClusterStanding,
    ClusterState,
    Liveness,
    LivenessPolicy,
    LivenessRule,
    MeshCluster,
    Signal,
)
from isthmus.tables.changes import Change
from tests.graph.world import mesh, two_networks

SERVES, OPEN, REFUSED = Probe(True, True, "serves"), Probe(True, False, "open"), Probe(False, False, "refused")
FAST = Liveness(
    rules=(LivenessRule((Signal.GATEWAY,), Action.DEMOTE, 0.0),), recovery=0.0, probe_interval=0.01, probe_timeout=1.0
)


class Prober:
    """Gateways as a test says they are, by address."""

    found: ClassVar[dict[str, Probe]] = {}

    async def probe(self, address: str, port: int, *, roots: bytes, within: float) -> Probe:
        assert (port, roots) == (15443, b"roots")
        return self.found.get(address, SERVES)


class Control:
    """A control plane's keeper with a mesh of two clusters."""

    def __init__(self, directory: Path, *rows: Any) -> None:
        policy = LivenessPolicy(cluster="east", namespace="istio-system", name="default", liveness=FAST)
        self.mesh = mesh("east", two_networks(), policy, *rows)
        self.contact: dict[str, float | None] = {"east": None, "west": None}
        self.clock = SystemClock()
        self.keeper = LivenessKeeper(
            World(self.mesh, self.statuses, lambda: b"roots", lambda _: {}),
            self.clock,
            directory=str(directory),
            emit=self.emit,
            events=EventWriter(lambda: None, namespace="istio-system", instance="istiod-1"),
        )

    def statuses(self) -> list[ClusterStatus]:
        fields: dict[str, Any] = {"secret": "", "server": "", "status": "synced", "last_error": "", "rows": 1}
        return [
            ClusterStatus(id=name, last_contact=contact, stale=False, **fields)
            for name, contact in self.contact.items()
        ]

    def emit(self, changes: list[Change]) -> None:
        self.mesh.apply(changes)

    def standing(self, cluster: str = "west") -> ClusterStanding | None:
        return self.mesh.sources.standings.get((cluster, "", cluster))

    def journal(self) -> list[tuple[str, str, str]]:
        return [(one.what, one.before, one.after) for one in self.keeper.journal.since(0) if one.cluster == "west"]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the keeper tells nobody
                await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "TICK", 0.005)
    monkeypatch.setattr(liveness, "GatewayProber", Prober)
    monkeypatch.setattr(Prober, "found", {})


def run(control: Control, scenario: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await control.keeper.load()
        control.keeper.begin()
        task = asyncio.create_task(control.keeper.run())
        try:
            await scenario()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(all_of_it())


def west(**fields: Any) -> MeshCluster:
    return MeshCluster(cluster="east", namespace="istio-system", name="west", subject="west", **fields)


def test_a_gateway_dies_and_comes_back(tmp_path: Path) -> None:
    control = Control(tmp_path)

    async def scenario() -> None:
        await control.until(lambda: _health(control) == "good")
        Prober.found["172.18.0.2"] = REFUSED
        await control.until(lambda: control.standing() is not None)
        row = control.standing()
        assert row is not None
        assert row.demoted
        assert control.standing("east") is None
        Prober.found.clear()
        await control.until(lambda: control.standing() is None)

    run(control, scenario)
    assert control.journal() == [
        ("member", "", "active"),
        ("gateway", "good", "bad"),
        ("standing", "active", "demoted"),
        ("gateway", "bad", "good"),
        ("standing", "demoted", "active"),
    ]


def _health(control: Control, cluster: str = "west") -> str:
    entry = next(one for one in control.keeper.page() if one["cluster"] == cluster)
    return str(entry["signals"]["gateway"].health)


def test_one_that_answered_and_now_is_only_open_does_not_serve(tmp_path: Path) -> None:
    control = Control(tmp_path)

    async def scenario() -> None:
        Prober.found["172.18.0.1"] = OPEN
        await control.until(lambda: _health(control) == _health(control, "east") == "good")
        Prober.found["172.18.0.2"] = OPEN
        await control.until(lambda: _health(control) == "bad")
        assert _health(control, "east") == "good", "an older gateway answers no probe, and serves"

    run(control, scenario)


def test_a_restart_goes_on_with_what_was_decided(tmp_path: Path) -> None:
    before = Control(tmp_path)

    async def dies() -> None:
        await before.until(lambda: _health(before) == "good")
        Prober.found["172.18.0.2"] = REFUSED
        await before.until(lambda: before.standing() is not None)
        await before.until(lambda: b"demote" in (tmp_path / liveness.STATE_FILE).read_bytes())

    run(before, dies)
    after = Control(tmp_path)

    async def goes_on() -> None:
        row = after.standing()
        assert row is not None
        assert row.demoted, "before anybody is answered"
        assert after.journal() == before.journal()
        await after.until(lambda: _health(after) == "bad")
        Prober.found.clear()
        await after.until(lambda: after.standing() is None)

    run(after, goes_on)


def test_what_was_declared_before_the_start_is_in_force_before_anybody_is_answered(tmp_path: Path) -> None:
    control = Control(tmp_path, west(state=ClusterState.DRAINED))

    async def nothing() -> None:
        row = control.standing()
        assert row is not None
        assert (row.weight, row.declared) == (0, True)

    run(control, nothing)


def test_a_damaged_state_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / liveness.STATE_FILE).write_text("{nonsense")
    control = Control(tmp_path)

    async def scenario() -> None:
        await control.until(lambda: _health(control) == "good")

    run(control, scenario)


def test_required_clusters_are_waited_for_and_reported(tmp_path: Path) -> None:
    north = MeshCluster(cluster="east", namespace="istio-system", name="n", subject="north", required=True)
    south = MeshCluster(cluster="east", namespace="istio-system", name="s", subject="south")
    elsewhere = MeshCluster(cluster="west", namespace="istio-system", name="x", subject="x", required=True)
    control = Control(tmp_path, west(required=True), north, south, elsewhere)
    assert control.keeper.unreached() == ["north", "west"]
    problems = {(one.where.name, str(one.severity)): one.message for one in control.keeper.problems()}
    assert set(problems) == {("n", "error"), ("west", "error"), ("s", "warning")}
    assert "was never reached" in problems["west", "error"]
    assert "no remote secret names it" in problems["n", "error"]
    control.contact |= {"west": 1.0, "north": 1.0, "south": None}
    assert control.keeper.unreached() == []
    assert control.keeper.problems() == []


def test_of_two_declarations_the_older_counts(tmp_path: Path) -> None:
    second = MeshCluster(
        cluster="east", namespace="istio-system", name="again", subject="west", state=ClusterState.DRAINED, created="2"
    )
    control = Control(tmp_path, west(created="1"), second)
    control.contact["west"] = 1.0
    assert control.keeper.declared.clusters["west"].state is ClusterState.ACTIVE
    assert [(one.where.name, one.field) for one in control.keeper.problems()] == [("again", "metadata.name")]


# -- events in Kubernetes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "before", "after", "word", "kind"),
    [
        ("gateway", "good", "bad", "GatewayBad", "Warning"),
        ("apiServer", "bad", "good", "ApiServerGood", "Normal"),
        ("standing", "active", "demoted", "ClusterDemoted", "Warning"),
        ("standing", "active", "active", "ClusterKept", "Normal"),
        ("standing", "dropped", "returning 25%", "ClusterReturning", "Normal"),
        ("drain", "active", "draining 75%", "ClusterDraining", "Normal"),
        ("drain", "draining 25%", "drained", "ClusterDrained", "Normal"),
        ("drain", "draining 25%", "stopped", "DrainStopped", "Warning"),
        ("declared", "active", "cordoned", "ClusterCordoned", "Normal"),
        ("member", "active", "", "ClusterForgotten", "Normal"),
    ],
)
def test_events_have_a_reason_in_one_word(what: str, before: str, after: str, word: str, kind: str) -> None:
    decision = Decision(1000.5, "west", what, before, after, "because")
    made = event(decision, "west", namespace="istio-system", instance="istiod-1")
    assert reason(decision) == made["reason"] == word
    assert made["type"] == kind
    assert made["involvedObject"]["name"] == "west"
    assert made["metadata"]["namespace"] == made["involvedObject"]["namespace"] == "istio-system"
    assert made["firstTimestamp"] == "1970-01-01T00:16:40Z"
