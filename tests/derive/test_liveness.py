"""What is done about clusters, as playbooks: looks and declarations at times, and what must be decided of them."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from isthmus.derive.liveness import Decision, LivenessMachine, Memory, Observation, Policy, describe, policy
from isthmus.derive.signals import Reading, Votes
from isthmus.model.liveness import (
    Action,
    ClusterState,
    DrainPlan,
    Health,
    Liveness,
    LivenessRule,
    Signal,
)

API, GATEWAY, DATA = Signal.API_SERVER, Signal.GATEWAY, Signal.DATA_PLANE
GOOD = {API: True, GATEWAY: True, DATA: True}
GONE = {API: False, GATEWAY: False, DATA: None}
SHORT = Policy(
    rules=(
        LivenessRule((API,), Action.KEEP, 2.0),
        LivenessRule((GATEWAY,), Action.DEMOTE, 3.0, unless=(DATA,)),
        LivenessRule((API, GATEWAY), Action.DROP, 10.0, unless=(DATA,)),
    ),
    recovery=4.0,
)
PLAN = DrainPlan(over=8.0, steps=4)


class World:
    """Clusters whose signals a test sets, looked at once a second."""

    def __init__(self, *clusters: str, policy: Policy = SHORT, memories: Mapping[str, Memory] | None = None) -> None:
        self.machine = LivenessMachine(memories)
        self.now = 1000.0
        self.policy = policy
        self.seen: dict[str, dict[Signal, Reading]] = {}
        self.states: dict[str, ClusterState] = {}
        self.votes: dict[str, Votes] = {}
        self.journal: list[Decision] = []
        for cluster in clusters:
            self.set(cluster, GOOD)

    def set(self, cluster: str, signals: Mapping[Signal, bool | None]) -> None:
        """From now on these signals are good (True), bad (False) or unknown (None)."""
        for signal, good in signals.items():
            health = Health.UNKNOWN if good is None else Health.GOOD if good else Health.BAD
            before = self.seen.setdefault(cluster, {}).get(signal, Reading())
            self.seen[cluster][signal] = before.now(health, self.now, f"{signal} is {health}")

    def run(self, seconds: int) -> list[tuple[str, str, str, str]]:
        """Let time pass; what was decided: (cluster, what, before, after)."""
        found: list[Decision] = []
        for _ in range(seconds):
            self.now += 1
            found += self.machine.step(self.now, {cluster: self._one(cluster) for cluster in self.seen})
        self.journal += found
        return [(one.cluster, one.what, one.before, one.after) for one in found]

    def _one(self, cluster: str) -> Observation:
        return Observation(
            readings=self.seen[cluster],
            policy=self.policy,
            votes=self.votes.get(cluster, Votes()),
            state=self.states.get(cluster, ClusterState.ACTIVE),
            plan=PLAN,
        )

    def standing(self, cluster: str) -> str:
        """In words."""
        return describe(self.machine.memories[cluster])

    def row(self, cluster: str) -> Any:
        """(weight, demoted) of the row, if there is one."""
        return next(((r.weight, r.demoted) for r in self.machine.standings() if r.name == cluster), None)


@pytest.fixture
def world() -> World:
    made = World("east", "west")
    made.run(1)
    return made


def moves(decided: list[tuple[str, str, str, str]]) -> list[tuple[str, str, str]]:
    """Without the signals."""
    return [(cluster, before, after) for cluster, what, before, after in decided if what not in list(Signal)]


# -- the defaults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signals", "seconds", "expected"),
    [
        ({API: False}, 3600, "active"),
        ({API: False, DATA: None}, 3600, "active"),
        ({GATEWAY: False, DATA: None}, 10, "demoted"),
        ({GATEWAY: False, DATA: False}, 10, "demoted"),
        ({GATEWAY: False}, 3600, "active"),
        ({DATA: False}, 20, "demoted"),
        ({DATA: None}, 3600, "active"),
        ({API: False, GATEWAY: False, DATA: None}, 290, "demoted"),
        ({API: False, GATEWAY: False, DATA: None}, 310, "dropped"),
        ({API: False, GATEWAY: False, DATA: False}, 310, "dropped"),
        ({API: False, GATEWAY: False}, 3600, "active"),
        ({API: False, GATEWAY: None, DATA: False}, 310, "dropped"),
        ({API: False, GATEWAY: None, DATA: None}, 3600, "active"),
    ],
    ids=[
        "a dead API server alone changes nothing",
        "nor without traffic",
        "a dead gateway moves traffic",
        "a dead gateway that callers notice",
        "a gateway that only we cannot reach is not dead",
        "callers fail, whatever we see",
        "no traffic is no sign",
        "gone, not long enough",
        "gone",
        "gone, and callers fail",
        "we are cut off, callers are not",
        "gone, on a flat network",
        "a dead API server on a flat network without traffic",
    ],
)
def test_the_defaults(signals: dict[Signal, bool | None], seconds: int, expected: str) -> None:
    world = World("east", "west", policy=Policy())
    world.run(1)
    world.set("west", signals)
    world.run(seconds)
    assert world.standing("west") == expected
    assert world.standing("east") == "active"


def test_what_was_left_alone_is_told_once(world: World) -> None:
    world.set("west", {API: False})
    assert world.run(100) == [("west", "apiServer", "good", "bad"), ("west", "standing", "active", "active")]
    assert world.journal[-1].reason == "kept: apiServer bad for 2s (apiServer: apiServer is bad)"
    world.set("west", {API: True})
    assert world.run(10) == [("west", "apiServer", "bad", "good")]
    world.set("west", {API: False})
    assert len(world.run(10)) == 2


# -- time, return, flapping -----------------------------------------------------------------------------------------


def test_a_rule_acts_after_its_time_and_the_cluster_returns_after_recovery(world: World) -> None:
    world.set("west", {GATEWAY: False, DATA: None})
    assert moves(world.run(2)) == []
    assert moves(world.run(1)) == [("west", "active", "demoted")]
    assert world.row("west") == (100, True)
    world.set("west", {GATEWAY: True})
    assert moves(world.run(4)) == []
    assert moves(world.run(1)) == [("west", "demoted", "active")]
    assert world.journal[-1].reason.startswith("no rule held for 4s: ")
    assert world.row("west") is None


def test_an_excuse_that_turns_from_bad_to_unknown_is_none_all_the_time(world: World) -> None:
    world.set("west", {API: False, GATEWAY: False, DATA: False})
    world.run(5)
    world.set("west", {DATA: None})
    world.run(5)
    assert world.standing("west") == "dropped", "ten seconds without a good sign"


def test_a_blip_shorter_than_the_rule_is_nothing(world: World) -> None:
    for _ in range(5):
        world.set("west", {GATEWAY: False, DATA: None})
        assert moves(world.run(2)) == []
        world.set("west", {GATEWAY: True})
        assert moves(world.run(2)) == []


def test_a_blip_during_recovery_begins_it_anew(world: World) -> None:
    world.set("west", {GATEWAY: False, DATA: None})
    world.run(4)
    for _ in range(5):
        world.set("west", {GATEWAY: True})
        world.run(3)
        world.set("west", {GATEWAY: False})
        world.run(4)
    assert moves([(d.cluster, d.what, d.before, d.after) for d in world.journal[2:]]) == [("west", "active", "demoted")]


def test_a_cluster_that_flaps_stays_out_longer_each_time(world: World) -> None:
    out = []
    for _ in range(4):
        world.set("west", {GATEWAY: False, DATA: None})
        assert moves(world.run(4)) == [("west", "active", "demoted")]
        world.set("west", {GATEWAY: True})
        waited = 0
        while world.standing("west") != "active":
            world.run(1)
            waited += 1
        out.append(waited)
    assert out == [5, 9, 17, 33]
    world.run(700)
    world.set("west", {GATEWAY: False})
    world.run(4)
    world.set("west", {GATEWAY: True})
    assert moves(world.run(5)) == [("west", "demoted", "active")], "after ten quiet minutes it is forgiven"


def test_nothing_returns_unseen(world: World) -> None:
    """Every signal is unknown, as after a restart: that is no reason to send traffic there again."""
    world.set("west", {GATEWAY: False, DATA: None, API: False})
    world.run(20)
    assert world.standing("west") == "dropped"
    world.set("west", {GATEWAY: None, API: None})
    assert moves(world.run(100)) == []
    world.set("west", {API: True})
    world.run(5)
    assert world.standing("west") == "returning 25%"


def test_gone_leaves_and_comes_back_in_steps(world: World) -> None:
    world.set("west", GONE)
    decided = moves(world.run(12))
    assert decided == [("west", "active", "active"), ("west", "active", "demoted"), ("west", "demoted", "dropped")]
    assert world.row("west") == (0, False)
    world.set("west", GOOD)
    assert moves(world.run(12)) == [
        ("west", "dropped", "returning 25%"),
        ("west", "returning 25%", "returning 50%"),
        ("west", "returning 50%", "returning 75%"),
        ("west", "returning 75%", "active"),
    ]


# -- enough must be healthy -----------------------------------------------------------------------------------------


def test_nothing_is_dropped_while_too_few_are_healthy() -> None:
    world = World("east", "west", "north")
    world.run(1)
    for cluster in ("west", "north"):
        world.set(cluster, GONE)
    world.run(20)
    assert [world.standing(cluster) for cluster in ("west", "north")] == ["demoted", "demoted"]
    (told,) = [one for one in world.journal if one.cluster == "west" and "no drop" in one.reason]
    assert told.reason.endswith("; no drop: 1 of 3 clusters healthy, 50% must be")
    assert (told.before, told.after) == ("demoted", "demoted")
    world.set("north", GOOD)
    world.run(20)
    assert [world.standing(cluster) for cluster in ("west", "north")] == ["dropped", "active"]


def test_a_drained_cluster_is_not_there_for_others() -> None:
    world = World("east", "west")
    world.states["east"] = ClusterState.DRAINED
    world.run(1)
    world.set("west", GONE)
    world.run(20)
    assert world.standing("west") == "demoted"


# -- what the operator declares -------------------------------------------------------------------------------------


def test_a_drain_goes_in_steps_and_back_in_steps(world: World) -> None:
    world.states["west"] = ClusterState.DRAINED
    assert moves(world.run(1)) == [("west", "active", "drained"), ("west", "active", "draining 75%")]
    assert world.row("west") == (75, False)
    assert moves(world.run(6)) == [
        ("west", "draining 75%", "draining 50%"),
        ("west", "draining 50%", "draining 25%"),
        ("west", "draining 25%", "drained"),
    ]
    assert world.row("west") == (0, False)
    assert moves(world.run(60)) == []
    world.states["west"] = ClusterState.ACTIVE
    assert [after for _, _, after in moves(world.run(7))] == [
        "active",
        "returning 25%",
        "returning 50%",
        "returning 75%",
        "active",
    ]


@pytest.mark.parametrize(
    ("votes", "stops"),
    [
        (Votes(callers=40, troubled=2), False),
        (Votes(callers=40, troubled=3), True),
        (Votes(callers=1, troubled=1), True),
    ],
)
def test_a_drain_stops_and_is_undone_when_callers_fail_elsewhere(world: World, votes: Votes, *, stops: bool) -> None:
    world.states["west"] = ClusterState.DRAINED
    world.run(3)
    assert world.row("west") == (50, False)
    world.votes["east"] = votes
    world.run(10)
    assert world.standing("west") == ("drain stopped" if stops else "drained")
    if not stops:
        return
    assert world.row("west") is None
    assert "proxies have trouble with the other clusters, 5% may" in world.journal[-1].reason
    world.votes.clear()
    assert moves(world.run(60)) == [], "it is not tried again by itself"
    world.states["west"] = ClusterState.ACTIVE
    world.run(1)
    world.states["west"] = ClusterState.DRAINED
    world.run(10)
    assert world.standing("west") == "drained"


def test_a_drain_stops_when_the_others_die(world: World) -> None:
    world.states["west"] = ClusterState.DRAINED
    world.run(1)
    world.set("east", {GATEWAY: False, DATA: None})
    world.run(10)
    assert world.standing("west") == "drain stopped"
    assert "no other cluster is healthy" in [one.reason for one in world.journal if one.what == "drain"][-1]


def test_what_was_declared_before_the_start_is_in_force_at_once() -> None:
    world = World("east", "west")
    world.states["west"] = ClusterState.DRAINED
    assert world.run(1) == [("east", "member", "", "active"), ("west", "member", "", "drained")]
    assert world.row("west") == (0, False)


def test_cordoned_is_told_and_undone(world: World) -> None:
    world.states["west"] = ClusterState.CORDONED
    assert moves(world.run(2)) == [("west", "active", "cordoned")]
    assert [row.cordoned for row in world.machine.standings()] == [True]
    world.states["west"] = ClusterState.ACTIVE
    assert moves(world.run(2)) == [("west", "cordoned", "active")]
    assert world.machine.standings() == []


# -- members, memory ------------------------------------------------------------------------------------------------


def test_a_cluster_that_is_unlinked_is_forgotten(world: World) -> None:
    del world.seen["west"]
    assert world.run(2) == [("west", "member", "active", "")]
    assert list(world.machine.memories) == ["east"]


def test_memories_survive_a_restart(world: World) -> None:
    world.set("west", GONE)
    world.run(20)
    kept = msgspec.json.decode(msgspec.json.encode(world.machine.memories), type=dict[str, Memory])
    again = World("east", memories=kept)
    again.now = world.now
    again.seen["west"] = {}
    assert again.run(100) == []
    assert again.standing("west") == "dropped"


def test_rules_are_overridden_field_by_field() -> None:
    mesh = Liveness(recovery=1.0, minimum_healthy=10)
    found = policy(mesh, Liveness(rules=(), minimum_healthy=0))
    assert found == Policy(rules=(), recovery=1.0, minimum_healthy=0)


def test_a_rule_that_drains_moves_the_weight_in_steps(world: World) -> None:
    world.policy = Policy(rules=(LivenessRule((DATA,), Action.DRAIN, 2.0),), recovery=4.0)
    world.set("west", {DATA: False})
    assert [after for _, _, after in moves(world.run(9))] == [
        "draining",
        "draining 75%",
        "draining 50%",
        "draining 25%",
        "drained",
    ]
    world.set("west", {DATA: True})
    world.run(20)
    assert world.standing("west") == "active"
