"""The observed tables, and the ways to find rows in them."""

from isthmus.base.labels import GATEWAY_NAME_LABEL, NETWORK_LABEL, USE_WAYPOINT_LABEL, WAYPOINT_FOR_LABEL
from isthmus.derive import globals as global_names
from isthmus.derive import (
    networks,
    routing,
    visibility,
)
from isthmus.graph.externals import ExternalSources
from isthmus.model.liveness import ClusterStanding, LivenessPolicy, MeshCluster
from isthmus.model.managed import WAYPOINT_CLASS, ManagedGateway
from isthmus.model.mesh import (
    HostKey,
)
from isthmus.model.mesh_config import MeshConfig, MeshNetworks
from isthmus.model.networks import ApiGateway, ResolvedName
from isthmus.model.peering import OwnAuthority, PeerBundle, PeerEntrances, PeerLink, PeerService, scope_said
from isthmus.model.policy import AuthorizationPolicy
from isthmus.model.routing import Sidecar, VirtualService
from isthmus.model.rows import (
    Cluster,
    DestinationRule,
    EndpointSlice,
    Gateway,
    Namespace,
    Node,
    PeerAuthentication,
    Proxy,
    Row,
    Service,
    Workload,
)
from isthmus.tables.changes import Key
from isthmus.tables.graph import Graph

ALL = ()
"""Key of tables and index entries that hold one thing for the whole mesh."""


def host_of(key: Key) -> HostKey:
    """Namespace and name of the row with this key."""
    return (str(key[1]), str(key[2]))


class Sources:
    """The observed tables and their indexes."""

    def __init__(self, graph: Graph) -> None:
        self.clusters = graph.source(Cluster.TABLE, Cluster)
        self.namespaces = graph.source(Namespace.TABLE, Namespace)
        self.nodes = graph.source(Node.TABLE, Node)
        self.services = graph.source(Service.TABLE, Service)
        self.slices = graph.source(EndpointSlice.TABLE, EndpointSlice)
        self.workloads = graph.source(Workload.TABLE, Workload)
        self.gateways = graph.source(Gateway.TABLE, Gateway)
        self.peer_authentications = graph.source(PeerAuthentication.TABLE, PeerAuthentication)
        self.policies = graph.source(AuthorizationPolicy.TABLE, AuthorizationPolicy)
        self.destination_rules = graph.source(DestinationRule.TABLE, DestinationRule)
        self.mesh_configs = graph.source(MeshConfig.TABLE, MeshConfig)
        self.mesh_networks = graph.source(MeshNetworks.TABLE, MeshNetworks)
        self.mesh_clusters = graph.source(MeshCluster.TABLE, MeshCluster)
        self.liveness_policies = graph.source(LivenessPolicy.TABLE, LivenessPolicy)
        self.standings = graph.source(ClusterStanding.TABLE, ClusterStanding)
        self.virtual_services = graph.source(VirtualService.TABLE, VirtualService)
        self.api_gateways = graph.source(ApiGateway.TABLE, ApiGateway)
        self.managed_gateways = graph.source(ManagedGateway.TABLE, ManagedGateway)
        self.peer_links = graph.source(PeerLink.TABLE, PeerLink)
        self.peer_entrances = graph.source(PeerEntrances.TABLE, PeerEntrances)
        self.peer_services = graph.source(PeerService.TABLE, PeerService)
        self.resolved_names = graph.source(ResolvedName.TABLE, ResolvedName)
        self.peer_bundles = graph.source(PeerBundle.TABLE, PeerBundle)
        self.own_authority = graph.source(OwnAuthority.TABLE, OwnAuthority)
        self.sidecars = graph.source(Sidecar.TABLE, Sidecar)
        self.proxies = graph.source(Proxy.TABLE, Proxy)

        self.external = ExternalSources(graph)

        self._index_pods(graph)
        self._index_services(graph)
        self._index_gateways(graph)
        self._index_peers(graph)
        self._index_rules(graph)

    def _index_pods(self, graph: Graph) -> None:
        """By which pods, nodes and endpoints are found."""
        self.pods_in = graph.index("workloads.by_namespace", self.workloads, _in_namespace)
        self.pods_on = graph.index(
            "workloads.by_node", self.workloads, lambda row: [(row.cluster, row.node)] if row.node else []
        )
        self.captured_on = graph.index("workloads.captured_by_node", self.workloads, _captured_on)
        self.captured_pods = graph.index(
            "workloads.captured_in", self.workloads, lambda row: [row.key[:2]] if row.redirection else []
        )
        self.captured_places = graph.index(
            "workloads.captured", self.workloads, lambda row: [ALL] if row.redirection else []
        )
        self.pods_of_gateway = graph.index("workloads.by_gateway", self.workloads, _gateway_entry)
        self.nodes_of = graph.index("nodes.by_cluster", self.nodes, lambda row: [row.cluster])
        self.pods_with_waypoint = graph.index("workloads.with_waypoint", self.workloads, _waypoint_pod)
        self.slices_of_host = graph.index("slices.by_host", self.slices, lambda row: [(row.namespace, row.service)])
        self.slices_of_pod = graph.index("slices.by_pod", self.slices, _pod_entries)

    def _index_services(self, graph: Graph) -> None:
        """By which services, their namespaces and clusters are found."""
        self.services_of_host = graph.index("services.by_host", self.services, lambda row: [(row.namespace, row.name)])
        self.all_services = graph.index("services.all", self.services, lambda _: [ALL])
        self.node_local_services = graph.index(
            "services.node_local", self.services, lambda row: [ALL] if row.internal_traffic_local else []
        )
        self.placed_services = graph.index(
            "services.placed", self.services, lambda row: [ALL] if row.traffic_distribution else []
        )
        self.placed_namespaces = graph.index(
            "namespaces.placed", self.namespaces, lambda row: [ALL] if row.traffic_distribution else []
        )
        self.services_with_waypoint = graph.index("services.with_waypoint", self.services, _waypoint_entry)
        self.namespaces_with_waypoint = graph.index("namespaces.with_waypoint", self.namespaces, _waypoint_entry)
        self.scoped_services = graph.index("services.scoped", self.services, _scoped_entry)
        self.scoped_namespaces = graph.index("namespaces.scoped", self.namespaces, _scoped_entry)
        self.private_services = graph.index(
            "services.private", self.services, lambda row: [] if visibility.is_public(row.export_to) else [ALL]
        )
        self.services_at = graph.index("services.by_address", self.services, lambda row: row.cluster_ips)
        self.services_for_label = graph.index("services.by_selector", self.services, _selector_entry)
        self.gateway_services = graph.index("services.by_network", self.services, _network_entry)
        self.all_gateway_services = graph.index(
            "services.gateways", self.services, lambda row: [ALL] if _network_entry(row) else []
        )
        self.egress_services = graph.index(
            "services.egress", self.services, lambda row: [row.cluster] if global_names.egress_port(row) else []
        )
        self.all_clusters = graph.index("clusters.all", self.clusters, lambda _: [ALL])

    def _index_gateways(self, graph: Graph) -> None:
        """By which gateways and waypoints are found."""
        self.waypoints_at = graph.index("waypoints.by_name", self.managed_gateways, _waypoint_name)
        self.workload_waypoints = graph.index("waypoints.for_workloads", self.managed_gateways, _for_workloads)
        self.api_gateways_to = graph.index("api_gateways.by_network", self.api_gateways, lambda row: [row.network])
        self.all_api_gateways = graph.index("api_gateways.all", self.api_gateways, lambda _: [ALL])

    def _index_peers(self, graph: Graph) -> None:
        """By which linked control planes, and what they told, are found."""
        self.links_to = graph.index("peer_links.by_network", self.peer_links, lambda row: [row.network])
        self.peer_services_of = graph.index(
            "peer_services.by_host", self.peer_services, lambda row: [(row.namespace, row.name)]
        )
        self.all_peer_services = graph.index("peer_services.all", self.peer_services, lambda _: [ALL])
        self.all_links = graph.index("peer_links.all", self.peer_links, lambda _: [ALL])
        self.own_authorities = graph.index("own_authority.all", self.own_authority, lambda _: [ALL])
        self.all_peer_bundles = graph.index("peer_bundles.all", self.peer_bundles, lambda _: [ALL])

    def _index_rules(self, graph: Graph) -> None:
        """By which routes, rules and policies are found."""
        self.peers_in = graph.index("peer_authentications.by_namespace", self.peer_authentications, _in_namespace)
        self.policies_in = graph.index("authorization_policies.by_namespace", self.policies, _in_namespace)
        self.rules_for = graph.index("destination_rules.by_host", self.destination_rules, lambda row: [row.host])
        self.all_rules = graph.index("destination_rules.all", self.destination_rules, lambda _: [ALL])
        self.rules_in = graph.index("destination_rules.by_namespace", self.destination_rules, _in_namespace)
        self.sidecars_in = graph.index("sidecars.by_namespace", self.sidecars, _in_namespace)
        self.virtual_services_for = graph.index(
            "virtual_services.by_host", self.virtual_services, lambda row: row.hosts
        )
        self.virtual_services_in = graph.index("virtual_services.by_namespace", self.virtual_services, _in_namespace)
        self.labelled_virtual_services = graph.index(
            "virtual_services.labelled", self.virtual_services, lambda row: [ALL] if routing.source_labels(row) else []
        )
        self.special_virtual_services = graph.index(
            "virtual_services.special", self.virtual_services, lambda row: [ALL] if routing.is_special(row) else []
        )
        self.virtual_services_at = graph.index(
            "virtual_services.by_gateway", self.virtual_services, lambda row: row.gateways
        )
        self.all_virtual_services = graph.index("virtual_services.all", self.virtual_services, lambda _: [ALL])
        self.proxies_without_hbone = graph.index(
            "proxies.without_hbone",
            self.proxies,
            lambda row: [ALL] if row.type == "sidecar" and not row.hbone else [],
        )
        self.all_gateways = graph.index("gateways.all", self.gateways, lambda _: [ALL])


def _selector_entry(row: Service) -> list[Key]:
    """One pair of the selector finds all services that may pick a pod."""
    return [(row.cluster, row.namespace, row.selector[0])] if row.selector else []


def _waypoint_entry(row: Service | Namespace) -> list[Key]:
    return [ALL] if networks.label(row.labels, USE_WAYPOINT_LABEL) else []


def _waypoint_pod(row: Workload) -> list[Key]:
    """Captured pods that say something of waypoints themselves: by namespace, and by cluster."""
    said = row.redirection and networks.label(row.labels, USE_WAYPOINT_LABEL)
    return [(row.cluster, row.namespace), (row.cluster,)] if said else []


def _for_workloads(row: ManagedGateway) -> list[Key]:
    """Waypoints that take calls of pods' own addresses, by cluster."""
    said = row.class_name == WAYPOINT_CLASS and networks.label(row.labels, WAYPOINT_FOR_LABEL) in ("workload", "all")
    return [(row.cluster,)] if said else []


def _waypoint_name(row: ManagedGateway) -> list[Key]:
    return [(row.namespace, row.name)] if row.class_name == WAYPOINT_CLASS else []


def _scoped_entry(row: Service | Namespace) -> list[Key]:
    """What says itself how far it reaches."""
    return [ALL] if scope_said(row.labels) is not None else []


def _captured_on(row: Workload) -> list[Key]:
    """Pods whose listeners the proxy of their node is to have."""
    return [(row.cluster, row.node)] if row.redirection and row.node and row.uid else []


def _gateway_entry(row: Workload) -> list[Key]:
    name = networks.label(row.labels, GATEWAY_NAME_LABEL)
    return [(row.cluster, row.namespace, name)] if name else []


def _network_entry(row: Service) -> list[str]:
    network = networks.label(row.labels, NETWORK_LABEL)
    return [network] if network else []


def _pod_entries(row: EndpointSlice) -> list[Key]:
    return [(row.cluster, row.namespace, endpoint.pod) for endpoint in row.endpoints if endpoint.pod]


def _in_namespace(row: Row) -> list[str]:
    return [row.namespace]
