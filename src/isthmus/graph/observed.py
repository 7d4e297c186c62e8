"""What the mesh makes of the observed rows: derived rows that mean the same to every proxy."""

from collections.abc import Iterable, Iterator

import msgspec

from isthmus.derive import (
    configuration,
    endpoints,
    networks,
    peers,
    policies,
    rules,
    scopes,
    services,
)
from isthmus.derive.networks import Home
from isthmus.derive.rules import Rule
from isthmus.graph.assignments import Assignments
from isthmus.graph.entrances import Entrances
from isthmus.graph.externals import Externals
from isthmus.graph.places import Grounds, Places
from isthmus.graph.pod_waypoints import PodWaypoints
from isthmus.graph.service_scopes import ServiceScopes
from isthmus.graph.sources import ALL, Sources, host_of
from isthmus.graph.visible import Seen, Visible
from isthmus.graph.waypoints import Waypoints
from isthmus.model.liveness import ClusterStanding
from isthmus.model.mesh import (
    HostKey,
    MeshService,
    PeerPolicy,
    ServiceView,
    SliceEndpoints,
)
from isthmus.model.mesh_config import MeshConfig, NetworkDefinition
from isthmus.model.peering import ServiceScope
from isthmus.model.policy import AuthorizationPolicy, PolicyKey
from isthmus.model.rows import (
    DestinationRule,
    MtlsMode,
    PeerAuthentication,
)
from isthmus.model.settings import MeshSettings
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

CONFIG_NAME = "istio"
NO_CONFIG = MeshConfig(cluster="", name=CONFIG_NAME)
"""What holds where there is no ConfigMap: the settings of the start."""

DENY = PeerPolicy(MtlsMode.STRICT)
"""What holds where the policies of a namespace could not be derived: fail closed."""


class Meshwide:
    """Derived rows that mean the same to every proxy."""

    def __init__(self, graph: Graph, sources: Sources, settings: MeshSettings) -> None:
        self.sources = sources
        self.settings = settings
        derived = graph.derived
        self.config: Derived[Key, MeshConfig] = derived("derive.mesh_config", self._config, NO_CONFIG)
        self.effective: Derived[Key, MeshSettings] = derived("derive.settings", self._effective, settings)
        self.discovered: Derived[tuple[str, str], bool] = derived("derive.discovered", self._discovered, True)
        self.trust_domain: Derived[str, str] = derived("derive.trust_domain", self._trust_domain, settings.trust_domain)
        self.definitions: Derived[Key, tuple[NetworkDefinition, ...]] = derived(
            "derive.mesh_networks", self._definitions, ()
        )
        self.homes: Derived[str, Home] = derived("derive.default_network", self._home, Home())
        self.peer_policy: Derived[str, PeerPolicy] = derived("derive.peer_policy", self._peer_policy, DENY)
        self.bound_policies: Derived[str, tuple[policies.Bound, ...]] = derived(
            "derive.bound_policies", self._bound_policies, policies.CLOSED
        )
        self.attached_policies: Derived[str, tuple[policies.Attached, ...]] = derived(
            "derive.attached_policies", self._attached_policies, policies.CLOSED_TARGETS
        )
        self.accepted_domains: Derived[Key, tuple[str, ...]] = derived(
            "derive.accepted_domains", self._accepted_domains, settings.trust_domains
        )
        self.endpoints: Derived[Key, SliceEndpoints | None] = derived("derive.endpoints", self._endpoints)
        self.external = Externals(graph, sources.external, self)
        self.slice_identities: Derived[Key, tuple[str, ...]] = derived("derive.slice_identities", self._slice_ids, ())
        self.scopes = ServiceScopes(graph, self)
        self.hosts: Derived[Key, tuple[HostKey, ...]] = derived("derive.hosts", self._hosts, ())
        self.services: Derived[HostKey, MeshService | None] = derived("derive.services", self._service)
        self.node_local_hosts: Derived[Key, tuple[HostKey, ...]] = derived("derive.node_local", self._node_local, ())
        self.views: Derived[tuple[str, HostKey], ServiceView | None] = derived("derive.service_views", self._view)
        self.local_identities: Derived[HostKey, tuple[str, ...]] = derived(
            "derive.local_identities", self._local_identities, ()
        )
        self.identities: Derived[HostKey, tuple[str, ...]] = derived("derive.identities", self._identities, ())
        self.entrances = Entrances(graph, sources, self)
        self.rules: Derived[tuple[str, HostKey], Rule] = derived("derive.rules", self._rule, rules.NO_RULE)
        self.waypoints = Waypoints(graph, sources, self)
        self.pod_waypoints = PodWaypoints(graph, sources, self)
        self.visible = Visible(graph, self._seen())
        self.places = Places(graph, self._grounds())
        self.assignments = Assignments(graph, sources, self)

    def _seen(self) -> Seen:
        """What visibility is made of."""
        sources = self.sources
        return Seen(
            config_cluster=self.settings.config_cluster,
            system_namespace=self.settings.system_namespace,
            config=self.config,
            hosts=self.hosts,
            services=self.services,
            private_services=sources.private_services,
            entries=sources.external.service_entries,
            private_entries=sources.external.private_entries,
            mesh_hosts=self.scopes.hosts,
            sidecars=sources.sidecars,
            sidecars_in=sources.sidecars_in,
        )

    def _grounds(self) -> Grounds:
        """What preferences are made of."""
        sources = self.sources
        return Grounds(
            settings=self.settings,
            namespaces=sources.namespaces,
            services_of_host=sources.services_of_host,
            service_rows=sources.services,
            placed_services=sources.placed_services,
            placed_namespaces=sources.placed_namespaces,
            placed_entries=sources.external.placed_entries,
            entry_rows=sources.external.service_entries,
            rule_rows=sources.destination_rules,
            all_rules=sources.all_rules,
            rules_in=sources.rules_in,
            config=self.config,
            hosts=self.hosts,
            mesh_hosts=self.scopes.hosts,
            widened=self.scopes.widened,
            services=self.services,
            rules=self.rules,
            own=self.visible.own,
        )

    def _config(self, get: Get, key: Key) -> MeshConfig:
        """The mesh configuration of the config cluster: what it says holds for all clusters (CL5)."""
        config_cluster = self.settings.config_cluster
        return get(self.sources.mesh_configs, (config_cluster, "", CONFIG_NAME)) or NO_CONFIG

    def _effective(self, get: Get, key: Key) -> MeshSettings:
        return configuration.effective(self.settings, get(self.config, ALL))

    def _discovered(self, get: Get, key: tuple[str, str]) -> bool:
        """Whether a namespace of a cluster is one of the mesh's, by its labels in that cluster (TE4, RS11)."""
        cluster, namespace = key
        selectors = get(self.config, ALL).discovery_selectors
        if not selectors or namespace == self.settings.system_namespace:
            return True
        row = get(self.sources.namespaces, (cluster, "", namespace))
        return configuration.discovered(selectors, row.labels if row is not None else ())

    def _trust_domain(self, get: Get, cluster: str) -> str:
        row = get(self.sources.clusters, (cluster, "", cluster))
        return row.trust_domain if row is not None else self.settings.trust_domain

    def _definitions(self, get: Get, key: Key) -> tuple[NetworkDefinition, ...]:
        """The networks that the config cluster's mesh configuration defines."""
        row = get(self.sources.mesh_networks, (self.settings.config_cluster, "", CONFIG_NAME))
        return row.networks if row is not None else ()

    def _home(self, get: Get, cluster: str) -> Home:
        """Where the workloads of a cluster are by default (NW1)."""
        namespace = get(self.sources.namespaces, (cluster, "", self.settings.system_namespace))
        return networks.home(cluster, namespace, get(self.definitions, ALL))

    def _peer_policy(self, get: Get, namespace: str) -> PeerPolicy:
        own = list(self.peers_in(get, namespace))
        root = self.settings.system_namespace
        return peers.namespace_policy(own, own if namespace == root else self.peers_in(get, root))

    def peers_in(self, get: Get, namespace: str) -> Iterator[PeerAuthentication]:
        """Policies are those of the config cluster (TE5)."""
        for key in get(self.sources.peers_in, namespace):
            row = get(self.sources.peer_authentications, key)
            if row is not None and row.cluster == self.settings.config_cluster:
                yield row

    def _bound_policies(self, get: Get, namespace: str) -> tuple[policies.Bound, ...]:
        """The policies for workloads of a namespace, whatever their cluster (TE5)."""
        root = self.settings.system_namespace
        return policies.bound(self.policies_in(get, namespace), self.policies_in(get, root))

    def _attached_policies(self, get: Get, namespace: str) -> tuple[policies.Attached, ...]:
        """The policies of a namespace that are attached to services and gateways."""
        return policies.attached(self.policies_in(get, namespace))

    def policies_in(self, get: Get, namespace: str) -> Iterator[AuthorizationPolicy]:
        """The policies of a namespace: those of the config cluster (TE5)."""
        for key in get(self.sources.policies_in, namespace):
            row = get(self.sources.policies, key)
            if row is not None and row.cluster == self.settings.config_cluster:
                yield row

    def policies(self, get: Get, keys: Iterable[PolicyKey]) -> tuple[AuthorizationPolicy, ...]:
        """The policies of a profile or router."""
        return tuple(self.policy(get, key) for key in keys)

    def policy(self, get: Get, key: PolicyKey) -> AuthorizationPolicy:
        """A policy that holds for somebody, with callers under all their names; closed where it cannot be found."""
        row = get(self.sources.policies, (self.settings.config_cluster, *key))
        return (
            policies.CLOSED_ROW if row is None else policies.under_aliases(row, get(self.effective, ALL).trust_domains)
        )

    def _accepted_domains(self, get: Get, key: Key) -> tuple[str, ...]:
        """Trust domains from which servers take callers (TR4, TR6): the mesh's own, those of the known clusters, those
        of linked control planes."""
        clusters = get(self.sources.all_clusters, ALL)
        known = get(self.effective, ALL).trust_domains
        others = {get(self.trust_domain, str(cluster[0])) for cluster in clusters}
        others.update(str(bundle[2]) for bundle in get(self.sources.all_peer_bundles, ALL))
        return (*known, *sorted(others.difference(known)))

    def _endpoints(self, get: Get, key: Key) -> SliceEndpoints | None:
        row = get(self.sources.slices, key)
        if row is None or not get(self.discovered, (row.cluster, row.namespace)):
            return None
        return endpoints.from_slice(row, self.surroundings(get, row.cluster, row.namespace))

    def surroundings(self, get: Get, cluster: str, namespace: str) -> endpoints.Surroundings:
        """What endpoints in a namespace of a cluster are seen against."""
        return endpoints.Surroundings(
            pod=lambda name: get(self.sources.workloads, (cluster, namespace, name)),
            node=lambda name: get(self.sources.nodes, (cluster, "", name)),
            home=get(self.homes, cluster),
            policy=get(self.peer_policy, namespace),
            trust_domain=get(self.trust_domain, cluster),
        )

    def _slice_ids(self, get: Get, key: Key) -> tuple[str, ...]:
        found = get(self.endpoints, key)
        return endpoints.identities(found) if found is not None else ()

    def _hosts(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Every namespace and name that is a service somewhere, every namespace and host of a ServiceEntry, and every
        mesh-wide name."""
        keys = get(self.sources.all_services, ALL)
        if get(self.config, ALL).discovery_selectors:
            places = {(str(key[0]), str(key[1])) for key in keys}
            chosen = {place for place in places if get(self.discovered, place)}
            keys = tuple(key for key in keys if (key[0], key[1]) in chosen)
        found = {host_of(key) for key in keys}
        return tuple(sorted(found.union(get(self.external.hosts, ALL), get(self.scopes.hosts, ALL))))

    def _service(self, get: Get, host: HostKey) -> MeshService | None:
        rows = (get(self.sources.services, key) for key in get(self.sources.services_of_host, host))
        known = [row for row in rows if row is not None and get(self.discovered, (row.cluster, row.namespace))]
        found = services.merge(known, get(self.effective, ALL))
        if found is not None:
            wide = tuple(row.cluster for row in known if self.scopes.of(get, row) is ServiceScope.GLOBAL_ONLY)
            found = msgspec.structs.replace(found, widened=wide) if wide and not found.headless else found
        else:
            found = get(self.external.services, host) or get(self.scopes.services, host)
        if found is None or found.export_to:
            return found
        default = get(self.config, ALL).default_service_export_to
        return msgspec.structs.replace(found, export_to=default) if default else found

    def named(self, get: Get, hostname: str) -> MeshService | None:
        """The service of a host name."""
        base = hostname.removesuffix(f".svc.{self.settings.domain}")
        if base != hostname:
            name, _, namespace = base.partition(".")
            found = get(self.services, (namespace, name))
            if found is not None:
                return found
        owner = get(self.external.owner, hostname)
        if owner is not None:
            return get(self.external.services, owner)
        means = scopes.meaning(hostname)
        return None if means is None else get(self.services, scopes.union(means))

    def _node_local(self, get: Get, key: Key) -> tuple[HostKey, ...]:
        """Services whose callers may only use endpoints of their own node."""
        candidates = {host_of(found) for found in get(self.sources.node_local_services, ALL)}
        found = ((host, get(self.services, host)) for host in sorted(candidates))
        return tuple(host for host, service in found if service is not None and service.node_local)

    def _view(self, get: Get, key: tuple[str, HostKey]) -> ServiceView | None:
        cluster, host = key
        service = get(self.services, host)
        if service is None:
            return None

        def claimants(address: str) -> list[MeshService]:
            hosts = {host_of(owner) for owner in get(self.sources.services_at, address)}
            hosts.update(get(self.external.claims, address))
            found = (get(self.services, other) for other in sorted(hosts))
            return [other for other in found if other is not None]

        return services.view(service, cluster, claimants)

    def _local_identities(self, get: Get, host: HostKey) -> tuple[str, ...]:
        """Who is behind the pods of a service."""
        keys = get(self.sources.slices_of_host, host)
        return tuple(sorted({name for key in keys for name in get(self.slice_identities, key)}))

    def _identities(self, get: Get, host: HostKey) -> tuple[str, ...]:
        """Who a client may meet behind a service, over all clusters, under each name of the trust domain (TR5)."""
        found = set(get(self.local_identities, host))
        found.update(name for part in get(self.external.endpoints, host) for name in endpoints.identities(part))
        service = get(self.services, host)
        if service is not None and service.stands_for is not None:
            found = set(get(self.local_identities, service.stands_for))
        if service is not None and service.union_of is not None:
            found = set(get(self.scopes.identities, service.union_of))
        found.update(service.peers if service is not None else ())
        return endpoints.under_aliases(found, get(self.effective, ALL).trust_domains)

    def peers_of(self, get: Get, service: MeshService, cluster: str) -> tuple[str, ...]:
        """Who clients in a cluster may meet behind a service: peers' workloads, too, where its name reaches them."""
        host = (service.namespace, service.name)
        found = get(self.identities, host)
        if cluster not in service.widened:
            return found
        return tuple(sorted({*found, *get(self.scopes.foreign, host)}))

    def tunnel_peers(self, get: Get, service: MeshService, cluster: str) -> tuple[str, ...]:
        """The same for tunnels through gateways, which may end at the service's waypoint over there."""
        behind = self.waypoints.identities(get, service)
        found = self.peers_of(get, service, cluster)
        return tuple(sorted({*found, *behind})) if behind else found

    def _rule(self, get: Get, key: tuple[str, HostKey]) -> Rule:
        """The rule by which clients of a namespace go: their own, else the service's, else the mesh's."""
        client, host = key
        service = get(self.services, host)
        if service is None:
            return rules.NO_RULE
        rows = list(self._rules_for(get, service.host))
        for namespace in (client, service.namespace, self.settings.system_namespace):
            for pattern in rules.host_patterns(service.host):
                mine = [r for r in rows if r.namespace == namespace and r.host == pattern and rules.visible(r, client)]
                if mine:
                    return rules.merge(mine)
        return rules.NO_RULE

    def _rules_for(self, get: Get, host: str) -> Iterator[DestinationRule]:
        for pattern in rules.host_patterns(host):
            for key in get(self.sources.rules_for, pattern):
                row = get(self.sources.destination_rules, key)
                if row is not None and row.cluster == self.settings.config_cluster:
                    default = get(self.config, ALL).default_destination_rule_export_to
                    exports = row.export_to or default
                    yield row if exports == row.export_to else msgspec.structs.replace(row, export_to=exports)

    def standing(self, get: Get, cluster: str) -> ClusterStanding | None:
        """How a cluster stands; None: in full use."""
        return get(self.sources.standings, (cluster, "", cluster))

    def home(self, get: Get, cluster: str) -> str:
        """A view's own cluster, where that matters to it: views of clusters in full use share their assignments."""
        row = self.standing(get, cluster)
        return "" if row is None or row.plain else cluster
