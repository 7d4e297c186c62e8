"""The liveness of clusters over `two-networks`: what dies, what is decided of it, and what callers notice; drains.

Times are short here, so that nobody waits for minutes; the rules are the default ones.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.harness import CLIENT, HELLO, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "two-networks"
BOTH = ("--contexts", "east,west")
WEST_CLIENT = "west/sample/sleep"
POLICY = """
apiVersion: isthmus.dev/v1alpha1
kind: LivenessPolicy
metadata: {name: short, namespace: istio-system}
spec:
  recovery: 2s
  gatewayProbe: {interval: 500ms, timeout: 1s}
  rules:
  - {when: [apiServer], action: keep, after: 1s}
  - {when: [gateway], unless: [dataPlane], action: demote, after: 1s}
  - {when: [dataPlane], action: demote, after: 3s}
  - {when: [apiServer, gateway], unless: [dataPlane], action: drop, after: 4s}
---
apiVersion: isthmus.dev/v1alpha1
kind: MeshCluster
metadata: {name: west, namespace: istio-system}
spec: {drain: {over: 2s}}
"""
NORTH = """
apiVersion: isthmus.dev/v1alpha1
kind: MeshCluster
metadata: {name: north, namespace: istio-system}
spec: {required: %s}
"""


@pytest.fixture(scope="module")
def world(model: Lab) -> Iterator[Lab]:
    """The lab with short times, and with west as it was found when the tests are over."""
    for cluster in ("east", "west"):
        model.kubectl(cluster, "apply", "-f", "-", stdin=POLICY)
    eventually(lambda: signals(model) == ["good", "good"], within=20, what="west is seen to live")
    yield model
    for cluster in ("east", "west"):
        model.kubectl(cluster, "delete", "-f", "-", stdin=POLICY)
        model.try_kubectl(cluster, "delete", "meshclusters", "-n", "istio-system", "--all")


def clusters(lab: Lab, context: str = "east") -> dict[str, dict[str, Any]]:
    """`isthmus cluster list`, by cluster."""
    entries = json.loads(lab.run("cluster", "list", "--context", context, "-o", "json", check=False).stdout)
    return {entry["cluster"]: entry for entry in entries}


def signals(lab: Lab) -> list[str]:
    """What east sees of west: its API server, its gateway."""
    seen = clusters(lab)["west"]["signals"]
    return [seen["apiServer"]["health"], seen["gateway"]["health"]]


def standing(lab: Lab, context: str = "east") -> str:
    """How west stands."""
    return str(clusters(lab, context)["west"]["standing"])


def events(lab: Lab, *words: str) -> list[dict[str, Any]]:
    """`isthmus events` of east about west."""
    found: list[dict[str, Any]] = json.loads(
        lab.run("events", "--context", "east", "--cluster", "west", "-o", "json", *words).stdout
    )
    return found


def decided(lab: Lab, before: int) -> list[tuple[str, str]]:
    """(before, after) of what was decided about west since an event's number."""
    found = (one for one in events(lab) if one["number"] > before and one["what"] == "standing")
    return [(one["before"], one["after"]) for one in found]


def newest(lab: Lab) -> int:
    """The number of the newest event."""
    return max((one["number"] for one in events(lab)), default=0)


def uses_west(lab: Lab) -> bool:
    """True if east's sleep has an endpoint of helloworld that is west's gateway."""
    shown = lab.run("proxy-config", "endpoint", "--context", "east", "deploy/sleep.sample", "--cluster", "helloworld")
    return ":15443" in shown.stdout


def test_a_dead_api_server_alone_changes_nothing(world: Lab) -> None:
    mark = newest(world)
    with world.under_load(CLIENT, HELLO, 10) as calls, world.killed("west/apiserver"):
        eventually(lambda: decided(world, mark), within=20, what="the silence is in the journal")
    assert decided(world, mark)[0] == ("active", "active")
    kept = next(one for one in events(world) if one["number"] > mark and one["what"] == "standing")
    assert kept["reason"].startswith("kept: apiServer bad for 1s")
    assert not calls.failures
    assert calls.share("west") == pytest.approx(25, abs=7)
    assert all(after == "active" for _, after in decided(world, mark))


def test_gateways_answer_probes(world: Lab) -> None:
    seen = clusters(world)
    assert all("serves, " in seen[cluster]["signals"]["gateway"]["text"] for cluster in ("east", "west")), seen


def test_a_dead_gateway_moves_traffic(world: Lab) -> None:
    eventually(lambda: signals(world) == ["good", "good"], within=20, what="west is seen to live")
    mark = newest(world)
    with world.under_load(CLIENT, HELLO, 8) as calls, world.killed("west/gateway"):
        eventually(lambda: standing(world) == "demoted", within=30, what="west is demoted")
        assert uses_west(world), "demoted is not gone"
        after = world.call(CLIENT, HELLO, "--count", "50")
        assert not after.failures
        assert after.share("east") == 100
        assert clusters(world)["west"]["signals"]["gateway"]["health"] == "bad"
    eventually(lambda: standing(world) == "active", within=30, what="west is taken back")
    assert decided(world, mark) == [("active", "demoted"), ("demoted", "active")]
    assert len(calls.failures) <= 0.02 * len(calls.calls)
    world.steady()


def test_a_cluster_that_is_gone_leaves_and_comes_back(world: Lab) -> None:
    mark = newest(world)
    with world.under_load(CLIENT, HELLO, 12) as calls:
        with world.cut("east", "west"):
            eventually(lambda: standing(world) == "dropped", within=30, what="west leaves")
            eventually(lambda: not uses_west(world), within=10, what="proxies forget west")
        eventually(lambda: standing(world) == "active", within=60, what="west comes back")
    steps = decided(world, mark)
    assert ("demoted", "dropped") in steps or ("active", "dropped") in steps
    assert [before for before, _ in steps].count("dropped") == 1, "it came back once and for all"
    assert len(calls.failures) <= 0.02 * len(calls.calls)
    world.steady()


def test_a_drain_under_load_fails_no_request(world: Lab) -> None:
    eventually(lambda: standing(world) == "active", within=30, what="west is in full use")
    with world.under_load(CLIENT, HELLO, 17) as east, world.under_load(WEST_CLIENT, HELLO, 17) as west:
        refused = world.run("cluster", "drain", "west", *BOTH, "--dry-run", check=False)
        assert refused.returncode == 1
        assert "sample/only-west" in refused.stderr
        told = re.search(r"sample/helloworld +1 +3 +east +east 75%, west 25% +east 100%", refused.stdout)
        assert told, refused.stdout
        assert standing(world) == "active", "a preview changes nothing"
        shown = world.run("cluster", "drain", "west", *BOTH, "--force", within=60).stdout
        assert "cluster west is drained" in shown
        assert [standing(world, context) for context in ("east", "west")] == ["drained", "drained"]
        for client in (CLIENT, WEST_CLIENT):
            world.answered_by(client, HELLO, {"east"})
        only = world.call(CLIENT, "http://only-west.sample:5000/hello", "--count", "10")
        assert not only.failures, "what runs nowhere else is served on"
        world.run("cluster", "undrain", "west", *BOTH, within=60)
    for calls in (east, west):
        assert len(calls.calls) >= 850
        assert not calls.failures
        assert calls.clusters["west"] > 0
    world.steady()


def test_required_clusters_hold_up_readiness_and_the_journal_survives(world: Lab) -> None:
    before = [one["number"] for one in events(world)]
    world.kubectl("east", "apply", "-f", "-", stdin=NORTH % "true")
    try:
        eventually(lambda: "required cluster north" in world.ask("east", "/debug/problems"), within=10, what="told")
        assert world.run("cluster", "list", "--context", "east", check=False).returncode == 1
        world.lab("kill", "east/istiod", "--for", "1s")
        eventually(lambda: "north" in _readiness(world), within=30, what="the control plane waits for north")
    finally:
        world.kubectl("east", "apply", "-f", "-", stdin=NORTH % "false")
    eventually(lambda: _readiness(world) == "ready", within=20, what="nobody waits for a cluster that is not required")
    assert before == [one["number"] for one in events(world)][: len(before)]
    world.steady()


def _readiness(lab: Lab) -> str:
    """What east's control plane says of its readiness, empty while it is away."""
    command = ("--", "isthmus", "debug", "request", "GET", "/ready")
    done = lab.try_kubectl("east", "exec", "-n", "istio-system", "deploy/istiod", *command)
    return (done.stdout or done.stderr).strip()
