"""The scenario `shared-and-own`: two control planes, both sources of every proxy; either may be lost."""

from collections.abc import Callable
from itertools import chain, repeat

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, Way, eventually
from tests.lab.served import connected, served_by

pytestmark = pytest.mark.lab

EXAMPLE = "shared-and-own"
ALL = {"east", "west", "north"}
SLEEPS = {cluster: f"{cluster}/sample/sleep" for cluster in sorted(ALL)}
SHARED, OWN = "east", "north"
"""Where the two control planes run."""


def sees(model: Lab, home: str, what: str, holds: Callable[[list[Way]], bool]) -> list[Way]:
    """Wait until the ways of calls from a cluster are as wanted; returns them. None of the calls may fail.

    Gateways spread connections, not requests, and idle connections are used again: what is new behind a gateway
    is only met by more calls at the same time than there ever were, so each try makes more of them.
    """
    at_once = chain(range(12, 80, 12), repeat(80))

    def found() -> list[Way]:
        ways = model.ways(SLEEPS[home], HELLO, 80, "--concurrency", str(next(at_once)))
        return ways if holds(ways) else []

    ways: list[Way] = eventually(found, within=30, what=f"{home} sees {what}")
    return ways


def clusters(ways: list[Way]) -> set[str]:
    return {way.cluster for way in ways}


@pytest.mark.parametrize("home", sorted(ALL))
def test_all_answer_and_only_networks_are_crossed_by_gateways(model: Lab, home: str) -> None:
    ways = sees(model, home, "all clusters", lambda ways: clusters(ways) == ALL)
    crossed = {way.cluster for way in ways if way.gateway}
    assert crossed == ({"north"} if home != "north" else {"east", "west"})
    assert {way.identity for way in ways} == {SLEEP}
    assert model.call(SLEEPS[home], HELLO, "--count", "60").identities == {SLEEP}


@pytest.mark.parametrize("home", sorted(ALL))
def test_clients_outside_of_the_mesh_are_refused(model: Lab, home: str) -> None:
    model.refused(f"{home}/plain/sleep-plain", HELLO)


def each_serves_its_own(model: Lab) -> None:
    """Wait for it: a proxy that could not reach its preferred control plane goes back after 30 s without a break."""

    def so() -> bool:
        served = {where: {cluster for _, cluster in connected(model, where)} for where in (SHARED, OWN)}
        return served == {SHARED: {"east", "west"}, OWN: {"north"}}

    eventually(so, within=90, what="each control plane serves its own clusters and no others", every=0.5)


def test_each_proxy_prefers_its_clusters_control_plane(model: Lab) -> None:
    each_serves_its_own(model)


@pytest.mark.parametrize(("dead", "alive"), [(SHARED, OWN), (OWN, SHARED)], ids=["shared dies", "own dies"])
def test_all_proxies_get_an_endpoint_change_without_either_control_plane(model: Lab, dead: str, alive: str) -> None:
    """The change is one that a proxy cannot notice by itself: a new pod, in the cluster whose webhook is alive."""
    where = "north" if alive == OWN else "west"
    deployment = {"north": "deployment/helloworld-v3", "west": "deployment/helloworld-v2"}[where]

    def everybody_sees(count: int) -> None:
        for home in sorted(ALL):
            pods = f"{count} pods in {where}"
            sees(model, home, pods, lambda ways: len({way.pod for way in ways if way.cluster == where}) == count)

    with model.under_load(SLEEPS["west"], HELLO, 5) as calls, model.killed(f"{dead}/istiod"):
        served_by(model, alive, ALL)
        model.kubectl(where, "scale", "-n", "sample", deployment, "--replicas=2")
        everybody_sees(2)
        model.kubectl(where, "scale", "-n", "sample", deployment, "--replicas=1")
        everybody_sees(1)
    assert not calls.failures
    for home in sorted(ALL):
        sees(model, home, "all clusters", lambda ways: clusters(ways) == ALL)


def test_a_dead_api_server_changes_nothing(model: Lab) -> None:
    with model.under_load(SLEEPS["north"], HELLO, 4) as calls, model.killed("west/apiserver"):
        assert not model.call(SLEEPS["east"], HELLO, "--count", "20").failures
    assert not calls.failures


@pytest.mark.full
def test_a_cut_between_the_networks_leaves_each_side_its_control_plane(model: Lab) -> None:
    with model.cut("north-net", "south-net"):
        model.answered_by(SLEEPS["west"], HELLO, {"east", "west"})
        model.answered_by(SLEEPS["north"], HELLO, {"north"})
    for home in sorted(ALL):
        model.answered_by(SLEEPS[home], HELLO, ALL, "--count", "60", "--concurrency", "12")


@pytest.mark.full
def test_proxies_come_back_to_the_control_plane_they_prefer(model: Lab) -> None:
    each_serves_its_own(model)
