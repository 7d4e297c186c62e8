"""StatefulSet -> Pods with stable names: `<set>-0`, `<set>-1`, …, made and replaced one after the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from isthmus_lab.apiserver.objects import JsonObject, lookup
from isthmus_lab.controllers.client import ENDPOINT_SLICE, POD, STATEFUL_SET
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
from isthmus_lab.controllers.view import Key, Moment, View

REVISION_LABEL = "controller-revision-hash"
NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class _Set:
    """One StatefulSet with its pods by ordinal; those that bear no ordinal are none of it."""

    obj: JsonObject
    pods: dict[int, JsonObject]

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def replicas(self) -> int:
        return int(spec_of(self.obj).get("replicas", 1))

    @property
    def revision(self) -> str:
        return f"{self.name}-{short_hash(spec_of(self.obj).get('template') or {})}"

    @property
    def in_order(self) -> bool:
        return str(spec_of(self.obj).get("podManagementPolicy", "OrderedReady")) != "Parallel"

    @property
    def wanted(self) -> list[JsonObject]:
        return [pod for ordinal, pod in sorted(self.pods.items()) if ordinal < self.replicas]


def desired(view: View, key: Key, now: Moment) -> Plan:
    """One step: make what is missing, remove what is too much, then replace what is old; and report."""
    obj = view.stateful_sets.get(*key)
    if obj is None or is_deleting(obj):
        return Plan()
    known = _Set(obj, _by_ordinal(obj, view.pods.owned_by(uid_of(obj))))
    status, again = _status(known, now)
    actions: list[Action] = []
    if status != status_of(obj):
        actions.append(Patch(STATEFUL_SET, obj, {"status": status}, "status"))
    for step in (_missing, _surplus, _outdated):
        wanted = step(known)
        if wanted is not None:
            return Plan((*actions, *wanted), again)
    return Plan(tuple(actions), again)


def _by_ordinal(obj: JsonObject, pods: list[JsonObject]) -> dict[int, JsonObject]:
    found: dict[int, JsonObject] = {}
    for pod in pods:
        name, _, ordinal = str(pod["metadata"]["name"]).rpartition("-")
        if name == obj["metadata"]["name"] and ordinal.isdecimal() and controller_of(pod).get("uid") == uid_of(obj):
            found[int(ordinal)] = pod
    return found


Steps = list[Action] | None
"""What to do; [] is to wait for what is under way, None lets the next step decide."""


def _missing(known: _Set) -> Steps:
    """Pods to make; in order each waits until those before it are ready."""
    actions: list[Action] = []
    for ordinal in range(known.replicas):
        pod = known.pods.get(ordinal)
        if pod is None:
            actions.append(Create(POD, _pod(known, ordinal), owner=known.obj))
        elif is_finished(pod) and not is_deleting(pod):
            actions.append(Delete(POD, pod))
        if known.in_order and (actions or pod is None or is_deleting(pod) or not is_ready(pod)):
            return actions
    return actions or None


def _surplus(known: _Set) -> Steps:
    """The pods beyond the wanted number, the last first; in order one at a time."""
    extra = [pod for ordinal, pod in sorted(known.pods.items(), reverse=True) if ordinal >= known.replicas]
    if known.in_order:
        extra = extra[:1]
    return [Delete(POD, pod) for pod in extra if not is_deleting(pod)] if extra else None


def _outdated(known: _Set) -> Steps:
    """The last pod of an older template, down to the partition; its successor must be ready before the next goes."""
    strategy = lookup(known.obj, "spec", "updateStrategy", default={}) or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    for ordinal in range(known.replicas - 1, partition - 1, -1):
        pod = known.pods.get(ordinal)
        if pod is None or is_deleting(pod):
            return []
        if (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) != known.revision:
            return [Delete(POD, pod)]
        if not is_ready(pod):
            return []
    return []


def _pod(known: _Set, ordinal: int) -> JsonObject:
    """Named, and known in DNS, by its ordinal: `<pod>.<serviceName>.<namespace>.svc`."""
    template = copy.deepcopy(spec_of(known.obj).get("template") or {})
    meta, name = template.get("metadata") or {}, f"{known.name}-{ordinal}"
    own = {REVISION_LABEL: known.revision, NAME_LABEL: name, INDEX_LABEL: str(ordinal)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": known.obj["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **own},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(STATEFUL_SET, known.obj)],
        },
        "spec": {
            **(template.get("spec") or {}),
            "hostname": name,
            "subdomain": str(spec_of(known.obj).get("serviceName") or ""),
        },
    }


def _status(known: _Set, now: Moment) -> tuple[JsonObject, float | None]:
    minimum = int(spec_of(known.obj).get("minReadySeconds") or 0)
    waits = [available_in(pod, min_ready_seconds=minimum, wall=now.wall) for pod in known.wanted]
    current = [pod for pod in known.wanted if pod["metadata"]["labels"].get(REVISION_LABEL) == known.revision]
    counts: JsonObject = {
        "observedGeneration": known.obj["metadata"].get("generation", 0),
        "replicas": len(known.pods),
        "readyReplicas": sum(is_ready(pod) for pod in known.wanted),
        "availableReplicas": sum(wait == 0.0 for wait in waits),
        "updatedReplicas": len(current),
        "updateRevision": known.revision,
    }
    before = status_of(known.obj)
    if len(current) == known.replicas == len(known.pods):
        counts |= {"currentRevision": known.revision, "currentReplicas": len(current)}
    else:
        old = str(before.get("currentRevision") or known.revision)
        holders = [pod for pod in known.wanted if pod["metadata"]["labels"].get(REVISION_LABEL) == old]
        counts |= {"currentRevision": old, "currentReplicas": len(holders)}
    return {**before, **counts}, min((wait for wait in waits if wait), default=None)


def _of_pod(_view: View, pod: JsonObject) -> list[Key]:
    owner = controller_of(pod)
    return (
        [(pod["metadata"]["namespace"], str(owner.get("name", "")))] if owner.get("kind") == STATEFUL_SET.kind else []
    )


def _refused(view: View, item: JsonObject) -> list[Key]:
    """Sets whose pods were refused: the webhook that was missing may be behind these endpoints."""
    if not any((endpoint.get("conditions") or {}).get("ready") for endpoint in item.get("endpoints") or []):
        return []
    return [key for kind, key in view.failures if kind == STATEFUL_SET.kind and view.stateful_sets.get(*key)]


CONTROLLER = Controller("statefulsets", desired, {STATEFUL_SET: own_key, POD: _of_pod, ENDPOINT_SLICE: _refused})
