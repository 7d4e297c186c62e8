"""The scenario `single-cluster`: who calls whom and as whom, and what the loss of each part of control takes away."""

import json

import pytest

from tests.lab.harness import CLIENT, HELLO, PLAIN, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "single-cluster"


def test_calls_are_direct_and_bear_the_callers_identity(model: Lab) -> None:
    assert model.answered_by(CLIENT, HELLO, {"east"}).identities == {SLEEP}
    assert {(way.cluster, way.gateway, way.identity) for way in model.ways(CLIENT, HELLO)} == {("east", "", SLEEP)}


def test_a_client_outside_of_the_mesh_is_refused(model: Lab) -> None:
    model.refused(PLAIN, HELLO)


def test_no_gateway_is_installed_where_there_is_nothing_to_join(model: Lab) -> None:
    report = json.loads(model.lab("verify", "-o", "json").stdout)
    assert report["gateways"] == []
    assert report["problems"] == []
    assert report["clusters"]["east"]["role"] == "primary"


@pytest.mark.parametrize("part", ["east/istiod", "east/apiserver"])
def test_calls_go_on_without_a_part_of_control(model: Lab, part: str) -> None:
    with model.under_load(CLIENT, HELLO, 4) as calls, model.killed(part):
        alone = model.call(CLIENT, HELLO, "--count", "20")
    assert not alone.failures
    assert not calls.failures
    assert calls.identities == {SLEEP}


def test_one_of_two_pods_dies(model: Lab) -> None:
    model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", "--replicas=2")
    model.kubectl("east", "rollout", "status", "-n", "sample", "deployment/helloworld-v1", "--timeout=30s")
    eventually(lambda: len(model.ways(CLIENT, HELLO, 24)) == 2, within=20, what="both pods answer")
    pod = model.get("east", "pods", "-n", "sample", "-l", "app=helloworld")["items"][0]["metadata"]["name"]
    with model.under_load(CLIENT, HELLO, 5) as calls, model.killed(f"east/{pod}"):
        eventually(lambda: len(model.ways(CLIENT, HELLO, 12)) == 1, within=20, what="the other one answers alone")
    assert len(calls.failures) <= 0.02 * len(calls.calls)
