"""What is done about a cluster: a machine fed with signals and the time, which decides and says why.

* A rule acts when it has held for its time. The strongest of the rules that act is in force, at once.
* Something weaker is in force only after nothing stronger was called for during the time of recovery, and something
  good was seen. Each relapse soon after a return doubles that time: a cluster that flaps stays out longer and longer.
* Taking away (`drain`, `drop`) needs enough healthy clusters; otherwise the cluster is only demoted. Who sees most
  others die is more likely cut off itself.
* Drained by the operator: the weight goes down in steps, and back to full at once if those who call the remaining
  clusters have trouble there. A drain that was stopped is tried again only when it is declared anew.
"""

from collections.abc import Mapping

import msgspec

from isthmus.derive.signals import Reading, Votes
from isthmus.model.liveness import (
    Action,
    ClusterStanding,
    ClusterState,
    DrainPlan,
    Health,
    Liveness,
    LivenessRule,
    Signal,
)

DEFAULT_RULES = (
    LivenessRule((Signal.API_SERVER,), Action.KEEP, 10.0),
    LivenessRule((Signal.GATEWAY,), Action.DEMOTE, 3.0, unless=(Signal.DATA_PLANE,)),
    LivenessRule((Signal.DATA_PLANE,), Action.DEMOTE, 10.0),
    LivenessRule((Signal.API_SERVER, Signal.GATEWAY), Action.DROP, 300.0, unless=(Signal.DATA_PLANE,)),
    LivenessRule((Signal.API_SERVER, Signal.DATA_PLANE), Action.DROP, 300.0, unless=(Signal.GATEWAY,)),
)
"""A dead API server alone changes nothing; a dead gateway moves traffic; a cluster that is gone leaves after 5 min."""

RELAPSE_WITHIN = 600.0
"""Seconds after a return within which going again is a relapse."""

MOST_RELAPSES = 3
"""The time of recovery is doubled at most so many times."""


class Policy(msgspec.Struct, frozen=True, gc=False):
    """How life is judged, complete. Times in seconds."""

    rules: tuple[LivenessRule, ...] = DEFAULT_RULES
    recovery: float = 5.0
    minimum_healthy: int = 50
    probe_interval: float = 3.0
    probe_timeout: float = 2.0


def policy(*layers: Liveness) -> Policy:
    """The defaults, overridden field by field by each layer in turn."""
    found = Policy()
    for layer in layers:
        said = {name: value for name in layer.__struct_fields__ if (value := getattr(layer, name)) is not None}
        found = msgspec.structs.replace(found, **said)
    return found


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of one cluster at one moment."""

    readings: Mapping[Signal, Reading]
    policy: Policy = Policy()
    votes: Votes = Votes()
    state: ClusterState = ClusterState.ACTIVE
    plan: DrainPlan = DrainPlan()


class Decision(msgspec.Struct, frozen=True, gc=False):
    """An entry of the journal: `what` changed of a cluster, `before` and `after` in words, and why."""

    time: float
    cluster: str
    what: str
    before: str
    after: str
    reason: str


class Memory(msgspec.Struct, kw_only=True):
    """What is remembered of a cluster, also over a restart. Times in seconds since the epoch."""

    action: Action = Action.KEEP
    because: str = ""
    since: float = 0.0
    weaker_since: float | None = None
    returned_at: float = 0.0
    relapses: int = 0
    silent: bool = False
    withheld: bool = False
    healths: dict[str, Health] = msgspec.field(default_factory=dict)
    state: ClusterState = ClusterState.ACTIVE
    weight: int = 100
    stepped_at: float = 0.0
    stopped: str = ""


class LivenessMachine:
    """Decides about all clusters of a control plane. `memories` are those of the process before."""

    def __init__(self, memories: Mapping[str, Memory] | None = None) -> None:
        self.memories: dict[str, Memory] = dict(memories or {})
        self._known: set[tuple[str, Signal]] = set()

    def step(self, now: float, seen: Mapping[str, Observation]) -> list[Decision]:
        """Take in what is seen of all clusters now; returns what changed, for the journal."""
        out: list[Decision] = self._membership(now, seen)
        called = {cluster: self._called_for(now, one) for cluster, one in seen.items()}
        healthy = self._healthy(called, seen)
        for cluster, one in seen.items():
            memory = self.memories[cluster]
            note = _Note(now, cluster, out)
            _note_signals(memory, one, self._told(cluster, one), note)
            allowed = _limited(called[cluster], healthy, len(seen), one.policy.minimum_healthy)
            _move(memory, one, allowed, note)
            _note_withheld(memory, called[cluster], allowed, note)
        for cluster, one in seen.items():
            failing = _failing_elsewhere(cluster, self.memories, seen)
            _drain(self.memories[cluster], one, failing, _Note(now, cluster, out))
        return out

    def standings(self) -> list[ClusterStanding]:
        """How the clusters stand, by name; those in full use are left out."""
        rows = (standing(cluster, memory) for cluster, memory in sorted(self.memories.items()))
        return [row for row in rows if not row.plain]

    def _told(self, cluster: str, one: Observation) -> set[Signal]:
        """The signals that said something in this process; what a restart does not know yet is no news."""
        self._known |= {(cluster, name) for name, look in one.readings.items() if look.health is not Health.UNKNOWN}
        return {name for known, name in self._known if known == cluster}

    def _membership(self, now: float, seen: Mapping[str, Observation]) -> list[Decision]:
        out = []
        for cluster in seen.keys() - self.memories.keys():
            # What was declared before this control plane began is in force; nobody waits for it to be reached again.
            state = seen[cluster].state
            self.memories[cluster] = Memory(state=state, weight=0 if state is ClusterState.DRAINED else 100)
            shown = describe(self.memories[cluster])
            out.append(Decision(now, cluster, "member", "", shown, "it is known to this control plane now"))
        for cluster in self.memories.keys() - seen.keys():
            before = describe(self.memories.pop(cluster))
            out.append(Decision(now, cluster, "member", before, "", "it has no remote secret any more"))
        return sorted(out, key=lambda decision: decision.cluster)

    @staticmethod
    def _called_for(now: float, one: Observation) -> tuple[Action, str]:
        """The strongest action whose rule has held for its time, and that rule with what was seen."""
        found: tuple[Action, str] = (Action.KEEP, "")
        for rule in one.policy.rules:
            since = holds_since(rule, one.readings)
            stronger = rule.action.strength > found[0].strength or not found[1]
            if since is not None and now - since >= rule.after and stronger:
                texts = "; ".join(f"{signal}: {one.readings[signal].text}" for signal in rule.when)
                found = (rule.action, f"{rule} ({texts})")
        return found

    def _healthy(self, called: Mapping[str, tuple[Action, str]], seen: Mapping[str, Observation]) -> int:
        return sum(
            action is Action.KEEP and seen[cluster].state is not ClusterState.DRAINED
            for cluster, (action, _) in called.items()
        )


def holds_since(rule: LivenessRule, readings: Mapping[Signal, Reading]) -> float | None:
    """Since when a rule holds; None if it does not."""
    bad = [readings.get(signal, Reading()) for signal in rule.when]
    excuses = [readings.get(signal, Reading()) for signal in rule.unless]
    if any(one.health is not Health.BAD for one in bad) or any(one.health is Health.GOOD for one in excuses):
        return None
    return max(*(one.since for one in bad), *(one.not_good_since for one in excuses), 0.0)


def standing(cluster: str, memory: Memory) -> ClusterStanding:
    """The row by which proxies get their endpoints."""
    return ClusterStanding(
        cluster=cluster,
        name=cluster,
        weight=0 if memory.action is Action.DROP else memory.weight,
        demoted=memory.action is Action.DEMOTE,
        cordoned=memory.state is ClusterState.CORDONED,
        declared=memory.state is ClusterState.DRAINED and not memory.stopped,
    )


def describe(memory: Memory) -> str:
    """The standing in words."""
    if memory.action is Action.DROP:
        return "dropped"
    words = []
    if memory.weight < 100:
        draining = memory.state is ClusterState.DRAINED or memory.action is Action.DRAIN
        words.append(f"{'draining' if draining else 'returning'} {memory.weight}%" if memory.weight else "drained")
    if memory.action is Action.DEMOTE:
        words.append("demoted")
    if memory.state is ClusterState.CORDONED:
        words.append("cordoned")
    if memory.stopped:
        words.append("drain stopped")
    return ", ".join(words) or "active"


class _Note:
    """Writes decisions about one cluster at one time."""

    def __init__(self, now: float, cluster: str, out: list[Decision]) -> None:
        self.now = now
        self._cluster = cluster
        self._out = out

    def __call__(self, what: str, before: str, after: str, reason: str) -> None:
        self._out.append(Decision(self.now, self._cluster, what, before, after, reason))


def _note_signals(memory: Memory, one: Observation, told: set[Signal], note: _Note) -> None:
    """Signals that turned bad or good again; what becomes known is no news."""
    for signal in sorted(told):
        reading = one.readings.get(signal, Reading())
        before = memory.healths.get(signal.value, Health.UNKNOWN)
        memory.healths[signal.value] = reading.health
        if reading.health is not before and Health.BAD in (reading.health, before):
            note(signal.value, before.value, reading.health.value, reading.text)


def _limited(called: tuple[Action, str], healthy: int, known: int, minimum: int) -> tuple[Action, str]:
    """Nothing is taken away while too few clusters are healthy."""
    action, reason = called
    if action.strength < Action.DRAIN.strength or 100 * healthy >= minimum * known:
        return called
    return Action.DEMOTE, f"{reason}; no {action}: {healthy} of {known} clusters healthy, {minimum}% must be"


def _move(memory: Memory, one: Observation, called: tuple[Action, str], note: _Note) -> None:
    action, reason = called
    if action.strength > memory.action.strength:
        relapse = memory.action is Action.KEEP and note.now - memory.returned_at < RELAPSE_WITHIN
        memory.relapses = memory.relapses + 1 if relapse and memory.returned_at else memory.relapses
        _set_action(memory, one.plan, called, note)
    elif action.strength == memory.action.strength or _still_held(memory.action, one):
        memory.weaker_since = None
    elif any(reading.health is Health.GOOD for reading in one.readings.values()):
        if memory.weaker_since is None:
            memory.weaker_since = note.now
        wait = one.policy.recovery * 2 ** min(memory.relapses, MOST_RELAPSES)
        if note.now - memory.weaker_since >= wait:
            again = f", after {memory.relapses} relapses" if memory.relapses else ""
            reason = reason or f"no rule held for {wait:g}s{again}: {_good(one)}"
            _set_action(memory, one.plan, (action, reason), note)
    else:
        memory.weaker_since = None
    _note_silence(memory, called, note)


def _still_held(action: Action, one: Observation) -> bool:
    """True if a rule for this or more holds now, be it for less than its time: that is no recovery."""
    strong = (rule for rule in one.policy.rules if rule.action.strength >= action.strength)
    return any(holds_since(rule, one.readings) is not None for rule in strong)


def _good(one: Observation) -> str:
    found = (f"{signal}: {reading.text}" for signal, reading in one.readings.items() if reading.health is Health.GOOD)
    return "; ".join(found)


def _set_action(memory: Memory, plan: DrainPlan, called: tuple[Action, str], note: _Note) -> None:
    action, reason = called
    before = describe(memory)
    if action is Action.KEEP:
        memory.returned_at = note.now
    elif note.now - memory.returned_at >= RELAPSE_WITHIN:
        memory.relapses = 0
    if memory.action is Action.DROP and memory.weight:
        # It comes back in steps, as after a drain: what was gone for long is cold.
        memory.weight, memory.stepped_at = _step(plan), note.now
    memory.action, memory.because, memory.since, memory.weaker_since = action, reason, note.now, None
    note("standing", before, "draining" if action is Action.DRAIN else describe(memory), reason)


def _note_silence(memory: Memory, called: tuple[Action, str], note: _Note) -> None:
    """A rule that says `keep` changes nothing, and that is said once."""
    action, reason = called
    keeps = action is Action.KEEP and bool(reason)
    if keeps and not memory.silent and memory.action is Action.KEEP:
        shown = describe(memory)
        note("standing", shown, shown, f"kept: {reason}")
    memory.silent = keeps


def _note_withheld(memory: Memory, called: tuple[Action, str], allowed: tuple[Action, str], note: _Note) -> None:
    """What would have been done, had more clusters been healthy, is said once."""
    withheld = called[0] is not allowed[0]
    if withheld and not memory.withheld:
        shown = describe(memory)
        note("standing", shown, shown, allowed[1])
    memory.withheld = withheld


def _failing_elsewhere(cluster: str, memories: Mapping[str, Memory], seen: Mapping[str, Observation]) -> "_Elsewhere":
    others = [other for other in seen if other != cluster]
    usable = [
        other
        for other in others
        if memories[other].action is Action.KEEP and memories[other].state is not ClusterState.DRAINED
    ]
    callers = sum(seen[other].votes.callers for other in usable)
    return _Elsewhere(len(usable), callers, sum(seen[other].votes.troubled for other in usable))


class _Elsewhere(msgspec.Struct, frozen=True):
    """How it goes in the clusters that take over."""

    usable: int
    callers: int
    troubled: int

    def objection(self, plan: DrainPlan) -> str:
        """Why draining must not go on; empty if it may."""
        if not self.usable:
            return "no other cluster is healthy"
        if 100 * self.troubled > plan.max_failing * self.callers:
            share = f"{self.troubled} of {self.callers} proxies"
            return f"{share} have trouble with the other clusters, {plan.max_failing}% may"
        return ""


def _drain(memory: Memory, one: Observation, elsewhere: _Elsewhere, note: _Note) -> None:
    """One step of the weight, if it is due, or none."""
    before = describe(memory)
    if one.state is not memory.state:
        memory.state, memory.stopped, memory.stepped_at = one.state, "", 0.0
        note("declared", before, one.state.value, "the MeshCluster says so")
        before = describe(memory)
    wanted = one.state is ClusterState.DRAINED and not memory.stopped
    target = 0 if wanted or memory.action is Action.DRAIN else 100
    if memory.weight == target:
        return
    objection = elsewhere.objection(one.plan) if wanted else ""
    if objection:
        memory.stopped, memory.weight = objection, 100
        note("drain", before, "stopped", f"{objection}; all of its weight is back")
        return
    if note.now - memory.stepped_at < one.plan.over / one.plan.steps:
        return
    step = _step(one.plan)
    memory.weight = max(target, memory.weight - step) if target == 0 else min(target, memory.weight + step)
    memory.stepped_at = note.now
    note("drain", before, describe(memory), _why(memory, wanted))


def _step(plan: DrainPlan) -> int:
    """Percent of the weight that one step moves, rounded up."""
    return -(-100 // plan.steps)


def _why(memory: Memory, wanted: bool) -> str:
    if wanted:
        return "drained by the operator"
    return memory.because if memory.action is Action.DRAIN else "taken back"
