"""The scheduler: where a pod may go, where it goes, and what is said when it can go nowhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from isthmus_lab.controllers import scheduler
from isthmus_lab.controllers.plan import Bind, Patch, Record
from tests.lab_pkg.controllers.world import NOW, START, Json, node, of_type, pod, view


def with_spec(obj: Json, **spec: Any) -> Json:
    obj["spec"].update(spec)
    return obj


def deleting(obj: Json) -> Json:
    obj["metadata"]["deletionTimestamp"] = START
    return obj


NO_SCHEDULE: Json = {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}
AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"


def affinity(operator: str, *values: str) -> Json:
    expression = {"key": "topology.kubernetes.io/zone", "operator": operator, "values": list(values)}
    return {"nodeAffinity": {AFFINITY: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}


@pytest.mark.parametrize(
    ("where", "wants", "why"),
    [
        (node("n"), {}, ""),
        (node("n", ready="Unknown"), {}, "node(s) were not ready"),
        (deleting(node("n")), {}, "node(s) were not ready"),
        (node("n", unschedulable=True), {}, "node(s) were unschedulable"),
        (node("n", **NO_SCHEDULE), {}, "node(s) had untolerated taint {k: v}"),
        (node("n", **NO_SCHEDULE), {"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}, ""),
        (node("n", **NO_SCHEDULE), {"tolerations": [{"key": "k", "operator": "Exists"}]}, ""),
        (node("n", **NO_SCHEDULE), {"tolerations": [{"operator": "Exists"}]}, ""),
        (
            node("n", **NO_SCHEDULE),
            {"tolerations": [{"key": "k", "value": "w"}]},
            "node(s) had untolerated taint {k: v}",
        ),
        (node("n", taints=[{"key": "k", "effect": "PreferNoSchedule"}]), {}, ""),
        (node("n"), {"nodeSelector": {"kubernetes.io/hostname": "n"}}, ""),
        (node("n"), {"nodeSelector": {"disk": "ssd"}}, "node(s) didn't match Pod's node affinity/selector"),
        (node("n", "a"), {"affinity": affinity("In", "a", "b")}, ""),
        (node("n", "c"), {"affinity": affinity("In", "a", "b")}, "node(s) didn't match Pod's node affinity/selector"),
        (node("n", "a"), {"affinity": affinity("NotIn", "a")}, "node(s) didn't match Pod's node affinity/selector"),
        (node("n", "a"), {"affinity": affinity("Exists")}, ""),
        (node("n"), {"affinity": affinity("DoesNotExist")}, ""),
        (node("n"), {"affinity": affinity("Gt", "3")}, "node(s) didn't match Pod's node affinity/selector"),
    ],
)
def test_refusal(where: Json, wants: Json, why: str) -> None:
    assert scheduler.refusal(with_spec(pod("p"), **wants), where) == why


def test_pods_of_one_owner_spread_over_zones_and_then_nodes() -> None:
    nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b")]
    pods: list[Json] = []
    for number in range(4):
        new = pod(f"p{number}")
        new["metadata"]["ownerReferences"] = [{"uid": "rs", "controller": True}]
        (bind,) = scheduler.desired(view(nodes=nodes, pods=[*pods, new]), ("ns", f"p{number}"), NOW).actions
        assert isinstance(bind, Bind)
        pods.append(with_spec(new, nodeName=bind.node))
    assert Counter(item["spec"]["nodeName"] for item in pods) == {"a1": 1, "a2": 1, "b1": 2}


def test_unrelated_pods_go_to_the_emptiest_node() -> None:
    taken = [pod("x", on="n1"), pod("y", on="n1"), pod("z", on="n2")]
    plan = scheduler.desired(view(nodes=[node("n1"), node("n2")], pods=[*taken, pod("p")]), ("ns", "p"), NOW)
    assert [action.node for action in of_type(plan.actions, Bind)] == ["n2"]


def test_a_pod_that_fits_nowhere_says_why_once() -> None:
    nodes = [node("n1", ready="False"), node("n2", ready="False"), node("n3", unschedulable=True)]
    waiting = pod("p")
    plan = scheduler.desired(view(nodes=nodes, pods=[waiting]), ("ns", "p"), NOW)
    (patch,), (event,) = of_type(plan.actions, Patch), of_type(plan.actions, Record)
    (said,) = patch.patch["status"]["conditions"]
    words = "0/3 nodes are available: 2 node(s) were not ready, 1 node(s) were unschedulable."
    assert (said["type"], said["reason"], said["message"]) == ("PodScheduled", "Unschedulable", words)
    assert (event.reason, event.type) == ("FailedScheduling", "Warning")
    waiting["status"] = {**waiting["status"], **patch.patch["status"]}
    assert scheduler.desired(view(nodes=nodes, pods=[waiting]), ("ns", "p"), NOW).actions == ()


@pytest.mark.parametrize(
    "other",
    [pod("p", on="n"), deleting(pod("p")), with_spec(pod("p"), schedulerName="mine")],
    ids=["bound", "going", "other"],
)
def test_pods_that_are_none_of_its_business(other: Json) -> None:
    assert scheduler.desired(view(nodes=[node("n")], pods=[other]), ("ns", "p"), NOW).actions == ()


def test_a_changed_node_wakes_the_waiting_pods() -> None:
    found = view(nodes=[node("n")], pods=[pod("waiting"), pod("bound", on="n")])
    trigger = scheduler.CONTROLLER.triggers
    (of_node,) = [trigger[kind] for kind in trigger if kind.kind == "Node"]
    assert list(of_node(found, node("n"))) == [("ns", "waiting")]
