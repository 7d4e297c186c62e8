"""The wiring of resources: how each name of each scope is made into bytes."""

from collections.abc import Iterator
from typing import Any

import msgspec

from isthmus.derive.horizon import Horizon
from isthmus.derive.rules import Rule
from isthmus.envoy import (
    clusters,
    endpoints,
    hbone,
    inbound,
    names,
    naming,
    node_outbound,
    outbound,
    router,
    routes,
    tunnel_end,
)
from isthmus.envoy.build import config_path
from isthmus.envoy.clusters import Destination
from isthmus.envoy.tunnels import FROM_WAYPOINT
from isthmus.envoy.tunnels import NAMES as TUNNELS
from isthmus.envoy.waypoint import OF_PODS
from isthmus.graph.names import Existing, ScopedName, client_of, outbound_of, unbound
from isthmus.graph.places import ANYBODY
from isthmus.graph.routing import Choice
from isthmus.graph.sources import ALL
from isthmus.model.locality import Warmup
from isthmus.model.mesh import Assignment, Endpoint, HostKey, MeshService
from isthmus.model.rows import Labels, TrafficPolicy
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
)
from isthmus.model.settings import MeshSettings
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS, XdsResource

WARMUP = Warmup(10.0)
"""How the endpoints of a service that is ranked by place come back: the first ready one is not to be overrun."""


def _may_cross(service: MeshService, home: str) -> bool:
    """True if gateways may stand for endpoints of the service. Those of a ServiceEntry are wherever it says."""
    if service.external:
        return False
    return service.name == service.host or any(cluster != home for cluster in service.clusters)


class Resources:
    """A derived table for each type, keyed by scope and name; encoded when first demanded, then shared."""

    def __init__(self, graph: Graph, existing: Existing) -> None:
        self.existing = existing
        self.routing = existing.routing
        self.meshwide = existing.meshwide
        self.settings = existing.settings
        derived = graph.derived
        self.virtual_hosts: Derived[tuple[OutboundView, HostKey, int, bool, Choice | None], bytes] = derived(
            "envoy.virtual_hosts", self._virtual_host, b""
        )
        self.shared_hosts: Derived[tuple[OutboundView, int, str], bytes] = derived(
            "envoy.shared_hosts", self._shared_hosts, b""
        )
        self.gateway_chains: Derived[tuple[HostKey, str], tuple[bytes, ...]] = derived(
            "envoy.gateway_chains", self._chains, ()
        )
        self.name_entries: Derived[tuple[OutboundView, HostKey], tuple[names.Entry, ...]] = derived(
            "envoy.name_entries", self._name_entries, ()
        )
        self.shared_clusters: Derived[ScopedName, XdsResource | None] = derived("envoy.shared_clusters", self._cluster)
        self.shared_endpoints: Derived[ScopedName, XdsResource | None] = derived(
            "envoy.shared_endpoints", self._endpoints
        )
        self.tables: dict[str, Derived[ScopedName, XdsResource | None]] = {
            CDS: derived("envoy.clusters", self._cluster),
            EDS: derived("envoy.endpoints", self._endpoints),
            LDS: derived("envoy.listeners", self._listener),
            RDS: derived("envoy.routes", self._routes),
            NDS: derived("envoy.name_tables", self._name_table),
            **existing.ztunnels.tables,
        }

    def _find(self, get: Get, parsed: naming.ClusterName | None) -> MeshService | None:
        return None if parsed is None else self.meshwide.named(get, parsed.host)

    def _destination(self, get: Get, scope: Scope, name: str) -> Destination | None:
        """What an outbound or SNI-DNAT cluster's name stands for, in one scope."""
        parsed = naming.parse(name)
        service = self._find(get, parsed)
        port = service.port(parsed.port) if service is not None and parsed is not None else None
        if parsed is None or service is None or port is None:
            return None
        host = (service.namespace, service.name)
        client = client_of(scope, name)
        home = scope.cluster if isinstance(scope, RouterView) else ""
        view = outbound_of(scope)
        headless_mtls = False
        if service.headless and view is not None:
            headless_mtls = get(self.existing.headless_mtls, (view.unbound, host, port.port))
        return Destination(
            service=service,
            port=port,
            subset=parsed.subset,
            policy=self._policy(get, client, host, port=port.port, subset=parsed.subset),
            gateways=_may_cross(service, view.cluster if view else home),
            peers=self.meshwide.peers_of(get, service, view.cluster if view else home),
            headless_mtls=headless_mtls,
            balanced=isinstance(scope, RouterView),
            tunnels=view is not None and view.hbone,
            source=_source(get(self.meshwide.rules, (client, host))),
        )

    def _policy(self, get: Get, client: str, host: HostKey, *, port: int, subset: str) -> TrafficPolicy:
        """What is said of a destination. What is ranked by place warms up, unless something is said about that."""
        policy = self.meshwide.places.policy(get, client, host, port=port, subset=subset)
        if policy.warmup is None and get(self.meshwide.places.preferences, (client, host, port, subset)).ranks:
            return msgspec.structs.replace(policy, warmup=WARMUP)
        return policy

    def _cluster(self, get: Get, key: ScopedName) -> XdsResource | None:
        scope, name = key
        if isinstance(scope, InboundProfile):
            return self._inbound_cluster(scope, name)
        if isinstance(scope, TunnelEnd):
            return tunnel_end.cluster(scope, name)
        if isinstance(scope, WaypointView) and (naming.is_passed_on(name) or name in OF_PODS):
            return self.existing.waypoints.inside(get, scope, name)
        if isinstance(scope, OutboundView) and scope.node:
            return self._node_cluster(get, scope, name)
        if name in TUNNELS:
            return self._tunnel_cluster(get, scope, name)
        if (whole := unbound(scope)) is not scope:
            return get(self.shared_clusters, (whole, name))
        if name == naming.PASSTHROUGH:
            return clusters.passthrough(self.settings)
        if name == naming.BLACK_HOLE:
            return clusters.black_hole()
        destination = self._destination(get, scope, name)
        if destination is None:
            return None
        inline = self._assigned(get, scope, name) if destination.service.by_dns else None
        members = inline.body if inline is not None else b""
        if isinstance(scope, WaypointView):
            return clusters.forward(destination, self.settings, members)
        if not isinstance(scope, RouterView):
            return clusters.outbound(destination, self.settings, members)
        if naming.is_passed_on(name):
            if naming.is_sni_dnat(name):
                return clusters.sni_dnat(destination, self.settings, members)
            parsed = naming.parse(name)
            kind = parsed.vip if parsed is not None else ""
            return clusters.inbound_vip(destination, self.settings, members, kind=kind)
        return clusters.forward(destination, self.settings, members)

    def _node_cluster(self, get: Get, view: OutboundView, name: str) -> XdsResource | None:
        """A cluster of the proxies of nodes."""
        if name == naming.BLACK_HOLE:
            return clusters.black_hole()
        destination = self._destination(get, view, name)
        if destination is None:
            return self.existing.nodes.cluster(get, view, name)
        inline = self._assigned(get, view, name) if destination.service.by_dns else None
        return node_outbound.service_cluster(destination, self.settings, inline.body if inline is not None else b"")

    def _tunnel_cluster(self, get: Get, scope: Scope, name: str) -> XdsResource | None:
        """One of the clusters by which a proxy makes HBONE. Nothing is captured at a waypoint, so nothing is marked."""
        if (view := outbound_of(scope)) is None or not view.hbone:
            return None
        settings = msgspec.structs.replace(self.settings, mark=0) if isinstance(scope, WaypointView) else self.settings
        return hbone.cluster(name, hbone.Origin(settings, accepted=get(self.meshwide.accepted_domains, ALL)))

    def _inbound_cluster(self, profile: InboundProfile, name: str) -> XdsResource | None:
        if name == naming.INBOUND_PASSTHROUGH:
            return clusters.inbound_passthrough(self.settings)
        for port in profile.ports:
            if naming.inbound(port.port) == name:
                return clusters.inbound(port.port, port.protocol, self.settings)
        return None

    def _endpoints(self, get: Get, key: ScopedName) -> XdsResource | None:
        scope, name = key
        if (whole := unbound(scope)) is not scope:
            return get(self.shared_endpoints, (whole, name))
        return self._assigned(get, scope, name)

    def _assigned(self, get: Get, scope: Scope, name: str) -> XdsResource | None:
        """The endpoints of a cluster in a scope."""
        parsed = naming.parse(name)
        service = self._find(get, parsed)
        if parsed is None or service is None:
            return None
        if parsed.vip and isinstance(scope, RouterView):
            through = service if parsed.vip == naming.BY_WAYPOINT else None
            horizon = self.existing.tunnels.horizon(get, scope, through)
        else:
            horizon = self.horizon(get, scope, service, passes_on=parsed.sni_dnat)
        host = (service.namespace, service.name)
        view = outbound_of(scope)
        peers = self.meshwide.tunnel_peers(get, service, view.cluster) if view is not None and view.hbone else ()
        of_node = view is not None and view.node and not service.by_dns
        if service.stands_for is not None:
            found = self._globally(get, scope, service, horizon, name)
        else:
            client = client_of(scope, name)
            found = get(self.meshwide.assignments.rows, (horizon, host, parsed.port, parsed.subset, client))
        return endpoints.load_assignment(name, found, peers, of_node=of_node)

    def _globally(self, get: Get, scope: Scope, service: MeshService, horizon: Horizon, name: str) -> Assignment:
        """The endpoints of a global name."""
        parsed = naming.parse(name)
        if parsed is None:
            return Assignment()
        if parsed.sni_dnat:
            return self.existing.globals.out(get, service, horizon, port=parsed.port)
        view, client = outbound_of(scope), client_of(scope, name)
        cluster = view.cluster if view is not None else ""
        return self.existing.globals.near(get, service, horizon, port=parsed.port, client=client, cluster=cluster)

    def horizon(self, get: Get, scope: Scope, service: MeshService, *, passes_on: bool = False) -> Horizon:
        """Where a scope stands when it looks at a service; `passes_on`: as a gateway that opens nothing."""
        place = scope.place if isinstance(scope, LocalityView) else ()
        router = scope.view if isinstance(scope, LocalityView) else scope
        if isinstance(router, RouterView):
            widened = router.cluster in service.widened and not passes_on
            return Horizon(
                network=router.network,
                families=router.families,
                networks=router.network_view,
                mtls_only=passes_on,
                only_cluster=router.cluster if service.cluster_local and not widened else "",
                place=place,
                home=self.meshwide.home(get, router.cluster),
                widened=widened,
            )
        view = outbound_of(scope)
        if view is None:
            return Horizon()
        widened = view.cluster in service.widened
        return Horizon(
            network=view.network,
            families=view.families,
            only_cluster=view.cluster if (service.cluster_local and not widened) or service.node_local else "",
            only_node=scope.node if isinstance(scope, NodeView) else "",
            place=place,
            home=self.meshwide.home(get, view.cluster),
            hbone=view.hbone,
            mtls=not view.node,
            **self._waypoint(get, router, view, service),
            widened=widened,
        )

    def _waypoint(self, get: Get, scope: Scope, view: OutboundView, service: MeshService) -> dict[str, Any]:
        """The waypoint that the clients of a scope go through to a service; waypoints themselves go through none."""
        if not view.hbone or isinstance(scope, WaypointView):
            return {}
        found = get(self.meshwide.waypoints.of_host, (view.cluster, (service.namespace, service.name)))
        return {} if found is None else {"waypoint": found, "client_cluster": view.cluster}

    def _listener(self, get: Get, key: ScopedName) -> XdsResource | None:
        scope, name = key
        if isinstance(scope, NodePods):
            return self.existing.nodes.pod_resource(get, scope, name)
        if isinstance(scope, OutboundView) and scope.node:
            return self.existing.nodes.listener(get, scope, get(self.meshwide.hosts, ALL), name)
        if isinstance(scope, InboundProfile):
            guard = inbound.Guard(get(self.meshwide.accepted_domains, ALL), self.meshwide.policies(get, scope.policies))
            build = inbound.hbone_inbound if name == naming.INBOUND_HBONE else inbound.virtual_inbound
            return build(scope, guard)
        if isinstance(scope, TunnelEnd):
            return tunnel_end.listener(get(self.meshwide.accepted_domains, ALL))
        if name in TUNNELS:
            return hbone.listener(name, source=FROM_WAYPOINT if isinstance(scope, WaypointView) else "")
        if isinstance(scope, WaypointView):
            return self.existing.waypoints.listener(get, scope, name)
        if name == naming.VIRTUAL_OUTBOUND:
            return outbound.virtual_outbound(self._allowing(get, scope))
        place = naming.parse_listener(name)
        if place is None:
            return None
        address, port = place
        if isinstance(scope, RouterView):
            return self._gateway_listener(get, scope, port)
        if address == "0.0.0.0":
            return outbound.http_listener(port, self._allowing(get, scope))
        return self._address_listener(get, scope, address, port)

    def _address_listener(self, get: Get, scope: Scope, address: str, port: int) -> XdsResource | None:
        """The listener of a TCP service, with the rules that the clients of this scope go by."""
        inside = scope.view if isinstance(scope, ClientView) else scope
        if isinstance(inside, OutboundView):
            inside = NamespaceView(view=inside, namespace=ANYBODY)
        if not isinstance(inside, NamespaceView):
            return None
        name = naming.address_listener(address, port)
        view = inside.view
        cluster = get(self.existing.listener_cluster, (inside.view, name))
        if inside.namespace != ANYBODY:
            cluster = get(self.existing.listener_cluster, (inside, name)) or cluster
        service = self._find(get, naming.parse(cluster))
        if service is None:
            return None
        labels = scope.labels if isinstance(scope, ClientView) else ()
        host = (service.namespace, service.name)
        choice = None if self._by_waypoint(get, view, host) else self.routing.choice(get, inside, labels, host)
        rules = self.routing.streams(get, choice, port) if choice is not None else outbound.NO_STREAMS
        return outbound.tcp_listener(address, port, cluster, rules)

    def _allowing(self, get: Get, scope: Scope) -> MeshSettings:
        """The settings, with a Sidecar's word on destinations that nobody knows."""
        settings = get(self.meshwide.effective, ALL)
        view = outbound_of(scope)
        if view is None or view.allow_any is None:
            return settings
        return msgspec.structs.replace(settings, allow_any=view.allow_any)

    def _gateway_listener(self, get: Get, view: RouterView, port: int) -> XdsResource | None:
        chains: list[bytes] = []
        if port in view.egress_ports:
            for host in get(self.existing.globals.hosts, ALL):
                chains.extend(get(self.gateway_chains, (host, host[1])))
            return router.port_listener(port, chains)
        servers = tuple(server for server in view.servers if server.port == port)
        for service, known_as in self.existing.exposed(get, view, servers):
            for name in known_as:
                chains.extend(get(self.gateway_chains, ((service.namespace, service.name), name)))
        if port in self.existing.tunnels.ports(view):
            chains.extend(self.existing.tunnels.chains(get, port))
        if chains:
            chains.append(router.probe_chain())
        chains.extend(self.existing.gateways.chains(get, view, port))
        return router.port_listener(port, chains, inspect=any(server.tls_mode for server in servers))

    def _chains(self, get: Get, key: tuple[HostKey, str]) -> tuple[bytes, ...]:
        host, alias = key
        service = get(self.meshwide.services, host)
        if service is None:
            return ()
        targets = {(port, name.lower()): name for port, name in self.existing.targets(get, ANYBODY, service)}
        return tuple(
            router.passthrough_chain(port, service.host, name, alias=alias) for (port, _), name in targets.items()
        )

    def _routes(self, get: Get, key: ScopedName) -> XdsResource | None:
        scope, name = key
        if isinstance(scope, InboundProfile):
            return self._inbound_routes(get, scope, name)
        if isinstance(scope, TunnelEnd):
            return tunnel_end.routes(scope)
        if isinstance(scope, NodePods):
            return self.existing.nodes.pod_routes(get, scope, name)
        if isinstance(scope, WaypointView):
            return self.existing.waypoints.routes(get, scope, name)
        if isinstance(scope, RouterView):
            tunnel = self.existing.tunnels.routes(get, scope, name)
            return tunnel or self.existing.gateways.routes(get, scope, name)
        inside = scope.view if isinstance(scope, ClientView) else scope
        labels = scope.labels if isinstance(scope, ClientView) else ()
        if not isinstance(inside, NamespaceView) or not name.isdecimal():
            return None
        bodies = self._virtual_hosts_of(get, inside, labels, int(name))
        return routes.route_configuration(name, bodies, self._allowing(get, scope))

    def _virtual_hosts_of(self, get: Get, view: NamespaceView, labels: Labels, port: int) -> Iterator[bytes]:
        """The virtual hosts of a port. Those of another namespace that nobody here treats specially come as one."""
        place = view.view.unbound
        special = {*get(self.routing.differing, view), *(get(self.routing.labelled, ALL) if labels else ())}
        apart = {host[0] for host in special} | {view.namespace}
        bounded = view.view.egress is not None
        for namespace in get(self.existing.http_places, (view.view, port)):
            if not bounded and namespace not in apart:
                yield get(self.shared_hosts, (place, port, namespace))
                continue
            for host in get(self.existing.http_part, (view.view, port, namespace)):
                yield self._own_host(get, view, labels, host, port=port)
        for hosts in get(self.existing.http_spread, (view, port)).values():
            for host in hosts:
                yield self._own_host(get, view, labels, host, port=port)

    def _own_host(self, get: Get, view: NamespaceView, labels: Labels, host: HostKey, *, port: int) -> bytes:
        choice = self.routing.choice(get, view, labels, host) if not self._by_waypoint(get, view.view, host) else None
        key = (view.view.unbound, host, port, host[0] == view.namespace, choice)
        return routes.as_part(get(self.virtual_hosts, key))

    def _by_waypoint(self, get: Get, view: OutboundView, host: HostKey) -> bool:
        """True if a waypoint does what routes say: clients then only lead to it."""
        return bool(view.hbone) and get(self.meshwide.waypoints.of_host, (view.cluster, host)) is not None

    def _shared_hosts(self, get: Get, key: tuple[OutboundView, int, str]) -> bytes:
        """The virtual hosts of one namespace's services as everybody in other namespaces has them."""
        place, port, namespace = key
        anybody = NamespaceView(view=place, namespace=ANYBODY)
        hosts = get(self.existing.http_part, (place, port, namespace))
        return b"".join(self._own_host(get, anybody, (), host, port=port) for host in hosts)

    def _inbound_routes(self, get: Get, profile: InboundProfile, name: str) -> XdsResource | None:
        for port in profile.ports:
            known = (naming.inbound(port.port), naming.inbound_hbone(port.port))
            if port.protocol.is_http and name in known:
                held = self.meshwide.policies(get, profile.policies)
                return routes.inbound_routes(port.port, held, tunnelled=name == known[1])
        return None

    def _virtual_host(self, get: Get, key: tuple[OutboundView, HostKey, int, bool, Choice | None]) -> bytes:
        view, host, port, own, choice = key
        seen = get(self.meshwide.views, (view.cluster, host))
        if seen is None:
            return b""
        rules = self.routing.http_rules(get, choice, port) if choice is not None else None
        return routes.virtual_host(seen, port, own_namespace=own, settings=self.settings, rules=rules)

    def _name_entries(self, get: Get, key: tuple[OutboundView, HostKey]) -> tuple[names.Entry, ...]:
        view, host = key
        seen = get(self.meshwide.views, (view.cluster, host))
        if seen is None:
            return ()
        found: list[Endpoint] = []
        if seen.service.headless:
            found = sorted(
                self.existing.near_endpoints(get, view, host), key=lambda e: (e.cluster != view.cluster, e.cluster)
            )
        return names.service_entries(seen, view.network, found)

    def _name_table(self, get: Get, key: ScopedName) -> XdsResource | None:
        scope, _ = key
        if not isinstance(scope, OutboundView | NamespaceView):
            return None
        view = scope.view if isinstance(scope, NamespaceView) else scope
        hosts = [*get(self.existing.visible, view)]
        if isinstance(scope, NamespaceView):
            hosts += get(self.existing.visible, scope)
        place = view.unbound
        return names.name_table(entry for host in hosts for entry in get(self.name_entries, (place, host)))


def _source(rule: Rule) -> str:
    """The path of the object that a rule is, or the oldest of several."""
    if not rule.names:
        return ""
    name, _, namespace = rule.names[0].rpartition(".")
    return config_path("destination-rule", namespace, name)
