"""The wiring of problems: kept up to date from the first time somebody asks."""

from collections.abc import Iterator

from isthmus.base.errors import ObjectRef, Problem
from isthmus.base.labels import NETWORK_LABEL
from isthmus.derive import globals as global_names
from isthmus.derive import networks, problems
from isthmus.derive.networks import Home
from isthmus.derive.problems import Reach
from isthmus.graph.observed import Meshwide
from isthmus.graph.route_problems import RouteProblems
from isthmus.graph.routing import Routing
from isthmus.graph.scope_problems import ScopeProblems
from isthmus.graph.sources import ALL
from isthmus.graph.waypoint_problems import WaypointProblems
from isthmus.model.mesh import HostKey, NetworkGateway
from isthmus.model.mesh_config import NetworkDefinition
from isthmus.model.rows import Service, Workload
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph


class Problems:
    """What is wrong, as this control plane's own cluster sees it."""

    def __init__(self, graph: Graph, meshwide: Meshwide, routing: Routing) -> None:
        self._routes = RouteProblems(graph, meshwide, routing)
        self._scopes = ScopeProblems(graph, meshwide)
        self._waypoints = WaypointProblems(graph, meshwide)
        self._graph = graph
        self._meshwide = meshwide
        self._demanded = False
        derived = graph.derived
        self.reach: Derived[Key, tuple[Reach, ...]] = derived("problems.reach", self._reach, ())
        self.of_host: Derived[HostKey, tuple[Problem, ...]] = derived("problems.of_service", self._of_host, ())
        self.all: Derived[Key, tuple[Problem, ...]] = derived("problems", self._all, ())

    def now(self) -> list[Problem]:
        """All problems, sorted, each once."""
        if not self._demanded:
            self._graph.pin(self.all, ALL)
            self._demanded = True
        known = self._graph.peek(self.all, ALL)
        pods = list(self.placed())
        clashes = [*problems.overlaps(pods), *problems.shadowed(pods, self._services())]
        return sorted({*known, *clashes, *self._failures()})

    def _services(self) -> Iterator[tuple[str, Service]]:
        """Every service, with the network of its cluster."""
        for row in sorted((row for _, row in self._meshwide.sources.services.rows()), key=lambda row: row.key):
            yield networks.network_of((), self._graph.peek(self._meshwide.homes, row.cluster), ""), row

    def _failures(self) -> Iterator[Problem]:
        for (table, key), text in self._graph.failures.items():
            yield Problem(
                where=ObjectRef("", "row", "", f"{table} {key}"),
                field="",
                message=f"could not be derived, its last good value stays: {text}",
                remedy="This is a defect of Isthmus; the objects that the key names make it happen",
            )

    def placed(self) -> Iterator[tuple[str, Workload]]:
        """Every pod, with its network."""
        homes: dict[str, Home] = {}
        for pod in sorted((pod for _, pod in self._meshwide.sources.workloads.rows()), key=lambda row: row.key):
            home = homes.get(pod.cluster)
            if home is None:
                home = homes[pod.cluster] = self._graph.peek(self._meshwide.homes, pod.cluster)
            yield networks.network_of(pod.labels, home, next(iter(pod.addresses), "")), pod

    def _reach(self, get: Get, key: Key) -> tuple[Reach, ...]:
        found = get(self._meshwide.endpoints, key)
        return problems.reach(found) if found is not None else ()

    def _of_host(self, get: Get, host: HostKey) -> tuple[Problem, ...]:
        meshwide, settings = self._meshwide, self._meshwide.settings
        service = get(meshwide.services, host)
        if service is None:
            return ()
        keys = get(meshwide.sources.services_of_host, host)
        rows = [row for key in keys if (row := get(meshwide.sources.services, key)) is not None]
        # The mesh's own services differ by the roles of clusters, and are not for the mesh's callers.
        own = service.namespace == settings.system_namespace
        found = [] if own else list(problems.differences(rows, settings))
        view = get(meshwide.views, (settings.config_cluster, host))
        if view is not None and not service.headless:
            found.extend(problems.borrowed(view, settings.config_cluster))
        home = get(meshwide.homes, settings.config_cluster).network
        enters = any(networks.label(row.labels, NETWORK_LABEL) for row in rows)
        if home and not service.cluster_local and not own and not enters:
            found.extend(self._apart(get, host, home) if service.headless else self._out_of_reach(get, host, home))
        return tuple(found)

    def _taken_hosts(self, get: Get) -> Iterator[Problem]:
        """ServiceEntries whose host is a Kubernetes Service's."""
        sources = self._meshwide.sources
        for key in get(sources.external.all_entries, ALL):
            row = get(sources.external.service_entries, key)
            for host in row.hosts if row is not None else ():
                named = self._meshwide.named(get, host)
                if row is not None and named is not None and named.resolution is None:
                    yield problems.taken_host(row, named)

    def _apart(self, get: Get, host: HostKey, home: str) -> Iterator[Problem]:
        """Pods of a headless service that have no names here."""
        service = get(self._meshwide.services, host)
        parts = (get(self.reach, key) for key in get(self._meshwide.sources.slices_of_host, host))
        if service is not None:
            yield from problems.headless_apart(service, home, [one for part in parts for one in part])

    def _out_of_reach(self, get: Get, host: HostKey, home: str) -> Iterator[Problem]:
        meshwide = self._meshwide
        service = get(meshwide.services, host)
        slices = get(meshwide.sources.slices_of_host, host)
        found = [part for key in slices for part in get(self.reach, key)]
        found += [part for piece in get(meshwide.external.endpoints, host) for part in problems.reach(piece)]
        away = {part.network for part in found} - {"", home}
        gateways: dict[str, tuple[NetworkGateway, ...]] = {
            name: get(meshwide.entrances.gateways, name) for name in sorted(away)
        }
        if service is not None:
            yield from problems.out_of_reach(service, home, found, gateways)

    def _all(self, get: Get, key: Key) -> tuple[Problem, ...]:
        sources = self._meshwide.sources
        found = {problem for host in get(self._meshwide.hosts, ALL) for problem in get(self.of_host, host)}
        found.update(self._taken_hosts(get))
        for gateway in get(sources.all_gateway_services, ALL):
            row = get(sources.services, gateway)
            if row is not None:
                found.update(problems.gateway_service(row, self._meshwide.entrances.gateways_of_service(get, row)))
        found.update(self._routes.all(get))
        found.update(self._scopes.all(get))
        found.update(self._waypoints.all(get))
        config = get(self._meshwide.config, ALL)
        for rule in get(sources.all_rules, ALL):
            said = get(sources.destination_rules, rule)
            if said is not None:
                found.update(problems.idle_failover(said, config))
        for definition in get(self._meshwide.definitions, ALL):
            found.update(self._of_definition(get, definition))
        found.update(self._of_global_names(get))
        return tuple(sorted(found))

    def _of_global_names(self, get: Get) -> Iterator[Problem]:
        """Gateways in ServiceEntries of global names whose host names mean nothing."""
        external = self._meshwide.external
        for host in get(external.hosts, ALL):
            if global_names.meaning(host[1]) is None:
                continue
            names = networks.names_in(one.address for part in get(external.endpoints, host) for one in part.endpoints)
            for row in external.entries(get, host):
                mine = {endpoint.address for endpoint in row.endpoints}
                lost = [name for name in names if name in mine and not self._meshwide.entrances.resolve(get, name)]
                yield from (problems.lost_name(row, name) for name in dict.fromkeys(lost))

    def _of_definition(self, get: Get, definition: NetworkDefinition) -> Iterator[Problem]:
        """Gateways of `meshNetworks` that lead nowhere."""
        meshwide = self._meshwide
        where = ObjectRef(meshwide.settings.config_cluster, "ConfigMap", meshwide.settings.system_namespace, "istio")
        for entry in definition.gateways:
            only = NetworkDefinition(definition.name, definition.registries, definition.cidrs, (entry,))
            if any(meshwide.entrances.defined_gateways(get, only)):
                continue
            rows = list(meshwide.entrances.entry_services(get, definition, entry))
            if not any(networks.label(row.labels, NETWORK_LABEL) for row in rows):
                yield problems.lost_entry(where, definition, entry, rows)
