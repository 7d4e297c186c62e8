"""Node lifecycle: silence, its consequences for pods, and coming back."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.controllers import nodes
from isthmus_lab.controllers.client import LEASE, NODE, POD
from isthmus_lab.controllers.facts import condition
from isthmus_lab.controllers.plan import Delete, Patch, Record
from isthmus_lab.controllers.view import Key, View
from tests.lab_pkg.controllers.world import NOW, Json, Simulation, later, lease, node, of_type, pod, view

LIFECYCLE = nodes.lifecycle(grace_seconds=15, eviction_seconds=300)
KEY: Key = ("", "n")
TAINT = {"key": nodes.TAINT, "effect": "NoSchedule"}


def decide(found: View, seconds: float) -> Any:
    return LIFECYCLE.desired(found, KEY, later(seconds))


def test_a_renewed_lease_needs_nothing_and_is_looked_at_when_it_could_be_late() -> None:
    plan = decide(view(nodes=[node("n")], leases=[lease("n")]), 5)
    assert plan.actions == ()
    assert plan.again == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(("nodes_", "leases"), [([], [lease("n")]), ([node("n")], [])], ids=["no node", "no lease"])
def test_half_of_it_is_no_reason_to_act(nodes_: list[Json], leases: list[Json]) -> None:
    assert decide(view(nodes=nodes_, leases=leases), 1000).actions == ()


def test_silence_makes_node_and_pods_not_ready() -> None:
    pods = [pod("here", on="n", ip="10.0.0.1", ready=True), pod("there", on="m", ip="10.0.0.2", ready=True)]
    plan = decide(view(nodes=[node("n")], leases=[lease("n")], pods=pods), 15)
    patches = {(action.kind, action.obj["metadata"]["name"]): action for action in of_type(plan.actions, Patch)}
    assert set(patches) == {(NODE, "n"), (POD, "here")}
    (said,) = of_type(plan.actions, Record)
    assert said.reason == "NodeNotReady"
    pod_condition = condition({"status": patches[POD, "here"].patch["status"]}, "Ready")
    assert pod_condition["status"] == "False"


def test_a_node_that_comes_back_loses_its_taint_when_its_kubelet_says_it_is_ready() -> None:
    tainted = node("n", taints=[TAINT, {"key": "mine", "effect": "NoSchedule"}])
    (patch,) = decide(view(nodes=[tainted], leases=[lease("n")]), 1).actions
    assert patch.patch == {"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}}
    unknown = node("n", ready="Unknown", taints=[TAINT])
    assert decide(view(nodes=[unknown], leases=[lease("n")]), 1).actions == ()


def test_the_whole_story() -> None:
    world = Simulation([LIFECYCLE])
    world.put(NODE, node("n"))
    world.put(LEASE, lease("n"))
    world.put(POD, pod("a", on="n", ip="10.0.0.1", ready=True))
    stays = pod("stays", on="n", ip="10.0.0.2", ready=True)
    stays["spec"]["tolerations"] = [{"operator": "Exists"}]
    world.put(POD, stays)
    world.settle()
    world.now = later(20)
    world.due.append((LIFECYCLE, KEY))
    world.settle()
    gone = world.view.nodes.get("", "n")
    assert gone is not None
    assert condition(gone, "Ready")["status"] == "Unknown"
    assert gone["spec"]["taints"] == [TAINT]
    assert [condition(item, "Ready")["status"] for item in world.view.pods] == ["False", "False"]
    assert of_type(world.written, Delete) == []
    world.now = later(330)
    world.due.append((LIFECYCLE, KEY))
    world.settle()
    assert [item["metadata"]["name"] for item in world.view.pods] == ["stays"]


def test_pods_of_a_deleted_node_go_at_once() -> None:
    found = view(nodes=[node("m")], pods=[pod("lost", on="n"), pod("kept", on="m"), pod("new")])
    plans = {name: nodes.LOST_PODS.desired(found, ("ns", name), NOW).actions for name in ("lost", "kept", "new")}
    assert plans["kept"] == plans["new"] == ()
    (delete,) = plans["lost"]
    assert isinstance(delete, Delete)
    assert delete.grace_seconds == 0
