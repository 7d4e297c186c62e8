"""The wiring of what ztunnels reach through gateways: services' endpoints in other networks (AM5), gateways (AM7)."""

from collections.abc import Iterator

from isthmus.envoy.router import tunnelled
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import NOTHING, Names, tcp_ports
from isthmus.graph.sources import ALL
from isthmus.graph.ztunnel_standing import Withdrawals
from isthmus.model.mesh import Endpoint, HostKey, MeshService, NetworkGateway
from isthmus.model.rows import Locality
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.ztunnel import gateways
from isthmus.ztunnel.build import service_name
from isthmus.ztunnel.gateways import Behind, Keeper

Placed = tuple[str, str]
"""(network, name of a resource that is about it)."""


class Crossings:
    """What leads out of a network. Workloads stand for endpoints that cannot be reached by address."""

    def __init__(self, graph: Graph, meshwide: Meshwide, withdrawals: Withdrawals) -> None:
        self.meshwide = meshwide
        self.withdrawals = withdrawals
        self.sources = meshwide.sources
        derived = graph.derived
        self.found: Derived[HostKey, tuple[Behind, ...]] = derived("ztunnel.crossings", self._found, ())
        self.placed: Derived[HostKey, tuple[Placed, ...]] = derived("ztunnel.crossing_names", self._placed, ())
        self.away: Derived[str, Names] = derived("ztunnel.away", self._away, NOTHING)
        self.bodies: Derived[str, bytes] = derived("ztunnel.crossing_workloads", self._body, b"")

    def names(self, get: Get, network: str) -> Names:
        """What a ztunnel of a network must know of the others."""
        return get(self.away, network)

    def crosses(self, get: Get, host: HostKey, network: str) -> bool:
        """True if some endpoint of a service is reached from this network through a gateway."""
        return any(other != network for other, _ in get(self.placed, host))

    def _away(self, get: Get, network: str) -> Names:
        hosts = get(self.meshwide.hosts, ALL)
        return frozenset(name for host in hosts for other, name in get(self.placed, host) if other != network)

    def _placed(self, get: Get, host: HostKey) -> tuple[Placed, ...]:
        found: dict[Placed, None] = {}
        for one in get(self.found, host):
            network = one.gateway.network
            found[network, gateways.split_uid(one.gateway, one.service)] = None
            found[network, gateways.gateway_uid(one.gateway)] = None
        return tuple(found)

    def _found(self, get: Get, host: HostKey) -> tuple[Behind, ...]:
        """The endpoints of a service by network and the gateways that lead there."""
        service = get(self.meshwide.services, host)
        if service is None or service.node_local or not tunnelled(service):
            return ()
        behind: dict[tuple[NetworkGateway, ...], list[Endpoint]] = {}
        for endpoint in self._tunnelled(get, service):
            route = self._route(get, endpoint)
            if route:
                behind.setdefault(route, []).append(endpoint)
        ports = tuple((port.port, port.port) for port in tcp_ports(service))
        name = service_name(service.namespace, service.host)
        totals: dict[NetworkGateway, int] = {}
        where: dict[NetworkGateway, set[Locality]] = {}
        for route, members in behind.items():
            for gateway, share in gateways.shares(sum(one.weight for one in members), route):
                totals[gateway] = totals.get(gateway, 0) + share
                where.setdefault(gateway, set()).update(one.locality for one in members)
        return tuple(
            Behind(gateway, name, totals[gateway], ports, _common(where[gateway])) for gateway in sorted(totals)
        )

    def _tunnelled(self, get: Get, service: MeshService) -> Iterator[Endpoint]:
        """Ready endpoints that take HBONE where gateways admit the service, each once, whatever its number of ports."""
        seen: set[tuple[str, str]] = set()
        withdrawn = self.withdrawals.of(get, (service.namespace, service.name))
        found = self.meshwide.assignments.ready_endpoints(get, (service.namespace, service.name))
        for endpoint in (*found, *self.meshwide.scopes.beyond(get, service)):
            place = (endpoint.cluster, endpoint.address)
            if not endpoint.hbone or not endpoint.network or (endpoint.address and place in seen):
                continue
            seen.add(place)
            if endpoint.cluster not in withdrawn and self.meshwide.assignments.admits(get, service, endpoint.cluster):
                yield endpoint

    def _route(self, get: Get, endpoint: Endpoint) -> tuple[NetworkGateway, ...]:
        """The gateways of its cluster if any, else all of its network (SH6)."""
        known = gateways.usable(get(self.meshwide.entrances.gateways, endpoint.network))
        return tuple(row for row in known if row.cluster == endpoint.cluster) or known

    def _body(self, get: Get, uid: str) -> bytes:
        kind, network, *rest = uid.split("/")
        if kind == gateways.GATEWAY:
            for row in get(self.meshwide.entrances.gateways, network):
                if gateways.gateway_uid(row) == uid:
                    return gateways.gateway(row, self._keeper(get, row))
            return b""
        service = self.meshwide.named(get, rest[-1])
        for one in get(self.found, (service.namespace, service.name)) if service is not None else ():
            if gateways.split_uid(one.gateway, one.service) == uid:
                return gateways.behind(one)
        return b""

    def _keeper(self, get: Get, row: NetworkGateway) -> Keeper:
        """Who answers at a gateway: the account of what runs there."""
        for identity in row.identities:
            domain, _, namespace, _, account = identity.removeprefix("spiffe://").split("/")
            return Keeper(domain, namespace, account)
        return Keeper(get(self.meshwide.trust_domain, row.cluster), "", "")


def _common(found: set[Locality]) -> Locality:
    """Where all of them are, as far as it is the same."""
    if len(found) == 1:
        return next(iter(found))
    regions = {where.region for where in found}
    return Locality(region=regions.pop()) if len(regions) == 1 else Locality()
