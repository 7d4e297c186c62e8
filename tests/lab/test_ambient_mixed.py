"""The variant `mixed` of the scenario `ambient`: west has sidecars, the others have none; each calls the other."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.lab.ambient import GLOBAL, SLEEP, identity, joined, nobody_at_home
from tests.lab.harness import Lab, eventually
from tests.lab.test_ambient_waypoints import KNOWN, enrolled, requests

pytestmark = pytest.mark.lab

EXAMPLE = "ambient/mixed.yaml"


@pytest.fixture(scope="module")
def mixed(model: Lab) -> Iterator[Lab]:
    with joined(model):
        yield model


def test_pods_without_sidecars_call_pods_with_them(mixed: Lab) -> None:
    caller = f"east/{SLEEP}"
    with nobody_at_home(mixed, "east"):
        mixed.answered_by(caller, GLOBAL, {"west", "north"})
        ways = mixed.ways(caller, GLOBAL)
    assert {way.identity for way in ways} == {identity("east", "sleep")}
    assert all(way.gateway.startswith(f"{way.cluster}/istio-eastwest-") for way in ways)


def test_pods_with_sidecars_call_pods_without_them(mixed: Lab) -> None:
    caller = f"west/{SLEEP}"
    assert mixed.answered_by(caller, GLOBAL, {"west"}).identities == {identity("west", "sleep")}
    with nobody_at_home(mixed, "west"):
        mixed.answered_by(caller, GLOBAL, {"east", "north"})


def test_callers_with_and_without_sidecars_go_through_the_waypoint(mixed: Lab) -> None:
    """West's waypoint sees who calls, here or from another cluster; the sidecars behind it see the waypoint."""
    with enrolled(mixed, "west", KNOWN), nobody_at_home(mixed, "east"):
        for cluster, answering in (("west", {"west"}), ("east", {"west", "north"})):
            calls = mixed.answered_by(f"{cluster}/{SLEEP}", f"{GLOBAL}?from={cluster}", answering)
            nobody = {""} if "north" in answering else set()  # bytes tell an application nothing
            assert calls.identities == {identity("west", "waypoint"), *nobody}
            logged = eventually(partial(requests, mixed, "west", f"/hello?from={cluster}"), within=20, what="a log")
            assert {one["downstream_peer_uri_san"] for one in logged} == {identity(cluster, "sleep")}
