"""The wiring of ztunnel's workloads: pods, WorkloadEntries, endpoints of ServiceEntries, addresses without a pod."""

from collections.abc import Iterable, Iterator

from isthmus.base.labels import NETWORK_LABEL, TUNNEL_LABEL
from isthmus.derive import external, networks, peers
from isthmus.derive.endpoints import canonical, takes_hbone
from isthmus.graph.name_tree import EMPTY, WIDTH, Branch, NameTree, place
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import NOTHING, Names, tcp_ports
from isthmus.graph.sources import ALL
from isthmus.graph.ztunnel_standing import Withdrawals
from isthmus.model.external import EntryAddress, ServiceEntry, WorkloadEntry
from isthmus.model.mesh import HostKey, SliceEndpoints
from isthmus.model.policy import PolicyKey
from isthmus.model.rows import EndpointSlice, Labels, Locality, MtlsMode, Service, Workload, labels_match
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.ztunnel import policies, workloads
from isthmus.ztunnel.build import Waypoint, service_name
from isthmus.ztunnel.workloads import Around, Ports

Serving = tuple[tuple[HostKey, Ports], ...]
"""The services that something serves, with their ports."""


class Workloads:
    """Bytes of workloads by name, made once for all ztunnels, and which of them are in a network."""

    def __init__(self, graph: Graph, meshwide: Meshwide, withdrawals: Withdrawals) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        sources = meshwide.sources
        self.withdrawals = withdrawals
        self.addressed = graph.index("workloads.addressed", sources.workloads, _addressed)
        self.displaced = graph.index("workloads.displaced", sources.workloads, _displaced)
        self.entries = graph.index("workload_entries.all", sources.external.workload_entries, lambda _: [ALL])
        self.podless = graph.index("slices.podless", sources.slices, _podless)
        derived, root = graph.derived, meshwide.settings.system_namespace
        self.slice_serves: Derived[Key, Serving] = derived("ztunnel.slice_serves", self._slice_serves, ())
        self.leaving: Derived[Key, Names] = derived("ztunnel.leaving", self._leaving, NOTHING)
        self.selectors: Derived[str, tuple[tuple[Labels, str], ...]] = derived(
            "ztunnel.selectors", self._selectors, (((), policies.policy_name(root, policies.CLOSED)),)
        )
        self.nearness: Derived[tuple[str, str, str], tuple[bool, bool]] = derived(
            "ztunnel.nearness", self._nearness, (False, False)
        )
        self.leaves: Derived[tuple[str, int, int], Names] = derived("ztunnel.pods", self._leaf, NOTHING)
        self.branches: Derived[tuple[str, int], Branch] = derived("ztunnel.pod_branches", self._branch, EMPTY)
        self.others: Derived[str, Names] = derived("ztunnel.others", self._others, NOTHING)
        self.bodies: Derived[tuple[str, bool], bytes] = derived("ztunnel.workloads", self._body, b"")

    # -- which there are ------------------------------------------------------------------------------------------

    def names(self, get: Get, network: str) -> NameTree:
        """The names of the workloads that are reached directly from a network."""
        branches = tuple(get(self.branches, (network, branch)) for branch in range(WIDTH))
        return NameTree(branches, (get(self.others, network),))

    def has_pod(self, get: Get, network: str, uid: str) -> bool:
        """True if that is the name of a pod in a network."""
        return uid in get(self.leaves, (network, *place(uid)))

    def _branch(self, get: Get, key: tuple[str, int]) -> Branch:
        return tuple(get(self.leaves, (*key, leaf)) for leaf in range(WIDTH))

    def _leaf(self, get: Get, key: tuple[str, int, int]) -> Names:
        """The pods at a place of the tree. Those whose label puts them elsewhere are looked at one by one."""
        network, branch, leaf = key
        special = frozenset(get(self.displaced, (branch, leaf)))
        names = set()
        for at in get(self.addressed, (branch, leaf)):
            every, some = get(self.nearness, (network, str(at[0]), str(at[1])))
            if (every and at not in special) or (some and self._network(get, at) in ("", network)):
                names.add(workloads.pod_uid(*map(str, at)))
        return frozenset(names)

    def _nearness(self, get: Get, key: tuple[str, str, str]) -> tuple[bool, bool]:
        """Whether all pods of a namespace that no label displaces are in a network; whether one may be that is not
        among these."""
        network, cluster, namespace = key
        if get(self.sources.namespaces, (cluster, "", namespace)) is None:
            return False, False
        if not get(self.meshwide.discovered, (cluster, namespace)):
            return False, False
        home = get(self.meshwide.homes, cluster)
        return not home.ranges and home.network in ("", network), True

    def _network(self, get: Get, key: Key) -> str:
        row = get(self.sources.workloads, key)
        if row is None:
            return ""
        return networks.network_of(row.labels, get(self.meshwide.homes, row.cluster), row.addresses[0])

    def _others(self, get: Get, network: str) -> Names:
        return frozenset(self._entry_names(get, network)).union(self._listed_names(get, network))

    def _entry_names(self, get: Get, network: str) -> Iterator[str]:
        for key in get(self.entries, ALL):
            row = get(self.sources.external.workload_entries, key)
            if row is not None and self._entry_network(get, row) in ("", network):
                yield workloads.entry_uid(row.cluster, row.namespace, row.name)
        for key in get(self.podless, ALL):
            piece = get(self.sources.slices, key)
            home = get(self.meshwide.homes, str(key[0]))
            for address in _without_pod(piece) if piece is not None else ():
                if networks.network_of((), home, address) in ("", network):
                    yield workloads.slice_uid(str(key[0]), str(key[1]), str(key[2]), address)

    def _listed_names(self, get: Get, network: str) -> Iterator[str]:
        for key in get(self.sources.external.all_entries, ALL):
            row = get(self.sources.external.service_entries, key)
            if row is None or not self.meshwide.external.is_ours(get, row):
                continue
            for host in row.hosts:
                for found in self._listed(get, row, host):
                    if found.endpoints[0].network in ("", network):
                        address = found.endpoints[0].address
                        yield workloads.listed_uid(row.cluster, row.namespace, row.name, address)

    def _entry_network(self, get: Get, row: WorkloadEntry) -> str:
        home = get(self.meshwide.homes, row.cluster)
        return row.endpoint.network or networks.network_of(row.labels, home, row.endpoint.address)

    def _listed(self, get: Get, row: ServiceEntry, host: str) -> Iterator[SliceEndpoints]:
        return external.listed(row, host, self.meshwide.surroundings(get, row.cluster, row.namespace))

    # -- what they are --------------------------------------------------------------------------------------------

    def _body(self, get: Get, key: tuple[str, bool]) -> bytes:
        """The encoded Workload; `at home` is False for those who look from another cluster."""
        uid, at_home = key
        match uid.split("/"):
            case [cluster, "", "Pod", namespace, name]:
                return self._pod(get, (cluster, namespace, name), at_home)
            case [cluster, _, "WorkloadEntry", namespace, name]:
                return self._entry(get, (cluster, namespace, name), at_home)
            case [cluster, _, "ServiceEntry", namespace, name, *address]:
                return self._listed_entry(get, (cluster, namespace, name), "/".join(address))
            case [cluster, _, "EndpointSlice", namespace, name, address]:
                return self._podless(get, (cluster, namespace, name), address, at_home)
        return b""

    def _pod(self, get: Get, key: Key, at_home: bool) -> bytes:
        row = get(self.sources.workloads, key)
        if row is None or not row.addresses:
            return b""
        pieces = get(self.sources.slices_of_pod, key)
        serving = self._merged(
            (*(one for piece in pieces for one in get(self.slice_serves, piece)), *self._chosen(get, row))
        )
        around = self._around(get, row.cluster, row.namespace, row.labels, name=row.workload_name or row.name)._replace(
            network=self._network(get, key),
            services=self._services(get, serving, row.cluster, at_home),
            locality=self._locality(get, row),
            healthy=row.ready and not any(row.name in get(self.leaving, piece) for piece in pieces),
            tunnel=_tunnel(row),
            waypoint=self._waypoint(get, key) if at_home else None,
        )
        return workloads.pod(row, around)

    def _waypoint(self, get: Get, key: Key) -> Waypoint | None:
        """The waypoint of a pod's own address. It is for callers of its cluster: its Service's address is there."""
        found = get(self.meshwide.pod_waypoints.of_pod, key)
        service = get(self.meshwide.services, found) if found is not None else None
        return Waypoint(service.namespace, service.host) if service is not None else None

    def _entry(self, get: Get, key: Key, at_home: bool) -> bytes:
        row = get(self.sources.external.workload_entries, key)
        if row is None:
            return b""
        around = self._around(get, row.cluster, row.namespace, row.labels, name=row.name)._replace(
            network=self._entry_network(get, row),
            services=self._services(get, self._merged(self._behind(get, row)), row.cluster, at_home),
            locality=row.endpoint.locality,
            healthy=row.healthy,
        )
        return workloads.entry(row, around)

    def _listed_entry(self, get: Get, key: Key, address: str) -> bytes:
        row = get(self.sources.external.service_entries, key)
        if row is None:
            return b""
        found = [
            ((row.namespace, host), one)
            for host in row.hosts
            for one in self._listed(get, row, host)
            if one.endpoints[0].address == address
        ]
        if not found:
            return b""
        written = next((one for one in row.endpoints if one.address == address), EntryAddress(address=address))
        around = self._around(get, row.cluster, row.namespace, written.labels, name=row.name)._replace(
            network=found[0][1].endpoints[0].network,
            services=self._services(get, self._merged((host, _numbers(one)) for host, one in found), row.cluster, True),
            locality=written.locality,
        )
        return workloads.listed((row.cluster, row.namespace, row.name), written, around)

    def _podless(self, get: Get, key: Key, address: str, at_home: bool) -> bytes:
        row = get(self.sources.slices, key)
        found = next((one for one in row.endpoints if address in one.addresses), None) if row is not None else None
        if row is None or found is None:
            return b""
        around = Around(
            network=networks.network_of((), get(self.meshwide.homes, row.cluster), address),
            trust_domain=get(self.meshwide.trust_domain, row.cluster),
            services=self._services(get, get(self.slice_serves, key), row.cluster, at_home),
            healthy=found.ready and not found.terminating,
        )
        return workloads.bare((row.cluster, row.namespace, row.name), address, around)

    def _around(self, get: Get, cluster: str, namespace: str, labels: Labels, *, name: str) -> Around:
        return Around(
            network="",
            trust_domain=get(self.meshwide.trust_domain, cluster),
            policies=tuple(self._policies(get, namespace, labels)),
            canonical=canonical(labels, name),
        )

    def _locality(self, get: Get, row: Workload) -> Locality:
        node = get(self.sources.nodes, (row.cluster, "", row.node)) if row.node else None
        return node.locality if node is not None else Locality()

    # -- what they serve ------------------------------------------------------------------------------------------

    def _slice_serves(self, get: Get, key: Key) -> Serving:
        """The service that a slice belongs to, with the numbers of its ports there, and its mesh-wide name."""
        piece = get(self.sources.slices, key)
        if piece is None:
            return ()
        numbers = {port.name: port.port for port in piece.ports}
        found: list[tuple[HostKey, Ports]] = []
        for host in self.meshwide.scopes.names_of(get, (piece.namespace, piece.service), piece.cluster):
            service = get(self.meshwide.services, host)
            if service is None:
                continue
            named = (
                (port.port, self.meshwide.assignments.port_name(get, service, port.port, piece.cluster))
                for port in tcp_ports(service)
            )
            found.append((host, tuple((port, numbers[name]) for port, name in named if name in numbers)))
        return tuple(found)

    def _leaving(self, get: Get, key: Key) -> Names:
        """The pods of a slice that are being ended."""
        piece = get(self.sources.slices, key)
        return frozenset(one.pod for one in piece.endpoints if one.terminating) if piece is not None else NOTHING

    def _chosen(self, get: Get, row: Workload) -> Iterator[tuple[HostKey, Ports]]:
        """The hosts of ServiceEntries that select a pod."""
        for entry in self.meshwide.external.selecting(get, row.namespace, row.labels):
            around = self.meshwide.surroundings(get, row.cluster, row.namespace)
            ports = _numbers(external.chosen_pod(row, entry.ports, around))
            yield from (((entry.namespace, host), ports) for host in entry.hosts)

    def _behind(self, get: Get, row: WorkloadEntry) -> Iterator[tuple[HostKey, Ports]]:
        """The services and hosts that select a WorkloadEntry (VM10)."""
        around = self.meshwide.surroundings(get, row.cluster, row.namespace)
        for service in self._selecting(get, row):
            found = external.chosen_entry(row, service.ports, around)
            for host in self.meshwide.scopes.names_of(get, (service.namespace, service.name), row.cluster):
                yield host, _numbers(found)
        for entry in self.meshwide.external.selecting(get, row.namespace, row.labels):
            ports = _numbers(external.chosen_entry(row, entry.ports, around))
            yield from (((entry.namespace, host), ports) for host in entry.hosts)

    def _selecting(self, get: Get, row: WorkloadEntry) -> Iterator[Service]:
        for pair in row.labels:
            for key in get(self.sources.services_for_label, (row.cluster, row.namespace, pair)):
                found = get(self.sources.services, key)
                if found is not None and labels_match(found.selector, row.labels):
                    yield found

    @staticmethod
    def _merged(found: Iterable[tuple[HostKey, Ports]]) -> Serving:
        """Each service once: its slices may each have some of its ports."""
        by_host: dict[HostKey, dict[int, int]] = {}
        for host, ports in found:
            by_host.setdefault(host, {}).update(ports)
        return tuple((host, tuple(sorted(by_host[host].items()))) for host in sorted(by_host))

    def _services(self, get: Get, serving: Serving, cluster: str, at_home: bool) -> tuple[tuple[str, Ports], ...]:
        """By the names of their resources; what never leaves its cluster is left out for others (CL4)."""
        found: list[tuple[str, Ports]] = []
        for host, ports in serving:
            service = get(self.meshwide.services, host)
            if service is None or (service.cluster_local and not at_home):
                continue
            if cluster not in self.withdrawals.of(get, host, cluster if at_home else ""):
                found.append((service_name(service.namespace, service.host), ports))
        return tuple(found)

    # -- who may call them ----------------------------------------------------------------------------------------

    def _policies(self, get: Get, namespace: str, labels: Labels) -> Iterator[str]:
        """The policies that mean a workload by its labels, and what PeerAuthentication demands of its peers."""
        for selector, name in get(self.selectors, namespace):
            if labels_match(selector, labels):
                yield name
        mode = peers.workload_mode(get(self.meshwide.peer_policy, namespace), labels)
        if policies.needs_conversion(mode):
            own = peers.selecting(self.meshwide.peers_in(get, namespace), labels)
            if own is not None:
                yield policies.converted_name(own.namespace, own.name)
        elif mode.mode is MtlsMode.STRICT:
            yield policies.policy_name(self.meshwide.settings.system_namespace, policies.STATIC_STRICT)

    def _selectors(self, get: Get, namespace: str) -> tuple[tuple[Labels, str], ...]:
        """The policies with a selector that are for workloads of a namespace."""
        found: set[tuple[Labels, PolicyKey]] = set()
        for within in {namespace, self.meshwide.settings.system_namespace}:
            for row in self.meshwide.policies_in(get, within):
                if row.selector and not row.targets and row.action in policies.ACTIONS:
                    found.add((row.selector, (row.namespace, row.name)))
        return tuple((selector, policies.policy_name(*key)) for selector, key in sorted(found))


def _addressed(row: Workload) -> list[tuple[int, int]]:
    there = row.addresses and not row.entry
    return [place(workloads.pod_uid(row.cluster, row.namespace, row.name))] if there else []


def _displaced(row: Workload) -> list[tuple[int, int]]:
    return _addressed(row) if networks.label(row.labels, NETWORK_LABEL) else []


def _tunnel(row: Workload) -> str:
    """A sidecar that takes HBONE wants it as it is; the node's proxy opens it for others."""
    if not takes_hbone(row):
        return workloads.NO_HBONE
    return workloads.NATIVE if networks.label(row.labels, TUNNEL_LABEL) else workloads.HBONE


def _podless(row: EndpointSlice) -> list[tuple[()]]:
    return [ALL] if any(not one.pod and one.addresses for one in row.endpoints) else []


def _without_pod(row: EndpointSlice) -> Iterator[str]:
    return (one.addresses[0] for one in row.endpoints if not one.pod and one.addresses)


def _numbers(found: SliceEndpoints) -> Ports:
    return tuple((int(port), number) for port, number in found.ports if port.isdecimal())
