"""The wiring of assignments: which endpoints a port of a service has, as seen from a place."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from isthmus.derive import endpoints, networks, rules, scopes, services, visibility, waypoints
from isthmus.derive.horizon import Candidate, Horizon, assign
from isthmus.derive.rules import Rule
from isthmus.derive.standing import StandingOf
from isthmus.graph.sources import Sources
from isthmus.model.mesh import Assignment, Endpoint, HostKey, MeshService, SliceEndpoints
from isthmus.model.preference import NO_PREFERENCE
from isthmus.model.rows import labels_match
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide

AssignmentKey = tuple[Horizon, HostKey, int, str, str]
"""(where the view stands, service, port, subset, namespace of the client)."""


class Assignments:
    """Who serves what, for whom. Reads Meshwide's rows that are declared before it."""

    def __init__(self, graph: Graph, sources: Sources, meshwide: "Meshwide") -> None:
        self.sources = sources
        self.meshwide = meshwide
        self.rows: Derived[AssignmentKey, Assignment] = graph.derived(
            "derive.assignments", self._assignment, Assignment()
        )

    def _assignment(self, get: Get, key: AssignmentKey) -> Assignment:
        return self.assigned(get, key, lambda cluster: self.meshwide.standing(get, cluster))

    def assigned(self, get: Get, key: AssignmentKey, standing_of: StandingOf) -> Assignment:
        """The endpoints of a port, if clusters stood so."""
        horizon, host, port, subset, client = key
        service = get(self.meshwide.services, host)
        if service is None or service.port(port) is None:
            return Assignment()
        if horizon.waypoint is not None:
            return self._through_waypoint(get, key, standing_of)
        rule = get(self.meshwide.rules, (client, host))
        candidates = self._candidates(get, service, port, rule=rule, subset=subset, horizon=horizon)
        return assign(
            horizon,
            candidates,
            lambda network: get(self.meshwide.entrances.gateways, network),
            standing_of,
            preference=get(self.meshwide.places.preferences, (client, host, port, subset))
            if horizon.place
            else NO_PREFERENCE,
        )

    def _through_waypoint(self, get: Get, key: AssignmentKey, standing_of: StandingOf) -> Assignment:
        """The endpoints of the waypoint, near the client, as the way to a service's own address."""
        horizon, host, port, _, client = key
        service = get(self.meshwide.services, host)
        waypoint = get(self.meshwide.services, horizon.waypoint) if horizon.waypoint is not None else None
        addresses = services.addresses_for(service, horizon.client_cluster) if service is not None else ()
        if waypoint is None or not (addresses or horizon.hbone_only):
            return Assignment()
        passes_on = horizon.hbone_only
        only = self.meshwide.waypoints.nearest(get, horizon.client_cluster, (waypoint.namespace, waypoint.name))
        near = msgspec.structs.replace(horizon, waypoint=None, only_cluster=only, hbone=not passes_on)
        rule = get(self.meshwide.rules, (client, (waypoint.namespace, waypoint.name)))
        found = self._candidates(get, waypoint, networks.HBONE_PORT, rule=rule, subset="", horizon=near)
        assigned = assign(
            near,
            map(waypoints.as_end, found),
            lambda network: get(self.meshwide.entrances.gateways, network),
            standing_of,
        )
        return assigned if passes_on else waypoints.through(assigned, addresses[0], port)

    def _candidates(
        self, get: Get, service: MeshService, port: int, *, rule: Rule, subset: str, horizon: Horizon
    ) -> Iterator[Candidate]:
        mode = rules.policy_for(rule, subset, port).tls_mode
        chosen = rule.subset(subset)
        if subset and chosen is None:
            return
        for found, number in self._serving(get, service, port, horizon):
            exposed = self._passes(get, service, found.cluster)
            admitted = horizon.hbone and self.admits(get, service, found.cluster)
            for endpoint in found.endpoints:
                if chosen is None or labels_match(chosen.labels, endpoints.all_labels(endpoint)):
                    mtls = not service.external and endpoints.speaks_mtls(endpoint, number, mode)
                    yield Candidate(endpoint, number, mtls, exposed, admitted)

    def _passes(self, get: Get, service: MeshService, cluster: str) -> bool:
        """True if the gateways of a cluster pass the service on: by that cluster's own word on who sees it."""
        row = get(self.sources.services, (cluster, *service.base))
        words = row.export_to if row is not None and row.export_to else service.export_to
        return visibility.exported(words, service.namespace, self.meshwide.settings.system_namespace)

    def admits(self, get: Get, service: MeshService, cluster: str) -> bool:
        """True if the HBONE gateways of a cluster admit calls of the service: it is global there (AM11)."""
        if service.union_of is not None:
            return True
        return any(one.cluster == cluster for one in get(self.meshwide.scopes.claims, service.base))

    def _serving(
        self, get: Get, service: MeshService, port: int, horizon: Horizon
    ) -> Iterator[tuple[SliceEndpoints, int]]:
        """Endpoints of a service with the number at which they serve one of its ports.

        Those of a mesh-wide name are where it is global. So are those that gateways for HBONE pass on, and those of a
        widened name that is not to leave its cluster otherwise.
        """
        host = service.base
        beyond = service.union_of is not None or horizon.widened
        within: set[str] | None = None
        if service.union_of is not None or horizon.hbone_only or (horizon.widened and service.cluster_local):
            within = {one.cluster for one in get(self.meshwide.scopes.claims, host)}
        for slice_key in get(self.sources.slices_of_host, host):
            if within is not None and slice_key[0] not in within:
                continue
            found = get(self.meshwide.endpoints, slice_key)
            if found is not None and (number := found.port(self.port_name(get, service, port, found.cluster))):
                yield found, number
        for found in (
            *get(self.meshwide.external.endpoints, host),
            *(get(self.meshwide.scopes.summaries, host) if beyond else ()),
        ):
            if (within is None or found.cluster in within) and (number := found.port(str(port))):
                yield found, number

    def port_name(self, get: Get, service: MeshService, port: int, cluster: str) -> str:
        """The name that a cluster's own Service gives the port, by which its slices know it (SH22)."""
        row = get(self.sources.services, (cluster, *service.base))
        for candidates in (row.ports if row is not None else (), service.ports):
            for known in candidates:
                if known.port == port:
                    return known.name
        return ""

    def ready_endpoints(self, get: Get, host: HostKey) -> Iterator[Endpoint]:
        """The ready endpoints of a service in all clusters; those of a mesh-wide name, where it is global."""
        base = scopes.meaning(host[1])
        within = {one.cluster for one in get(self.meshwide.scopes.claims, base)} if base is not None else None
        beyond = get(self.meshwide.scopes.summaries, base) if base is not None else ()
        parts = [get(self.meshwide.endpoints, key) for key in get(self.sources.slices_of_host, base or host)]
        for found in (*parts, *get(self.meshwide.external.endpoints, base or host), *beyond):
            if found is not None and (within is None or found.cluster in within):
                yield from (endpoint for endpoint in found.endpoints if endpoint.ready)
