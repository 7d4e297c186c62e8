"""The wiring of what is wrong with services that are global."""

from collections.abc import Iterator

from isthmus.base.errors import Problem
from isthmus.derive import scope_problems, scopes
from isthmus.derive.scope_problems import Member
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.model.mesh import HostKey
from isthmus.model.peering import ServiceScope, scope_said
from isthmus.tables.graph import Derived, Get, Graph


class ScopeProblems:
    """What each global service asks for in vain, or says in two ways."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.of_service: Derived[HostKey, tuple[Problem, ...]] = graph.derived(
            "problems.of_global_service", self._of_service, ()
        )

    def all(self, get: Get) -> Iterator[Problem]:
        """Those of all services that are global somewhere, or would be."""
        for host in get(self.meshwide.scopes.bases, ALL):
            yield from get(self.of_service, host)
        sources = self.meshwide.sources
        for key in get(sources.scoped_services, ALL):
            row = get(sources.services, key)
            if row is not None and get(self.meshwide.discovered, (row.cluster, row.namespace)):
                yield from scope_problems.no_effect(row, scope_said(row.labels) or ServiceScope.LOCAL)
        yield from self._plain_sidecars(get)

    def _plain_sidecars(self, get: Get) -> Iterator[Problem]:
        """Where sidecars are that peers are out of reach for."""
        sources = self.meshwide.sources
        if get(sources.all_peer_services, ALL):
            clusters = {str(key[0]) for key in get(sources.proxies_without_hbone, ALL)}
            namespace = self.meshwide.settings.system_namespace
            yield from (scope_problems.plain_sidecars(cluster, namespace) for cluster in sorted(clusters))

    def _of_service(self, get: Get, host: HostKey) -> tuple[Problem, ...]:
        found = list(scope_problems.conflicts(list(self._members(get, host))))
        name = scopes.hostname(host)
        owner = get(self.meshwide.external.owner, name)
        if owner is not None:
            found.extend(scope_problems.taken_name(host, row) for row in self.meshwide.external.entries(get, owner))
        peers = list(self.meshwide.scopes.peers(get, host))
        networks = {place.network for peer in peers for place in peer.endpoints}
        gateways = {network: get(self.meshwide.entrances.gateways, network) for network in sorted(networks)}
        return (*found, *scope_problems.unreachable(peers, gateways))

    def _members(self, get: Get, host: HostKey) -> Iterator[Member]:
        """The service in each cluster where it is global, the first one first."""
        for claim in get(self.meshwide.scopes.claims, host):
            row = get(self.meshwide.sources.services, (claim.cluster, *host))
            if row is not None and not claim.peer:
                yield row, claim.scope
        for peer in self.meshwide.scopes.peers(get, host):
            yield peer, peer.scope
