"""Clusters as declared by the operator, how their life is judged, and how they stand now.

What is declared is observed like any object. A standing is what `derive.liveness` decided from signals and time; it
enters the graph as a row, so that what proxies get stays a function of rows.
"""

from enum import StrEnum

import msgspec

from isthmus.model.rows import Row


class Signal(StrEnum):
    """A way to see whether a cluster lives; none of them is enough on its own."""

    API_SERVER = "apiServer"
    GATEWAY = "gateway"
    DATA_PLANE = "dataPlane"


class Health(StrEnum):
    """What a signal says. UNKNOWN: nobody can tell, as of a gateway in a mesh without one."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """What is done about a cluster, the strongest last. DEMOTE: used where no other is left. DRAIN: no new requests.
    DROP: its endpoints are removed."""

    KEEP = "keep"
    DEMOTE = "demote"
    DRAIN = "drain"
    DROP = "drop"

    @property
    def strength(self) -> int:
        """0 for KEEP; grows with what it takes away."""
        return list(Action).index(self)


class ClusterState(StrEnum):
    """What the operator wants of a cluster. CORDONED: it keeps what it serves, and nothing fails over to it while
    another is left. DRAINED: requests are moved elsewhere in steps."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINED = "drained"


class LivenessRule(msgspec.Struct, frozen=True, gc=False):
    """Holds while each signal of `when` is bad and none of `unless` is good; acts when it held for `after` seconds."""

    when: tuple[Signal, ...]
    action: Action
    after: float = 0.0
    unless: tuple[Signal, ...] = ()

    def __str__(self) -> str:
        unless = f" unless {'/'.join(self.unless)} good" if self.unless else ""
        return f"{'+'.join(self.when)} bad{unless} for {self.after:g}s"


class Liveness(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How life is judged; None inherits. Times in seconds.

    `recovery`: how long no rule must have held before a cluster is taken back. `minimum_healthy`: percent of the
    clusters that must be healthy after a decision for `drain` and `drop`; below it they become `demote`.
    `probe_interval`, `probe_timeout`: of the gateways.
    """

    rules: tuple[LivenessRule, ...] | None = None
    recovery: float | None = None
    minimum_healthy: int | None = None
    probe_interval: float | None = None
    probe_timeout: float | None = None


class DrainPlan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a cluster is drained: in `steps` equal steps over `over` seconds. Stopped and undone when more than
    `max_failing` percent of the proxies that call the other clusters have trouble there."""

    over: float = 20.0
    steps: int = 4
    max_failing: int = 5


class MeshCluster(Row, frozen=True, kw_only=True, gc=False):
    """A declared cluster; `cluster` is where the object was read, `subject` the cluster that it is about."""

    TABLE = "mesh_clusters"
    subject: str = ""
    required: bool = False
    state: ClusterState = ClusterState.ACTIVE
    drain: DrainPlan = DrainPlan()
    liveness: Liveness = Liveness()
    created: str = ""


class LivenessPolicy(Row, frozen=True, kw_only=True, gc=False):
    """How life is judged in the whole mesh; of several the oldest counts."""

    TABLE = "liveness_policies"
    liveness: Liveness = Liveness()
    created: str = ""


class ClusterStanding(Row, frozen=True, kw_only=True, gc=False):
    """How a cluster stands; name == cluster. One without a row is in full use.

    `weight` is percent of the endpoints' own weight, 0 takes them out wherever a service has others. `demoted`: only
    where nothing else is left. `cordoned`: last among those that traffic fails over to. `declared`: the operator
    wants it so, not the cluster's signals; then its own callers are moved, too.
    """

    TABLE = "standings"
    weight: int = 100
    demoted: bool = False
    cordoned: bool = False
    declared: bool = False

    @property
    def plain(self) -> bool:
        """True if it changes nothing."""
        return self.weight == 100 and not self.demoted and not self.cordoned
