"""The wiring of what ztunnels are not told to use: endpoints of clusters that are drained, dropped or demoted.

ztunnel knows no priorities between clusters and no percentage for one. So a cluster's endpoints serve a service, or
they do not while it has others. One that is being drained by percentages serves until the last step.
"""

from isthmus.derive.standing import Standings
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.model.mesh import Endpoint, HostKey
from isthmus.tables.graph import Derived, Get, Graph

Clusters = frozenset[str]
NONE: Clusters = frozenset()


class Withdrawals:
    """Clusters whose endpoints of a service are left out. No standing takes a service's last path."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self._meshwide = meshwide
        self._all = graph.index("standings.all", meshwide.sources.standings, lambda _: [ALL])
        self._table: Derived[tuple[HostKey, str], Clusters] = graph.derived("ztunnel.withdrawn", self._withdrawn, NONE)

    def of(self, get: Get, host: HostKey, home: str = "") -> Clusters:
        """For callers of a cluster, which only the operator's word moves away from their own; "": of any other."""
        return get(self._table, (host, home)) if get(self._all, ALL) else NONE

    def _withdrawn(self, get: Get, key: tuple[HostKey, str]) -> Clusters:
        host, home = key
        found = list(self._meshwide.assignments.ready_endpoints(get, host))
        standings = Standings(lambda cluster: self._meshwide.standing(get, cluster), home=home)
        kept = standings.remaining(found, _cluster_of)
        serving = [one for one in kept if not standings.of(one.cluster).demoted] or kept
        return frozenset(map(_cluster_of, found)).difference(map(_cluster_of, serving))


def _cluster_of(endpoint: Endpoint) -> str:
    return endpoint.cluster
