"""The scenario `ambient`: clusters without sidecars; who answered, by which way, and as whom the caller was seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.ambient import (
    BATCH,
    CLUSTERS,
    EVERY,
    GATEWAYS,
    GLOBAL,
    HELLO,
    MODE,
    OUTSIDER,
    SLEEP,
    identity,
    joined,
    mark,
    nobody_at_home,
    pods,
    restarts,
)
from tests.lab.harness import Lab, Way, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"


@contextmanager
def labelled(lab: Lab, cluster: str, namespace: str, mode: str) -> Iterator[None]:
    """A namespace has the label while the body runs."""
    lab.kubectl(cluster, "label", "namespace", namespace, f"{MODE}={mode}")
    try:
        yield
    finally:
        lab.kubectl(cluster, "label", "namespace", namespace, f"{MODE}-")


def all_are(lab: Lab, cluster: str, app: str, wanted: str) -> bool:
    """True if the agent says so of all pods of an application of namespace plain."""
    found = pods(lab, cluster, "plain", app)
    return bool(found) and {mark(pod) for pod in found} == {wanted}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_each_cluster_is_a_mesh_of_its_own_before_it_is_linked(model: Lab, cluster: str) -> None:
    model.answered_by(f"{cluster}/{SLEEP}", HELLO, {cluster})
    ways = model.ways(f"{cluster}/{SLEEP}", HELLO)
    assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(cluster, "", identity(cluster, "sleep"))}


def test_pods_of_all_clusters_have_the_same_addresses(model: Lab) -> None:
    addresses = [
        {
            pod["status"]["podIP"]
            for app in ("sleep", "batch", "hello-world")
            for pod in pods(model, cluster, "app", app)
        }
        for cluster in ("west", "north")
    ]
    assert addresses[0] & addresses[1]


def test_pods_of_one_node_are_told_apart_by_those_they_call(model: Lab) -> None:
    (sleep,), (batch,) = (pods(model, "west", "app", app) for app in ("sleep", "batch"))
    assert sleep["spec"]["nodeName"] == batch["spec"]["nodeName"]
    for caller, account in ((SLEEP, "sleep"), (BATCH, "batch")) * 2:
        ways = model.ways(f"west/{caller}", HELLO, 8, "--keep-alive")
        assert {way.identity for way in ways} == {identity("west", account)}


def test_a_client_outside_of_the_mesh_is_refused(model: Lab) -> None:
    model.refused(f"east/{OUTSIDER}", HELLO)


def test_a_pod_comes_into_the_mesh_by_a_label_and_goes_again_without_a_restart(model: Lab) -> None:
    caller = f"east/{OUTSIDER}"
    (before,) = pods(model, "east", "plain", "sleep-plain")
    model.refused(caller, HELLO)
    with labelled(model, "east", "plain", "ambient"):
        eventually(lambda: all_are(model, "east", "sleep-plain", "enabled"), within=20, what="the pod is captured")
        model.answered_by(caller, HELLO, {"east"})
        seen = {way.identity for way in model.ways(caller, HELLO)}
        assert seen == {identity("east", "sleep-plain", "plain")}
    eventually(lambda: all_are(model, "east", "sleep-plain", ""), within=30, what="the pod is let go")
    model.refused(caller, HELLO)
    (after,) = pods(model, "east", "plain", "sleep-plain")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert restarts(after) == restarts(before)


def test_a_pod_that_starts_is_captured_before_its_first_container(model: Lab) -> None:
    model.kubectl("east", "scale", "-n", "app", "deployment/hello-world", "--replicas=4")
    try:
        eventually(lambda: len(pods(model, "east", "app", "hello-world")) == 4, within=10, what="pods are made")

        def started() -> list[dict[str, Any]]:
            found = pods(model, "east", "app", "hello-world")
            return [pod for pod in found if pod["status"].get("phase") == "Running"]

        def all_started() -> bool:
            assert all(mark(pod) == "enabled" for pod in started())
            return len(started()) == 4

        eventually(all_started, within=40, what="they run")
        assert not model.call(f"east/{SLEEP}", HELLO, "--count", "40").failures
    finally:
        model.kubectl("east", "scale", "-n", "app", "deployment/hello-world", "--replicas=2")


def test_without_its_nodes_proxy_a_pod_reaches_nobody_in_plain_and_recovers(model: Lab) -> None:
    with model.killed("west/node/west-1/proxy"):
        model.refused(f"west/{SLEEP}", HELLO)
    model.answered_by(f"west/{SLEEP}", HELLO, {"west"})
    assert {way.identity for way in model.ways(f"west/{SLEEP}", HELLO)} == {identity("west", "sleep")}


def test_calls_go_on_without_the_control_plane(model: Lab) -> None:
    with model.under_load(f"north/{SLEEP}", HELLO, 4) as calls, model.killed("north/istiod"):
        assert not model.call(f"north/{SLEEP}", HELLO, "--count", "20").failures
    assert not calls.failures


# -- linked -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    with joined(model):
        yield model


def gateway(lab: Lab, cluster: str) -> str:
    """The pod by which a cluster is entered, as `isthmus lab kill` takes it."""
    (pod,) = lab.get(cluster, "pods", "-n", GATEWAYS)["items"]
    return f"{cluster}/{GATEWAYS}/{pod['metadata']['name']}"


def test_a_global_service_is_answered_at_home_as_long_as_somebody_is_there(linked: Lab) -> None:
    for cluster in CLUSTERS:
        linked.answered_by(f"{cluster}/{SLEEP}", GLOBAL, {cluster})


def test_others_answer_without_a_failed_request_and_see_who_calls(linked: Lab) -> None:
    caller = f"east/{SLEEP}"
    linked.answered_by(caller, GLOBAL, {"east"})
    with linked.under_load(caller, GLOBAL, 20) as calls:
        with nobody_at_home(linked, "east"):
            linked.answered_by(caller, GLOBAL, {"west", "north"})
            ways: list[Way] = []

            def both_seen() -> bool:  # in step with the load, every second call may go to the same one for a while
                ways.extend(linked.ways(caller, GLOBAL))
                return {way.cluster for way in ways} == {"west", "north"}

            eventually(both_seen, within=20, what="both are seen to answer")
        linked.answered_by(caller, GLOBAL, {"east"})
    assert not calls.failures
    assert {way.identity for way in ways} == {identity("east", "sleep")}
    assert all(way.gateway.startswith(f"{way.cluster}/istio-eastwest-") for way in ways)


def test_the_cluster_local_name_stays_at_home(linked: Lab) -> None:
    with nobody_at_home(linked, "east"):
        linked.refused(f"east/{SLEEP}", HELLO)


def test_a_dead_gateway_is_left_alone_until_it_is_back(linked: Lab) -> None:
    caller = f"east/{SLEEP}"
    with nobody_at_home(linked, "east"):
        linked.answered_by(caller, GLOBAL, {"west", "north"})
        with linked.killed(gateway(linked, "west")):
            linked.answered_by(caller, GLOBAL, {"north"})
        linked.answered_by(caller, GLOBAL, {"west", "north"})


def test_a_cut_between_two_networks_is_gone_around_and_healed(linked: Lab) -> None:
    caller = f"east/{SLEEP}"
    with nobody_at_home(linked, "east"):
        with linked.cut("east-net", "west-net"):
            linked.answered_by(caller, GLOBAL, {"north"}, "--count", "24", "--timeout", "3")
        linked.answered_by(caller, GLOBAL, {"west", "north"})


def test_what_a_dead_control_plane_told_goes_on(linked: Lab) -> None:
    caller = f"east/{SLEEP}"
    with nobody_at_home(linked, "east"):
        linked.answered_by(caller, GLOBAL, {"west", "north"})
        with linked.under_load(caller, GLOBAL, 6) as calls, linked.killed("west/istiod", "east/istiod"):
            assert not linked.call(caller, GLOBAL, "--count", "20").failures
        assert not calls.failures
        assert set(calls.clusters) == {"west", "north"}


def test_a_client_outside_of_the_mesh_reaches_no_other_cluster(linked: Lab) -> None:
    linked.refused(f"east/{OUTSIDER}", GLOBAL)


def test_one_direction_may_be_taken_back_alone(linked: Lab) -> None:
    linked.run("multicluster", "unlink", "--from", "east", "--to", "west", "--namespace", GATEWAYS)
    try:
        with nobody_at_home(linked, "east"):
            linked.answered_by(f"east/{SLEEP}", GLOBAL, {"north"})
        with nobody_at_home(linked, "west"):
            linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
    finally:
        linked.run("multicluster", "link", "--from", "east", "--to", "west", "--namespace", GATEWAYS)


def test_unlinked_clusters_know_nothing_of_each_other(linked: Lab) -> None:
    linked.run("multicluster", "unlink", *EVERY)
    try:
        with nobody_at_home(linked, "east"):
            linked.refused(f"east/{SLEEP}", GLOBAL)
    finally:
        linked.run("multicluster", "link", *EVERY)
