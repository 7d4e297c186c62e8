"""The example `ambient`, exposed and linked: ways through gateways, and gateways that come and go."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.ambient import CLUSTERS, GATEWAY, GATEWAYS, GLOBAL, SLEEP, identity, joined
from tests.lab.harness import Lab, Way, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"


def gateway_pods(lab: Lab, cluster: str) -> list[str]:
    """The names of the ready pods of a cluster's gateway."""
    found = lab.get(cluster, "pods", "-n", GATEWAYS, "-l", f"gateway.networking.k8s.io/gateway-name={GATEWAY}")["items"]
    return sorted(
        pod["metadata"]["name"] for pod in found if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
    )


def is_ready(pod: dict[str, Any]) -> bool:
    """True if its condition says so."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def scaled(lab: Lab, cluster: str, name: str, count: int, namespace: str = "app") -> None:
    lab.kubectl(cluster, "scale", "-n", namespace, f"deployment/{name}", f"--replicas={count}")


def reaches(lab: Lab, cluster: str) -> set[str]:
    """Through which addresses a cluster's gateway was entered: what the others were told of."""
    pages = json.loads(lab.ask(cluster, "/debug/networkz"))
    return {one["Addr"] for one in pages if one["HBONEPort"]}


@contextmanager
def without_own(lab: Lab, cluster: str) -> Iterator[None]:
    """A cluster runs no hello-world of its own while the body runs."""
    before = int(lab.get(cluster, "deployment", "hello-world", "-n", "app")["spec"]["replicas"])
    scaled(lab, cluster, "hello-world", 0)
    try:
        yield
    finally:
        scaled(lab, cluster, "hello-world", before)
        lab.answered_by(f"{cluster}/{SLEEP}", GLOBAL, {cluster})


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """Exposed, linked, and hello-world global everywhere; afterwards as it was."""
    with joined(model):
        yield model
    for cluster in CLUSTERS:
        model.kubectl(cluster, "delete", "gateways.gateway.networking.k8s.io", GATEWAY, "-n", GATEWAYS)


def test_each_cluster_is_served_at_home_while_it_can(linked: Lab) -> None:
    for cluster in CLUSTERS:
        linked.answered_by(f"{cluster}/{SLEEP}", GLOBAL, {cluster})


def test_without_endpoints_at_home_the_others_answer_and_see_who_calls(linked: Lab) -> None:
    with without_own(linked, "west"):
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
        ways: list[Way] = linked.ways(f"west/{SLEEP}", GLOBAL, 24)
        assert {way.identity for way in ways} == {identity("west", "sleep")}
        assert {way.cluster for way in ways} == {"east", "north"}


def test_shares_follow_the_endpoints_behind_the_gateways(linked: Lab) -> None:
    """Two pods in east, one in north: each answers as often as the others."""
    scaled(linked, "north", "hello-world", 1)
    try:
        with without_own(linked, "west"):
            eventually(lambda: _share_of_east(linked) == pytest.approx(200 / 3, abs=10), within=30, what="two thirds")
    finally:
        scaled(linked, "north", "hello-world", 2)


def _share_of_east(lab: Lab) -> float:
    calls = lab.call(f"west/{SLEEP}", GLOBAL, "--count", "240")
    return 0 if calls.failures else calls.share("east")


def test_a_gateways_pods_are_replaced_without_a_failed_request(linked: Lab) -> None:
    with without_own(linked, "west"):
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
        before = gateway_pods(linked, "east")
        with linked.under_load(f"west/{SLEEP}", GLOBAL, 14) as calls:
            linked.kubectl("east", "rollout", "restart", "-n", GATEWAYS, f"deployment/{GATEWAY}")
            eventually(
                lambda: gateway_pods(linked, "east") and not set(before) & set(gateway_pods(linked, "east")),
                within=40,
                what="all pods of the gateway are new ones",
            )
        assert not calls.failures
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})


def test_a_gateway_that_is_killed_costs_little_and_its_other_pod_takes_over(linked: Lab) -> None:
    scaled(linked, "east", GATEWAY, 2, GATEWAYS)
    try:
        first, _ = eventually(
            lambda: len(pods := gateway_pods(linked, "east")) == 2 and pods, within=40, what="two pods"
        )
        eventually(lambda: len(reaches(linked, "west")) == 4, within=20, what="west knows both, its own and north's")
        with without_own(linked, "west"):
            linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
            with linked.under_load(f"west/{SLEEP}", GLOBAL, 12) as calls, linked.killed(f"east/{GATEWAYS}/{first}"):
                eventually(lambda: len(reaches(linked, "west")) == 3, within=30, what="west knows that it is gone")
                found = linked.call(f"west/{SLEEP}", GLOBAL, "--count", "60")
                assert not found.failures
                assert set(found.clusters) == {"east", "north"}
            assert len(calls.failures) <= 0.02 * len(calls.calls)
    finally:
        scaled(linked, "east", GATEWAY, 1, GATEWAYS)


def test_what_is_not_global_has_no_way_in(linked: Lab) -> None:
    linked.kubectl("north", "label", "service", "hello-world", "-n", "app", "solo.io/service-scope-")
    try:
        with without_own(linked, "west"):
            linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east"})
    finally:
        linked.kubectl("north", "label", "service", "hello-world", "-n", "app", "solo.io/service-scope=global")


def test_a_network_that_is_cut_off_is_left_alone_and_comes_back(linked: Lab) -> None:
    with without_own(linked, "west"):
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
        with linked.under_load(f"west/{SLEEP}", GLOBAL, 15) as calls, linked.cut("east-net", "west-net"):
            linked.answered_by(f"west/{SLEEP}", GLOBAL, {"north"})
        assert len(calls.failures) <= 0.05 * len(calls.calls)
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"}, within=60)


def test_calls_go_on_without_the_control_planes_of_either_side(linked: Lab) -> None:
    with without_own(linked, "west"):
        linked.answered_by(f"west/{SLEEP}", GLOBAL, {"east", "north"})
        with (
            linked.under_load(f"west/{SLEEP}", GLOBAL, 8) as calls,
            linked.killed("west/istiod", "east/istiod"),
        ):
            found = linked.call(f"west/{SLEEP}", GLOBAL, "--count", "60")
            assert not found.failures
            assert set(found.clusters) == {"east", "north"}
        assert not calls.failures
