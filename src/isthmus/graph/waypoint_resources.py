"""The wiring of a waypoint's resources: which there are, and how each is made."""

from collections.abc import Iterator

import msgspec

from isthmus.derive import routing
from isthmus.envoy import connect, naming, waypoint
from isthmus.envoy.hbone import Origin
from isthmus.envoy.node_outbound import WORKLOADS, identity_chain, workloads_listener
from isthmus.envoy.routes import Rules
from isthmus.envoy.tunnels import NAMES as TUNNELS
from isthmus.envoy.waypoint import Taken
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import targets, tcp_ports
from isthmus.graph.pod_waypoints import Behind
from isthmus.graph.routing import Choice, Routing
from isthmus.graph.sources import ALL
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.scopes import NamespaceView, WaypointView
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import EDS, LDS, RDS, XdsResource

Names = frozenset[str]


class WaypointResources:
    """What waypoints hold."""

    def __init__(self, graph: Graph, meshwide: Meshwide, routing_: Routing) -> None:
        self.meshwide = meshwide
        self.waypoints = meshwide.waypoints
        self.routing = routing_
        self.clusters: Derived[WaypointView, Names] = graph.derived(
            "derive.waypoint_clusters", self._clusters, frozenset()
        )

    def _taken(self, get: Get, view: WaypointView) -> Iterator[Taken]:
        """The ports of the services that go through the waypoint."""
        for host in get(self.waypoints.hosts, (view.view.cluster, view.key)):
            seen = get(self.meshwide.views, (view.view.cluster, host))
            if seen is not None:
                for port in tcp_ports(seen.service):
                    yield Taken(seen, port)

    def _found(self, get: Get, view: WaypointView, name: str) -> Taken | None:
        """The port that a name means, if it is the waypoint's."""
        parsed = naming.parse(name)
        service = self.meshwide.named(get, parsed.host) if parsed is not None and parsed.vip else None
        if parsed is None or service is None:
            return None
        host = (service.namespace, service.name)
        seen = get(self.meshwide.views, (view.view.cluster, host))
        port = service.port(parsed.port)
        if seen is None or port is None or get(self.waypoints.of_host, (view.view.cluster, host)) != view.key:
            return None
        found = Taken(seen, port)
        return found if found.name == name else None

    def _rules(self, get: Get, view: WaypointView, taken: Taken) -> Rules | None:
        choice = self._choice(get, view, taken.view.service)
        return self.routing.http_rules(get, choice, taken.port.port) if choice is not None else None

    def _choice(self, get: Get, view: WaypointView, service: MeshService) -> Choice | None:
        """The VirtualService of a service as the waypoint's namespace sees it. Labels of callers are not known here."""
        inside = NamespaceView(view=view.view, namespace=view.namespace)
        return self.routing.choice(get, inside, (), (service.namespace, service.name))

    def policies(self, get: Get, view: WaypointView, service: MeshService) -> tuple[AuthorizationPolicy, ...]:
        """The policies for the callers of a service."""
        host: HostKey = (service.namespace, service.name)
        return self.meshwide.policies(get, self.waypoints.policies_of(get, view.key, host))

    # -- names ----------------------------------------------------------------------------------------------------

    def names(self, get: Get, view: WaypointView, type_url: str) -> Names:
        """The resources of a type that there are."""
        taken = [one.name for one in self._taken(get, view)]
        pods = (waypoint.PODS, WORKLOADS) if self._pods(get, view) else ()
        if type_url == LDS:
            return frozenset((naming.CONNECT_TERMINATE, *TUNNELS, *taken, *pods))
        if type_url == RDS:
            http = (one.name for one in self._taken(get, view) if one.port.protocol.is_http)
            return frozenset((naming.CONNECT_TERMINATE, *http, *pods[:1]))
        found = get(self.clusters, view)
        return found if type_url == EDS else found.union(TUNNELS, taken, pods)

    def _pods(self, get: Get, view: WaypointView) -> tuple[Behind, ...]:
        """The pods whose own addresses are called through the waypoint."""
        return get(self.meshwide.pod_waypoints.behind, (view.view.cluster, view.key))

    def _held(self, get: Get, view: WaypointView) -> tuple[AuthorizationPolicy, ...]:
        """The policies for everything that the waypoint takes."""
        return self.meshwide.policies(get, self.waypoints.own_policies(get, view.key))

    def _clusters(self, get: Get, view: WaypointView) -> Names:
        """Every destination that the waypoint's services and their rules have, if it exists."""
        found: set[str] = set()
        for taken in self._taken(get, view):
            found.add(taken.cluster)
            rules = self._rules(get, view, taken)
            for route in rules.routes if rules is not None else ():
                found.update(rules.cluster_of(one) for one in routing.targets(route) if rules is not None)
        return frozenset(name for name in found if self._exists(get, view, name))

    def _exists(self, get: Get, view: WaypointView, name: str) -> bool:
        parsed = naming.parse(name)
        service = self.meshwide.named(get, parsed.host) if parsed is not None else None
        if parsed is None or service is None:
            return False
        rule = get(self.meshwide.rules, (view.namespace, (service.namespace, service.name)))
        return (parsed.port, parsed.subset) in set(targets(service, rule))

    # -- resources ------------------------------------------------------------------------------------------------

    def listener(self, get: Get, view: WaypointView, name: str) -> XdsResource | None:
        """A listener, but for those by which it makes HBONE itself."""
        if name == naming.CONNECT_TERMINATE:
            return connect.terminate(get(self.meshwide.accepted_domains, ALL))
        if name == waypoint.PODS:
            return waypoint.pods_listener(self._held(get, view))
        if name == WORKLOADS:
            return self._workloads(get, view)
        taken = self._found(get, view, name)
        return None if taken is None else waypoint.listener(taken, self.policies(get, view, taken.view.service))

    def _workloads(self, get: Get, view: WaypointView) -> XdsResource:
        """Which pod has an address. Only those that tunnels may ask for come here."""
        found: dict[str, list[str]] = {}
        for _, identity, addresses in self._pods(get, view):
            found.setdefault(identity, []).extend(addresses)
        chains = [identity_chain(who, sorted(where)) for who, where in sorted(found.items())]
        return workloads_listener(chains, msgspec.structs.replace(self.meshwide.settings, allow_any=False))

    def inside(self, get: Get, view: WaypointView, name: str) -> XdsResource | None:
        """The cluster that leads to the listener of a port, or to those of pods."""
        if name == waypoint.PODS:
            return connect.inside(name, name)
        if name == WORKLOADS:
            return waypoint.pods_cluster(Origin(msgspec.structs.replace(self.meshwide.settings, mark=0)))
        taken = self._found(get, view, name)
        return None if taken is None else waypoint.inside(taken)

    def routes(self, get: Get, view: WaypointView, name: str) -> XdsResource | None:
        """What tunnels may ask for, or the routes of one port."""
        if name == naming.CONNECT_TERMINATE:
            pods = [address for _, _, addresses in self._pods(get, view) for address in addresses]
            return waypoint.ways(self._taken(get, view), pods)
        if name == waypoint.PODS:
            return waypoint.pods_routes(self._held(get, view))
        taken = self._found(get, view, name)
        if taken is None:
            return None
        return waypoint.routes(taken, self._rules(get, view, taken), self.policies(get, view, taken.view.service))
