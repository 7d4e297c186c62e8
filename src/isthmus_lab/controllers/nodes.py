"""Node lifecycle: a node whose lease is no longer renewed is not ready, nor are its pods; later they are evicted."""

from __future__ import annotations

from isthmus_lab.apiserver.objects import JsonObject, parse_time
from isthmus_lab.controllers.client import LEASE, NODE, POD
from isthmus_lab.controllers.facts import (
    condition,
    is_active,
    is_deleting,
    is_ready,
    spec_of,
    status_of,
    with_condition,
)
from isthmus_lab.controllers.plan import Action, Controller, Delete, Patch, Plan, Record, own_key
from isthmus_lab.controllers.view import Key, Moment, View, key_of

LEASE_NAMESPACE = "kube-node-lease"
TAINT = "node.kubernetes.io/unreachable"
_SLACK = 0.05


def lifecycle(*, grace_seconds: float, eviction_seconds: float) -> Controller:
    """`grace_seconds` without a renewal make a node unreachable, `eviction_seconds` after that its pods are deleted."""

    def desired(view: View, key: Key, now: Moment) -> Plan:
        node = view.nodes.get(*key)
        lease = view.leases.get(LEASE_NAMESPACE, key[1])
        if node is None or lease is None or is_deleting(node):
            return Plan()
        # Measured since the renewal was seen here, so that neither clocks nor an API server that was away matter.
        silent = now.mono - view.leases.seen(LEASE_NAMESPACE, key[1])
        if silent < grace_seconds:
            return Plan(tuple(_reachable(node)), grace_seconds - silent + _SLACK)
        actions = _unreachable(view, node, now)
        since = parse_time(str(condition(node, "Ready").get("lastTransitionTime", ""))) or now.wall
        left = eviction_seconds - (now.wall - since)
        if left <= 0 and not actions:
            return Plan(tuple(Delete(POD, pod) for pod in _pods_of(view, node) if is_active(pod) and not _stays(pod)))
        return Plan(tuple(actions), max(left, 0) + _SLACK)

    def of_pod(view: View, pod: JsonObject) -> list[Key]:
        """Pods only matter here while their node is unreachable."""
        name = str(spec_of(pod).get("nodeName") or "")
        node = view.nodes.get("", name) if name else None
        return [("", name)] if node is not None and _tainted(node) else []

    return Controller("nodes", desired, {NODE: own_key, LEASE: _of_lease, POD: of_pod})


def _of_lease(_view: View, lease: JsonObject) -> list[Key]:
    if lease["metadata"]["namespace"] != LEASE_NAMESPACE:
        return []
    return [("", str(lease["metadata"]["name"]))]


def _tainted(node: JsonObject) -> bool:
    return any(taint.get("key") == TAINT for taint in spec_of(node).get("taints") or [])


def _reachable(node: JsonObject) -> list[Action]:
    """The kubelet itself says when it is ready again; only the taint is ours to take back."""
    if not _tainted(node) or condition(node, "Ready").get("status") == "Unknown":
        return []
    left = [taint for taint in spec_of(node)["taints"] if taint.get("key") != TAINT]
    return [Patch(NODE, node, {"spec": {"taints": left or None}})]


def _unreachable(view: View, node: JsonObject, now: Moment) -> list[Action]:
    actions: list[Action] = []
    if condition(node, "Ready").get("status") != "Unknown":
        message = "Kubelet stopped posting node status."
        new = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": message}
        conditions = with_condition(list(status_of(node).get("conditions") or []), new, wall=now.wall)
        actions.append(Patch(NODE, node, {"status": {"conditions": conditions}}, "status", loose=True))
        actions.append(Record(node, "NodeNotReady", f"Node {node['metadata']['name']} status is now: NodeNotReady"))
    if not _tainted(node):
        taints = [*(spec_of(node).get("taints") or []), {"key": TAINT, "effect": "NoSchedule"}]
        actions.append(Patch(NODE, node, {"spec": {"taints": taints}}, loose=True))
    return [*actions, *(_not_ready(pod, now) for pod in _pods_of(view, node) if is_ready(pod))]


def _not_ready(pod: JsonObject, now: Moment) -> Patch:
    new = {"type": "Ready", "status": "False", "reason": "NodeUnreachable", "message": "The node stopped reporting."}
    conditions = with_condition(list(status_of(pod).get("conditions") or []), new, wall=now.wall)
    return Patch(POD, pod, {"status": {"conditions": conditions}}, "status")


def _pods_of(view: View, node: JsonObject) -> list[JsonObject]:
    return [pod for pod in view.pods if spec_of(pod).get("nodeName") == node["metadata"]["name"]]


def _lost_pod(view: View, key: Key, _now: Moment) -> Plan:
    """A pod whose node is no more will never report again."""
    pod = view.pods.get(*key)
    node = str(spec_of(pod).get("nodeName") or "") if pod is not None else ""
    if pod is None or not node or view.nodes.get("", node) is not None:
        return Plan()
    return Plan((Delete(POD, pod, grace_seconds=0),))


def _keys_on(view: View, node: JsonObject) -> list[Key]:
    return [key_of(pod) for pod in _pods_of(view, node)]


def _stays(pod: JsonObject) -> bool:
    """A toleration without a time limit keeps the pod where it is."""
    return any(
        item.get("operator") == "Exists"
        and item.get("key") in (None, "", TAINT)
        and item.get("effect") in (None, "", "NoExecute")
        and item.get("tolerationSeconds") is None
        for item in spec_of(pod).get("tolerations") or []
    )


LOST_PODS = Controller("lost-pods", _lost_pod, {POD: own_key, NODE: _keys_on})
