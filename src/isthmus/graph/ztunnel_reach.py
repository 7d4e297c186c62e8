"""What belongs to what an on-demand ztunnel asks for (XD8): a name, an address, or the pods of its node.

An address (`<network>/<ip>`) is another name of a workload or a service. To a service belong its endpoints, and what
leads to those in other networks; to both the waypoint that their callers go through. To a ztunnel belong the pods of
its node, whether it asks for them or not.
"""

from collections.abc import Iterator

from isthmus.graph.places import NOTHING, Names
from isthmus.graph.sources import ALL
from isthmus.graph.ztunnels import Ztunnels
from isthmus.model.mesh import HostKey
from isthmus.model.rows import Labels, labels_match
from isthmus.model.scopes import WorkloadView
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.ztunnel import gateways, workloads
from isthmus.ztunnel.build import service_name

Asked = tuple[WorkloadView, str]

ON_NODE = "node:"
"""Before a node's name: not a name that anybody asks for."""


class Reach:
    """Resource names by what is asked for."""

    def __init__(self, graph: Graph, ztunnels: Ztunnels) -> None:
        self.ztunnels = ztunnels
        self.meshwide = ztunnels.meshwide
        self.sources = ztunnels.sources
        self.pods_at = graph.index(
            "workloads.by_address", self.sources.workloads, lambda row: () if row.host_network else row.addresses
        )
        self.vips: Derived[WorkloadView, dict[str, str]] = graph.derived("ztunnel.vips", self._vips, {})
        self.primary: Derived[Asked, str] = graph.derived("ztunnel.primary", self._primary, "")
        self.table: Derived[Asked, Names] = graph.derived("ztunnel.reach", self._reach, NOTHING)

    def _reach(self, get: Get, key: Asked) -> Names:
        view, asked = key
        if asked.startswith(ON_NODE):
            pods = get(self.sources.pods_on, (view.cluster, asked.removeprefix(ON_NODE)))
            return frozenset(uid for at in pods if (uid := self._pod(get, view, *map(str, at))))
        name = get(self.primary, key)
        if not name:
            return NOTHING
        host = get(self.ztunnels.service_keys, ALL).get(name)
        if host is None:
            return frozenset((name, *self._through(get, view, self._waypoint_of_pod(get, name))))
        waypoint = get(self.meshwide.waypoints.of_host, (view.cluster, host))
        return frozenset((name, *self._behind(get, view, host), *self._through(get, view, waypoint)))

    def _through(self, get: Get, view: WorkloadView, waypoint: HostKey | None) -> Iterator[str]:
        """A waypoint, and its pods: ztunnel asks for none, though it sends connections there."""
        service = get(self.meshwide.services, waypoint) if waypoint is not None else None
        if waypoint is not None and service is not None:
            yield service_name(service.namespace, service.host)
            yield from self._behind(get, view, waypoint)

    def _waypoint_of_pod(self, get: Get, uid: str) -> HostKey | None:
        pod = workloads.pod_of(uid)
        return get(self.meshwide.pod_waypoints.of_pod, tuple(pod)) if pod is not None else None

    def _primary(self, get: Get, key: Asked) -> str:
        """The name by which a resource is known that is asked for; empty if there is none."""
        view, asked = key
        if asked in get(self.ztunnels.service_keys, ALL):
            return asked
        if asked.count("/") > 1:
            return asked if asked in get(self.ztunnels.workload_names, view) else ""
        network, _, address = asked.partition("/")
        if network != view.network:
            return self._gateway(get, network, address)
        for at in get(self.pods_at, address):
            if uid := self._pod(get, view, *map(str, at)):
                return uid
        return get(self.vips, view).get(address, "")

    def _pod(self, get: Get, view: WorkloadView, cluster: str, namespace: str, name: str) -> str:
        """The name of a pod's resource, if it is in the view's network."""
        uid = workloads.pod_uid(cluster, namespace, name)
        return uid if self.ztunnels.workloads.has_pod(get, view.network, uid) else ""

    def _vips(self, get: Get, view: WorkloadView) -> dict[str, str]:
        """The services of a view by the addresses at which its workloads call them."""
        found: dict[str, str] = {}
        keys = get(self.ztunnels.service_keys, ALL)
        for name in sorted(get(self.ztunnels.visible, view)):
            seen = get(self.meshwide.views, (view.cluster, keys[name]))
            if seen is not None and not seen.service.headless:
                found.update(dict.fromkeys(seen.addresses, name))
        return found

    def _gateway(self, get: Get, network: str, address: str) -> str:
        for row in gateways.usable(get(self.meshwide.entrances.gateways, network)):
            if row.address == address:
                return gateways.gateway_uid(row)
        return ""

    def _behind(self, get: Get, view: WorkloadView, host: HostKey) -> Iterator[str]:
        for other, name in get(self.ztunnels.crossings.placed, host):
            if other != view.network:
                yield name
        for key in self._slices(get, host):
            piece = get(self.sources.slices, key)
            for one in piece.endpoints if piece is not None else ():
                if one.pod and (uid := self._pod(get, view, str(key[0]), str(key[1]), one.pod)):
                    yield uid
        yield from (name for name in self._external(get, host) if name in get(self.ztunnels.workload_names, view))

    def _slices(self, get: Get, host: HostKey) -> Iterator[Key]:
        """The slices of a service; of a mesh-wide name, those of the clusters where it is global."""
        service = get(self.meshwide.services, host)
        base = service.base if service is not None else host
        for key in get(self.sources.slices_of_host, base):
            if host in self.meshwide.scopes.names_of(get, base, str(key[0])):
                yield key

    def _external(self, get: Get, host: HostKey) -> Iterator[str]:
        """What serves a host and is no pod of a slice."""
        entries = self.meshwide.external.entries(get, host)
        for key in self._slices(get, host):
            piece = get(self.sources.slices, key)
            for one in piece.endpoints if piece is not None else ():
                if not one.pod and one.addresses:
                    yield workloads.slice_uid(str(key[0]), str(key[1]), str(key[2]), one.addresses[0])
        for row in entries:
            listed = [one.address for one in row.endpoints] or ([host[1]] if row.resolution.by_dns else [])
            for address in listed:
                yield workloads.listed_uid(row.cluster, row.namespace, row.name, address)
        yield from self._selected(get, host, [row.selector for row in entries if row.selector])

    def _selected(self, get: Get, host: HostKey, by_entry: list[Labels]) -> Iterator[str]:
        """WorkloadEntries that a service or ServiceEntry selects, and pods that a ServiceEntry does."""
        service = get(self.meshwide.services, host)
        base = service.base if service is not None else host
        services = (get(self.sources.services, at) for at in get(self.sources.services_of_host, base))
        chosen = [row.selector for row in services if row is not None and row.selector]
        tables = self.sources.external
        for at in get(tables.workloads_of, host[0]) if chosen or by_entry else ():
            entry = get(tables.workload_entries, at)
            if entry is not None and any(labels_match(one, entry.labels) for one in (*chosen, *by_entry)):
                yield workloads.entry_uid(entry.cluster, entry.namespace, entry.name)
        for at in get(self.sources.pods_in, host[0]) if by_entry else ():
            pod = get(self.sources.workloads, at)
            if pod is not None and any(labels_match(one, pod.labels) for one in by_entry):
                yield workloads.pod_uid(pod.cluster, pod.namespace, pod.name)
