"""The variant `nodes` of the scenario `ambient`: what pods see when the proxy of their node, or its agent, ends."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ambient import HELLO, OUTSIDER, SLEEP, identity, mark, pods, restarts
from tests.lab.harness import Calls, Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "ambient/nodes.yaml"
CALLER = f"east/{SLEEP}"
NODES = ("east-1", "east-2")
AGENT, ENVOY = "agent ambient", "envoy/_bin/envoy"
APPS = ("sleep", "batch", "hello-world")
TOO_LONG = 20.0
"""Seconds without an answer, on a machine that is busy, after which a proxy has not come back at once."""


def agents(lab: Lab) -> dict[str, dict[str, Any]]:
    """The pods of the node proxies by node."""
    found = lab.get("east", "pods", "-n", "istio-system", "-l", "app=isthmus-node")["items"]
    return {pod["spec"].get("nodeName", ""): pod for pod in found if not pod["metadata"].get("deletionTimestamp")}


def ready(pod: dict[str, Any]) -> bool:
    """Whether all of its containers say so."""
    statuses = pod["status"].get("containerStatuses") or []
    return bool(statuses) and all(status["ready"] for status in statuses)


def running(lab: Lab, program: str) -> set[int]:
    """The processes of the lab whose command line has `program`; of parent and child with the same, the child."""
    found = {}
    for pid in lab.pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if program in command:
            found[pid] = parent
    return found.keys() - found.values()


def enrolled(lab: Lab) -> dict[str, tuple[str, str]]:
    """What the API server has of each ambient pod: its version, which any annotation changes, and its mark."""
    found = [pod for app in APPS for pod in pods(lab, "east", "app", app)]
    return {pod["metadata"]["name"]: (pod["metadata"]["resourceVersion"], mark(pod)) for pod in found}


def outage(calls: Calls) -> float:
    """Seconds from the first failure to the last."""
    bad = [call.at for call in calls.failures]
    return max(bad) - min(bad) if bad else 0.0


def check(lab: Lab, before: dict[str, tuple[str, str]], calls: Calls) -> None:
    """Pods were answered again soon, as themselves, and nobody was enrolled anew."""
    assert outage(calls) < TOO_LONG
    assert not lab.call(CALLER, HELLO, "--count", "40").failures
    assert {way.identity for way in lab.ways(CALLER, HELLO)} == {identity("east", "sleep")}
    assert enrolled(lab) == before
    assert {mark for _, mark in before.values()} == {"enabled"}


def test_an_envoy_that_is_killed_is_back_without_its_container(model: Lab) -> None:
    before, known = enrolled(model), {node: restarts(pod) for node, pod in agents(model).items()}
    envoys = running(model, ENVOY)
    with model.under_load(CALLER, HELLO, 8) as calls:
        time.sleep(2)
        for pid in envoys:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(running(model, ENVOY) - envoys) == len(NODES), within=20, what="new Envoys run")
    check(model, before, calls)
    assert {node: restarts(pod) for node, pod in agents(model).items()} == known


def test_an_agent_that_is_killed_finds_its_envoy_running_and_its_pods_captured(model: Lab) -> None:
    before, known, envoys = enrolled(model), running(model, AGENT), running(model, ENVOY)
    address = model.get("east", "service", "hello-world", "-n", "app")["spec"]["clusterIP"]
    with model.under_load(CALLER, HELLO.replace("hello-world.app", address), 8) as calls:
        time.sleep(2)
        for pid in known:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(running(model, AGENT) - known) == len(NODES), within=20, what="new agents run")
    check(model, before, calls)
    assert running(model, ENVOY) == envoys
    assert not calls.failures, "only names have to wait"


def test_the_daemon_set_is_rolled(model: Lab) -> None:
    before, known = enrolled(model), {pod["metadata"]["uid"] for pod in agents(model).values()}

    def replaced() -> bool:
        found = agents(model).values()
        new = [pod for pod in found if pod["metadata"]["uid"] not in known and ready(pod)]
        return len(new) == len(NODES)

    with model.under_load(CALLER, HELLO, 20) as calls:
        time.sleep(1)
        model.kubectl("east", "delete", "pod", "-n", "istio-system", "-l", "app=isthmus-node", "--wait=false")
        eventually(replaced, within=60, what="both nodes have new proxies")
    check(model, before, calls)


def test_a_pod_waits_for_the_agent_of_its_node(model: Lab) -> None:
    """Nobody starts in plain text because nobody was there to capture it; whoever asks is told why."""
    targets = [f"east/node/{node}/proxy" for node in NODES]

    def held_back() -> list[dict[str, Any]]:
        found = pods(model, "east", "app", "hello-world")
        return [pod for pod in found if pod["status"].get("phase") != "Running"]

    def told() -> bool:
        return "the mesh's agent on this node does not answer" in model.kubectl(
            "east", "get", "events", "-n", "app", "-o", "json"
        )

    with model.killed(*targets):
        model.kubectl("east", "scale", "-n", "app", "deployment/hello-world", "--replicas=4")
        eventually(told, within=30, what="an event says that there is no agent")
        assert len(held_back()) == 2
    eventually(lambda: not held_back(), within=60, what="they run")
    found = pods(model, "east", "app", "hello-world")
    assert [mark(pod) for pod in found] == ["enabled"] * 4
    assert not model.call(CALLER, HELLO, "--count", "40").failures


def test_without_the_daemon_set_nodes_are_as_before(model: Lab) -> None:
    """The last here: it takes the node proxies away."""
    files = [model.state / f"clusters/east/nodes/{node}/host/etc/cni/net.d" for node in NODES]
    written = [path for directory in files for path in directory.iterdir()]
    assert len(written) == len(NODES)
    assert all("isthmus-cni" in path.read_text() for path in written)
    model.refused(f"east/{OUTSIDER}", HELLO)
    model.kubectl("east", "delete", "daemonset", "-n", "istio-system", "isthmus-node")
    eventually(lambda: {mark for _, mark in enrolled(model).values()} == {""}, within=40, what="all pods are let go")
    for caller in (CALLER, f"east/{OUTSIDER}"):
        model.answered_by(caller, HELLO, {"east"})
    assert not any("isthmus-cni" in path.read_text() for path in written)
