"""The wiring of global names: what they mean to sidecars, and to the gateways between."""

from collections.abc import Iterator
from functools import partial

from isthmus.derive import globals as global_names
from isthmus.derive.globals import Hop
from isthmus.derive.horizon import Horizon
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.model.mesh import Assignment, HostKey, MeshService
from isthmus.model.rows import EndpointSlice, Service
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

Outward = tuple[HostKey, int, str, tuple[int, ...]]
"""(global host, port, own network, IP families): what decides where a gateway leads it."""


class Globals:
    """Derived rows of services that are meant wherever they run."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        derived = graph.derived
        self.hosts: Derived[Key, tuple[HostKey, ...]] = derived("derive.global_hosts", self._hosts, ())
        self.egress: Derived[str, tuple[Hop, ...]] = derived("derive.egress", self._egress, ())
        self.outward: Derived[Outward, tuple[Hop, ...]] = derived("derive.global_ways", self._outward, ())

    def _hosts(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """All hosts of ServiceEntries that are global names."""
        found = ((host, get(self.meshwide.services, host)) for host in get(self.meshwide.external.hosts, ALL))
        return tuple(host for host, service in found if service is not None and service.stands_for is not None)

    def _egress(self, get: Get, cluster: str) -> tuple[Hop, ...]:
        """The pods by which a cluster's own traffic goes out."""
        sources = self.meshwide.sources
        found: set[Hop] = set()
        for key in get(sources.egress_services, cluster):
            row = get(sources.services, key)
            if row is not None and global_names.egress_port(row):
                found.update(global_names.egress_hops(row, self._slices(get, row)))
        return tuple(sorted(found))

    def _slices(self, get: Get, row: Service) -> Iterator[EndpointSlice]:
        for key in get(self.meshwide.sources.slices_of_host, (row.namespace, row.name)):
            piece = get(self.meshwide.sources.slices, key)
            if piece is not None and piece.cluster == row.cluster:
                yield piece

    def _outward(self, get: Get, key: Outward) -> tuple[Hop, ...]:
        host, port, network, families = key
        parts = get(self.meshwide.external.endpoints, host)
        entries = [(one, number) for part in parts if (number := part.port(str(port))) for one in part.endpoints]
        return global_names.ways_out(entries, network, families, partial(self.meshwide.entrances.resolve, get))

    def near(
        self, get: Get, service: MeshService, horizon: Horizon, *, port: int, client: str, cluster: str
    ) -> Assignment:
        """What a sidecar uses: local endpoints, then its cluster's egress, or without one the gateways themselves."""
        assert service.stands_for is not None
        local = get(self.meshwide.assignments.rows, (horizon, service.stands_for, port, "", client))
        away = get(self.outward, ((service.namespace, service.name), port, horizon.network, horizon.families))
        return global_names.behind(local, (get(self.egress, cluster) or away) if away else ())

    def out(self, get: Get, service: MeshService, horizon: Horizon, *, port: int) -> Assignment:
        """What the egress port of a gateway uses: the gateways of other clusters, and never anything here."""
        host = (service.namespace, service.name)
        return global_names.behind(Assignment(), get(self.outward, (host, port, horizon.network, horizon.families)))
