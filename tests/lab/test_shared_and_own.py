"""The scenario `shared-and-own`: two control planes, both sources of every proxy; either may be lost."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, eventually
from tests.lab.served import connected, served_by

pytestmark = pytest.mark.lab

EXAMPLE = "shared-and-own"
ALL = {"east", "west", "north"}
SLEEPS = {cluster: f"{cluster}/sample/sleep" for cluster in sorted(ALL)}
MANY = ("--concurrency", "12")
"""Gateways spread connections, not requests: only calls at the same time meet all endpoints behind them."""
SHARED, OWN = "east", "north"
"""Where the two control planes run."""


@pytest.mark.parametrize("home", sorted(ALL))
def test_all_answer_and_only_networks_are_crossed_by_gateways(model: Lab, home: str) -> None:
    assert model.answered_by(SLEEPS[home], HELLO, ALL, "--count", "60", *MANY).identities == {SLEEP}
    ways = model.ways(SLEEPS[home], HELLO, 60, *MANY)
    crossed = {way.cluster for way in ways if way.gateway}
    assert {way.cluster for way in ways} == ALL
    assert crossed == ({"north"} if home != "north" else {"east", "west"})
    assert {way.identity for way in ways} == {SLEEP}


@pytest.mark.parametrize("home", sorted(ALL))
def test_clients_outside_of_the_mesh_are_refused(model: Lab, home: str) -> None:
    model.refused(f"{home}/plain/sleep-plain", HELLO)


def test_each_proxy_prefers_its_clusters_control_plane(model: Lab) -> None:
    assert {cluster for _, cluster in connected(model, SHARED)} == {"east", "west"}
    assert {cluster for _, cluster in connected(model, OWN)} == {"north"}


@pytest.mark.parametrize(("dead", "alive"), [(SHARED, OWN), (OWN, SHARED)], ids=["shared dies", "own dies"])
def test_all_proxies_get_an_endpoint_change_without_either_control_plane(model: Lab, dead: str, alive: str) -> None:
    """The change is one that a proxy cannot notice by itself: a new pod, in the cluster whose webhook is alive."""
    where = "north" if alive == OWN else "west"
    deployment = {"north": "deployment/helloworld-v3", "west": "deployment/helloworld-v2"}[where]

    def pods_seen(home: str) -> int:
        return len({way.pod for way in model.ways(SLEEPS[home], HELLO, 80, *MANY) if way.cluster == where})

    def everybody_sees(count: int) -> None:
        for home in sorted(ALL):
            what = f"{home} sees {count} pods in {where}"
            eventually(partial(_equal, count, partial(pods_seen, home)), within=30, what=what)

    with model.under_load(SLEEPS["west"], HELLO, 5) as calls, model.killed(f"{dead}/istiod"):
        served_by(model, alive, ALL)
        model.kubectl(where, "scale", "-n", "sample", deployment, "--replicas=2")
        everybody_sees(2)
        model.kubectl(where, "scale", "-n", "sample", deployment, "--replicas=1")
        everybody_sees(1)
    assert not calls.failures
    for home in sorted(ALL):
        model.answered_by(SLEEPS[home], HELLO, ALL, "--count", "60", *MANY)


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
        model.answered_by(SLEEPS[home], HELLO, ALL, "--count", "60", *MANY)


def _equal(wanted: int, found: Callable[[], int]) -> bool:
    return found() == wanted


@pytest.mark.full
def test_proxies_come_back_to_the_control_plane_they_prefer(model: Lab) -> None:
    served_by(model, SHARED, {"east", "west"}, within=90)
    served_by(model, OWN, {"north"}, within=90)
    eventually(lambda: {c for _, c in connected(model, OWN)} == {"north"}, within=90, what="own serves north alone")
