"""ReplicaSets: how many pods, and which go first."""

from __future__ import annotations

import pytest

from isthmus_lab.controllers import replicasets
from isthmus_lab.controllers.plan import Create, Delete, Patch
from tests.lab_pkg.controllers.world import NOW, START, Json, later, of_type, pod, view


def replica_set(replicas: int, **spec: object) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "v1"}]}}
    meta = {"name": "web-abc", "namespace": "ns", "uid": "rs", "generation": 1}
    body = {"replicas": replicas, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta, "spec": body, "status": {}}


def owned(obj: Json, **meta: object) -> Json:
    reference = {"kind": "ReplicaSet", "name": "web-abc", "uid": "rs", "controller": True}
    obj["metadata"] |= {"ownerReferences": [reference], **meta}
    return obj


def test_missing_pods_are_made_with_name_labels_and_owner() -> None:
    plan = replicasets.desired(view(replicasets=[replica_set(2)]), ("ns", "web-abc"), NOW)
    made = of_type(plan.actions, Create)
    assert len(made) == 2
    meta = made[0].obj["metadata"]
    assert meta["generateName"] == "web-abc-"
    assert meta["labels"] == {"app": "web"}
    (owner,) = meta["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("ReplicaSet", "web-abc", "rs", True)


@pytest.mark.parametrize("state", ["deleting", "failed", "another owner's"])
def test_pods_that_do_not_count_are_replaced(state: str) -> None:
    other = owned(pod("a", ip="10.0.0.1", ready=True))
    if state == "deleting":
        other["metadata"]["deletionTimestamp"] = START
    elif state == "failed":
        other["status"]["phase"] = "Failed"
    else:
        other["metadata"]["ownerReferences"][0]["controller"] = False
    plan = replicasets.desired(view(replicasets=[replica_set(1)], pods=[other]), ("ns", "web-abc"), NOW)
    assert len(of_type(plan.actions, Create)) == 1


def test_the_least_useful_pods_go_first() -> None:
    pods = [
        owned(pod("ready-old", on="n", ip="10.0.0.1", ready=True), creationTimestamp="2023-01-01T00:00:00Z"),
        owned(pod("ready-young", on="n", ip="10.0.0.2", ready=True), creationTimestamp="2023-02-01T00:00:00Z"),
        owned(pod("dear", on="n", ip="10.0.0.3", ready=True), annotations={replicasets._COST: "7"}),
        owned(pod("unready", on="n", ip="10.0.0.4")),
        owned(pod("pending", on="n")),
        owned(pod("unassigned")),
    ]
    gone = []
    for left in range(5, -1, -1):
        plan = replicasets.desired(view(replicasets=[replica_set(left)], pods=pods), ("ns", "web-abc"), NOW)
        gone = [action.obj["metadata"]["name"] for action in of_type(plan.actions, Delete)]
    assert gone == ["unassigned", "pending", "unready", "ready-young", "ready-old", "dear"]


def test_a_pod_is_available_after_it_was_ready_for_a_while() -> None:
    found = view(replicasets=[replica_set(1, minReadySeconds=30)], pods=[owned(pod("a", ip="10.0.0.1", ready=True))])
    early = replicasets.desired(found, ("ns", "web-abc"), later(10))
    (patch,) = of_type(early.actions, Patch)
    assert (patch.patch["status"]["readyReplicas"], patch.patch["status"]["availableReplicas"]) == (1, 0)
    assert early.again == pytest.approx(20)
    late = replicasets.desired(found, ("ns", "web-abc"), later(30))
    (patch,) = of_type(late.actions, Patch)
    assert patch.patch["status"]["availableReplicas"] == 1
    assert late.again is None


def test_refused_pods_are_tried_again_when_endpoints_change() -> None:
    found = view(replicasets=[replica_set(1)])
    found.failures["ReplicaSet", ("ns", "web-abc")] = "webhook: connection refused"
    triggers = replicasets.CONTROLLER.triggers
    (of_slice,) = [triggers[kind] for kind in triggers if kind.kind == "EndpointSlice"]
    ready, unready = ({"endpoints": [{"conditions": {"ready": value}}]} for value in (True, False))
    assert list(of_slice(found, ready)) == [("ns", "web-abc")]
    assert list(of_slice(found, unready)) == list(of_slice(found, {})) == []
