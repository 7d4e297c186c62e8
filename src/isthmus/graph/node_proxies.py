"""The wiring of node proxies: which pods one speaks for, and what all of them know of services and workloads.

What all proxies of nodes of one cluster and network know is one view; what only one has are listeners of its pods.
They know of services that are exported to some namespaces only, too: pods of all namespaces are on a node, and who may
call is decided at the other end.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from isthmus.base.names import spiffe_id
from isthmus.derive import networks, peers, policies, tunnels
from isthmus.derive.endpoints import REDIRECTED
from isthmus.envoy import hbone, naming, node_inbound, node_outbound, node_tunnels
from isthmus.envoy.tunnels import NAMES as TUNNELS
from isthmus.envoy.tunnels import WITHIN_NODE
from isthmus.graph.behind import services_of
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import Names, tcp_ports
from isthmus.graph.sources import ALL
from isthmus.model.mesh import AmbientPod, HostKey, ServiceView
from isthmus.model.rows import Workload
from isthmus.model.scopes import NodePods, OutboundView
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import LDS, XdsResource

NETNS_DIR = "/run/isthmus/netns"
"""Where the network namespaces of pods are, if a node's agent does not say otherwise."""

OUTBOUND, INBOUND, HBONE = "outbound", "inbound", "hbone"
KINDS = (OUTBOUND, INBOUND, HBONE)
"""The listeners of a pod: `pod/<uid>/<kind>`."""

TO_APPLICATION = (node_inbound.TUNNELLED, node_inbound.PLAIN)
WITHIN = (node_outbound.SERVICES, node_outbound.WORKLOADS)

Claim = tuple[str, int]
"""An address or range, and a port."""

Chain = tuple[tuple[str, ...], int, str, bytes]
"""Of one port of a service: addresses, port, cluster, and the encoded filter chain."""

Holders = tuple[tuple[str, tuple[str, ...]], ...]
"""Identities with the addresses of their pods."""


def pod_listener(uid: str, kind: str) -> str:
    """The name of a pod's listener."""
    return f"pod/{uid}/{kind}"


class NodeProxies:
    """Derived rows and resources of node proxies."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        self.settings = meshwide.settings
        derived = graph.derived
        self.captured_in: Derived[tuple[str, str, str], Holders] = derived("derive.captured_in", self._captured_in, ())
        self.captured: Derived[str, Holders] = derived("derive.captured", self._captured, ())
        self.pods: Derived[tuple[str, str], tuple[tuple[str, Key], ...]] = derived(
            "derive.ambient_pods", self._pods_of, ()
        )
        self.pod: Derived[tuple[str, Key], AmbientPod | None] = derived("derive.ambient_pod", self._pod)
        self.chains: Derived[tuple[OutboundView, HostKey], tuple[Chain, ...]] = derived(
            "envoy.node_chains", self._chains, ()
        )

    # -- pods -----------------------------------------------------------------------------------------------------

    def _pods_of(self, get: Get, key: tuple[str, str]) -> tuple[tuple[str, Key], ...]:
        """The pods of a node whose listeners are wanted, by uid."""
        rows = ((at, get(self.sources.workloads, at)) for at in get(self.sources.captured_on, key))
        return tuple(sorted((row.uid, at) for at, row in rows if row is not None and row.addresses))

    def _pod(self, get: Get, key: tuple[str, Key]) -> AmbientPod | None:
        netns_dir, at = key
        row = get(self.sources.workloads, at)
        if row is None:
            return None
        own = services_of(get, self.sources, row)
        domain = self.settings.domain
        end = tunnels.tunnel_end(row.addresses, own, row, domain)
        return AmbientPod(
            uid=row.uid,
            namespace=row.namespace,
            name=row.name,
            addresses=row.addresses,
            identity=self._identity(get, row),
            netns=f"{netns_dir or NETNS_DIR}/{row.uid}",
            mode=peers.workload_mode(get(self.meshwide.peer_policy, row.namespace), row.labels),
            targets=end.hosts,
            policies=policies.selected(get(self.meshwide.bound_policies, row.namespace), row.labels),
        )

    def _identity(self, get: Get, row: Workload) -> str:
        return spiffe_id(get(self.meshwide.trust_domain, row.cluster), row.namespace, row.service_account)

    def pod_names(self, get: Get, scope: NodePods, type_url: str) -> Names:
        """The listeners of a node's pods, and the routes of those for HBONE."""
        pods = get(self.pods, (scope.cluster, scope.node))
        kinds = KINDS if type_url == LDS else (HBONE,)
        return frozenset(pod_listener(uid, kind) for uid, _ in pods for kind in kinds)

    def _named(self, get: Get, scope: NodePods, name: str) -> tuple[AmbientPod | None, str]:
        """The pod of a resource's name, and the kind of the resource."""
        _, uid, kind = name.split("/")
        at = dict(get(self.pods, (scope.cluster, scope.node))).get(uid)
        return (get(self.pod, (scope.netns_dir, at)) if at is not None else None), kind

    def pod_routes(self, get: Get, scope: NodePods, name: str) -> XdsResource | None:
        """What tunnels to a pod may ask for."""
        pod, _ = self._named(get, scope, name)
        return None if pod is None else node_inbound.hbone_routes(name, pod, self.meshwide.policies(get, pod.policies))

    def pod_resource(self, get: Get, scope: NodePods, name: str) -> XdsResource | None:
        """A listener of a pod."""
        pod, kind = self._named(get, scope, name)
        if pod is None:
            return None
        if kind == OUTBOUND:
            return node_outbound.pod_listener(name, pod)
        held = self.meshwide.policies(get, pod.policies)
        if kind == INBOUND:
            return node_inbound.plain_listener(name, pod, held)
        doorman = node_inbound.Doorman(get(self.meshwide.accepted_domains, ALL), held)
        return node_inbound.hbone_listener(name, pod, doorman)

    # -- what all know --------------------------------------------------------------------------------------------

    def clusters(self, get: Get, hosts: Iterable[HostKey]) -> Names:
        """The clusters of node proxies."""
        fixed = (naming.PASSTHROUGH, naming.BLACK_HOLE, *TUNNELS, *WITHIN, *TO_APPLICATION)
        return frozenset((*fixed, *self.destinations(get, hosts)))

    def destinations(self, get: Get, hosts: Iterable[HostKey]) -> Iterator[str]:
        """The clusters of services; where callers choose a pod themselves there is none."""
        for host in hosts:
            service = get(self.meshwide.services, host)
            if service is not None and not service.caller_chooses:
                yield from (naming.outbound(port.port, service.host) for port in tcp_ports(service))

    def assigned(self, get: Get, hosts: Iterable[HostKey]) -> Names:
        """The clusters that are told their endpoints."""
        services = ((host, get(self.meshwide.services, host)) for host in hosts)
        return frozenset(
            self.destinations(get, (host for host, service in services if service is not None and not service.by_dns))
        )

    @staticmethod
    def listeners() -> Names:
        """The listeners that all node proxies have."""
        return frozenset((naming.OUTER_CONNECT_ORIGINATE, *WITHIN_NODE, *WITHIN))

    def cluster(self, get: Get, view: OutboundView, name: str) -> XdsResource | None:
        """A cluster that is no service's; None if the name is not one of those."""
        if name in TUNNELS:
            return hbone.cluster(name, self.origin(get, view))
        if name in WITHIN:
            return hbone.internal_cluster(name, name, self.origin(get, view))
        match name:
            case naming.PASSTHROUGH:
                return node_outbound.passthrough(self.settings)
            case node_inbound.TUNNELLED:
                return node_inbound.hbone_cluster(self.settings)
            case node_inbound.PLAIN:
                return node_inbound.plain_cluster(self.settings)
        return None

    def origin(self, get: Get, view: OutboundView) -> hbone.Origin:
        """Whose tunnels a view's are."""
        accepted = get(self.meshwide.accepted_domains, ALL)
        return hbone.Origin(self.settings, many=view.node, accepted=accepted)

    def listener(self, get: Get, view: OutboundView, hosts: Iterable[HostKey], name: str) -> XdsResource | None:
        """A listener that all have."""
        if name in WITHIN_NODE:
            return node_tunnels.listener(name)
        if name == naming.OUTER_CONNECT_ORIGINATE:
            return hbone.listener(name)
        if name == node_outbound.SERVICES:
            return node_outbound.services_listener(self._services(get, view, hosts))
        if name == node_outbound.WORKLOADS:
            chains = list(self._pods_called(get, view))
            return node_outbound.workloads_listener(chains, get(self.meshwide.effective, ALL))
        return None

    def _pods_called(self, get: Get, view: OutboundView) -> Iterator[bytes]:
        """The chains of pods that are called by their own addresses: through their waypoint, or as they are."""
        pods = self.meshwide.pod_waypoints
        behind: dict[HostKey, list[str]] = {}
        for waypoint, _, addresses in pods.within(get, view.cluster):
            behind.setdefault(waypoint, []).extend(addresses)
        for waypoint, addresses_ in sorted(behind.items()):
            who = get(self.meshwide.local_identities, waypoint)
            at = pods.address(get, view.cluster, waypoint)
            yield node_outbound.waypoint_chain("/".join(waypoint), who, at, sorted(addresses_))
        taken = {address for addresses_ in behind.values() for address in addresses_}
        for who_, where in get(self.captured, view.network):
            free = [address for address in where if address not in taken]
            if free:
                yield node_outbound.identity_chain(who_, free)

    def _services(self, get: Get, view: OutboundView, hosts: Iterable[HostKey]) -> Iterator[bytes]:
        """The chains of all services. What two claim the first by name keeps: Envoy refuses equal matches."""
        taken: set[Claim] = set()
        for host in hosts:
            for addresses, port, cluster, chain in get(self.chains, (view.unbound, host)):
                free = tuple(address for address in addresses if (address, port) not in taken)
                taken.update((address, port) for address in free)
                if free == addresses:
                    yield chain
                elif free:
                    service = get(self.meshwide.services, host)
                    by_dns = service is not None and service.by_dns
                    yield node_outbound.service_chain(free, port, cluster, by_dns=by_dns)

    def _chains(self, get: Get, key: tuple[OutboundView, HostKey]) -> tuple[Chain, ...]:
        view, host = key
        seen = get(self.meshwide.views, (view.cluster, host))
        return tuple(self._chains_of(seen)) if seen is not None else ()

    @staticmethod
    def _chains_of(seen: ServiceView) -> Iterator[Chain]:
        service = seen.service
        for port in tcp_ports(service) if not service.caller_chooses else ():
            ranges = (str(ip_network(one, strict=False)) for one in seen.listens_at(port.port))
            addresses = tuple(dict.fromkeys(ranges))
            cluster = naming.outbound(port.port, service.host)
            if addresses:
                chain = node_outbound.service_chain(addresses, port.port, cluster, by_dns=service.by_dns)
                yield addresses, port.port, cluster, chain

    # -- which pods take HBONE ------------------------------------------------------------------------------------

    def _captured(self, get: Get, network: str) -> Holders:
        """The pods that are reached by HBONE directly from a network. An address counts for the first identity."""
        found: dict[str, dict[str, None]] = {}
        taken: set[str] = set()
        for cluster, namespace in sorted(
            {(str(key[0]), str(key[1])) for key in get(self.sources.captured_places, ALL)}
        ):
            for identity, addresses in get(self.captured_in, (network, cluster, namespace)):
                free = [address for address in addresses if address not in taken]
                taken.update(free)
                if free:
                    found.setdefault(identity, {}).update(dict.fromkeys(free))
        return tuple((identity, tuple(sorted(found[identity]))) for identity in sorted(found))

    def _captured_in(self, get: Get, key: tuple[str, str, str]) -> Holders:
        network, cluster, namespace = key
        home = get(self.meshwide.homes, cluster)
        found: dict[str, list[str]] = {}
        for at in get(self.sources.captured_pods, (cluster, namespace)):
            row = get(self.sources.workloads, at)
            if row is None or row.redirection != REDIRECTED or not row.addresses:
                continue
            where = networks.network_of(row.labels, home, row.addresses[0])
            if not where or not network or where == network:
                found.setdefault(self._identity(get, row), []).extend(row.addresses)
        return tuple((identity, tuple(sorted(found[identity]))) for identity in sorted(found))
