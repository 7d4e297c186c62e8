"""The wiring of waypoints: which one a service goes through as seen from a cluster, and what a waypoint answers to."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.derive import policies, scopes, services, waypoints
from isthmus.derive.networks import HBONE_PORT
from isthmus.derive.waypoints import Bound, Reason
from isthmus.graph.sources import ALL, Sources, host_of
from isthmus.model.managed import WAYPOINT_CLASS, ManagedGateway
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.policy import PolicyKey
from isthmus.model.rows import Labels, Service
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide


class Waypoints:
    """Who goes through which waypoint."""

    def __init__(self, graph: Graph, sources: Sources, meshwide: "Meshwide") -> None:
        self.sources = sources
        self.meshwide = meshwide
        derived = graph.derived
        self.bound: Derived[tuple[str, HostKey], Bound | None] = derived("derive.waypoint_bound", self._bound)
        self.of_host: Derived[tuple[str, HostKey], HostKey | None] = derived("derive.waypoint_of", self._of_host)
        self.candidates: Derived[tuple[()], tuple[HostKey, ...]] = derived(
            "derive.hosts_with_waypoint", self._candidates, ()
        )
        self.hosts: Derived[tuple[str, HostKey], tuple[HostKey, ...]] = derived(
            "derive.waypoint_hosts", self._hosts, ()
        )

    def _of_host(self, get: Get, key: tuple[str, HostKey]) -> HostKey | None:
        """The waypoint that clients of a cluster go through to a service."""
        found = get(self.bound, key)
        return found.waypoint if found is not None and found.reason is None else None

    def _bound(self, get: Get, key: tuple[str, HostKey]) -> Bound | None:
        """The waypoint of a service as clients of a cluster see it: by their own cluster's definition first (AM14).

        A mesh-wide name goes through the waypoint of the service that it means, so that it is no way around policies.
        One that is named but not there counts as none, as in Istio: callers are not cut off while it starts. One of
        another cluster counts on the same network, if it is global; on another network it is for the gateway there.
        """
        cluster, host = key
        service = get(self.meshwide.services, host)
        if service is None or service.caller_chooses or service.external:
            return None
        if service.stands_for is not None:
            return self._bound(get, (cluster, service.stands_for))
        found = waypoints.chosen(host[0], list(self._labels(get, cluster, service)))
        if found is None or found == service.base:
            return None
        return Bound(found, self._obstacle(get, cluster, found, service.base[0]))

    def _labels(self, get: Get, cluster: str, service: MeshService) -> Iterator[Labels]:
        """The labels of the service and of its namespace, where it is defined first.

        For a mesh-wide name that is here, if it is global here: elsewhere, the gateway there knows about waypoints.
        """
        settings, host = self.meshwide.settings, service.base
        if service.union_of is not None and cluster not in service.clusters:
            return
        rows = [get(self.sources.services, key) for key in get(self.sources.services_of_host, host)]
        known = [row for row in rows if row is not None]

        def order(row: Service) -> tuple[bool, tuple[bool, str]]:
            return (row.cluster != cluster, services.rank(row.cluster, settings))

        for row in sorted(known, key=order)[:1]:
            yield row.labels
            namespace = get(self.sources.namespaces, (row.cluster, "", host[0]))
            if namespace is not None:
                yield namespace.labels

    def _obstacle(self, get: Get, cluster: str, waypoint: HostKey, namespace: str) -> Reason | None:
        """Why a cluster's clients do not go through a waypoint for services of a namespace, if so."""
        service = get(self.meshwide.services, waypoint)
        found = {row.cluster: self._refusal(get, row, namespace) for row in self._rows(get, waypoint)}
        if not found:
            return Reason.MISSING
        if service is None or service.port(HBONE_PORT) is None:
            return Reason.UNREADY
        if cluster in found and (found[cluster] is None or len(found) == 1):
            return found[cluster]
        here = get(self.meshwide.homes, cluster).network
        near = [why for place, why in found.items() if get(self.meshwide.homes, place).network == here]
        if not near or not self.meshwide.scopes.is_global(get, service):
            return found.get(cluster, Reason.ELSEWHERE)
        return None if None in near else near[0]

    def _refusal(self, get: Get, row: ManagedGateway, namespace: str) -> Reason | None:
        """Why nobody goes through one waypoint for services of a namespace, if so."""
        place = get(self.sources.namespaces, (row.cluster, "", namespace))
        if not waypoints.admits(row, namespace, place.labels if place is not None else ()):
            return Reason.DENIED
        return waypoints.obstacle(row, waypoints.FOR_SERVICES)

    def _rows(self, get: Get, waypoint: HostKey) -> Iterator[ManagedGateway]:
        """The Gateways of a waypoint's name, in all clusters."""
        rows = (get(self.sources.managed_gateways, key) for key in get(self.sources.waypoints_at, waypoint))
        return (row for row in rows if row is not None)

    def _places(self, get: Get, waypoint: HostKey) -> set[str]:
        """The clusters that have a waypoint of that name for calls of services."""
        rows = self._rows(get, waypoint)
        return {row.cluster for row in rows if waypoints.obstacle(row, waypoints.FOR_SERVICES) is None}

    def nearest(self, get: Get, cluster: str, waypoint: HostKey) -> str:
        """The cluster whose waypoint a cluster's clients use: their own, if it has one; empty for any near one."""
        return cluster if cluster in self._places(get, waypoint) else ""

    def _candidates(self, get: Get, key: tuple[()]) -> tuple[HostKey, ...]:
        """Services that say something of waypoints, or whose namespace does."""
        found = {host_of(one) for one in get(self.sources.services_with_waypoint, ALL)}
        namespaces = {str(one[2]) for one in get(self.sources.namespaces_with_waypoint, ALL)}
        hosts = get(self.meshwide.hosts, ALL) if found or namespaces else ()
        return tuple(host for host in hosts if (scopes.meaning(host[1]) or host) in found or host[0] in namespaces)

    def _hosts(self, get: Get, key: tuple[str, HostKey]) -> tuple[HostKey, ...]:
        """The services that go through a waypoint of a cluster."""
        cluster, waypoint = key
        return tuple(host for host in get(self.candidates, ()) if get(self.of_host, (cluster, host)) == waypoint)

    def beyond(self, get: Get, cluster: str, host: HostKey) -> HostKey | None:
        """The waypoint of a service that callers from other networks go through: one that is global, too (AM14)."""
        found = get(self.of_host, (cluster, host))
        service = get(self.meshwide.services, found) if found is not None else None
        return found if service is not None and self.meshwide.scopes.is_global(get, service) else None

    def identities(self, get: Get, service: MeshService) -> set[str]:
        """Who may answer for a service where its callers are led to a waypoint."""
        clusters = {str(key[0]) for key in get(self.sources.services_of_host, service.base)}
        found = {self.beyond(get, cluster, service.base) for cluster in clusters}
        return {name for one in found if one is not None for name in get(self.meshwide.local_identities, one)}

    # -- policies -------------------------------------------------------------------------------------------------

    def own_policies(self, get: Get, waypoint: HostKey) -> tuple[PolicyKey, ...]:
        """The policies for everything that a waypoint takes: attached to it, or in the root namespace to its class."""
        attached = self.meshwide.attached_policies
        own = policies.attached_to(get(attached, waypoint[0]), ("Gateway", waypoint[1]))
        root = get(attached, self.meshwide.settings.system_namespace)
        return (*own, *policies.attached_to(root, ("GatewayClass", WAYPOINT_CLASS)))

    def policies_of(self, get: Get, waypoint: HostKey, host: HostKey) -> tuple[PolicyKey, ...]:
        """All policies for a service's callers at a waypoint."""
        name = (scopes.meaning(host[1]) or host)[1]
        attached = policies.attached_to(get(self.meshwide.attached_policies, host[0]), ("Service", name))
        return tuple(sorted({*self.own_policies(get, waypoint), *attached}))
