"""The wiring of what is wrong with VirtualServices."""

from collections.abc import Iterator

from isthmus.base.errors import Problem
from isthmus.derive import gateways, route_problems, routing
from isthmus.derive.rules import NO_RULE
from isthmus.graph.observed import Meshwide
from isthmus.graph.routing import Routing
from isthmus.model.routing import MESH, VirtualService
from isthmus.model.rows import Gateway
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph


class RouteProblems:
    """What each VirtualService asks for in vain."""

    def __init__(self, graph: Graph, meshwide: Meshwide, routing: Routing) -> None:
        self.meshwide = meshwide
        self.routing = routing
        self.of_row: Derived[Key, tuple[Problem, ...]] = graph.derived("problems.of_virtual_service", self._of_row, ())

    def all(self, get: Get) -> Iterator[Problem]:
        """Those of all objects of the config cluster."""
        for row in self.routing.rows(get):
            yield from get(self.of_row, row.key)

    def _of_row(self, get: Get, key: Key) -> tuple[Problem, ...]:
        row = get(self.meshwide.sources.virtual_services, key)
        if row is None:
            return ()
        return (*self._destinations(get, row), *self._hosts(get, row), *self._gateways(get, row))

    def _destinations(self, get: Get, row: VirtualService) -> Iterator[Problem]:
        for field, wanted in route_problems.located(row):
            service = self.meshwide.named(get, wanted.host)
            rule = NO_RULE
            if service is not None and wanted.subset:
                rule = get(self.meshwide.rules, (row.namespace, (service.namespace, service.name)))
            yield from route_problems.destination(row, field, wanted, service, rule)

    def _hosts(self, get: Get, row: VirtualService) -> Iterator[Problem]:
        for host in row.hosts if MESH in row.gateways else ():
            rivals = [
                other
                for other in self.routing.rows_for(get, host)
                if routing.seen_by(other, row.namespace)
                and routing.rank(other) < routing.rank(row)
                and not (row.joins and other.joins)
            ]
            if rivals and routing.seen_by(row, row.namespace):
                yield route_problems.outdone(row, host, min(rivals, key=routing.rank))
            elif not host.startswith("*") and self.meshwide.named(get, host) is None:
                yield route_problems.unknown_host(row, host)

    def _gateways(self, get: Get, row: VirtualService) -> Iterator[Problem]:
        found: dict[str, Gateway | None] = {}
        for name in row.gateways:
            namespace, _, bare = name.partition("/")
            found[name] = get(self.meshwide.sources.gateways, (self.meshwide.settings.config_cluster, namespace, bare))
        taken = [
            name
            for name, one in found.items()
            if one is not None and any(gateways.bound_hosts(server, row) for server in one.servers)
        ]
        yield from route_problems.unbound(row, found, taken)
