"""The scenario `blue-green`: two clusters of one mesh that exchange nothing, so that neither can harm the other."""

import json

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab

pytestmark = pytest.mark.lab

EXAMPLE = "blue-green"
COLOURS = {"east": "east/sample/sleep", "west": "west/sample/sleep"}


def roots(lab: Lab, cluster: str) -> str:
    return str(lab.get(cluster, "configmap", "-n", "sample", "istio-ca-root-cert")["data"]["root-cert.pem"])


@pytest.mark.parametrize("cluster", COLOURS)
def test_each_answers_its_own_alone(model: Lab, cluster: str) -> None:
    assert model.answered_by(COLOURS[cluster], HELLO, {cluster}).identities == {SLEEP}
    ways = model.ways(COLOURS[cluster], HELLO)
    assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(cluster, "", SLEEP)}


def test_nothing_but_the_mesh_keeps_them_apart(model: Lab) -> None:
    """One network, one root of trust: it is the missing remote secrets that separate them."""
    report = json.loads(model.lab("verify", "-o", "json").stdout)
    assert report["problems"] == []
    assert {reach["outcome"] for reach in report["reachable"]} <= {"connected", "refused"}
    assert roots(model, "east") == roots(model, "west")
    for cluster in COLOURS:
        assert [row["id"] for row in model.remote_clusters(cluster)] == [cluster]
        assert not model.get(cluster, "secrets", "-n", "istio-system", "-l", "istio/multiCluster=true")["items"]


def test_a_colour_without_pods_does_not_borrow_the_others(model: Lab) -> None:
    with model.under_load(COLOURS["west"], HELLO, 3) as calls:
        model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", "--replicas=0")
        model.refused(COLOURS["east"], HELLO)
        model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", "--replicas=1")
        model.answered_by(COLOURS["east"], HELLO, {"east"})
    assert not calls.failures
    assert set(calls.clusters) == {"west"}


@pytest.mark.parametrize("parts", [("east/apiserver", "east/istiod"), ("east/node/east-1",)], ids=" ".join)
def test_what_happens_to_one_leaves_the_other_alone(model: Lab, parts: tuple[str, ...]) -> None:
    with model.under_load(COLOURS["west"], HELLO, 4) as calls, model.killed(*parts):
        assert not model.call(COLOURS["west"], HELLO, "--count", "20").failures
    assert not calls.failures
    model.answered_by(COLOURS["east"], HELLO, {"east"})


def test_calls_of_a_colour_go_on_without_its_control(model: Lab) -> None:
    with model.under_load(COLOURS["east"], HELLO, 4) as calls, model.killed("east/apiserver", "east/istiod"):
        assert not model.call(COLOURS["east"], HELLO, "--count", "20").failures
    assert not calls.failures
