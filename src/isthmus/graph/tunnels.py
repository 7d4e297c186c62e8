"""The wiring of gateways for HBONE: which services they pass on, and to which endpoints."""

from collections.abc import Iterator

from isthmus.derive import gateways
from isthmus.derive.gateways import Takes
from isthmus.derive.horizon import Horizon
from isthmus.derive.visibility import exported
from isthmus.envoy import hbone_gateway, naming
from isthmus.envoy.router import tunnelled
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.rows import Protocol
from isthmus.model.scopes import RouterView
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import XdsResource

Names = frozenset[str]


class Tunnels:
    """What gateways make of HBONE from other networks."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.hosts: Derived[str, tuple[HostKey, ...]] = graph.derived("derive.tunnelled_hosts", self._hosts, ())
        self.parts: Derived[tuple[str, HostKey], tuple[bytes, ...]] = graph.derived(
            "envoy.hbone_hosts", self._parts, ()
        )

    def ports(self, view: RouterView) -> set[int]:
        """Where a gateway listens for HBONE."""
        return {server.port for server in view.servers if gateways.takes(server) is Takes.HBONE}

    def passed_on(self, get: Get, view: RouterView) -> Iterator[MeshService]:
        """The services that a gateway lets others reach: what is global, and exported to its namespace (AM11, SN6)."""
        for host in get(self.hosts, view.namespace) if self.ports(view) else ():
            service = get(self.meshwide.services, host)
            if service is not None:
                yield service

    def _hosts(self, get: Get, namespace: str) -> tuple[HostKey, ...]:
        scopes, found = self.meshwide.scopes, []
        for host in (*get(scopes.bases, ALL), *get(scopes.hosts, ALL)):
            service = get(self.meshwide.services, host)
            if service is None or not exported(service.export_to, service.namespace, namespace):
                continue
            if tunnelled(service) and scopes.is_global(get, service):
                found.append(host)
        return tuple(found)

    def clusters(self, get: Get, view: RouterView) -> Names:
        """The clusters that lead to the endpoints of these services."""
        return frozenset(
            naming.inbound_vip(port.port, service.host, kind)
            for service in self.passed_on(get, view)
            for port in service.ports
            if port.protocol is not Protocol.UDP
            for kind in ("tcp", *((naming.BY_WAYPOINT,) if self._waypoint(get, view.cluster, service) else ()))
        )

    def _waypoint(self, get: Get, cluster: str, service: MeshService) -> HostKey | None:
        """The waypoint that callers from other networks are led to: it must be global itself (AM14)."""
        return self.meshwide.waypoints.beyond(get, cluster, (service.namespace, service.name))

    def horizon(self, get: Get, view: RouterView, through: MeshService | None = None) -> Horizon:
        """What a gateway sees of a service's endpoints: those of its own network that take HBONE.

        `through`: the service is reached through its waypoint.
        """
        return Horizon(
            network=view.network,
            networks=(view.network,) if view.network else (),
            only_cluster="" if view.network else view.cluster,
            home=self.meshwide.home(get, view.cluster),
            mtls=False,
            hbone_only=True,
            waypoint=self._waypoint(get, view.cluster, through) if through is not None else None,
            client_cluster=view.cluster if through is not None else "",
        )

    def chains(self, get: Get, port: int) -> Iterator[bytes]:
        """The filter chains of an HBONE listener."""
        yield hbone_gateway.chain(port, get(self.meshwide.accepted_domains, ALL))

    def route_names(self, view: RouterView) -> Names:
        """The route configurations of HBONE listeners."""
        return frozenset(hbone_gateway.routes_name(port) for port in self.ports(view))

    def routes(self, get: Get, view: RouterView, name: str) -> XdsResource | None:
        """A route configuration of an HBONE listener."""
        for port in self.ports(view):
            if hbone_gateway.routes_name(port) == name:
                hosts = [(service.namespace, service.name) for service in self.passed_on(get, view)]
                parts = (part for host in hosts for part in get(self.parts, (view.cluster, host)))
                return hbone_gateway.route_configuration(port, parts)
        return None

    def _parts(self, get: Get, key: tuple[str, HostKey]) -> tuple[bytes, ...]:
        cluster, host = key
        service = get(self.meshwide.services, host)
        if service is None:
            return ()
        waypoint = self._waypoint(get, cluster, service) is not None
        return tuple(
            hbone_gateway.virtual_host(service, port.port, waypoint=waypoint)
            for port in service.ports
            if port.protocol is not Protocol.UDP
        )
