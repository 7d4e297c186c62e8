"""The wiring of what ztunnels are told: which workloads, services and policies there are, and what they hold.

What a workload is does not depend on who looks, but for one thing: services that never leave their cluster are not
among those that it serves for others. What exists depends on the network, and the addresses of services on the
cluster. So bytes are made once for all ztunnels, and a view says which names it has.
"""

from collections.abc import Set

from isthmus.derive import peers
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import NOTHING, Names
from isthmus.graph.sources import ALL
from isthmus.graph.ztunnel_crossings import Crossings
from isthmus.graph.ztunnel_standing import Withdrawals
from isthmus.graph.ztunnel_workloads import Workloads
from isthmus.model.mesh import HostKey
from isthmus.model.preference import DISTRIBUTIONS
from isthmus.model.scopes import Scope, WorkloadView
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import ADDRESS, AUTHORIZATION, WORKLOAD, XdsResource
from isthmus.ztunnel import build, gateways, policies, services
from isthmus.ztunnel.services import Seen

TYPES = (ADDRESS, WORKLOAD, AUTHORIZATION)
ScopedName = tuple[Scope, str]
ResourceTable = Derived[ScopedName, XdsResource | None]


class Ztunnels:
    """The tables of ztunnel's types, keyed by view and name."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        withdrawals = Withdrawals(graph, meshwide)
        self.workloads = Workloads(graph, meshwide, withdrawals)
        self.crossings = Crossings(graph, meshwide, withdrawals)
        derived = graph.derived
        self.all_policies = graph.index("authorization_policies.all", self.sources.policies, lambda _: [ALL])
        self.all_peers = graph.index("peer_authentications.all", self.sources.peer_authentications, lambda _: [ALL])
        self.service_keys: Derived[Key, dict[str, HostKey]] = derived("ztunnel.service_names", self._service_keys, {})
        self.visible: Derived[WorkloadView, Names] = derived("ztunnel.visible_services", self._visible, NOTHING)
        self.workload_names: Derived[WorkloadView, Set[str]] = derived(
            "ztunnel.workload_names", self._workloads, NOTHING
        )
        self.policy_names: Derived[Key, Names] = derived("ztunnel.policy_names", self._policy_names, NOTHING)
        self.services: Derived[tuple[WorkloadView, str], bytes] = derived("ztunnel.services", self._service, b"")
        self.shared_policies: Derived[str, XdsResource | None] = derived("ztunnel.policies", self._policy)
        self.wrapped: Derived[tuple[str, bool], XdsResource | None] = derived("ztunnel.wrapped", self._wrapped)
        self.bare: Derived[tuple[str, bool], XdsResource | None] = derived("ztunnel.bare", self._bare)
        self.tables: dict[str, ResourceTable] = {
            ADDRESS: derived("ztunnel.addresses", self._address),
            WORKLOAD: derived("ztunnel.bare_workloads", self._workload),
            AUTHORIZATION: derived("ztunnel.authorizations", self._authorization),
        }

    # -- which there are ------------------------------------------------------------------------------------------

    def names(self, get: Get, view: WorkloadView, type_url: str) -> Set[str]:
        """The names that exist for a view."""
        if type_url == AUTHORIZATION:
            return get(self.policy_names, ALL)
        found = get(self.workload_names, view)
        return found if type_url == WORKLOAD else found | get(self.visible, view)

    def _workloads(self, get: Get, view: WorkloadView) -> Set[str]:
        return self.workloads.names(get, view.network) | self.crossings.names(get, view.network)

    def _service_keys(self, get: Get, key: Key) -> dict[str, HostKey]:
        """Every service by the name of its resource."""
        found = ((host, get(self.meshwide.services, host)) for host in get(self.meshwide.hosts, ALL))
        return {build.service_name(one.namespace, one.host): host for host, one in found if one is not None}

    def _visible(self, get: Get, view: WorkloadView) -> Names:
        """Services that the workloads of a cluster may know of: ztunnel tells the namespaces apart itself."""
        return frozenset(name for name, host in get(self.service_keys, ALL).items() if self._seen(get, view, host))

    def _seen(self, get: Get, view: WorkloadView, host: HostKey) -> bool:
        service = get(self.meshwide.services, host)
        if service is None or "~" in service.export_to:
            return False
        return not service.cluster_local or view.cluster in service.clusters

    def _policy_names(self, get: Get, key: Key) -> Names:
        root = self.meshwide.settings.system_namespace
        found = {policies.policy_name(root, name) for name in (policies.STATIC_STRICT, policies.CLOSED)}
        config = self.meshwide.settings.config_cluster
        for at in get(self.all_policies, ALL):
            row = get(self.sources.policies, at)
            if row is None or row.targets or row.cluster != config:
                continue
            if row.action in policies.ACTIONS:
                found.add(policies.policy_name(row.namespace, row.name))
        for at in get(self.all_peers, ALL):
            peer = get(self.sources.peer_authentications, at)
            if peer is not None and peer.cluster == config and peer.selector and peer.port_modes:
                found.add(policies.converted_name(peer.namespace, peer.name))
        return frozenset(found)

    # -- what they hold -------------------------------------------------------------------------------------------

    def _address(self, get: Get, key: ScopedName) -> XdsResource | None:
        view, name = key
        if not isinstance(view, WorkloadView):
            return None
        if name in get(self.visible, view):
            body = get(self.services, (view, name))
            return build.service_address(name, body) if body else None
        return get(self.wrapped, (name, self._at_home(view, name)))

    def _workload(self, get: Get, key: ScopedName) -> XdsResource | None:
        view, name = key
        return get(self.bare, (name, self._at_home(view, name))) if isinstance(view, WorkloadView) else None

    @staticmethod
    def _at_home(view: WorkloadView, uid: str) -> bool:
        return uid.partition("/")[0] == view.cluster

    def _wrapped(self, get: Get, key: tuple[str, bool]) -> XdsResource | None:
        body = self._workload_body(get, key)
        return build.workload_address(key[0], body) if body else None

    def _bare(self, get: Get, key: tuple[str, bool]) -> XdsResource | None:
        body = self._workload_body(get, key)
        return build.bare_workload(key[0], body) if body else None

    def _workload_body(self, get: Get, key: tuple[str, bool]) -> bytes:
        if gateways.is_away(key[0]):
            return get(self.crossings.bodies, key[0])
        return get(self.workloads.bodies, key)

    def _service(self, get: Get, key: tuple[WorkloadView, str]) -> bytes:
        view, name = key
        host = get(self.service_keys, ALL).get(name)
        seen = get(self.meshwide.views, (view.cluster, host)) if host is not None else None
        if host is None or seen is None:
            return b""
        service = seen.service
        crosses = self.crossings.crosses(get, host, view.network)
        blocked = {address for address, _ in seen.blocked}
        word = get(self.meshwide.places.said, host)[0]
        rows = (get(self.sources.services, at) for at in get(self.sources.services_of_host, host))
        around = Seen(
            network=view.network,
            addresses=() if service.headless else tuple(one for one in seen.addresses if one not in blocked),
            identities=self.meshwide.peers_of(get, service, view.cluster) if crosses else service.peers,
            ranks=DISTRIBUTIONS.get(word, ()),
            waypoint=self._waypoint(get, view, host),
            publish_not_ready=any(row is not None and row.publish_not_ready for row in rows),
        )
        return services.service(service, around)

    def _waypoint(self, get: Get, view: WorkloadView, host: HostKey) -> build.Waypoint | None:
        """Where calls of a service go first, as its callers in this cluster see it (AM14)."""
        found = get(self.meshwide.waypoints.of_host, (view.cluster, host))
        waypoint = get(self.meshwide.services, found) if found is not None else None
        return build.Waypoint(waypoint.namespace, waypoint.host) if waypoint is not None else None

    def _authorization(self, get: Get, key: ScopedName) -> XdsResource | None:
        return get(self.shared_policies, key[1])

    def _policy(self, get: Get, name: str) -> XdsResource | None:
        settings = self.meshwide.settings
        namespace, _, own = name.partition("/")
        if namespace == settings.system_namespace and own == policies.STATIC_STRICT:
            return policies.static_strict(namespace)
        if namespace == settings.system_namespace and own == policies.CLOSED:
            return policies.closed(namespace)
        if own.startswith(policies.CONVERTED):
            return self._converted(get, namespace, own.removeprefix(policies.CONVERTED))
        row = get(self.sources.policies, (settings.config_cluster, namespace, own))
        if row is None:
            return None
        return policies.authorization(self.meshwide.policy(get, (namespace, own)), settings.system_namespace)

    def _converted(self, get: Get, namespace: str, name: str) -> XdsResource | None:
        row = get(self.sources.peer_authentications, (self.meshwide.settings.config_cluster, namespace, name))
        if row is None or not row.selector:
            return None
        return policies.from_mode(namespace, name, peers.own_mode(get(self.meshwide.peer_policy, namespace), row))
