"""What a cluster's standing does to its endpoints, as one view sees them. No standing takes a service's last path.

* Weight 0 (drained, dropped): the endpoints are left out wherever the service has others that the view can use.
* Another weight (draining): they get that percentage of what they would get.
* Demoted: they come after everything else. Cordoned: what serves now goes on, what would be failed over to comes last.

A cluster's own proxies see it at home: they reach it without crossing anything, so only the operator's word moves them.
Its gateway passes on what still arrives, whatever is declared: callers may hear of a change later than the gateway.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from isthmus.model.liveness import ClusterStanding

StandingOf = Callable[[str], ClusterStanding | None]
T = TypeVar("T")

FULL_WEIGHT = 100
FULL = ClusterStanding(cluster="", name="")
AFTER_CORDON, AFTER_DEMOTION = 100, 1000
"""Added to a priority: beyond any rank of a place. Priorities are made consecutive afterwards."""


def in_full_use(cluster: str) -> ClusterStanding | None:
    """Where nothing was decided about any cluster."""
    return None


class Standings:
    """The clusters' standings as one view must take them. `home`: the view's own cluster; `passes_on`: a gateway."""

    def __init__(self, of: StandingOf, *, home: str = "", passes_on: bool = False) -> None:
        self._of = of
        self._home = home
        self._passes_on = passes_on
        self._known: dict[str, ClusterStanding] = {}

    def of(self, cluster: str) -> ClusterStanding:
        """The standing of a cluster."""
        found = self._known.get(cluster)
        if found is None:
            found = self._known[cluster] = self._look(cluster)
        return found

    def _look(self, cluster: str) -> ClusterStanding:
        found = self._of(cluster)
        if found is None or (cluster == self._home and (self._passes_on or not found.declared)):
            return FULL
        return found

    def remaining(self, members: Sequence[T], cluster_of: Callable[[T], str]) -> Sequence[T]:
        """The members without those of clusters with weight 0, unless that would leave nothing, or only what is dead.

        What the operator drained lives; better it than what signals demoted.
        """
        kept = [member for member in members if self.of(cluster_of(member)).weight > 0]
        if not kept:
            return members
        if all(self.of(cluster_of(member)).demoted for member in kept):
            return [member for member in members if self._may_serve(self.of(cluster_of(member)))]
        return kept

    @staticmethod
    def _may_serve(standing: ClusterStanding) -> bool:
        return standing.weight > 0 or (standing.declared and not standing.demoted)

    def factor(self, clusters: Iterable[str]) -> int:
        """What all weights are multiplied by, so that percentages of them are whole numbers."""
        return FULL_WEIGHT if any(0 < self.of(cluster).weight < FULL_WEIGHT for cluster in clusters) else 1

    def weight(self, cluster: str, factor: int) -> int:
        """The weight of one endpoint of the cluster; what is left in spite of weight 0 counts fully."""
        percent = self.of(cluster).weight or FULL_WEIGHT
        return factor * percent // FULL_WEIGHT

    def priority(self, cluster: str, rank: int, best: int) -> int:
        """Where a member comes that is `rank` away, if the best of the members is `best` away."""
        standing = self.of(cluster)
        if standing.demoted:
            return rank + AFTER_DEMOTION
        return rank + AFTER_CORDON if standing.cordoned and rank > best else rank
