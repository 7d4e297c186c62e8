"""The wiring of what is wrong with waypoints."""

from collections.abc import Iterator

from isthmus.base.errors import Problem
from isthmus.derive import waypoint_problems, waypoints
from isthmus.graph.observed import Meshwide
from isthmus.model.mesh import HostKey
from isthmus.tables.graph import Derived, Get, Graph


class WaypointProblems:
    """Waypoints that are named in vain, or that leave their callers without an answer."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        self.of_host: Derived[HostKey, tuple[Problem, ...]] = graph.derived(
            "problems.of_waypoint_user", self._of_host, ()
        )

    def all(self, get: Get) -> Iterator[Problem]:
        """Those of all services that name a waypoint, and of the waypoints that they go through."""
        used: set[tuple[str, HostKey]] = set()
        for host in get(self.meshwide.waypoints.candidates, ()):
            yield from get(self.of_host, host)
            for key in get(self.sources.services_of_host, host):
                found = get(self.meshwide.waypoints.of_host, (str(key[0]), host))
                if found is not None:
                    used.add((str(key[0]), found))
        for cluster, waypoint in sorted(used):
            row = get(self.sources.managed_gateways, (cluster, *waypoint))
            if row is None:
                continue
            pods = (get(self.sources.workloads, key) for key in get(self.sources.pods_of_gateway, row.key))
            if not any(pod.ready for pod in pods if pod is not None):
                yield waypoint_problems.no_pod(row)

    def _of_host(self, get: Get, host: HostKey) -> tuple[Problem, ...]:
        """Those of a service, in each cluster that has it."""
        found: set[Problem] = set()
        for key in get(self.sources.services_of_host, host):
            row = get(self.sources.services, key)
            if row is None:
                continue
            bound = get(self.meshwide.waypoints.bound, (row.cluster, host))
            if bound is not None and bound.reason is not None:
                namespace = get(self.sources.namespaces, (row.cluster, "", row.namespace))
                found.add(waypoint_problems.not_used(row, namespace, bound, bound.reason))
            elif bound is None and row.headless and isinstance(waypoints.named(row.labels, row.namespace), tuple):
                found.add(waypoint_problems.no_effect(row))
        return tuple(sorted(found))
