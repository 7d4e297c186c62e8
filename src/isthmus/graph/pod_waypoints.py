"""The wiring of waypoints of pods: which one calls of a pod's own address go through.

Istio's `waypoint-for: workload` or `all`. Only within the cluster: elsewhere nobody calls a pod by its address.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.base.labels import GATEWAY_NAME_LABEL
from isthmus.base.names import spiffe_id
from isthmus.derive import services, waypoints
from isthmus.derive.endpoints import REDIRECTED
from isthmus.derive.networks import HBONE_PORT, label
from isthmus.graph.sources import ALL, Sources
from isthmus.model.mesh import HostKey
from isthmus.model.rows import Workload
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide

Behind = tuple[HostKey, str, tuple[str, ...]]
"""A waypoint, the identity of a pod that goes through it, and the pod's addresses."""


class PodWaypoints:
    """Which pods are behind which waypoint."""

    def __init__(self, graph: Graph, sources: Sources, meshwide: "Meshwide") -> None:
        self.sources = sources
        self.meshwide = meshwide
        derived = graph.derived
        self.of_pod: Derived[Key, HostKey | None] = derived("derive.waypoint_of_pod", self._of_pod)
        self.in_namespace: Derived[tuple[str, str], tuple[Behind, ...]] = derived(
            "derive.pods_behind_waypoints", self._in_namespace, ()
        )
        self.behind: Derived[tuple[str, HostKey], tuple[Behind, ...]] = derived(
            "derive.pods_of_waypoint", self._behind, ()
        )

    def _of_pod(self, get: Get, key: Key) -> HostKey | None:
        """The waypoint that callers of a captured pod's address go through: its word counts before its namespace's."""
        row = get(self.sources.workloads, key)
        if row is None or row.redirection != REDIRECTED or label(row.labels, GATEWAY_NAME_LABEL):
            return None
        namespace = get(self.sources.namespaces, (row.cluster, "", row.namespace))
        marks = namespace.labels if namespace is not None else ()
        found = waypoints.chosen(row.namespace, [row.labels, marks])
        gateway = get(self.sources.managed_gateways, (row.cluster, *found)) if found is not None else None
        if found is None or gateway is None or not waypoints.admits(gateway, row.namespace, marks):
            return None
        if waypoints.obstacle(gateway, waypoints.FOR_WORKLOADS) is not None:
            return None
        return found if self.address(get, row.cluster, found) else None

    def address(self, get: Get, cluster: str, waypoint: HostKey) -> str:
        """Where a cluster's clients reach a waypoint, whichever of its pods answers; empty if nowhere."""
        service = get(self.meshwide.services, waypoint)
        if service is None or service.port(HBONE_PORT) is None:
            return ""
        found = next(iter(services.addresses_for(service, cluster)), "")
        at = f"[{found}]" if ":" in found else found
        return f"{at}:{HBONE_PORT}" if found else ""

    def _in_namespace(self, get: Get, key: tuple[str, str]) -> tuple[Behind, ...]:
        """The captured pods of a cluster's namespace that are behind a waypoint."""
        namespace = get(self.sources.namespaces, (key[0], "", key[1]))
        said = namespace is not None and waypoints.named(namespace.labels, key[1]) is not None
        keys = get(self.sources.captured_pods, key) if said else get(self.sources.pods_with_waypoint, key)
        found = []
        for at in keys:
            waypoint, row = get(self.of_pod, at), get(self.sources.workloads, at)
            if waypoint is not None and row is not None and row.addresses:
                found.append((waypoint, self._identity(get, row), row.addresses))
        return tuple(sorted(found))

    def _identity(self, get: Get, row: Workload) -> str:
        return spiffe_id(get(self.meshwide.trust_domain, row.cluster), row.namespace, row.service_account)

    def within(self, get: Get, cluster: str) -> Iterator[Behind]:
        """All pods of a cluster that are behind a waypoint. An address counts once."""
        if not get(self.sources.workload_waypoints, (cluster,)):
            return
        places = {str(key[2]) for key in get(self.sources.namespaces_with_waypoint, ALL) if key[0] == cluster}
        places |= {str(key[1]) for key in get(self.sources.pods_with_waypoint, (cluster,))}
        taken: set[str] = set()
        for namespace in sorted(places):
            for waypoint, identity, addresses in get(self.in_namespace, (cluster, namespace)):
                free = tuple(one for one in addresses if one not in taken)
                taken.update(free)
                if free:
                    yield waypoint, identity, free

    def _behind(self, get: Get, key: tuple[str, HostKey]) -> tuple[Behind, ...]:
        """The pods behind one waypoint of a cluster."""
        return tuple(one for one in self.within(get, key[0]) if one[0] == key[1])
