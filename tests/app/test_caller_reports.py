"""Whose the addresses are that proxies report on: gateways, and pods of the caller's own network."""

import json

import msgspec
import pytest

from isthmus.app.caller_reports import LOOK_UP_EVERY, CallerReports
from isthmus.derive.signals import REPORT_WINDOW, Votes
from isthmus.model.rows import Proxy
from tests.graph.world import cluster, helloworld, mesh, sleep, two_networks


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class World:
    def __init__(self) -> None:
        flat = [*cluster("north", "net-east"), *helloworld("north", "10.0.0.99").rows()]
        self.mesh = mesh("east", two_networks(), flat)
        self.clock = Clock()
        self.reports = CallerReports(self.mesh, self.clock)

    def tell(self, proxy: Proxy, *upstreams: tuple[str, int, int, int, int]) -> None:
        self.mesh.connect(proxy)
        self.reports.take(proxy, json.dumps(upstreams))

    def votes(self) -> dict[str, Votes]:
        return self.reports.votes(self.clock.time)


EAST = sleep("east").sidecar()
WEST = sleep("west").sidecar()
WORKED, FAILED = (5, 0, 0), (0, 5, 0)


@pytest.mark.parametrize(
    ("caller", "address", "cluster"),
    [
        (EAST, "172.18.0.2", "west"),
        (EAST, "10.0.0.11", "east"),
        (WEST, "10.0.0.11", "west"),
        (EAST, "10.0.0.99", "north"),
        (WEST, "10.0.0.99", ""),
        (EAST, "8.8.8.8", ""),
    ],
    ids=["a gateway", "own pod", "the same address elsewhere", "flat network", "not this network", "a stranger"],
)
def test_whose_an_address_is(caller: Proxy, address: str, cluster: str) -> None:
    world = World()
    world.tell(caller, (address, 80, *WORKED))
    assert list(world.votes()) == ([cluster] if cluster else [])


def test_the_last_report_of_a_proxy_counts_until_it_is_old() -> None:
    world = World()
    world.tell(EAST, ("172.18.0.2", 15443, *FAILED))
    assert world.votes()["west"] == Votes(far=1, far_failing=1, callers=1, troubled=1)
    world.tell(EAST, ("172.18.0.2", 15443, *WORKED))
    assert world.votes()["west"] == Votes(far=1, callers=1)
    world.clock.time += REPORT_WINDOW + 1
    assert world.votes() == {}


def test_unknown_addresses_are_not_searched_for_all_the_time() -> None:
    world = World()
    world.tell(EAST, ("8.8.8.8", 80, *WORKED))
    world.votes()
    world.tell(EAST, ("10.0.0.12", 80, *WORKED))
    assert world.votes() == {}
    world.clock.time += LOOK_UP_EVERY
    world.tell(EAST, ("10.0.0.12", 80, *WORKED))
    assert list(world.votes()) == ["east"]


@pytest.mark.parametrize("message", ["", "{}", "[[1]]", '[["a", 1, -1]]'])
def test_what_cannot_be_read_counts_for_nothing(message: str) -> None:
    world = World()
    world.reports.take(EAST, message)
    assert world.votes() == {}


def test_streams_of_one_identity_have_one_vote() -> None:
    """The address in a node id is the proxy's own word."""
    world = World()
    world.mesh.connect(EAST)
    for _ in range(3):
        other = msgspec.structs.replace(EAST, name="another")
        for proxy in (EAST, other):
            world.reports.take(proxy, json.dumps([("172.18.0.2", 15443, *FAILED)]), voter="east/sample/sleep/sleep-1")
    assert world.votes()["west"] == Votes(far=1, far_failing=1, callers=1, troubled=1)


def test_a_report_is_not_of_any_length() -> None:
    world = World()
    world.tell(EAST, *[("172.18.0.2", 15443, *FAILED)] * 64)
    assert world.votes()["west"].far_failing == 1
    world.tell(WEST, *[("172.18.0.1", 15443, *FAILED)] * 10_000)
    assert list(world.votes()) == ["west"]
