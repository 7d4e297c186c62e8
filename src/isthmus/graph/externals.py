"""The wiring of what is no pod: hosts of ServiceEntries, and the endpoints that are in no slice."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.derive import external, visibility
from isthmus.derive.endpoints import Surroundings
from isthmus.model.external import ServiceEntry, WorkloadEntry, WorkloadGroup
from isthmus.model.mesh import HostKey, MeshService, SliceEndpoints
from isthmus.model.rows import Labels, Proxy, Row, Service, labels_match
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide

ALL = ()


class ExternalSources:
    """The observed tables of what is no pod, and their indexes."""

    def __init__(self, graph: Graph) -> None:
        self.service_entries = graph.source(ServiceEntry.TABLE, ServiceEntry)
        self.workload_entries = graph.source(WorkloadEntry.TABLE, WorkloadEntry)
        self.workload_groups = graph.source(WorkloadGroup.TABLE, WorkloadGroup)
        self.all_entries = graph.index("service_entries.all", self.service_entries, lambda _: [ALL])
        self.private_entries = graph.index(
            "service_entries.private", self.service_entries,
            lambda row: [] if visibility.is_public(row.export_to) else [ALL],
        )  # fmt: skip
        self.entries_of_host = graph.index(
            "service_entries.by_host", self.service_entries, lambda row: [(row.namespace, host) for host in row.hosts]
        )
        self.placed_entries = graph.index(
            "service_entries.placed", self.service_entries, lambda row: [ALL] if row.traffic_distribution else []
        )
        self.entries_named = graph.index("service_entries.by_name", self.service_entries, lambda row: row.hosts)
        self.entries_at = graph.index("service_entries.by_address", self.service_entries, lambda row: row.addresses)
        self.entries_for_label = graph.index("service_entries.by_selector", self.service_entries, _selector_entry)
        self.workloads_in = graph.index(
            "workload_entries.by_label", self.workload_entries,
            lambda row: [(row.cluster, row.namespace, pair) for pair in row.labels],
        )  # fmt: skip
        self.entries_listing = graph.index(
            "service_entries.by_endpoint", self.service_entries,
            lambda row: [(row.namespace, endpoint.address) for endpoint in row.endpoints],
        )  # fmt: skip
        self.workloads_at = graph.index(
            "workload_entries.by_address", self.workload_entries,
            lambda row: [(row.cluster, row.namespace, row.endpoint.address)],
        )  # fmt: skip
        self.workloads_of = graph.index(
            "workload_entries.by_namespace", self.workload_entries, lambda row: [row.namespace]
        )


def _selector_entry(row: ServiceEntry) -> list[Key]:
    """One pair of the selector finds all that may pick a workload."""
    return [(row.namespace, row.selector[0])] if row.selector else []


class Externals:
    """Derived rows of what is no pod. Reads Meshwide's rows that are declared before it."""

    def __init__(self, graph: Graph, sources: ExternalSources, meshwide: "Meshwide") -> None:
        self.sources = sources
        self.meshwide = meshwide
        derived = graph.derived
        self.allocations: Derived[Key, dict[tuple[str, str, str], str]] = derived(
            "derive.allocations", self._allocations, {}
        )
        self.allocated: Derived[HostKey, tuple[str, ...]] = derived("derive.allocated", self._allocated, ())
        self.services: Derived[HostKey, MeshService | None] = derived("derive.external_services", self._service)
        self.endpoints: Derived[HostKey, tuple[SliceEndpoints, ...]] = derived(
            "derive.external_endpoints", self._endpoints, ()
        )
        self.claims: Derived[str, tuple[HostKey, ...]] = derived("derive.external_claims", self._claims, ())
        self.owner: Derived[str, HostKey | None] = derived("derive.external_owner", self._owner)
        self.hosts: Derived[Key, tuple[HostKey, ...]] = derived("derive.external_hosts", self._hosts, ())

    def is_ours(self, get: Get, row: Row) -> bool:
        """True for an object of the config cluster (RS10) in a namespace of the mesh (TE4)."""
        return row.cluster == self.meshwide.settings.config_cluster and self._is_discovered(get, row)

    def _is_discovered(self, get: Get, row: Row) -> bool:
        return get(self.meshwide.discovered, (row.cluster, row.namespace))

    def entries(self, get: Get, host: HostKey) -> list[ServiceEntry]:
        """The ServiceEntries that make up a host."""
        rows = (get(self.sources.service_entries, key) for key in get(self.sources.entries_of_host, host))
        return external.agreeing(row for row in rows if row is not None and self.is_ours(get, row))

    def _allocations(self, get: Get, key: Key) -> dict[tuple[str, str, str], str]:
        rows = (get(self.sources.service_entries, key) for key in get(self.sources.all_entries, ALL))
        return dict(external.allocate(row for row in rows if row is not None and self.is_ours(get, row)))

    def _allocated(self, get: Get, host: HostKey) -> tuple[str, ...]:
        """The addresses that the mesh gave a host."""
        known = get(self.allocations, ALL)
        found = (known.get((row.namespace, row.name, host[1])) for row in self.entries(get, host))
        return tuple(dict.fromkeys(address for address in found if address is not None))

    def _service(self, get: Get, host: HostKey) -> MeshService | None:
        return external.service(host[1], self.entries(get, host), get(self.allocated, host))

    def _claims(self, get: Get, address: str) -> tuple[HostKey, ...]:
        """The hosts that somebody wrote an address for."""
        rows = (get(self.sources.service_entries, key) for key in get(self.sources.entries_at, address))
        mine = (row for row in rows if row is not None and self.is_ours(get, row))
        return tuple(sorted({(row.namespace, host) for row in mine for host in row.hosts}))

    def _owner(self, get: Get, hostname: str) -> HostKey | None:
        """Whose host name it is, where several namespaces have it: the oldest object's."""
        rows = (get(self.sources.service_entries, key) for key in get(self.sources.entries_named, hostname))
        mine = external.oldest_first(row for row in rows if row is not None and self.is_ours(get, row))
        return (mine[0].namespace, hostname) if mine else None

    def _hosts(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Every host of a ServiceEntry, each once."""
        rows = (get(self.sources.service_entries, key) for key in get(self.sources.all_entries, ALL))
        mine = (row for row in rows if row is not None and self.is_ours(get, row))
        owners = (get(self.owner, host) for host in sorted({host for row in mine for host in row.hosts}))
        return tuple(owner for owner in owners if owner is not None)

    def _endpoints(self, get: Get, host: HostKey) -> tuple[SliceEndpoints, ...]:
        """Endpoints that are in no slice; their ports are by the service port's number."""
        sources = self.meshwide.sources
        rows = [get(sources.services, key) for key in get(sources.services_of_host, host)]
        known = [row for row in rows if row is not None and self._is_discovered(get, row)]
        if known:
            return tuple(found for row in known for found in self._behind_service(get, row))
        return tuple(found for row in self.entries(get, host) for found in self._behind_entry(get, row, host[1]))

    def _behind_service(self, get: Get, row: Service) -> Iterator[SliceEndpoints]:
        """WorkloadEntries of the Service's cluster and namespace that its selector picks (VM10)."""
        if not row.selector:
            return
        for key in get(self.sources.workloads_in, (row.cluster, row.namespace, row.selector[0])):
            entry = get(self.sources.workload_entries, key)
            if entry is not None and labels_match(row.selector, entry.labels):
                yield self._entry(get, entry, row)

    def _behind_entry(self, get: Get, row: ServiceEntry, host: str) -> Iterator[SliceEndpoints]:
        yield from external.listed(row, host, self._around(get, row.cluster, row.namespace))
        if not row.selector:
            return
        for key in get(self.sources.workloads_of, row.namespace):
            entry = get(self.sources.workload_entries, key)
            if entry is not None and labels_match(row.selector, entry.labels) and self._is_discovered(get, entry):
                yield self._entry(get, entry, row)
        pods = self.meshwide.sources.workloads
        for key in get(self.meshwide.sources.pods_in, row.namespace):
            pod = get(pods, key)
            if pod is None or not pod.addresses or not labels_match(row.selector, pod.labels):
                continue
            if self._is_discovered(get, pod):
                yield external.chosen_pod(pod, row.ports, self._around(get, pod.cluster, pod.namespace))

    def _entry(self, get: Get, entry: WorkloadEntry, owner: Service | ServiceEntry) -> SliceEndpoints:
        around = self._around(get, entry.cluster, entry.namespace)
        return external.chosen_entry(entry, owner.ports, around)

    def _around(self, get: Get, cluster: str, namespace: str) -> Surroundings:
        return self.meshwide.surroundings(get, cluster, namespace)

    def entry_of(self, get: Get, proxy: Proxy) -> WorkloadEntry | None:
        """The WorkloadEntry that stands for the workload of a proxy."""
        for address in proxy.addresses:
            for key in get(self.sources.workloads_at, (proxy.cluster, proxy.namespace, address)):
                found = get(self.sources.workload_entries, key)
                if found is not None:
                    return found
        return None

    def behind(self, get: Get, proxy: Proxy) -> Iterator[ServiceEntry]:
        """The ServiceEntries of the mesh that have a proxy's workload behind them: by its labels, or its address."""
        found = {row.key: row for row in self.selecting(get, proxy.namespace, proxy.labels)}
        for address in proxy.addresses:
            for key in get(self.sources.entries_listing, (proxy.namespace, address)):
                row = get(self.sources.service_entries, key)
                if row is not None and self.is_ours(get, row):
                    found[row.key] = row
        yield from (found[key] for key in sorted(found) if found[key].internal)

    def selecting(self, get: Get, namespace: str, labels: Labels) -> Iterator[ServiceEntry]:
        """The ServiceEntries that select a workload with these labels."""
        for pair in labels:
            for key in get(self.sources.entries_for_label, (namespace, pair)):
                row = get(self.sources.service_entries, key)
                if row is not None and self.is_ours(get, row) and labels_match(row.selector, labels):
                    yield row
