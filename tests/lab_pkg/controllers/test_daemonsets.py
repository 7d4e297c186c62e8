"""DaemonSets: one pod on each node that can take it, whatever comes and goes."""

from __future__ import annotations

import copy
from typing import Any

from isthmus_lab.controllers import daemonsets, scheduler
from isthmus_lab.controllers.client import DAEMON_SET, NODE, POD
from isthmus_lab.controllers.facts import is_ready
from tests.lab_pkg.controllers.world import START, Json, Simulation, node


def daemon_set(*, image: str = "v1", pod: Json | None = None, **spec: Any) -> Json:
    containers = {"containers": [{"name": "app", "image": image}], **(pod or {})}
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": containers}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "ns", "uid": "set-agent", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, **spec, "template": template},
        "status": {},
    }


def simulation(obj: Json, *nodes: Json) -> Simulation:
    made = Simulation([daemonsets.CONTROLLER, scheduler.CONTROLLER])
    for item in nodes:
        made.put(NODE, item)
    made.put(DAEMON_SET, obj)
    made.settle()
    return made


def placed(world: Simulation) -> list[str]:
    return sorted(str(pod["spec"].get("nodeName")) for pod in world.view.pods)


def all_ready(world: Simulation) -> None:
    """Every pod becomes ready."""
    for pod in list(world.view.pods):
        if not is_ready(pod):
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": START}
            world.put(POD, {**pod, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}})
    world.settle()


def status(world: Simulation) -> Json:
    obj = world.view.daemon_sets.get("ns", "agent")
    assert obj is not None
    return dict(obj["status"])


def change(world: Simulation, image: str) -> None:
    obj = copy.deepcopy(world.view.daemon_sets.get("ns", "agent"))
    assert obj is not None
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = image
    world.put(DAEMON_SET, obj)
    world.settle()


def images(world: Simulation) -> list[str]:
    return sorted(str(pod["spec"]["containers"][0]["image"]) for pod in world.view.pods)


def test_each_node_has_one_pod_and_the_status_counts_them() -> None:
    world = simulation(daemon_set(), node("a"), node("b"))
    assert placed(world) == ["a", "b"]
    assert (status(world)["desiredNumberScheduled"], status(world)["numberReady"]) == (2, 0)
    all_ready(world)
    counts = status(world)
    assert (counts["currentNumberScheduled"], counts["numberReady"], counts["numberAvailable"]) == (2, 2, 2)
    assert (counts["updatedNumberScheduled"], counts["numberUnavailable"], counts["observedGeneration"]) == (2, 0, 1)


def test_a_new_node_gets_a_pod_and_a_lost_pod_comes_back() -> None:
    world = simulation(daemon_set(), node("a"))
    world.put(NODE, node("b"))
    world.settle()
    assert placed(world) == ["a", "b"]
    world.gone(POD, next(pod for pod in world.view.pods if pod["spec"]["nodeName"] == "a"))
    world.settle()
    assert placed(world) == ["a", "b"]


def test_a_failed_pod_is_replaced() -> None:
    world = simulation(daemon_set(), node("a"))
    (pod,) = world.view.pods
    world.put(POD, {**pod, "status": {"phase": "Failed"}})
    world.settle()
    (successor,) = world.view.pods
    assert successor["metadata"]["name"] != pod["metadata"]["name"]


def test_a_node_selector_and_taints_choose_the_nodes() -> None:
    tainted = node("c", taints=[{"key": "only", "value": "gpu", "effect": "NoSchedule"}])
    selector = {"nodeSelector": {"topology.kubernetes.io/zone": "here"}}
    assert placed(simulation(daemon_set(pod=selector), node("a", "here"), node("b", "there"))) == ["a"]
    assert placed(simulation(daemon_set(), node("a"), tainted)) == ["a"]
    bears = {"tolerations": [{"operator": "Exists"}]}
    assert placed(simulation(daemon_set(pod=bears), node("a"), tainted)) == ["a", "c"]


def test_a_cordoned_node_has_its_pod_all_the_same() -> None:
    assert placed(simulation(daemon_set(), node("a", unschedulable=True))) == ["a"]


def test_a_node_that_no_longer_qualifies_loses_its_pod() -> None:
    world = simulation(daemon_set(pod={"nodeSelector": {"topology.kubernetes.io/zone": "here"}}), node("a", "here"))
    world.put(NODE, node("a", "elsewhere"))
    world.settle()
    assert placed(world) == []
    assert status(world)["desiredNumberScheduled"] == 0


def test_a_new_template_replaces_one_available_pod_at_a_time() -> None:
    world = simulation(daemon_set(), node("a"), node("b"), node("c"))
    all_ready(world)
    change(world, "v2")
    assert images(world) == ["v1", "v1", "v2"]
    all_ready(world)
    assert images(world) == ["v1", "v2", "v2"]
    all_ready(world)
    all_ready(world)
    assert images(world) == ["v2", "v2", "v2"]
    assert status(world)["updatedNumberScheduled"] == 3


def test_pods_that_serve_nobody_are_replaced_at_once() -> None:
    world = simulation(daemon_set(), node("a"), node("b"))
    change(world, "v2")
    assert images(world) == ["v2", "v2"]


def test_on_delete_waits_for_the_operator() -> None:
    world = simulation(daemon_set(updateStrategy={"type": "OnDelete"}), node("a"))
    all_ready(world)
    change(world, "v2")
    assert images(world) == ["v1"]
    world.gone(POD, next(iter(world.view.pods)))
    world.settle()
    assert images(world) == ["v2"]
