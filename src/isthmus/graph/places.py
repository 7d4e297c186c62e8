"""The wiring of places: what clients of each destination prefer, and by which of their labels."""

from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.derive import nearness, rules
from isthmus.derive.rules import Rule
from isthmus.derive.scopes import DEFAULT_DISTRIBUTION
from isthmus.derive.services import rank
from isthmus.envoy import naming
from isthmus.model.external import ServiceEntry
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.mesh_config import MeshConfig
from isthmus.model.preference import NO_PREFERENCE, Preference
from isthmus.model.rows import DestinationRule, Namespace, Protocol, Service, ServicePort, TrafficPolicy
from isthmus.model.settings import MeshSettings
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph, Index, Source

ALL = ()
ANYBODY = ""
"""Client namespace of a view that all namespaces share: only public rules count."""

Names = frozenset[str]
NOTHING: Names = frozenset()
Keys = tuple[str, ...]
"""The labels of clients that decide how near something is."""

Target = tuple[str, HostKey, int, str]
"""(namespace of the client, service, port, subset)."""

UNSAID = ("", 0)


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """The tables that preferences are made of."""

    settings: MeshSettings
    namespaces: Source[Namespace]
    services_of_host: Index[HostKey, Service]
    service_rows: Source[Service]
    placed_services: Index[tuple[()], Service]
    placed_namespaces: Index[tuple[()], Namespace]
    placed_entries: Index[tuple[()], ServiceEntry]
    entry_rows: Source[ServiceEntry]
    rule_rows: Source[DestinationRule]
    all_rules: Index[tuple[()], DestinationRule]
    rules_in: Index[str, DestinationRule]
    config: Derived[Key, MeshConfig]
    hosts: Derived[Key, tuple[HostKey, ...]]
    mesh_hosts: Derived[Key, tuple[HostKey, ...]]
    widened: Derived[Key, tuple[HostKey, ...]]
    services: Derived[HostKey, MeshService | None]
    rules: Derived[tuple[str, HostKey], Rule]
    own: Derived[str, tuple[HostKey, ...]]


def tcp_ports(service: MeshService) -> Iterator[ServicePort]:
    """The ports that a proxy handles."""
    return (port for port in service.ports if port.protocol is not Protocol.UDP)


def targets(service: MeshService, rule: Rule) -> Iterator[tuple[int, str]]:
    """(port, subset) of every destination that a service offers to clients that go by a rule."""
    for port in tcp_ports(service):
        yield (port.port, "")
        yield from ((port.port, subset.name) for subset in rule.subsets)


class Places:
    """Who prefers what is near: only these destinations differ by the client's place."""

    def __init__(self, graph: Graph, grounds: Grounds) -> None:
        self.grounds = grounds
        derived = graph.derived
        self.overrides: Derived[str, tuple[HostKey, ...]] = derived("derive.rule_overrides", self._overrides, ())
        self.said: Derived[HostKey, tuple[str, int]] = derived("derive.distributions", self._said, UNSAID)
        self.preferences: Derived[Target, Preference] = derived("derive.preferences", self._preference, NO_PREFERENCE)
        self.candidates: Derived[Key, tuple[HostKey, ...]] = derived("derive.placed_hosts", self._candidates, ())
        self.placed: Derived[tuple[str, HostKey], tuple[tuple[Keys, Names], ...]] = derived(
            "derive.placed", self._placed, ()
        )
        self.names: Derived[tuple[str, bool, Keys], Names] = derived("derive.placed_names", self._names, NOTHING)
        self.kinds: Derived[tuple[str, bool], tuple[Keys, ...]] = derived("derive.place_kinds", self._kinds, ())

    # -- what is preferred ----------------------------------------------------------------------------------------

    def policy(self, get: Get, client: str, host: HostKey, *, port: int, subset: str) -> TrafficPolicy:
        """What a client's rule says of a destination; the mesh's outlier detection and warm-up where it is silent."""
        rule = get(self.grounds.rules, (client, host))
        return rules.with_defaults(rules.policy_for(rule, subset, port), get(self.grounds.config, ALL))

    def _said(self, get: Get, host: HostKey) -> tuple[str, int]:
        """The service's trafficDistribution and spill-over threshold: the first cluster's word, else a namespace's.

        A mesh-wide name goes by what the service says where it is global, then by what peers say. Where nothing is
        said, its own network comes first.
        """
        grounds = self.grounds
        service = get(grounds.services, host)
        base = service.base if service is not None else host
        keys = get(grounds.services_of_host, base)
        if service is not None and service.union_of is not None:
            keys = tuple(key for key in keys if key[0] in service.clusters)
        found = [get(grounds.service_rows, key) for key in keys]
        rows = sorted((row for row in found if row is not None), key=lambda row: rank(row.cluster, grounds.settings))
        spill_below = next((row.spill_below for row in rows if row.spill_below), 0)
        for row in rows:
            if row.traffic_distribution:
                return row.traffic_distribution, spill_below
        if not rows and service is not None and service.traffic_distribution:
            return service.traffic_distribution, 0
        for cluster in service.clusters if service is not None else ():
            namespace = get(grounds.namespaces, (cluster, "", host[0]))
            if namespace is not None and namespace.traffic_distribution:
                return namespace.traffic_distribution, spill_below
        if service is None or (service.union_of is None and not service.widened):
            return "", spill_below
        return service.traffic_distribution or DEFAULT_DISTRIBUTION, spill_below

    def _preference(self, get: Get, key: Target) -> Preference:
        client, host, port, subset = key
        policy = self.policy(get, client, host, port=port, subset=subset)
        distribution, spill_below = get(self.said, host)
        return nearness.prefer(
            policy,
            distribution,
            get(self.grounds.config, ALL).locality,
            spill_below=get(self.grounds.rules, (client, host)).spill_below or spill_below,
        )

    # -- which destinations, by which labels ----------------------------------------------------------------------

    def _candidates(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Services that something about places may be said of."""
        hosts = get(self.grounds.hosts, ALL)
        config = get(self.grounds.config, ALL)
        if config.outlier_detection is not None or config.locality.distribute:
            return hosts
        rows = (get(self.grounds.rule_rows, key) for key in get(self.grounds.all_rules, ALL))
        patterns = {row.host for row in rows if row is not None and rules.is_about_places(row)}
        services = {(str(key[1]), str(key[2])) for key in get(self.grounds.placed_services, ALL)}
        entries = (get(self.grounds.entry_rows, key) for key in get(self.grounds.placed_entries, ALL))
        services.update((row.namespace, name) for row in entries if row is not None for name in row.hosts)
        services.update(get(self.grounds.mesh_hosts, ALL))
        services.update(get(self.grounds.widened, ALL))
        namespaces = {str(key[2]) for key in get(self.grounds.placed_namespaces, ALL)}
        if not patterns and not services and not namespaces:
            return ()
        return tuple(
            host
            for host in hosts
            if host in services or host[0] in namespaces or (patterns and self._matches(get, host, patterns))
        )

    def _matches(self, get: Get, host: HostKey, patterns: set[str]) -> bool:
        service = get(self.grounds.services, host)
        return service is not None and not patterns.isdisjoint(rules.host_patterns(service.host))

    def _placed(self, get: Get, key: tuple[str, HostKey]) -> tuple[tuple[Keys, Names], ...]:
        """A service's destinations that differ by place, by the labels that decide."""
        client, host = key
        service = get(self.grounds.services, host)
        if service is None or service.caller_chooses or service.by_dns:
            return ()
        found: dict[Keys, set[str]] = {}
        for port, subset in targets(service, get(self.grounds.rules, (client, host))):
            preference = get(self.preferences, (client, host, port, subset))
            if preference.keys:
                found.setdefault(preference.keys, set()).add(naming.outbound(port, service.host, subset))
        return tuple((keys, frozenset(found[keys])) for keys in sorted(found))

    def _hosts(self, get: Get, client: str, *, router: bool) -> tuple[HostKey, ...]:
        """Where a namespace's clients differ: by rules of their own, as the rest is in a view that all share.

        A `router` shares no view, so everything is in its own.
        """
        candidates = get(self.candidates, ALL)
        if client == ANYBODY or router or not candidates:
            return candidates
        own = set(get(self.overrides, client))
        return tuple(host for host in candidates if host in own)

    def _names(self, get: Get, key: tuple[str, bool, Keys]) -> Names:
        """The destinations that clients with certain labels see differently."""
        client, router, keys = key
        parts = (part for host in self._hosts(get, client, router=router) for part in get(self.placed, (client, host)))
        return NOTHING.union(*(names for of, names in parts if of == keys))

    def _kinds(self, get: Get, key: tuple[str, bool]) -> tuple[Keys, ...]:
        """The sets of labels that decide for some destination."""
        client, router = key
        parts = (part for host in self._hosts(get, client, router=router) for part in get(self.placed, (client, host)))
        return tuple(sorted({keys for keys, _ in parts}))

    # -- rules of the client's namespace --------------------------------------------------------------------------

    def _overrides(self, get: Get, namespace: str) -> tuple[HostKey, ...]:
        """Services that clients of this namespace treat by rules that not everybody goes by, or that only they see."""
        patterns = set()
        for key in get(self.grounds.rules_in, namespace):
            row = get(self.grounds.rule_rows, key)
            if row is not None and row.cluster == self.grounds.settings.config_cluster:
                patterns.add(row.host)
        own = set(get(self.grounds.own, namespace))
        hosts = get(self.grounds.hosts, ALL) if patterns or own else ()
        return tuple(
            host for host in hosts if host in own or (patterns and self._overridden(get, namespace, host, patterns))
        )

    def _overridden(self, get: Get, namespace: str, host: HostKey, patterns: set[str]) -> bool:
        if not self._matches(get, host, patterns):
            return False
        return get(self.grounds.rules, (namespace, host)) != get(self.grounds.rules, (ANYBODY, host))
