"""The wiring of names: which resources exist in each scope. What exists is decided apart from what it holds."""

from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec

from isthmus.base.names import service_hostname
from isthmus.derive import routing
from isthmus.derive.globals import alias
from isthmus.derive.visibility import exported
from isthmus.envoy import names, naming, router, tunnel_end
from isthmus.envoy.tunnels import NAMES as TUNNELS
from isthmus.graph import ztunnels
from isthmus.graph.gateways import Gateways
from isthmus.graph.globals import Globals
from isthmus.graph.node_proxies import NodeProxies
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import ANYBODY, NOTHING, Names, targets, tcp_ports
from isthmus.graph.routing import Routing
from isthmus.graph.sources import ALL
from isthmus.graph.tunnels import Tunnels
from isthmus.graph.waypoint_resources import WaypointResources
from isthmus.model.mesh import Endpoint, HostKey, MeshService
from isthmus.model.rows import GatewayServer
from isthmus.model.scopes import (
    ClientView,
    InboundProfile,
    LocalityView,
    NamespaceView,
    NodePods,
    NodeView,
    OutboundView,
    RouterView,
    Scope,
    TunnelEnd,
    WaypointView,
    WorkloadView,
)
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS

PROVIDES: dict[type[Scope], tuple[str, ...]] = {
    InboundProfile: (CDS, LDS, RDS),
    NodePods: (LDS, RDS),
    TunnelEnd: (CDS, LDS, RDS),
    NamespaceView: (CDS, EDS, LDS, RDS, NDS),
    ClientView: (LDS, RDS),
    LocalityView: (EDS,),
    NodeView: (EDS,),
    OutboundView: (CDS, EDS, LDS, NDS),
    RouterView: (CDS, EDS, LDS, RDS),
    WaypointView: (CDS, EDS, LDS, RDS),
    WorkloadView: ztunnels.TYPES,
}
"""Which types each kind of scope can hold: nothing is looked up elsewhere."""

ScopedName = tuple[Scope, str]
ScopedType = tuple[Scope, str]
Listeners = tuple[tuple[str, str], ...]
"""(name of an address listener, cluster it leads to)."""


def client_of(scope: Scope, name: str = "") -> str:
    """The namespace whose rules a scope goes by for a cluster. What gateways pass on is the same for all."""
    if isinstance(scope, LocalityView | ClientView):
        scope = scope.view
    if isinstance(scope, RouterView):
        return ANYBODY if naming.is_passed_on(name) else scope.namespace
    return scope.namespace if isinstance(scope, NamespaceView | WaypointView) else ANYBODY


def outbound_of(scope: Scope) -> OutboundView | None:
    """The outbound view that a sidecar's or a waypoint's scope is or refines."""
    if isinstance(scope, LocalityView | ClientView):
        scope = scope.view
    if isinstance(scope, NamespaceView | NodeView | WaypointView):
        scope = scope.view
    return scope if isinstance(scope, OutboundView) else None


def unbound(scope: Scope) -> Scope:
    """The scope without what a Sidecar says: what a cluster is does not depend on who may see it."""
    view = outbound_of(scope)
    if view is None or view.unbound is view:
        return scope
    if isinstance(scope, OutboundView):
        return view.unbound
    if isinstance(scope, NamespaceView | NodeView):
        return msgspec.structs.replace(scope, view=view.unbound)
    if isinstance(scope, LocalityView):
        within = view.unbound
        inside = scope.view
        return LocalityView(
            view=within if isinstance(inside, OutboundView) else NamespaceView(view=within, namespace=inside.namespace),
            place=scope.place,
        )
    return scope


class Existing:
    """The names that exist in each scope, and what they are made of."""

    def __init__(self, graph: Graph, meshwide: Meshwide, routing: Routing, gateways: Gateways) -> None:
        self.routing = routing
        self.gateways = gateways
        self.meshwide = meshwide
        self.settings = meshwide.settings
        self.globals = Globals(graph, meshwide)
        self.tunnels = Tunnels(graph, meshwide)
        self.nodes = NodeProxies(graph, meshwide)
        self.waypoints = WaypointResources(graph, meshwide, routing)
        self.ztunnels = ztunnels.Ztunnels(graph, meshwide)
        derived = graph.derived
        self.host_clusters: Derived[tuple[str, HostKey], tuple[Names, Names]] = derived(
            "derive.host_clusters", self._host_clusters, (NOTHING, NOTHING)
        )
        self.visible: Derived[OutboundView | NamespaceView, tuple[HostKey, ...]] = derived(
            "derive.visible_hosts", self._visible, ()
        )
        self.namespace_hosts: Derived[NamespaceView, tuple[HostKey, ...]] = derived(
            "derive.namespace_hosts", self._namespace_hosts, ()
        )
        self.host_listeners: Derived[tuple[OutboundView, HostKey], tuple[Listeners, tuple[int, ...]]] = derived(
            "derive.host_listeners", self._host_listeners, ((), ())
        )
        self.address_listeners: Derived[OutboundView | NamespaceView, Mapping[str, str]] = derived(
            "derive.address_listeners", self._address_listeners, {}
        )
        self.streamed: Derived[NamespaceView, Names] = derived("derive.routed_listeners", self._streamed, NOTHING)
        self.listener_cluster: Derived[tuple[OutboundView | NamespaceView, str], str] = derived(
            "derive.listener_cluster", self._listener_cluster, ""
        )
        self.headless_mtls: Derived[tuple[OutboundView, HostKey, int], bool] = derived(
            "derive.headless_mtls", self._headless_mtls, False
        )
        self.http_hosts: Derived[OutboundView | NamespaceView, tuple[tuple[int, tuple[HostKey, ...]], ...]] = derived(
            "derive.http_ports", self._http_ports, ()
        )
        self.http_spread: Derived[tuple[OutboundView | NamespaceView, int], Mapping[str, tuple[HostKey, ...]]] = (
            derived("derive.http_spread", self._http_spread, {})
        )
        self.http_part: Derived[tuple[OutboundView, int, str], tuple[HostKey, ...]] = derived(
            "derive.http_hosts", self._http_part, ()
        )
        self.http_places: Derived[tuple[OutboundView, int], tuple[str, ...]] = derived(
            "derive.http_namespaces", self._http_places, ()
        )
        self.names: Derived[ScopedType, Set[str]] = derived("envoy.names", self._names, NOTHING)

    def _names(self, get: Get, key: ScopedType) -> Set[str]:
        scope, type_url = key
        match scope:
            case OutboundView():
                return self._outbound_names(get, scope, type_url)
            case NamespaceView():
                return self._namespace_names(get, scope, type_url)
            case ClientView():
                return self._client_names(get, scope, type_url)
            case LocalityView():
                return self._locality_names(get, scope)
            case NodeView():
                hosts = get(self.meshwide.node_local_hosts, ALL)
                found = NOTHING.union(*(get(self.host_clusters, (ANYBODY, host))[1] for host in hosts))
                return found if scope.view.egress is None else found & self._outbound_names(get, scope.view, EDS)
            case InboundProfile():
                return self._inbound_names(scope, type_url)
            case NodePods():
                return self.nodes.pod_names(get, scope, type_url)
            case TunnelEnd():
                return tunnel_end.names(scope, type_url)
            case RouterView():
                return self._router_names(get, scope, type_url)
            case WaypointView():
                return self.waypoints.names(get, scope, type_url)
            case WorkloadView():
                return self.ztunnels.names(get, scope, type_url)

    def _outbound_names(self, get: Get, view: OutboundView, type_url: str) -> Names:
        hosts = get(self.meshwide.hosts, ALL) if view.node else get(self.visible, view)
        if view.node and type_url in (CDS, EDS):
            return self.nodes.clusters(get, hosts) if type_url == CDS else self.nodes.assigned(get, hosts)
        if view.node and type_url == LDS:
            return self.nodes.listeners()
        if type_url == CDS:
            fixed = {naming.PASSTHROUGH, naming.BLACK_HOLE, *(TUNNELS if view.hbone else ())}
            return NOTHING.union(fixed, *(get(self.host_clusters, (ANYBODY, host))[0] for host in hosts))
        if type_url == EDS:
            return NOTHING.union(*(get(self.host_clusters, (ANYBODY, host))[1] for host in hosts))
        if type_url == LDS:
            ports = (naming.port_listener(port) for port, _ in get(self.http_hosts, view))
            fixed = {naming.VIRTUAL_OUTBOUND, *(TUNNELS if view.hbone else ())}
            return NOTHING.union(fixed, ports, get(self.address_listeners, view))
        return frozenset((names.NAME,))

    def _namespace_names(self, get: Get, scope: NamespaceView, type_url: str) -> Names:
        if type_url == RDS:
            found = frozenset(str(port) for port, _ in get(self.http_hosts, scope.view))
            return found.union(str(port) for port, _ in get(self.http_hosts, scope))
        if type_url == LDS:
            ports = (naming.port_listener(port) for port, _ in get(self.http_hosts, scope))
            return NOTHING.union(ports, get(self.address_listeners, scope), get(self.streamed, scope))
        if type_url == NDS:
            return frozenset((names.NAME,)) if get(self.visible, scope) else NOTHING
        which = 0 if type_url == CDS else 1
        hosts = get(self.namespace_hosts, scope)
        return NOTHING.union(*(get(self.host_clusters, (scope.namespace, host))[which] for host in hosts))

    def _visible(self, get: Get, view: OutboundView | NamespaceView) -> tuple[HostKey, ...]:
        """The services that everybody sees within a view, or those that its namespace sees besides."""
        if isinstance(view, OutboundView):
            return self.meshwide.visible.hosts(get, view.egress)
        return tuple(sorted({*self.meshwide.visible.own_hosts(get, view), *self._reached(get, view)}))

    def _reached(self, get: Get, view: NamespaceView) -> Iterator[HostKey]:
        """Destinations of VirtualServices that a Sidecar lets through, but not itself: without them, the routes would
        lead nowhere."""
        egress = view.view.egress
        for row in self.routing.rows_within(get, egress) if egress is not None else ():
            if not routing.seen_by(row, view.namespace):
                continue
            for destination in routing.destinations(row):
                service = self.meshwide.named(get, destination.host)
                if service is None or not exported(service.export_to, service.namespace, view.namespace):
                    continue
                host = (service.namespace, service.name)
                if not self.meshwide.visible.lets_through(get, host, egress):
                    yield host

    def _namespace_hosts(self, get: Get, view: NamespaceView) -> tuple[HostKey, ...]:
        """Services that clients of a namespace treat in their own way, or that only they see."""
        egress = view.view.egress
        ruled = get(self.meshwide.places.overrides, view.namespace)
        if egress is None:
            return ruled
        found = {host for host in ruled if self.meshwide.visible.lets_through(get, host, egress)}
        return tuple(sorted(found.union(get(self.visible, view))))

    def _streamed(self, get: Get, view: NamespaceView) -> Names:
        """Address listeners of services whose VirtualService is another one for this namespace than for everybody."""
        anybody = NamespaceView(view=view.view.unbound, namespace=ANYBODY)
        found: set[str] = set()
        for host, mine in get(self.routing.differing, view).items():
            public = self.routing.choice(get, anybody, (), host)
            if self.routing.has_streams(get, mine) or self.routing.has_streams(get, public):
                found.update(name for name, _ in get(self.host_listeners, (view.view.unbound, host))[0])
        return frozenset(found & get(self.address_listeners, view.view).keys()) if found else NOTHING

    def _client_names(self, get: Get, scope: ClientView, type_url: str) -> Names:
        """Ports, or address listeners, of hosts whose VirtualService has something for these labels."""
        found: set[str] = set()
        place = scope.view.view.unbound
        for host in get(self.routing.labelled, ALL):
            choice = self.routing.choice(get, scope.view, scope.labels, host)
            if choice is None or not choice.labels:
                continue
            addresses, ports = get(self.host_listeners, (place, host))
            if type_url == RDS:
                found.update(str(port) for port in ports)
            elif self.routing.has_streams(get, choice):
                found.update(name for name, _ in addresses)
        if type_url == RDS or not found:
            return frozenset(found & self._namespace_names(get, scope.view, RDS))
        both = (scope.view, scope.view.view)
        return frozenset(found & {name for view in both for name in get(self.address_listeners, view)})

    def _locality_names(self, get: Get, scope: LocalityView) -> Names:
        """Destinations that differ by the labels that this view knows of its clients."""
        router = isinstance(scope.view, RouterView | WaypointView)
        found = get(self.meshwide.places.names, (client_of(scope), router, tuple(key for key, _ in scope.place)))
        view = outbound_of(scope)
        if view is not None and view.egress is None and not router:
            return found
        return found & self._names_within(get, scope.view)

    def _names_within(self, get: Get, view: OutboundView | NamespaceView | RouterView | WaypointView) -> Names:
        """The endpoints of a view that a Sidecar bounds, or that a gateway or waypoint has."""
        if isinstance(view, WaypointView):
            return self.waypoints.names(get, view, EDS)
        if isinstance(view, RouterView):
            return self._router_names(get, view, EDS)
        if isinstance(view, OutboundView):
            return self._outbound_names(get, view, EDS)
        return self._namespace_names(get, view, EDS)

    def _inbound_names(self, profile: InboundProfile, type_url: str) -> Names:
        if type_url == LDS:
            return frozenset((naming.VIRTUAL_INBOUND, *((naming.INBOUND_HBONE,) if profile.hbone else ())))
        if type_url == RDS:
            http = [port.port for port in profile.ports if port.protocol.is_http]
            return frozenset((*map(naming.inbound, http), *(map(naming.inbound_hbone, http) if profile.hbone else ())))
        ports = (naming.inbound(port.port) for port in profile.ports)
        return frozenset((naming.INBOUND_PASSTHROUGH, *ports))

    def _router_names(self, get: Get, view: RouterView, type_url: str) -> Names:
        if type_url == LDS:
            ports = {*view.egress_ports, *(server.port for server in view.servers)} - naming.RESERVED_PORTS
            return frozenset(naming.port_listener(port) for port in ports)
        if type_url == RDS:
            return self.gateways.route_names(view) | self.tunnels.route_names(view)
        passed = frozenset(
            naming.sni_dnat(port, service.host, subset)
            for service in (*self._exposed(get, view), *self._outward(get, view))
            for port, subset in self.targets(get, ANYBODY, service)
        )
        named = (name for name in get(self.gateways.clusters, view) if self._exists(get, view, name))
        return passed.union(named, self.tunnels.clusters(get, view))

    def _exists(self, get: Get, view: RouterView, name: str) -> bool:
        """True if a cluster that a gateway's rules name is a destination that there is."""
        parsed = naming.parse(name)
        service = self.meshwide.named(get, parsed.host) if parsed is not None else None
        if parsed is None or service is None or not exported(service.export_to, service.namespace, view.namespace):
            return False
        return (parsed.port, parsed.subset) in set(self.targets(get, view.namespace, service))

    def exposed(
        self, get: Get, view: RouterView, servers: tuple[GatewayServer, ...]
    ) -> Iterator[tuple[MeshService, tuple[str, ...]]]:
        """The services that servers of a gateway pass on, with the hosts they are known by there: only what is
        exported to the gateway's namespace (SN6)."""
        for host in get(self.meshwide.hosts, ALL):
            service = get(self.meshwide.services, host)
            if service is None or not exported(service.export_to, service.namespace, view.namespace):
                continue
            named = service_hostname(service.base[1], service.base[0], self.settings.domain)
            if known_as := router.exposed(servers, service, alias(service), named):
                yield service, known_as

    def _exposed(self, get: Get, view: RouterView) -> Iterator[MeshService]:
        return (service for service, _ in self.exposed(get, view, view.servers))

    def _outward(self, get: Get, view: RouterView) -> Iterator[MeshService]:
        """What a gateway leads to other clusters."""
        for host in get(self.globals.hosts, ALL) if view.egress_ports else ():
            service = get(self.meshwide.services, host)
            if service is not None:
                yield service

    def targets(self, get: Get, client: str, service: MeshService) -> Iterator[tuple[int, str]]:
        """(port, subset) of every destination that a service offers to clients of a namespace."""
        rule = get(self.meshwide.rules, (client, (service.namespace, service.name)))
        return targets(service, rule)

    def _host_clusters(self, get: Get, key: tuple[str, HostKey]) -> tuple[Names, Names]:
        client, host = key
        service = get(self.meshwide.services, host)
        if service is None:
            return (NOTHING, NOTHING)
        found = frozenset(
            naming.outbound(port, service.host, subset) for port, subset in self.targets(get, client, service)
        )
        return (found, NOTHING if service.caller_chooses or service.by_dns else found)

    def _host_listeners(self, get: Get, key: tuple[OutboundView, HostKey]) -> tuple[Listeners, tuple[int, ...]]:
        """The address listeners and the HTTP port numbers of a service. HTTP on a port of the proxy's is plain TCP.

        A headless service has a listener at each pod of this network: its clients choose pods themselves (DN3).
        """
        view, host = key
        seen = get(self.meshwide.views, (view.cluster, host))
        if seen is None:
            return ((), ())
        listeners: dict[str, str] = {}
        http: list[int] = []
        for port in tcp_ports(seen.service):
            if port.protocol.is_http and port.port not in naming.RESERVED_PORTS:
                http.append(port.port)
                continue
            addresses: Iterable[str] = (address for address in seen.listens_at(port.port) if "/" not in address)
            if seen.service.headless:
                addresses = (endpoint.address for endpoint in self.near_endpoints(get, view, host))
            cluster = naming.outbound(port.port, seen.service.host)
            listeners.update((naming.address_listener(address, port.port), cluster) for address in addresses)
        return (tuple(sorted(listeners.items())), tuple(http))

    def _address_listeners(self, get: Get, view: OutboundView | NamespaceView) -> Mapping[str, str]:
        """Every address listener and the cluster it leads to; the first host by name keeps what two claim."""
        found: dict[str, str] = {}
        place = view.view.unbound if isinstance(view, NamespaceView) else view.unbound
        for host in get(self.visible, view):
            for name, cluster in get(self.host_listeners, (place, host))[0]:
                found.setdefault(name, cluster)
        return found

    def _listener_cluster(self, get: Get, key: tuple[OutboundView | NamespaceView, str]) -> str:
        view, name = key
        return get(self.address_listeners, view).get(name, "")

    def _headless_mtls(self, get: Get, key: tuple[OutboundView, HostKey, int]) -> bool:
        """True if every pod in reach takes mesh mTLS on this service port: one cluster serves them all alike."""
        view, host, port = key
        seen = get(self.meshwide.views, (view.cluster, host))
        if seen is None or not seen.service.headless:
            return False
        near = list(self.near_endpoints(get, view, host))
        return bool(near) and all(endpoint.takes_mtls(port) for endpoint in near)

    def near_endpoints(self, get: Get, view: OutboundView, host: HostKey) -> Iterator[Endpoint]:
        """The ready endpoints that a view reaches without a gateway."""
        for endpoint in self.meshwide.assignments.ready_endpoints(get, host):
            if not endpoint.network or not view.network or endpoint.network == view.network:
                yield endpoint

    def _http_ports(self, get: Get, view: OutboundView | NamespaceView) -> tuple[tuple[int, tuple[HostKey, ...]], ...]:
        found: dict[int, list[HostKey]] = {}
        place = view.view.unbound if isinstance(view, NamespaceView) else view.unbound
        for host in get(self.visible, view):
            for port in get(self.host_listeners, (place, host))[1]:
                found.setdefault(port, []).append(host)
        return tuple((port, tuple(found[port])) for port in sorted(found))

    def _http_spread(
        self, get: Get, key: tuple[OutboundView | NamespaceView, int]
    ) -> Mapping[str, tuple[HostKey, ...]]:
        """The services with HTTP on a port, by namespace."""
        view, number = key
        found: dict[str, list[HostKey]] = {}
        for port, hosts in get(self.http_hosts, view):
            for host in hosts if port == number else ():
                found.setdefault(host[0], []).append(host)
        return {namespace: tuple(hosts) for namespace, hosts in found.items()}

    def _http_part(self, get: Get, key: tuple[OutboundView, int, str]) -> tuple[HostKey, ...]:
        view, number, namespace = key
        return get(self.http_spread, (view, number)).get(namespace, ())

    def _http_places(self, get: Get, key: tuple[OutboundView, int]) -> tuple[str, ...]:
        return tuple(get(self.http_spread, key))
