"""The wiring of scopes: which services are global where, and what their mesh-wide names mean."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from isthmus.derive import endpoints, scopes
from isthmus.derive.scopes import Claim
from isthmus.derive.services import rank
from isthmus.model.mesh import Endpoint, HostKey, MeshService, SliceEndpoints
from isthmus.model.peering import PeerService, ServiceScope
from isthmus.model.rows import Labels, Service
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide

ALL = ()


class ServiceScopes:
    """Derived rows of services that are global somewhere. Reads Meshwide's rows that are declared before it."""

    def __init__(self, graph: Graph, meshwide: "Meshwide") -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        derived = graph.derived
        self.namespace_labels: Derived[tuple[str, str], Labels] = derived(
            "derive.namespace_labels", self._namespace_labels, ()
        )
        self.scopes: Derived[Key, ServiceScope] = derived("derive.service_scopes", self._scope, ServiceScope.LOCAL)
        self.claims: Derived[HostKey, tuple[Claim, ...]] = derived("derive.global_in", self._claims, ())
        self.bases: Derived[Key, tuple[HostKey, ...]] = derived("derive.global_services", self._bases, ())
        self.hosts: Derived[Key, tuple[HostKey, ...]] = derived("derive.mesh_hosts", self._hosts, ())
        self.widened: Derived[Key, tuple[HostKey, ...]] = derived("derive.widened_hosts", self._widened, ())
        self.addresses: Derived[Key, dict[str, str]] = derived("derive.mesh_addresses", self._addresses, {})
        self.services: Derived[HostKey, MeshService | None] = derived("derive.mesh_services", self._service)
        self.summaries: Derived[HostKey, tuple[SliceEndpoints, ...]] = derived(
            "derive.peer_endpoints", self._summaries, ()
        )
        self.foreign: Derived[HostKey, tuple[str, ...]] = derived("derive.peer_identities", self._foreign, ())
        self.identities: Derived[HostKey, tuple[str, ...]] = derived("derive.mesh_identities", self._identities, ())

    # -- which services -------------------------------------------------------------------------------------------

    def _namespace_labels(self, get: Get, key: tuple[str, str]) -> Labels:
        row = get(self.sources.namespaces, (key[0], "", key[1]))
        return row.labels if row is not None else ()

    def of(self, get: Get, row: Service) -> ServiceScope:
        """How far a service of a cluster reaches; one in a namespace that is none of the mesh's (TE4) stays there."""
        place = (row.cluster, row.namespace)
        if not get(self.meshwide.discovered, place):
            return ServiceScope.LOCAL
        selectors = get(self.meshwide.config, ALL).global_services
        return scopes.scope(row, get(self.namespace_labels, place), selectors, self.meshwide.settings)

    def _scope(self, get: Get, key: Key) -> ServiceScope:
        row = get(self.sources.services, key)
        return ServiceScope.LOCAL if row is None else self.of(get, row)

    def _claims(self, get: Get, host: HostKey) -> tuple[Claim, ...]:
        """The clusters where a service is global, those that are read first, the config cluster before all."""
        found = []
        settings = self.meshwide.settings
        for key in sorted(get(self.sources.services_of_host, host), key=lambda key: rank(str(key[0]), settings)):
            said = get(self.scopes, key)
            if said is not ServiceScope.LOCAL:
                found.append(Claim(str(key[0]), said))
        found.extend(Claim(peer.cluster, peer.scope, peer=True) for peer in self.peers(get, host))
        return tuple(found)

    def is_global(self, get: Get, service: MeshService) -> bool:
        """True if a service is global in a cluster that is read, so that gateways for HBONE admit it by this name."""
        return any(not one.peer for one in get(self.claims, service.base))

    def names_of(self, get: Get, host: HostKey, cluster: str) -> tuple[HostKey, ...]:
        """What a cluster's endpoints of a service are behind: the service, and its mesh-wide name if it has one."""
        if all(one.cluster != cluster for one in get(self.claims, host)):
            return (host,)
        return (host, scopes.union(host))

    def peers(self, get: Get, host: HostKey) -> Iterator[PeerService]:
        """What peers export of a service. What is read itself needs no word of a peer."""
        for key in sorted(get(self.sources.peer_services_of, host)):
            row = get(self.sources.peer_services, key)
            if row is None or row.scope is ServiceScope.LOCAL:
                continue
            if get(self.sources.services, (row.cluster, *host)) is None:
                yield row

    def _bases(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Every service that is global somewhere."""
        found = {(str(at[1]), str(at[2])) for at in get(self.sources.all_peer_services, ALL)}
        found.update((str(at[1]), str(at[2])) for at in self._candidates(get))
        return tuple(host for host in sorted(found) if get(self.claims, host))

    def _candidates(self, get: Get) -> Iterable[Key]:
        """Services of the clusters that may be global: by their own labels, their namespaces', the mesh's selectors."""
        if get(self.meshwide.config, ALL).global_services:
            return get(self.sources.all_services, ALL)
        places = {(at[0], at[2]) for at in get(self.sources.scoped_namespaces, ALL)}
        labelled = get(self.sources.scoped_services, ALL)
        if not places:
            return labelled
        return {*labelled, *(at for at in get(self.sources.all_services, ALL) if (at[0], at[1]) in places)}

    def _hosts(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """The mesh-wide services. A ServiceEntry that somebody wrote for such a name keeps it."""
        found = (scopes.union(base) for base in get(self.bases, ALL))
        return tuple(host for host in found if get(self.meshwide.external.owner, host[1]) is None)

    def _widened(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Services whose own name reaches beyond sameness somewhere."""
        return tuple(
            host
            for host in get(self.bases, ALL)
            if any(one.scope is ServiceScope.GLOBAL_ONLY and not one.peer for one in get(self.claims, host))
        )

    # -- what they are --------------------------------------------------------------------------------------------

    def _addresses(self, get: Get, key: Key) -> dict[str, str]:
        return scopes.allocate(host[1] for host in get(self.hosts, ALL))

    def _service(self, get: Get, host: HostKey) -> MeshService | None:
        base = scopes.meaning(host[1])
        address = get(self.addresses, ALL).get(host[1])
        if base is None or base[0] != host[0] or address is None:
            return None
        rows = [get(self.sources.services, (one.cluster, *base)) for one in get(self.claims, base) if not one.peer]
        return scopes.service(
            base,
            [row for row in rows if row is not None],
            list(self.peers(get, base)),
            address=address,
            settings=self.meshwide.settings,
        )

    def _summaries(self, get: Get, host: HostKey) -> tuple[SliceEndpoints, ...]:
        return tuple(scopes.summarised(peer) for peer in self.peers(get, host))

    def beyond(self, get: Get, service: MeshService) -> Iterator[Endpoint]:
        """What is healthy at peers, for a service whose own name reaches them somewhere (`global-only`)."""
        for part in get(self.summaries, service.base) if service.widened else ():
            yield from (endpoint for endpoint in part.endpoints if endpoint.ready)

    def _foreign(self, get: Get, host: HostKey) -> tuple[str, ...]:
        """Who is behind a service at peers (AM8, with the trust domains that they have)."""
        return tuple(sorted({name for peer in self.peers(get, host) for name in peer.identities}))

    def _identities(self, get: Get, host: HostKey) -> tuple[str, ...]:
        """Who is behind a service wherever it is global."""
        within = {one.cluster for one in get(self.claims, host)}
        found = set(get(self.foreign, host))
        for key in get(self.sources.slices_of_host, host):
            if key[0] in within:
                found.update(get(self.meshwide.slice_identities, key))
        for part in get(self.meshwide.external.endpoints, host):
            if part.cluster in within:
                found.update(endpoints.identities(part))
        return tuple(sorted(found))
