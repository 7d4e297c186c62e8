"""The networks for real: who reaches whom, what a partition does, where captured connections arrive."""

import socket
import struct
from pathlib import Path

import pytest

from isthmus.install import capture_rules
from isthmus_lab.labfile.load import load
from isthmus_lab.net import fabric, links, netns, nft, rules
from isthmus_lab.net.plan import Plan, make_plan
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import World
from tests.lab_pkg.worlds import in_new_world

pytestmark = pytest.mark.lab
EXAMPLE = Path(__file__).parents[3] / "examples" / "two-networks"
SO_MARK = 36
SO_ORIGINAL_DST = 80
SERVICE = "10.96.0.10"


def build() -> tuple[World, Plan]:
    world = load(EXAMPLE)
    plan = make_plan(world)
    fabric.build(plan, world.links)
    return world, plan


def pod(plan: Plan, network: str, name: str, ip: str, wan_ip: str | None = None) -> None:
    netns.create(name)
    legs = fabric.pod_legs(plan.network(network), tag=name, ip=ip, wan_ip=wan_ip)
    links.attach(name, legs, root=netns.ROOT)


def listen(namespace: str, port: int) -> socket.socket:
    with netns.entered(namespace):
        sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("0.0.0.0", port))
    sock.listen()
    sock.settimeout(2)
    return sock


def connect(namespace: str, ip: str, port: int, *, mark: int = 0, source: str = "") -> str:
    """`ok`, `refused` or `silent`."""
    with netns.entered(namespace):
        sock = socket.socket()
    with sock:
        sock.settimeout(0.5)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        if source:
            sock.bind((source, 0))
        try:
            sock.connect((ip, port))
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        return "ok"


def original_destination(sock: socket.socket) -> tuple[str, int]:
    accepted, _ = sock.accept()
    with accepted:
        data = accepted.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(data[4:8]), struct.unpack(">H", data[2:4])[0]


def test_networks_with_the_same_range_are_apart(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> dict[str, str]:
        plan = build()[1]
        pod(plan, "east-net", "e1", "10.10.1.2")
        pod(plan, "east-net", "e2", "10.10.1.3")
        pod(plan, "west-net", "w1", "10.10.1.2")
        pod(plan, "west-net", "w2", "10.10.1.9")
        kept = [listen(name, 81) for name in ("e2", "w1", "w2")]
        found = {
            "same network": connect("e1", "10.10.1.3", 81),
            "pod of the other": connect("e1", "10.10.1.9", 81),
            "node of the other": connect("e1", plan.cluster("west").nodes[0].ip, 81),
            "own address on both sides": connect("e2", "10.10.1.2", 81),
        }
        for sock in kept:
            sock.close()
        return found

    assert in_new_world(tmp_path, body) == {
        "same network": "ok",
        "pod of the other": "silent",
        "node of the other": "silent",
        "own address on both sides": "refused",
    }


def test_the_wan_reaches_gateways_only_and_can_be_cut(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> list[object]:
        world, plan = build()
        pod(plan, "east-net", "client", "10.10.1.2")
        pod(plan, "west-net", "gateway", "10.10.1.3", "198.18.17.48")
        router = plan.network("west-net").wan_router
        with listen("gateway", 15443) as server:
            found: list[object] = [connect("client", "198.18.17.48", 15443), server.accept()[1][0]]
            found.append(connect("client", router, 15443))
            fabric.join(plan, frozenset())
            found.append(connect("client", "198.18.17.48", 15443))
            fabric.join(plan, world.links)
            found.append(connect("client", "198.18.17.48", 15443))
        return found

    answers = in_new_world(tmp_path, body)
    assert answers[0] == "ok"
    assert answers[1] == "198.18.0.2", "pods appear on the WAN as their router"
    assert answers[2] == "refused"
    assert answers[3:] == ["silent", "ok"]


def test_cluster_ips_are_balanced_or_refused(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> list[object]:
        plan = build()[1]
        for name, ip in (("client", "10.10.1.2"), ("a", "10.10.1.3"), ("b", "10.10.1.4")):
            pod(plan, "east-net", name, ip)
        ports = [
            rules.ServicePort(SERVICE, "tcp", 80, (("10.10.1.3", 8080), ("10.10.1.4", 8080))),
            rules.ServicePort(SERVICE, "tcp", 81, ()),
        ]
        for _ in range(2):  # the second time replaces the first
            with netns.entered("client"):
                nft.commit(nft.table_messages(rules.SERVICE_TABLE, rules.service_chains(ports, "10.96.0.0/16")))
        servers = [listen(name, 8080) for name in ("a", "b")]
        found: list[object] = [{connect("client", SERVICE, 80) for _ in range(40)}]
        accepted = []
        for server in servers:
            server.settimeout(0)
            count = 0
            try:
                while True:
                    server.accept()[0].close()
                    count += 1
            except BlockingIOError:
                accepted.append(count)
        return [*found, accepted, connect("client", SERVICE, 81), connect("client", "10.96.7.7", 1)]

    outcomes, accepted, no_endpoints, no_service = in_new_world(tmp_path, body)
    assert outcomes == {"ok"}
    assert isinstance(accepted, list)
    assert sum(accepted) == 40
    assert min(accepted) > 5
    assert (no_endpoints, no_service) == ("refused", "refused")


def addresses(namespace: str) -> set[str]:
    """The hardware addresses of a namespace's interfaces."""
    with links.rtnetlink(namespace) as ip:
        return {link.get_attr("IFLA_ADDRESS") for link in ip.get_links()}


def test_a_pod_that_takes_over_an_ip_address_takes_over_the_hardware_address(tmp_path: Path) -> None:
    """Else whoever spoke to the one before would send into nothing for as long as its ARP entry counts."""

    def body(_state: StateDirectory) -> list[object]:
        plan = build()[1]
        found: list[object] = []
        for name in ("first", "second"):
            pod(plan, "east-net", name, "10.10.1.3", "198.18.1.48")
            found.append(addresses(name))
            links.detach([f"p{name}", f"p{name}w"], root=netns.ROOT)
        pod(plan, "east-net", "third", "10.10.1.4", "198.18.1.49")
        return [*found, addresses("third")]

    first, second, third = in_new_world(tmp_path, body)
    assert isinstance(first, set)
    assert isinstance(third, set)
    assert first == second
    assert first & third == {"00:00:00:00:00:00"}, "that of loopback"


def test_a_cluster_ip_leads_to_the_wan(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> list[object]:
        plan = build()[1]
        pod(plan, "west-net", "client", "10.10.1.2", "198.18.17.50")
        pod(plan, "east-net", "server", "10.10.1.3", "198.18.1.48")
        ports = [rules.ServicePort(SERVICE, "tcp", 443, (("198.18.1.48", 15012),))]
        with netns.entered("client"):
            nft.commit(nft.table_messages(rules.SERVICE_TABLE, rules.service_chains(ports, "10.96.0.0/16")))
        with listen("server", 15012) as server:
            return [connect("client", SERVICE, 443), server.accept()[1][0]]

    assert in_new_world(tmp_path, body) == ["ok", "198.18.17.50"]


def test_capture_and_its_exceptions(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> dict[str, object]:
        plan = build()[1]
        pod(plan, "east-net", "pod", "10.10.1.2")
        pod(plan, "east-net", "other", "10.10.1.3")
        ports = [rules.ServicePort(SERVICE, "tcp", 80, (("10.10.1.3", 80),))]
        with netns.entered("pod"):
            nft.commit(nft.table_messages(rules.SERVICE_TABLE, rules.service_chains(ports, "10.96.0.0/16")))
            nft.commit(
                nft.table_messages(capture_rules.CAPTURE_TABLE, capture_rules.capture_chains(capture_rules.Capture()))
            )
        outbound, inbound, app = listen("pod", 15001), listen("pod", 15006), listen("pod", 8080)
        other = listen("other", 80)
        found: dict[str, object] = {"call": connect("pod", SERVICE, 80)}
        found["captured at"] = original_destination(outbound)
        found["call of the proxy"] = connect("pod", SERVICE, 80, mark=capture_rules.PROXY_MARK)
        found["arrived"] = other.accept()[1][0]
        found["called"] = connect("other", "10.10.1.2", 8080)
        found["captured inbound at"] = original_destination(inbound)
        found["proxy calls itself"] = connect("pod", "10.10.1.2", 8080, mark=capture_rules.PROXY_MARK)
        found["enters at"] = original_destination(inbound)
        found["probe"] = connect("pod", "10.10.1.2", 8080, source="127.0.0.6")
        found["reaches the application"] = app.accept()[1][0]
        found["own address"] = connect("pod", "10.10.1.2", 8080)
        found["loopback"] = connect("pod", "127.0.0.1", 8080)
        with netns.entered("pod"):
            nft.commit(nft.delete_messages(capture_rules.CAPTURE_TABLE))
        found["after --clean"] = connect("pod", SERVICE, 80)
        found["direct"] = other.accept()[1][0]
        return found

    assert in_new_world(tmp_path, body) == {
        "call": "ok",
        "captured at": (SERVICE, 80),
        "call of the proxy": "ok",
        "arrived": "10.10.1.2",
        "called": "ok",
        "captured inbound at": ("10.10.1.2", 8080),
        "proxy calls itself": "ok",
        "enters at": ("10.10.1.2", 8080),
        "probe": "ok",
        "reaches the application": "127.0.0.6",
        "own address": "ok",
        "loopback": "ok",
        "after --clean": "ok",
        "direct": "10.10.1.2",
    }


def test_a_refused_transaction_changes_nothing_and_says_which_message(tmp_path: Path) -> None:
    def body(_state: StateDirectory) -> str:
        bad = nft.Chain("x", "filter", "output", 0, (nft.redirect(1),))  # only nat chains may redirect
        try:
            nft.commit(nft.table_messages("t", [bad]))
        except nft.NftError as error:
            return str(error)
        return "accepted"

    assert "nftables message" in in_new_world(tmp_path, body)
