"""What `verify` makes of what it sees."""

from dataclasses import replace

import pytest

from isthmus_lab.commands.hops import (
    ProxyLog,
    Trail,
    before,
    host_of,
    new_entries,
    path_of,
    served_by,
    server_of,
    waypoint_identity,
)
from isthmus_lab.commands.reaches import judge

OWN = {"10.10.1.2": "pod east/a"}


@pytest.mark.parametrize(
    ("ip", "outcome", "shown", "good"),
    [
        ("10.10.1.9", "timed out", "timed out", True),
        ("10.10.1.9", "connected", "connected", False),
        ("10.10.1.2", "connected", "meets its own network's pod east/a instead", True),
        ("10.10.1.2", "refused", "refused, by its own network's pod east/a", True),
        ("10.10.1.9", "refused", "refused", True),
    ],
)
def test_who_answered_decides(ip: str, outcome: str, shown: str, good: bool) -> None:
    reach = judge("east/a", "pod west/b", ip, outcome=outcome, own=OWN)
    assert (reach.outcome, reach.good) == (shown, good)


def test_access_log_entries_among_other_lines() -> None:
    lines = ["[info] starting", "{broken", '{"level": "info"}', '{"direction": "inbound", "path": "/"}']
    assert new_entries(lines) == [{"direction": "inbound", "path": "/"}]


def test_addresses() -> None:
    assert [host_of("10.0.0.1:80"), host_of(None)] == ["10.0.0.1", ""]


def gateway(cluster: str, ip: str, wan_ip: str) -> ProxyLog:
    return ProxyLog(
        cluster=cluster, network=f"{cluster}-net", node="n", namespace="istio-system", pod=f"gw-{cluster}", ip=ip,
        wan_ip=wan_ip, gateway=True, seen=0,
    )  # fmt: skip


NODE = ProxyLog(
    cluster="east", network="east-net", node="n", namespace="istio-system", pod="isthmus-node-x", ip="10.10.0.10",
    wan_ip="", gateway=False, seen=0, container="node-proxy", served=(("10.10.1.5", "web"), ("10.10.1.6", "db")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "server"),
    [
        ({"direction": "inbound", "downstream_local_address": "10.10.1.6:15008"}, "db"),
        ({"direction": "inbound", "downstream_local_address": "10.10.1.9:15008"}, ""),
        ({"direction": "outbound", "downstream_local_address": "10.10.1.6:15008"}, ""),
        ({"direction": "inbound"}, ""),
    ],
)
def test_the_log_of_a_nodes_proxy_tells_of_all_its_pods(entry: dict[str, str], server: str) -> None:
    assert server_of(NODE, entry) == server


def test_a_sidecar_logs_a_tunnel_beside_what_came_through_it() -> None:
    assert server_of(EAST, {"direction": "inbound", "method": "GET"}) == "gw-east"
    assert server_of(EAST, {"direction": "inbound", "method": "CONNECT"}) == ""


def test_a_nodes_proxy_serves_the_captured_pods_of_its_node() -> None:
    pods: list[dict[str, object]] = [
        {"ip": "10.10.1.5", "name": "web", "node": "n", "captured": True},
        {"ip": "10.10.1.6", "name": "plain", "node": "n", "captured": False},
        {"ip": "10.10.2.5", "name": "far", "node": "other", "captured": True},
        {"ip": "10.10.0.10", "name": "of-a-machine", "node": "n"},
    ]
    assert served_by("n", pods) == (("10.10.1.5", "web"),)


EAST, WEST = gateway("east", "10.10.1.3", "198.18.1.1"), gateway("west", "10.10.1.3", "198.18.2.1")


@pytest.mark.parametrize(
    ("last", "caller", "names"),
    [
        (None, "10.10.1.9:1", []),
        (WEST, "10.10.1.3:1000", ["gw-east", "gw-west"]),
        (WEST, "10.10.1.3:1001", ["gw-west"]),
        (WEST, "10.10.1.3:1002", ["gw-west"]),
    ],
    ids=["direct", "gateway to gateway", "from a pod", "not in the log"],
)
def test_the_gateways_on_the_way(last: ProxyLog | None, caller: str, names: list[str]) -> None:
    carried = {"gw-west": {"10.10.1.3:1000": "198.18.1.1:700", "10.10.1.3:1001": "198.18.1.9:1"}, "gw-east": {}}
    assert [one.pod for one in before(last, caller, [EAST, WEST], carried)] == names


def waypoint(cluster: str) -> ProxyLog:
    return ProxyLog(
        cluster=cluster, network=f"{cluster}-net", node="n", namespace="app", pod="waypoint-x", ip="10.10.1.7",
        wan_ip="", gateway=False, seen=0, waypoint=f"spiffe://{cluster}.example/ns/app/sa/waypoint",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ([], "direct"),
        ([EAST, WEST], "through gateway east/gw-east, west/gw-west"),
        ([waypoint("east")], "through waypoint east/waypoint-x"),
        ([waypoint("east"), WEST], "through waypoint east/waypoint-x, gateway west/gw-west"),
        ([WEST, waypoint("west")], "through gateway west/gw-west, waypoint west/waypoint-x"),
    ],
)
def test_a_way_in_words(way: list[ProxyLog], words: str) -> None:
    assert path_of(way) == words


def test_a_waypoint_is_known_by_what_made_it() -> None:
    labels = {"gateway.istio.io/managed": "istio.io-mesh-controller", "gateway.networking.k8s.io/gateway-name": "w"}
    pod = {"namespace": "app", "labels": labels}
    assert waypoint_identity(pod, "east.example") == "spiffe://east.example/ns/app/sa/w"
    assert waypoint_identity({**pod, "labels": {"app": "w"}}, "east.example") == ""


SLEEP, VIA_EAST = "spiffe://east.example/ns/app/sa/sleep", "spiffe://east.example/ns/app/sa/waypoint"


def tunnel(caller: str, who: str) -> dict[str, str]:
    """What the proxy of a node logs when a tunnel to the pod `web` ends."""
    at = {"downstream_local_address": "10.10.1.5:15008", "downstream_remote_address": f"{caller}:1000"}
    return {"direction": "inbound", "method": "CONNECT", "downstream_peer_uri_san": who, **at}


def request(upstream: str) -> dict[str, str]:
    """What a waypoint logs of a request."""
    return {"direction": "gateway", "method": "GET", "downstream_peer_uri_san": SLEEP, "upstream_host": upstream}


@pytest.mark.parametrize(
    ("by_waypoint", "by_node", "expected"),
    [
        ([], [tunnel("10.10.1.9", SLEEP)], {("direct", SLEEP): 1}),
        (
            [request("envoy://connect_originate/10.10.1.5:5000")] * 3,
            [tunnel("10.10.1.7", VIA_EAST)],
            {("through waypoint east/waypoint-x", SLEEP): 3},
        ),
        (
            [tunnel("10.10.1.3", SLEEP), request("envoy://connect_originate/10.10.1.5:5000")],
            [],
            {("through gateway east/gw-east, waypoint east/waypoint-x", SLEEP): 1},
        ),
        ([request("envoy://inner_connect_originate/198.18.9.9:15008")], [], {}),
        ([request("envoy://connect_originate/10.10.1.6:5000")], [], {}),
        (
            [
                {
                    **request("envoy://workloads/"),
                    "upstream_cluster": "workloads",
                    "downstream_local_address": "10.10.1.5:8080",
                }
            ],
            [],
            {("through waypoint east/waypoint-x", SLEEP): 1},
        ),
    ],
    ids=[
        "direct",
        "requests, not tunnels",
        "by the gateway before",
        "beyond a gateway",
        "another pod",
        "a pod by its address",
    ],
)
def test_what_waypoints_tell(
    by_waypoint: list[dict[str, str]], by_node: list[dict[str, str]], expected: dict[tuple[str, str], int]
) -> None:
    marks = [NODE, EAST, waypoint("east")]
    fresh = {NODE.title: by_node, EAST.title: [], "east/waypoint-x": by_waypoint}
    counts = Trail(marks, {EAST.title: []}, fresh).calls({"web"})
    assert counts == {("east/web", *key): count for key, count in expected.items()}


def test_what_a_waypoint_leads_through_a_gateway_is_answered_by_somebody_there() -> None:
    """Its tunnels stay open, so the server's proxy tells of few of its calls, if of any: those are not told twice."""
    node = replace(NODE, cluster="west", network="west-net")
    marks = [node, WEST, waypoint("east")]
    asked = [request("envoy://inner_connect_originate/198.18.2.1:15008")] * 2
    trail = Trail(marks, {}, {"east/waypoint-x": asked, node.title: [tunnel("10.10.1.3", VIA_EAST)]})
    way = "through waypoint east/waypoint-x, gateway west/gw-west"
    assert trail.calls({"web"}) == {("west/?", way, SLEEP): 2}
    assert trail.calls({"db-of-another"}) == {}
