"""ReplicaSet -> Pods: as many active pods as asked for."""

from __future__ import annotations

from isthmus_lab.apiserver.objects import JsonObject, lookup, parse_time
from isthmus_lab.controllers.client import ENDPOINT_SLICE, POD, REPLICA_SET
from isthmus_lab.controllers.facts import (
    available_in,
    controller_of,
    is_active,
    is_deleting,
    is_ready,
    owner_reference,
    spec_of,
    status_of,
    uid_of,
    with_condition,
    without_condition,
)
from isthmus_lab.controllers.plan import Action, Controller, Create, Delete, Patch, Plan, Record, own_key
from isthmus_lab.controllers.view import Key, Moment, View

_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
_BURST = 20  # pods made or deleted in one go


def desired(view: View, key: Key, now: Moment) -> Plan:
    """Create what is missing, delete what is too much, report the counts."""
    replica_set = view.replica_sets.get(*key)
    if replica_set is None or is_deleting(replica_set):
        return Plan()
    pods = [pod for pod in view.pods.owned_by(uid_of(replica_set)) if _is_controller(replica_set, pod)]
    active = [pod for pod in pods if is_active(pod)]
    wanted = int(spec_of(replica_set).get("replicas", 1))
    status, again = _status(view, replica_set, active, now)
    actions: list[Action] = []
    if status != status_of(replica_set):
        actions.append(Patch(REPLICA_SET, replica_set, {"status": status}, "status"))
    if len(active) < wanted:
        missing = min(wanted - len(active), _BURST)
        actions += [Create(POD, _pod(replica_set), owner=replica_set)] * missing
    elif len(active) > wanted:
        actions += _deletions(active, min(len(active) - wanted, _BURST), replica_set)
    return Plan(tuple(actions), again)


def _is_controller(owner: JsonObject, obj: JsonObject) -> bool:
    return bool(controller_of(obj).get("uid") == uid_of(owner))


def _pod(replica_set: JsonObject) -> JsonObject:
    template = spec_of(replica_set).get("template") or {}
    meta = template.get("metadata") or {}
    name = str(replica_set["metadata"]["name"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name[:57]}-",
            "namespace": replica_set["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(REPLICA_SET, replica_set)],
        },
        "spec": template.get("spec") or {},
    }


def _deletions(active: list[JsonObject], surplus: int, replica_set: JsonObject) -> list[Action]:
    actions: list[Action] = []
    for pod in sorted(active, key=_keep_last)[:surplus]:
        actions.append(Delete(POD, pod))
        actions.append(Record(replica_set, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}"))
    return actions


def _keep_last(pod: JsonObject) -> tuple[bool, int, bool, int, float, str]:
    """Sorts the pods to delete first to the front: unassigned, not running, not ready, cheap, young."""
    annotations = pod["metadata"].get("annotations") or {}
    cost = str(annotations.get(_COST, "0"))
    return (
        bool(spec_of(pod).get("nodeName")),
        _PHASES.get(str(status_of(pod).get("phase")), 0),
        is_ready(pod),
        int(cost) if cost.lstrip("-").isdecimal() else 0,
        -parse_time(str(pod["metadata"].get("creationTimestamp", ""))),
        str(pod["metadata"]["name"]),
    )


def _status(
    view: View, replica_set: JsonObject, active: list[JsonObject], now: Moment
) -> tuple[JsonObject, float | None]:
    spec = spec_of(replica_set)
    minimum = int(spec.get("minReadySeconds") or 0)
    waits = [available_in(pod, min_ready_seconds=minimum, wall=now.wall) for pod in active]
    pending = [wait for wait in waits if wait]
    template_labels = (lookup(spec, "template", "metadata", "labels", default={}) or {}).items()
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels <= (pod["metadata"].get("labels") or {}).items() for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(wait == 0.0 for wait in waits),
        "observedGeneration": replica_set["metadata"].get("generation", 0),
    }
    conditions = list(status_of(replica_set).get("conditions") or [])
    failure = view.failures.get(
        (REPLICA_SET.kind, (replica_set["metadata"]["namespace"], replica_set["metadata"]["name"]))
    )
    if failure:
        new = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": failure}
        conditions = with_condition(conditions, new, wall=now.wall)
    else:
        conditions = without_condition(conditions, "ReplicaFailure")
    status: JsonObject = {**status_of(replica_set), **counts}
    if conditions or "conditions" in status:  # a merge patch takes away no key that is left out
        status["conditions"] = conditions
    return status, min(pending, default=None)


def _of_pod(view: View, pod: JsonObject) -> list[Key]:
    owner = controller_of(pod)
    if owner.get("kind") != REPLICA_SET.kind:
        return []
    return [(pod["metadata"]["namespace"], str(owner.get("name", "")))]


def _refused(view: View, item: JsonObject) -> list[Key]:
    """Sets whose pods were refused: the webhook that was missing may be behind these endpoints."""
    if not any((endpoint.get("conditions") or {}).get("ready") for endpoint in item.get("endpoints") or []):
        return []
    return [key for kind, key in view.failures if kind == REPLICA_SET.kind and view.replica_sets.get(*key)]


CONTROLLER = Controller("replicasets", desired, {REPLICA_SET: own_key, POD: _of_pod, ENDPOINT_SLICE: _refused})
