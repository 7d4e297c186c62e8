"""DaemonSet -> Pods: one on each node that can take it, bound to its node by affinity as in Kubernetes."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

from isthmus_lab.apiserver.objects import JsonObject, lookup
from isthmus_lab.controllers.client import DAEMON_SET, ENDPOINT_SLICE, NODE, POD
from isthmus_lab.controllers.facts import (
    available_in,
    controller_of,
    is_deleting,
    is_finished,
    is_ready,
    owner_reference,
    short_hash,
    spec_of,
    status_of,
    uid_of,
)
from isthmus_lab.controllers.plan import Action, Controller, Create, Delete, Patch, Plan, own_key
from isthmus_lab.controllers.scheduler import UNSCHEDULABLE, selected, tolerated
from isthmus_lab.controllers.view import Key, Moment, View, key_of

REVISION_LABEL = "controller-revision-hash"
_KEEPING = ("NoSchedule", "NoExecute")
_TOLERATIONS: list[JsonObject] = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoSchedule"},
    {"key": UNSCHEDULABLE["key"], "operator": "Exists", "effect": "NoSchedule"},
]
"""What every pod of a DaemonSet bears with: a node that is cordoned or away keeps its daemons."""


@dataclass(frozen=True, slots=True)
class _Set:
    """One DaemonSet, the nodes that should have a pod of it, and its pods by node."""

    obj: JsonObject
    nodes: tuple[str, ...]
    pods: dict[str, list[JsonObject]]

    @property
    def revision(self) -> str:
        return short_hash(spec_of(self.obj).get("template") or {})

    def is_current(self, pod: JsonObject) -> bool:
        return bool((pod["metadata"].get("labels") or {}).get(REVISION_LABEL) == self.revision)

    def serving(self, node: str) -> JsonObject | None:
        """The pod that counts for a node."""
        return next((pod for pod in self.pods.get(node, ()) if not is_deleting(pod) and not is_finished(pod)), None)


def desired(view: View, key: Key, now: Moment) -> Plan:
    """Make what is missing, remove what is not wanted, replace what is old; and report."""
    obj = view.daemon_sets.get(*key)
    if obj is None or is_deleting(obj):
        return Plan()
    known = _Set(obj, _nodes(view, obj), _by_node(obj, view.pods.owned_by(uid_of(obj))))
    status, again = _status(known, now)
    actions: list[Action] = []
    if status != status_of(obj):
        actions.append(Patch(DAEMON_SET, obj, {"status": status}, "status"))
    return Plan((*actions, *_surplus(known), *_missing(known), *_outdated(known, now)), again)


def node_of(pod: JsonObject) -> str:
    """The node a pod is on, or is meant for before it is bound."""
    bound = str(spec_of(pod).get("nodeName") or "")
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    fields = [item for term in lookup(spec_of(pod), *path, default=[]) for item in term.get("matchFields") or []]
    return bound or next((str(item["values"][0]) for item in fields if item.get("key") == "metadata.name"), "")


def _nodes(view: View, obj: JsonObject) -> tuple[str, ...]:
    template = {"spec": _template_spec(obj)}
    return tuple(sorted(str(node["metadata"]["name"]) for node in view.nodes if _takes(node, template)))


def _takes(node: JsonObject, template: JsonObject) -> bool:
    taints = [taint for taint in spec_of(node).get("taints") or [] if taint.get("effect") in _KEEPING]
    return not is_deleting(node) and selected(template, node) and all(tolerated(template, taint) for taint in taints)


def _template_spec(obj: JsonObject) -> JsonObject:
    spec = copy.deepcopy((spec_of(obj).get("template") or {}).get("spec") or {})
    spec["tolerations"] = [*(spec.get("tolerations") or []), *_TOLERATIONS]
    return spec


def _by_node(obj: JsonObject, pods: list[JsonObject]) -> dict[str, list[JsonObject]]:
    found: dict[str, list[JsonObject]] = {}
    for pod in pods:
        if controller_of(pod).get("uid") == uid_of(obj):
            found.setdefault(node_of(pod), []).append(pod)
    return found


def _surplus(known: _Set) -> list[Action]:
    """Pods that have ended, second ones, and those on nodes that should have none."""
    unwanted = []
    for node, pods in known.pods.items():
        keep = known.serving(node) if node in known.nodes else None
        unwanted += [pod for pod in pods if pod is not keep and not is_deleting(pod)]
    return [Delete(POD, pod) for pod in unwanted]


def _missing(known: _Set) -> list[Action]:
    """A pod for each node without one; where the old one still ends, it is waited for."""
    return [Create(POD, _pod(known, node), owner=known.obj) for node in known.nodes if not known.pods.get(node)]


def _outdated(known: _Set, now: Moment) -> list[Action]:
    """Pods of an older template: those that serve nobody at once, the others as many as may be away at a time."""
    strategy = lookup(known.obj, "spec", "updateStrategy", default={}) or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    limit = _count((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(known.nodes))
    serving = {node: known.serving(node) for node in known.nodes}
    away = [node for node, pod in serving.items() if pod is None or not _is_available(known, pod, now)]
    room = limit - len(away)
    actions: list[Action] = []
    for node, pod in serving.items():
        if pod is None or known.is_current(pod):
            continue
        if node not in away:
            room -= 1
            if room < 0:
                continue
        actions.append(Delete(POD, pod))
    return actions


def _count(value: int | str, total: int) -> int:
    """At least one: nothing would ever be replaced otherwise."""
    share = value if isinstance(value, int) else math.ceil(int(value.rstrip("%")) * total / 100)
    return max(1, share)


def _is_available(known: _Set, pod: JsonObject, now: Moment) -> bool:
    minimum = int(spec_of(known.obj).get("minReadySeconds") or 0)
    return available_in(pod, min_ready_seconds=minimum, wall=now.wall) == 0.0


def _pod(known: _Set, node: str) -> JsonObject:
    template = spec_of(known.obj).get("template") or {}
    meta, spec = template.get("metadata") or {}, _template_spec(known.obj)
    match = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [match]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{known.obj['metadata']['name'][:57]}-",
            "namespace": known.obj["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), REVISION_LABEL: known.revision},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(DAEMON_SET, known.obj)],
        },
        "spec": spec,
    }


def _status(known: _Set, now: Moment) -> tuple[JsonObject, float | None]:
    minimum = int(spec_of(known.obj).get("minReadySeconds") or 0)
    pods = [pod for pod in map(known.serving, known.nodes) if pod is not None]
    waits = [available_in(pod, min_ready_seconds=minimum, wall=now.wall) for pod in pods]
    available = sum(wait == 0.0 for wait in waits)
    counts: JsonObject = {
        "observedGeneration": known.obj["metadata"].get("generation", 0),
        "desiredNumberScheduled": len(known.nodes),
        "currentNumberScheduled": len(pods),
        "numberMisscheduled": sum(node not in known.nodes for node in known.pods),
        "numberReady": sum(map(is_ready, pods)),
        "numberAvailable": available,
        "numberUnavailable": len(known.nodes) - available,
        "updatedNumberScheduled": sum(map(known.is_current, pods)),
    }
    return {**status_of(known.obj), **counts}, min((wait for wait in waits if wait), default=None)


def _of_pod(_view: View, pod: JsonObject) -> list[Key]:
    owner = controller_of(pod)
    return [(pod["metadata"]["namespace"], str(owner.get("name", "")))] if owner.get("kind") == DAEMON_SET.kind else []


def _every(view: View, _node: JsonObject) -> list[Key]:
    return [key_of(obj) for obj in view.daemon_sets]


def _refused(view: View, item: JsonObject) -> list[Key]:
    """Sets whose pods were refused: the webhook that was missing may be behind these endpoints."""
    if not any((endpoint.get("conditions") or {}).get("ready") for endpoint in item.get("endpoints") or []):
        return []
    return [key for kind, key in view.failures if kind == DAEMON_SET.kind and view.daemon_sets.get(*key)]


CONTROLLER = Controller(
    "daemonsets", desired, {DAEMON_SET: own_key, POD: _of_pod, NODE: _every, ENDPOINT_SLICE: _refused}
)
