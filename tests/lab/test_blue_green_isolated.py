"""The scenario `blue-green-isolated`: the clusters know each other's endpoints, and routes forbid calls to cross."""

from pathlib import Path

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "blue-green-isolated"
COLOURS = {"east": "east/sample/sleep", "west": "west/sample/sleep"}
VERSIONS = {"east": "v1", "west": "v2"}
ROUTES = Path(__file__).parents[2] / "examples" / EXAMPLE / "all" / "isolated.yaml"


@pytest.mark.parametrize("cluster", COLOURS)
def test_each_answers_its_own_alone(model: Lab, cluster: str) -> None:
    assert model.answered_by(COLOURS[cluster], HELLO, {cluster}).identities == {SLEEP}
    ways = model.ways(COLOURS[cluster], HELLO)
    assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(cluster, "", SLEEP)}


def test_they_know_each_other(model: Lab) -> None:
    for cluster in COLOURS:
        assert {row["id"] for row in model.remote_clusters(cluster)} == set(COLOURS)


def test_a_colour_without_pods_does_not_borrow_the_others(model: Lab) -> None:
    with model.under_load(COLOURS["west"], HELLO, 3) as calls:
        model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", "--replicas=0")
        model.refused(COLOURS["east"], HELLO)
        model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", "--replicas=1")
        model.answered_by(COLOURS["east"], HELLO, {"east"})
    assert not calls.failures
    assert set(calls.clusters) == {"west"}


def test_it_is_the_routes_that_keep_them_apart(model: Lab) -> None:
    """Without them in east, east's calls cross, and west's still do not."""
    model.kubectl("east", "delete", "-f", "-", stdin=ROUTES.read_text())
    model.answered_by(COLOURS["east"], HELLO, set(COLOURS))
    model.answered_by(COLOURS["west"], HELLO, {"west"})
    model.kubectl("east", "apply", "-f", "-", stdin=ROUTES.read_text())
    model.answered_by(COLOURS["east"], HELLO, {"east"})


def test_a_broken_route_changes_nothing_and_is_told(model: Lab) -> None:
    broken = ROUTES.read_text().replace("subset: west}", "subset: west, port: {number: 0}}")
    model.kubectl("west", "apply", "-f", "-", stdin=broken)
    eventually(lambda: "helloworld-per-cluster" in model.ask("west", "/debug/problems"), within=20, what="the problem")
    assert not model.call(COLOURS["west"], HELLO, "--count", "20").failures
    model.answered_by(COLOURS["west"], HELLO, {"west"})
    model.kubectl("west", "apply", "-f", "-", stdin=ROUTES.read_text())
    eventually(lambda: "helloworld-per-cluster" not in model.ask("west", "/debug/problems"), within=20, what="none")


@pytest.mark.parametrize("parts", [("east/apiserver", "east/istiod"), ("east/node/east-1",)], ids=" ".join)
def test_what_happens_to_one_leaves_the_other_alone(model: Lab, parts: tuple[str, ...]) -> None:
    with model.under_load(COLOURS["west"], HELLO, 4) as calls, model.killed(*parts):
        assert not model.call(COLOURS["west"], HELLO, "--count", "20").failures
    assert not calls.failures
    assert set(calls.clusters) == {"west"}
    model.answered_by(COLOURS["east"], HELLO, {"east"})
