"""The wiring of gateways: which VirtualServices their servers go by, and what comes of it."""

from collections.abc import Iterator

from isthmus.base.names import PEERS_PORT, peers_host
from isthmus.derive import gateways, routing
from isthmus.derive.gateways import Takes
from isthmus.envoy import gateway, naming, streams
from isthmus.envoy.access_log import GATEWAY
from isthmus.envoy.build import Message
from isthmus.envoy.routes import Rules
from isthmus.graph.observed import Meshwide
from isthmus.graph.routing import Routing, source_of
from isthmus.graph.sources import ALL
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.routing import VirtualService
from isthmus.model.rows import GatewayServer
from isthmus.model.scopes import RouterView
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import XdsResource

Names = frozenset[str]

XDS_PORT = 15012
"""Of the control plane's Service."""


class Gateways:
    """What gateways do besides passing mesh mTLS on."""

    def __init__(self, graph: Graph, meshwide: Meshwide, routing: Routing) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        self.routing = routing
        self.clusters: Derived[RouterView, Names] = graph.derived(
            "derive.gateway_clusters", self._clusters, frozenset()
        )

    def _bound(self, get: Get, view: RouterView, server: GatewayServer) -> list[tuple[VirtualService, tuple[str, ...]]]:
        return gateways.bound(server, self.routing.rows_at(get, server.gateway), view.namespace)

    def _caller(self, view: RouterView, server: GatewayServer) -> routing.Caller:
        return routing.Caller(gateways=(server.gateway,), namespace=view.namespace, port=server.number)

    def _streams(self, get: Get, view: RouterView, server: GatewayServer) -> Iterator[streams.Stream]:
        """The connections that a server carries: by tls routes where it opens no TLS, else by tcp routes."""
        found = []
        caller = self._caller(view, server)
        for row, hosts in self._bound(get, view, server):
            chosen = row.tls if gateways.takes(server) is Takes.SNI else row.tcp
            found += [routing.within(route, hosts) for route in routing.stream_routes(chosen, row, caller)]
        return streams.streams(
            [route for route in found if route is not None], self.routing.cluster_of(get, server.number)
        )

    def _http(self, get: Get, view: RouterView, server: GatewayServer) -> Iterator[tuple[str, Rules]]:
        """Hosts of an HTTP server, with the rules for them; a host may come several times."""
        caller = self._caller(view, server)
        for row, hosts in self._bound(get, view, server):
            rules = tuple(routing.http_routes(row, caller))
            if rules:
                sources = (source_of(row),) * len(rules)
                yield from (
                    (host, Rules(rules, self.routing.cluster_of(get, server.number), sources)) for host in hosts
                )

    def _clusters(self, get: Get, view: RouterView) -> Names:
        """The clusters that the rules of a gateway name, whether they exist or not."""
        found: set[str] = set()
        for server in view.servers:
            match gateways.takes(server):
                case Takes.HTTP:
                    for _, rules in self._http(get, view, server):
                        found.update(rules.cluster_of(one) for route in rules.routes for one in routing.targets(route))
                case Takes.SNI | Takes.BYTES:
                    for stream in self._streams(get, view, server):
                        found.update(name for name, _ in stream.shares)
                case Takes.CONTROL_PLANE:
                    found.update(name for stream in self._ways_to_control_plane() for name, _ in stream.shares)
                case Takes.AUTO | Takes.HBONE:
                    pass
        return frozenset(found)

    # -- resources ------------------------------------------------------------------------------------------------

    def chains(self, get: Get, view: RouterView, port: int) -> Iterator[bytes]:
        """The filter chains of a port, without those of services. The first to claim a name has it."""
        seen: set[tuple[str, str, str]] = set()
        for server in view.servers:
            if server.port == port and gateways.takes(server) is Takes.CONTROL_PLANE:
                yield from (
                    streams.chain(stream, GATEWAY, tls=True).SerializeToString(deterministic=True)
                    for stream in self._ways_to_control_plane()
                )
            elif server.port == port and gateways.takes(server) not in (Takes.AUTO, Takes.HBONE):
                for message in self._chains(get, view, server):
                    if gateway.leave_out(message, seen):
                        yield message.SerializeToString(deterministic=True)

    def _ways_to_control_plane(self) -> list[streams.Stream]:
        """What leads TLS to the control plane of the gateway's own cluster: peers by their SNI, all others whatever
        theirs is."""
        settings = self.meshwide.settings
        host = f"istiod.{settings.system_namespace}.svc.{settings.domain}"
        peers = peers_host(settings.system_namespace)
        return [
            streams.Stream(((naming.outbound(PEERS_PORT, host), 1),), sni_hosts=(peers,)),
            streams.Stream(((naming.outbound(XDS_PORT, host), 1),)),
        ]

    def _chains(self, get: Get, view: RouterView, server: GatewayServer) -> list[Message]:
        socket = None
        if gateways.opens_tls(server):
            socket = gateway.server_socket(server, get(self.meshwide.accepted_domains, ALL))
            if socket is None:
                return []
        if gateways.takes(server) is Takes.HTTP:
            return [gateway.http_chain(server, socket, self.meshwide.policies(get, view.policies))]
        return gateway.stream_chains(
            self._streams(get, view, server), server, socket, self._policies(get, view, server)
        )

    def _policies(self, get: Get, view: RouterView, server: GatewayServer) -> tuple[AuthorizationPolicy, ...]:
        """Who may come in. The control plane asks its callers for tokens itself, or a mesh closed by default would
        close its own control plane to other clusters."""
        exempt = f"{self.meshwide.settings.system_namespace}/{gateways.CONTROL_PLANE_GATEWAY}"
        return () if server.gateway == exempt else self.meshwide.policies(get, view.policies)

    def route_names(self, view: RouterView) -> Names:
        """The route configurations of a gateway."""
        return frozenset(gateway.http_routes_name(one) for one in view.servers if gateways.takes(one) is Takes.HTTP)

    def routes(self, get: Get, view: RouterView, name: str) -> XdsResource | None:
        """A route configuration of a gateway: all its servers of that name together."""
        servers = [
            one for one in view.servers if gateways.takes(one) is Takes.HTTP and gateway.http_routes_name(one) == name
        ]
        if not servers:
            return None
        found: dict[str, list[Rules]] = {}
        for server in servers:
            for host, rules in self._http(get, view, server):
                found.setdefault(host, []).append(rules)
        port = servers[0].port
        hosts = {host: gateway.virtual_host(host, port, rules) for host, rules in found.items()}
        for server in servers:
            for host in server.hosts if server.redirects else ():
                hosts[host] = gateway.redirecting_host(host, port, hosts.get(host))
        guard = self.meshwide.policies(get, view.policies)
        return gateway.route_configuration(name, (hosts[host] for host in sorted(hosts)), guard)
