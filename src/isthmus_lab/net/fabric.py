"""Builds the wires of a lab: bridges, routers, the WAN and its core, namespaces of nodes and API servers."""

from isthmus_lab.net import links, netns, nft, rules
from isthmus_lab.net.links import Leg
from isthmus_lab.net.netns import ROOT
from isthmus_lab.net.plan import WAN_RANGE, ClusterPlan, MachinePlan, NetworkPlan, NodePlan, Plan

_WAN_PREFIX = 20
_QUIET = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
POD_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/ping_group_range": "0 0",
}


def build(plan: Plan, joined: frozenset[tuple[str, str]]) -> None:
    """Make everything that does not come and go with pods. The caller is in the lab's root network namespace."""
    netns.write_sysctls({**_QUIET, "net/ipv4/ip_forward": "1"})
    with links.rtnetlink() as ip:
        ip.link("set", index=1, state="up")
        for network in plan.networks:
            links.ensure_bridge(ip, network.bridge)
            links.ensure_bridge(ip, network.wan_bridge, (network.wan_core, _WAN_PREFIX))
    for network in plan.networks:
        _router(network)
    for cluster in plan.clusters:
        network = plan.network(cluster.network)
        _api_server(network, cluster)
        for node in cluster.nodes:
            _node(network, node)
    for index, machine in enumerate(plan.machines):
        _machine(plan.network(machine.network), index, machine)
    join(plan, joined)


def join(plan: Plan, joined: frozenset[tuple[str, str]]) -> None:
    """Let exactly these pairs of networks speak over the WAN; all other pairs are silent from now on."""
    segments = {n.name: n.wan_cidr for n in plan.networks}
    with netns.entered(ROOT):
        nft.commit(nft.table_messages(rules.CORE_TABLE, rules.core_chains(rules.wan_segments_cut(segments, joined))))


def _namespace(name: str, legs: list[Leg], sysctls: dict[str, str]) -> None:
    netns.create(name)
    with netns.entered(name):
        netns.write_sysctls(sysctls)
    links.attach(name, legs, root=ROOT)


def _router(network: NetworkPlan) -> None:
    lan = Leg("lan", f"r{network.index}l", network.bridge, network.gateway, network.prefix)
    wan = Leg(
        "wan",
        f"r{network.index}w",
        network.wan_bridge,
        network.wan_router,
        _WAN_PREFIX,
        [(WAN_RANGE, network.wan_core)],
    )
    _namespace(network.router_netns, [lan, wan], {"net/ipv4/ip_forward": "1", **_QUIET})
    with netns.entered(network.router_netns):
        nft.commit(nft.table_messages(rules.ROUTER_TABLE, rules.router_chains(network.pod_cidr)))


def _api_server(network: NetworkPlan, cluster: ClusterPlan) -> None:
    tag = f"a{network.index}x{cluster.api_ip.rpartition('.')[2]}"
    lan = Leg("eth0", f"{tag}l", network.bridge, cluster.api_ip, network.prefix)
    wan = Leg(
        rules.WAN_INTERFACE,
        f"{tag}w",
        network.wan_bridge,
        cluster.api_wan_ip,
        _WAN_PREFIX,
        [(WAN_RANGE, network.wan_core)],
    )
    _namespace(cluster.api_netns, [lan, wan], POD_SYSCTLS)
    _service_route(cluster.api_netns, network.gateway)


def _node(network: NetworkPlan, node: NodePlan) -> None:
    leg = Leg("eth0", f"n{network.index}x{node.index}", network.bridge, node.ip, network.prefix)
    _namespace(node.netns, [leg], POD_SYSCTLS)
    _service_route(node.netns, network.gateway)


def _machine(network: NetworkPlan, index: int, machine: MachinePlan) -> None:
    legs = pod_legs(network, tag=f"m{index}", ip=machine.ip, wan_ip=machine.wan_ip or None)
    _namespace(machine.netns, legs, POD_SYSCTLS)


def _service_route(namespace: str, gateway: str) -> None:
    """ClusterIPs need some route before they are translated; the router is it, and forwards none of them."""
    with links.rtnetlink(namespace) as ip:
        ip.route("add", dst="0.0.0.0/0", gateway=gateway)


def pod_legs(network: NetworkPlan, *, tag: str, ip: str, wan_ip: str | None) -> list[Leg]:
    """The cables of a pod: to its network always, to the WAN segment if it has an address there."""
    legs = [Leg("eth0", f"p{tag}l", network.bridge, ip, network.prefix, [("0.0.0.0/0", network.gateway)])]
    if wan_ip:
        legs.append(
            Leg(
                rules.WAN_INTERFACE,
                f"p{tag}w",
                network.wan_bridge,
                wan_ip,
                _WAN_PREFIX,
                [(WAN_RANGE, network.wan_core)],
            )
        )
    return legs
