"""Addresses: all different within a network, the same for pods of networks that use the same range."""

import ipaddress
from itertools import combinations
from pathlib import Path

from isthmus_lab.labfile.load import parse
from isthmus_lab.net.plan import WAN_RANGE, Plan, make_plan


def plan_of(nodes: int = 3) -> Plan:
    names = [{"name": f"n{i}"} for i in range(nodes)]
    document = {
        "networks": [{"name": "a", "podCIDR": "10.10.0.0/16"}, {"name": "b", "podCIDR": "10.10.0.0/16"}],
        "clusters": [
            {"name": "west", "network": "b", "nodes": names},
            {"name": "east", "network": "a", "nodes": names},
            {"name": "north", "network": "a", "nodes": names},
        ],
    }
    world, problems = parse({"name": "x", **document}, Path("/lab/lab.yaml"))
    assert world is not None, problems
    return make_plan(world)


def test_nothing_of_a_network_shares_an_address() -> None:
    plan = plan_of()
    for network in plan.networks:
        clusters = [c for c in plan.clusters if c.network == network.name]
        taken = [network.gateway, *(c.api_ip for c in clusters), *(n.ip for c in clusters for n in c.nodes)]
        taken += [network.wan_core, network.wan_router, *(c.api_wan_ip for c in clusters)]
        blocks = [ipaddress.IPv4Network(n.pod_block) for c in clusters for n in c.nodes]
        assert len(set(taken)) == len(taken)
        assert not any(x.overlaps(y) for x, y in combinations(blocks, 2))
        assert not any(ipaddress.IPv4Address(ip) in block for ip in taken for block in blocks)


def test_pods_of_the_same_range_get_the_same_addresses_and_nodes_do_not() -> None:
    plan = plan_of()
    east, west = plan.cluster("east"), plan.cluster("west")
    assert [n.pod_block for n in east.nodes] == [n.pod_block for n in west.nodes]
    assert not {n.ip for n in east.nodes} & {n.ip for n in west.nodes}


def test_wan_segments_and_pod_wan_addresses_do_not_overlap() -> None:
    plan = plan_of(nodes=20)
    segments = [ipaddress.IPv4Network(n.wan_cidr) for n in plan.networks]
    assert not segments[0].overlaps(segments[1])
    assert all(s.subnet_of(ipaddress.IPv4Network(WAN_RANGE)) for s in segments)
    for cluster in plan.clusters:
        segment = ipaddress.IPv4Network(plan.network(cluster.network).wan_cidr)
        for node in cluster.nodes:
            first = ipaddress.IPv4Address(node.wan_first)
            assert first in segment
            assert first + node.wan_count in segment
    firsts = [int(ipaddress.IPv4Address(n.wan_first)) for c in plan.clusters for n in c.nodes if c.network == "a"]
    assert all(abs(x - y) >= 48 for x, y in combinations(firsts, 2))


def test_clusters_stay_in_the_order_of_the_file() -> None:
    plan = plan_of()
    assert [c.name for c in plan.clusters] == ["west", "east", "north"]
    assert plan.cluster("east").api_service_ip == "10.96.0.1"
