"""The wiring of scopes: from a connected proxy to what it shares with others."""

from collections.abc import Iterator

import msgspec

from isthmus.base.labels import GATEWAY_NAME_LABEL
from isthmus.derive import (
    gateways,
    networks,
    peers,
    policies,
    proxies,
    tunnels,
    visibility,
)
from isthmus.graph.behind import services_of
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import ANYBODY
from isthmus.graph.sources import ALL
from isthmus.model import preference
from isthmus.model.mesh import (
    WorkloadMode,
)
from isthmus.model.policy import PolicyKey
from isthmus.model.rows import (
    GatewayServer,
    MtlsMode,
    Proxy,
    labels_match,
)
from isthmus.model.scopes import (
    ClientView,
    InboundProfile,
    LocalityView,
    NamespaceView,
    NodePods,
    NodeView,
    OutboundView,
    RouterView,
    Scope,
    TunnelEnd,
    WaypointView,
    WorkloadView,
)
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

NODE = "node"
"""Type of a node's Envoy that speaks for its pods."""

ZTUNNEL = "ztunnel"
"""Type of a node's proxy that is told of workloads and configures itself."""


class Scopes:
    """From a proxy's row to the scopes it shares with others."""

    def __init__(
        self,
        graph: Graph,
        meshwide: Meshwide,
        told_apart: Derived[str, frozenset[tuple[str, str]]],
    ) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        self._told_apart = told_apart
        self.workload_mode: Derived[Key, WorkloadMode] = graph.derived(
            "derive.workload_mode", self._workload_mode, WorkloadMode(MtlsMode.STRICT)
        )
        self.of_proxy: Derived[Key, tuple[Scope, ...]] = graph.derived("derive.scopes", self._scopes, ())

    def _workload_mode(self, get: Get, key: Key) -> WorkloadMode:
        proxy = get(self.sources.proxies, key)
        if proxy is None:
            return WorkloadMode()
        return peers.workload_mode(get(self.meshwide.peer_policy, proxy.namespace), proxy.labels)

    def _scopes(self, get: Get, key: Key) -> tuple[Scope, ...]:
        proxy = get(self.sources.proxies, key)
        if proxy is None:
            return ()
        address = proxy.addresses[0] if proxy.addresses else ""
        network = proxy.network or networks.network_of(proxy.labels, get(self.meshwide.homes, proxy.cluster), address)
        families = networks.families(proxy.addresses)
        if proxy.type == ZTUNNEL:
            return (WorkloadView(cluster=proxy.cluster, network=network),)
        if proxy.type == NODE:
            return tuple(self._of_node(get, proxy, network, families))
        if proxy.type == "router":
            router = self._router(get, proxy, network, families)
            passes_on = all(map(gateways.passes_on, router.servers))
            place = {} if passes_on else self._place(get, proxy, network)
            return (*self._near(get, router, proxy.namespace, place), router)
        if proxy.type == "waypoint":
            waypoint = self._waypoint(proxy, network, families)
            return (*self._near(get, waypoint, proxy.namespace, self._place(get, proxy, network)), waypoint)
        outbound = self._outbound(get, proxy, network, families)
        inside = NamespaceView(view=outbound, namespace=proxy.namespace)
        told_apart = get(self._told_apart, proxy.namespace)
        place = self._place(get, proxy, network)
        mine = tuple(sorted(pair for pair in place.items() if pair in told_apart))
        special = (ClientView(view=inside, labels=mine),) if mine else ()
        near_inside = self._near(get, inside, proxy.namespace, place)
        near = self._near(get, outbound, ANYBODY, place)
        stays = proxy.node and get(self.meshwide.node_local_hosts, ALL)
        same_node = (NodeView(view=outbound, node=proxy.node),) if stays else ()
        return (*self._inbound(get, proxy), *special, *same_node, *near_inside, inside, *near, outbound)

    def _of_node(self, get: Get, proxy: Proxy, network: str, families: tuple[int, ...]) -> Iterator[Scope]:
        """What the proxy of a node speaks for alone, what is near, and what all of them know."""
        view = OutboundView(cluster=proxy.cluster, network=network, families=families, hbone=True, node=True)
        yield NodePods(cluster=proxy.cluster, node=proxy.node, netns_dir=proxy.netns_dir)
        if get(self.meshwide.node_local_hosts, ALL):
            yield NodeView(view=view, node=proxy.node)
        yield from self._near(get, view, ANYBODY, self._place(get, proxy, network))
        yield view

    def _waypoint(self, proxy: Proxy, network: str, families: tuple[int, ...]) -> WaypointView:
        """What a waypoint serves: that of the Gateway it was made for."""
        view = OutboundView(cluster=proxy.cluster, network=network, families=families, hbone=True)
        name = networks.label(proxy.labels, GATEWAY_NAME_LABEL)
        return WaypointView(view=view, namespace=proxy.namespace, name=name)

    def _outbound(self, get: Get, proxy: Proxy, network: str, families: tuple[int, ...]) -> OutboundView:
        """What the proxy's part of the mesh sees, as far as a Sidecar lets it."""
        rows = get(self.meshwide.visible.sidecars, proxy.namespace)
        row = next((row for row in rows if labels_match(row.selector, proxy.labels)), None)
        egress = visibility.egress(row.egress, proxy.namespace) if row is not None and row.egress is not None else None
        return OutboundView(
            cluster=proxy.cluster,
            network=network,
            families=families,
            egress=egress,
            allow_any=row.allow_any if row is not None else None,
            hbone=proxy.hbone,
        )

    def _place(self, get: Get, proxy: Proxy, network: str) -> dict[str, str]:
        """The labels of a proxy with those that say where it is: its node's place, else its own word (LB15).

        A machine, which has no node, is where its WorkloadEntry says.
        """
        node = get(self.sources.nodes, (proxy.cluster, "", proxy.node)) if proxy.node else None
        where = node.locality if node is not None and node.locality.region else proxy.locality
        if not where.region and not proxy.node and proxy.type == "sidecar":
            entry = self.meshwide.external.entry_of(get, proxy)
            where = entry.endpoint.locality if entry is not None else where
        return dict(proxy.labels) | {
            preference.CLUSTER: proxy.cluster,
            preference.NETWORK: network,
            preference.REGION: where.region,
            preference.ZONE: where.zone,
            preference.SUBZONE: where.subzone,
            preference.HOSTNAME: proxy.node,
        }

    def _near(
        self,
        get: Get,
        view: NamespaceView | OutboundView | RouterView | WaypointView,
        client: str,
        place: dict[str, str],
    ) -> Iterator[LocalityView]:
        """A view for each set of labels by which something is preferred, as far as the proxy has any of them (LB6)."""
        for keys in (
            get(self.meshwide.places.kinds, (client, isinstance(view, RouterView | WaypointView))) if place else ()
        ):
            values = tuple((key, place.get(key, "")) for key in keys)
            if any(value for _, value in values):
                yield LocalityView(view=view, place=values)

    def _router(self, get: Get, proxy: Proxy, network: str, families: tuple[int, ...]) -> RouterView:
        rows = (get(self.sources.gateways, key) for key in get(self.sources.all_gateways, ALL))
        config = self.meshwide.settings.config_cluster
        selecting = [row for row in rows if row is not None and row.cluster == config]
        services = services_of(get, self.sources, proxy)
        return RouterView(
            cluster=proxy.cluster,
            network=network,
            network_view=proxy.requested_network_view,
            servers=(*self._managed(get, proxy), *proxies.router_servers(selecting, proxy.labels, services)),
            families=families,
            namespace=proxy.namespace,
            egress_ports=proxies.egress_ports(services),
            policies=self._policies(get, proxy),
        )

    def _managed(self, get: Get, proxy: Proxy) -> tuple[GatewayServer, ...]:
        """The servers of the Gateway that the proxy is run for, if it is."""
        name = networks.label(proxy.labels, GATEWAY_NAME_LABEL)
        row = get(self.sources.managed_gateways, (proxy.cluster, proxy.namespace, name)) if name else None
        return gateways.managed_servers(row) if row is not None else ()

    def _policies(self, get: Get, proxy: Proxy) -> tuple[PolicyKey, ...]:
        return policies.selected(get(self.meshwide.bound_policies, proxy.namespace), proxy.labels)

    def _inbound(self, get: Get, proxy: Proxy) -> tuple[InboundProfile] | tuple[InboundProfile, TunnelEnd]:
        """How the proxy's workload receives, and what callers may name in HBONE, if it takes that."""
        workload = get(self.sources.workloads, proxy.key)
        entry = self.meshwide.external.entry_of(get, proxy) if workload is None else None
        behind = [proxies.as_service(row) for row in self.meshwide.external.behind(get, proxy)]
        held = self._policies(get, proxy)
        mode = get(self.workload_mode, proxy.key)
        receiver = proxies.receiver(workload, entry)
        own = services_of(get, self.sources, proxy)
        profile = proxies.inbound_profile([*own, *behind], receiver, mode, held)
        if not proxy.hbone or not proxy.addresses:
            return (profile,)
        end = tunnels.tunnel_end(proxy.addresses, own, receiver, self.meshwide.settings.domain)
        return (msgspec.structs.replace(profile, hbone=True), end)
