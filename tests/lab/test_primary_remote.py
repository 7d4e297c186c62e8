"""The scenario `primary-remote`: one control plane for two clusters of one network."""

import pytest

from tests.lab.harness import HELLO, SLEEP, Lab
from tests.lab.served import connected, roots, served_by

pytestmark = pytest.mark.lab

EXAMPLE = "primary-remote"
BOTH = {"east", "west"}
SLEEPS = ["east/sample/sleep", "west/sample/sleep"]


@pytest.mark.parametrize("client", SLEEPS)
def test_both_answer_directly(model: Lab, client: str) -> None:
    assert model.answered_by(client, HELLO, BOTH).identities == {SLEEP}
    ways = model.ways(client, HELLO, 24)
    assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(c, "", SLEEP) for c in BOTH}


@pytest.mark.parametrize("client", ["east/plain/sleep-plain", "west/plain/sleep-plain"])
def test_clients_outside_of_the_mesh_are_refused(model: Lab, client: str) -> None:
    model.refused(client, HELLO)


def test_west_is_served_by_east(model: Lab) -> None:
    assert {("sleep", "west"), ("helloworld-v2", "west")} <= connected(model, "east")
    assert roots(model, "west") == roots(model, "east") != ""
    pods = model.get("west", "pods", "-n", "istio-system")["items"]
    assert [pod for pod in pods if pod["metadata"]["name"].startswith("istiod")] == []


@pytest.mark.parametrize("part", ["east/istiod", "east/apiserver", "west/apiserver"])
def test_calls_go_on_without_a_part_of_control(model: Lab, part: str) -> None:
    with model.under_load(SLEEPS[1], HELLO, 4) as calls, model.killed(part):
        assert not model.call(SLEEPS[0], HELLO, "--count", "20").failures
    assert not calls.failures
    assert set(calls.clusters) == BOTH


def test_the_clusters_whole_node_with_the_control_plane_is_lost(model: Lab) -> None:
    """West's proxies lose their control plane and half of the endpoints at once, and find those that are left."""
    with model.killed("east/node/east-1"), model.under_load(SLEEPS[1], HELLO, 6) as calls:
        pass
    assert len(calls.failures) <= 0.02 * len(calls.calls)
    assert set(calls.clusters) == {"west"}
    served_by(model, "east", BOTH)
    for client in SLEEPS:
        model.answered_by(client, HELLO, BOTH)
