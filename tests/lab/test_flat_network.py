"""The scenario `flat-network`: two primaries, pods that reach each other directly, no gateway on the way."""

import json

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "flat-network"
BOTH = {"east", "west"}
CLIENTS = ["east/sample/sleep", "west/sample/sleep"]


@pytest.mark.parametrize("client", CLIENTS)
def test_both_clusters_answer_without_a_hop(model: Lab, client: str) -> None:
    assert model.answered_by(client, HELLO, BOTH).identities == {SLEEP}
    ways = model.ways(client, HELLO, 24)
    assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(c, "", SLEEP) for c in BOTH}


def test_pods_reach_each_other_and_there_is_no_gateway(model: Lab) -> None:
    report = json.loads(model.lab("verify", "-o", "json").stdout)
    assert report["problems"] == []
    assert {reach["outcome"] for reach in report["reachable"]} <= {"connected", "refused"}
    assert len(report["reachable"]) == 4
    assert report["unreachable"] == report["gateways"] == []
    assert not [item for item in report["reported"] if item["field"] == "status.podIP"]


def test_a_client_outside_of_the_mesh_is_refused_by_the_other_clusters_pod_too(model: Lab) -> None:
    pods = model.get("west", "pods", "-n", "sample", "-l", "app=helloworld")
    address = pods["items"][0]["status"]["podIP"]
    assert model.probe("east/plain/sleep-plain", "tcp", address, "15021") == "answered"
    assert model.probe("east/plain/sleep-plain", "tcp", address, "5000") in ("unreachable", "closed")


@pytest.mark.parametrize("part", ["west/apiserver", "west/istiod", "east/istiod"])
def test_calls_to_both_go_on_without_a_part_of_control(model: Lab, part: str) -> None:
    with model.under_load(CLIENTS[0], HELLO, 4) as calls, model.killed(part):
        alone = model.call(CLIENTS[0], HELLO, "--count", "40")
    assert not alone.failures
    assert set(alone.clusters) == BOTH
    assert not calls.failures


def test_a_cluster_without_pods_of_a_service_uses_the_others(model: Lab) -> None:
    def scale(count: int) -> None:
        model.kubectl("east", "scale", "-n", "sample", "deployment/helloworld-v1", f"--replicas={count}")

    with model.under_load(CLIENTS[0], HELLO, 4) as calls:
        scale(0)
        model.answered_by(CLIENTS[0], HELLO, {"west"})
        scale(1)
        eventually(lambda: model.ways(CLIENTS[0], HELLO, 24)[1:], within=20, what="both answer again")
    assert not calls.failures


def test_the_other_clusters_node_is_lost(model: Lab) -> None:
    """All of west's pods are gone at once; east answers, and both when they are back."""
    with model.killed("west/node/west-1"), model.under_load(CLIENTS[0], HELLO, 6) as calls:
        pass
    assert len(calls.failures) <= 0.02 * len(calls.calls)
    assert set(calls.clusters) == {"east"}
    # East has ejected west's endpoint for half a minute; a client that saw no failure uses it at once.
    model.answered_by(CLIENTS[1], HELLO, BOTH)
