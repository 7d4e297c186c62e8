"""Which address belongs to what: a pure function of the world, so that every start of a lab gives the same ones.

A network's range is cut in blocks of 256: block 0 holds the router (.1), nodes (.10 to .189) and API servers (from
.200); block n holds the pods of the network's n-th node. Pods of networks with the same range get the same addresses,
nodes do not: so a call that strays into the own network is told from one that goes nowhere. The WAN is 198.18.0.0/15
(RFC 2544), a /20 segment per network.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from isthmus_lab.world import MACHINES, World

WAN_RANGE = "198.18.0.0/15"
_SEGMENT_PREFIX = 20
_POD_WAN_ADDRESSES = 48
_FIRST_NODE = 10
_NODE_ADDRESSES = 180
_NODE_STRIDE = 37
_FIRST_MACHINE = 240
_FIRST_WAN_MACHINE = 50
API_SERVER_PORT = 6443


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network: its bridge and router, and its WAN segment with the core's and the router's address on it."""

    name: str
    index: int
    bridge: str
    pod_cidr: str
    gateway: str
    wan_bridge: str
    wan_cidr: str
    wan_core: str
    wan_router: str
    router_netns: str

    @property
    def prefix(self) -> int:
        """Prefix length of the pod range."""
        return ipaddress.IPv4Network(self.pod_cidr).prefixlen


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node: its namespace and address, and the addresses its pods may take on the network and on the WAN."""

    cluster: str
    name: str
    region: str
    zone: str
    index: int
    netns: str
    ip: str
    pod_block: str
    wan_first: str
    wan_count: int = _POD_WAN_ADDRESSES


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """A cluster: where its API server answers, and its nodes."""

    name: str
    network: str
    service_cidr: str
    api_netns: str
    api_ip: str
    api_wan_ip: str
    nodes: tuple[NodePlan, ...]

    @property
    def api_service_ip(self) -> str:
        """ClusterIP of `kubernetes.default`: the first of the range, as in Kubernetes."""
        return str(ipaddress.IPv4Network(self.service_cidr)[1])


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """A machine beside the clusters: its namespace and addresses; `wan_ip` empty without one."""

    name: str
    network: str
    netns: str
    ip: str
    wan_ip: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All addresses of a lab."""

    networks: tuple[NetworkPlan, ...]
    clusters: tuple[ClusterPlan, ...]
    machines: tuple[MachinePlan, ...] = ()

    def network(self, name: str) -> NetworkPlan:
        """The network of that name."""
        return next(n for n in self.networks if n.name == name)

    def cluster(self, name: str) -> ClusterPlan:
        """The cluster of that name."""
        return next(c for c in self.clusters if c.name == name)


def make_plan(world: World) -> Plan:
    """Give everything in the world its address, interface and namespace name."""
    networks = tuple(_network(i, n.name, n.pod_cidr) for i, n in enumerate(world.networks))
    clusters: list[ClusterPlan] = []
    for network in networks:
        members = [c for c in world.clusters if c.network == network.name]
        first_node = 1
        for index, cluster in enumerate(members):
            net = ipaddress.IPv4Network(network.pod_cidr)
            nodes = tuple(
                _node(network, cluster.name, first_node + i, name=n.name, place=(n.region, n.zone))
                for i, n in enumerate(cluster.nodes)
            )
            first_node += len(nodes)
            wan = ipaddress.IPv4Network(network.wan_cidr)
            clusters.append(
                ClusterPlan(
                    name=cluster.name,
                    network=network.name,
                    service_cidr=cluster.service_cidr,
                    api_netns=f"api-{cluster.name}",
                    api_ip=str(net[200 + index]),
                    api_wan_ip=str(wan[10 + index]),
                    nodes=nodes,
                )
            )
    order = [c.name for c in world.clusters]
    machines = tuple(plan for network in networks for plan in _machines(network, world))
    return Plan(networks, tuple(sorted(clusters, key=lambda c: order.index(c.name))), machines)


def _machines(network: NetworkPlan, world: World) -> Iterator[MachinePlan]:
    net, wan = ipaddress.IPv4Network(network.pod_cidr), ipaddress.IPv4Network(network.wan_cidr)
    members = (machine for machine in world.machines if machine.network == network.name)
    for index, machine in enumerate(members):
        wan_ip = str(wan[_FIRST_WAN_MACHINE + index]) if machine.wan else ""
        address = str(net[_FIRST_MACHINE + index])
        yield MachinePlan(machine.name, network.name, f"{MACHINES}-{machine.name}", address, wan_ip)


def _network(index: int, name: str, pod_cidr: str) -> NetworkPlan:
    segments = ipaddress.IPv4Network(WAN_RANGE).subnets(new_prefix=_SEGMENT_PREFIX)
    wan = next(islice(segments, index, None))
    return NetworkPlan(
        name=name,
        index=index,
        bridge=f"net{index}",
        pod_cidr=pod_cidr,
        gateway=str(ipaddress.IPv4Network(pod_cidr)[1]),
        wan_bridge=f"wan{index}",
        wan_cidr=str(wan),
        wan_core=str(wan[1]),
        wan_router=str(wan[2]),
        router_netns=f"router-{name}",
    )


def _node(network: NetworkPlan, cluster: str, index: int, *, name: str, place: tuple[str, str]) -> NodePlan:
    net = ipaddress.IPv4Network(network.pod_cidr)
    wan = ipaddress.IPv4Network(network.wan_cidr)
    return NodePlan(
        cluster=cluster,
        name=name,
        region=place[0],
        zone=place[1],
        index=index,
        netns=f"node-{cluster}-{name}",
        ip=str(net[_FIRST_NODE + (index - 1 + _NODE_STRIDE * network.index) % _NODE_ADDRESSES]),
        pod_block=f"{net[256 * index]}/24",
        wan_first=str(wan[256 + _POD_WAN_ADDRESSES * index]),
    )
