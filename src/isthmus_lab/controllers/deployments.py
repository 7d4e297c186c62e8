"""Deployment -> ReplicaSets: rollouts, scaling and the status that `kubectl rollout` waits for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus_lab.apiserver.objects import JsonObject, lookup, parse_time
from isthmus_lab.controllers.client import DEPLOYMENT, POD, REPLICA_SET
from isthmus_lab.controllers.facts import (
    condition,
    controller_of,
    is_active,
    is_deleting,
    owner_reference,
    short_hash,
    spec_of,
    status_of,
    uid_of,
    with_condition,
    without_condition,
)
from isthmus_lab.controllers.plan import Action, Controller, Create, Delete, Patch, Plan, Record, own_key
from isthmus_lab.controllers.view import Key, Moment, View

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", REVISION)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One Deployment with its ReplicaSets, `new` the one of the present template."""

    deployment: JsonObject
    new: JsonObject | None
    old: list[JsonObject]
    replicas: int

    @property
    def sets(self) -> list[JsonObject]:
        return [self.new, *self.old] if self.new is not None else self.old


def desired(view: View, key: Key, now: Moment) -> Plan:
    """One step of the rollout; the next one follows from the changes that this one makes."""
    deployment = view.deployments.get(*key)
    if deployment is None or is_deleting(deployment):
        return Plan()
    rollout = _rollout(view, deployment)
    actions: list[Action] = []
    if spec_of(deployment).get("paused"):
        actions += _scale_paused(rollout)
    elif rollout.new is None:
        actions += _new_set(view, rollout)
    elif lookup(deployment, "spec", "strategy", "type") == "Recreate":
        actions += _recreate(view, rollout)
    else:
        actions += _roll(rollout)
    if rollout.new is not None:
        actions += _revision(rollout)
        actions += _clean_up(rollout)
    status, again = _status(rollout, now)
    if status != status_of(deployment):
        actions.append(Patch(DEPLOYMENT, deployment, {"status": status}, "status"))
    return Plan(tuple(actions), again)


def template_hash(deployment: JsonObject) -> str:
    """The value of the label `pod-template-hash`: it depends on the pod template only."""
    return short_hash(spec_of(deployment).get("template") or {})


def _rollout(view: View, deployment: JsonObject) -> _Rollout:
    owned = [item for item in view.replica_sets.owned_by(uid_of(deployment)) if not is_deleting(item)]
    wanted = template_hash(deployment)
    new = next((item for item in owned if (item["metadata"].get("labels") or {}).get(HASH_LABEL) == wanted), None)
    old = sorted((item for item in owned if item is not new), key=_revision_of)
    return _Rollout(deployment, new, old, int(spec_of(deployment).get("replicas", 1)))


def _revision_of(replica_set: JsonObject) -> int:
    text = str((replica_set["metadata"].get("annotations") or {}).get(REVISION, "0"))
    return int(text) if text.isdecimal() else 0


def _wants(replica_set: JsonObject) -> int:
    return int(spec_of(replica_set).get("replicas", 0))


def _available(replica_set: JsonObject) -> int:
    return int(status_of(replica_set).get("availableReplicas", 0))


def _bounds(rollout: _Rollout) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods. Percentages: surge rounds up, unavailable down; both 0 means 0 and 1."""
    rolling = lookup(rollout.deployment, "spec", "strategy", "rollingUpdate", default={})
    surge = _count(rolling.get("maxSurge", "25%"), rollout.replicas, up=True)
    unavailable = _count(rolling.get("maxUnavailable", "25%"), rollout.replicas, up=False)
    return (0, 1) if surge == 0 and unavailable == 0 else (surge, min(unavailable, rollout.replicas))


def _count(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)


def _roll(rollout: _Rollout) -> list[Action]:
    """Kubernetes' rolling update: at most replicas + surge pods, at least replicas - unavailable available ones."""
    new = rollout.new
    assert new is not None
    surge, unavailable = _bounds(rollout)
    total = sum(_wants(item) for item in rollout.sets)
    if not any(_wants(item) for item in rollout.old):
        return [] if _wants(new) == rollout.replicas else [_scale(rollout, new, rollout.replicas)]
    actions: list[Action] = []
    room = min(rollout.replicas + surge - total, rollout.replicas - _wants(new))
    if room > 0 or _wants(new) > rollout.replicas:
        actions.append(_scale(rollout, new, min(_wants(new) + max(room, 0), rollout.replicas)))
    least = rollout.replicas - unavailable
    return actions + _shrink_old(rollout, least=least, total=total)


def _shrink_old(rollout: _Rollout, *, least: int, total: int) -> list[Action]:
    """Old pods that are not available go first; then as many available ones as the minimum allows."""
    new = rollout.new
    assert new is not None
    removable = total - least - (_wants(new) - min(_available(new), _wants(new)))
    spare = sum(min(_available(item), _wants(item)) for item in rollout.sets) - least
    actions: list[Action] = []
    for item in rollout.old:
        wants, available = _wants(item), min(_available(item), _wants(item))
        broken = min(wants - available, max(removable, 0))
        healthy = min(available, max(spare, 0), max(removable - broken, 0))
        if broken + healthy > 0:
            actions.append(_scale(rollout, item, wants - broken - healthy))
            removable -= broken + healthy
            spare -= healthy
    return actions


def _recreate(view: View, rollout: _Rollout) -> list[Action]:
    """All old pods go first; the new ones come when they are gone."""
    shrinking = [_scale(rollout, item, 0) for item in rollout.old if _wants(item) > 0]
    if shrinking or any(is_active(pod) for item in rollout.old for pod in view.pods.owned_by(uid_of(item))):
        return list(shrinking)
    assert rollout.new is not None
    return [] if _wants(rollout.new) == rollout.replicas else [_scale(rollout, rollout.new, rollout.replicas)]


def _scale_paused(rollout: _Rollout) -> list[Action]:
    """While paused only the size changes, that of the newest set which has pods."""
    running = [item for item in rollout.sets if _wants(item) > 0] or ([rollout.new] if rollout.new is not None else [])
    if len(running) != 1 or _wants(running[0]) == rollout.replicas:
        return []
    return [_scale(rollout, running[0], rollout.replicas)]


def _scale(rollout: _Rollout, replica_set: JsonObject, replicas: int) -> Patch:
    annotations = {"deployment.kubernetes.io/desired-replicas": str(rollout.replicas)}
    return Patch(REPLICA_SET, replica_set, {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}})


def _new_set(view: View, rollout: _Rollout) -> list[Action]:
    deployment = rollout.deployment
    spec, meta = spec_of(deployment), deployment["metadata"]
    digest = template_hash(deployment)
    template = dict(spec.get("template") or {})
    template["metadata"] = dict(template.get("metadata") or {})
    template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), HASH_LABEL: digest}
    selector = dict(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    replica_set = {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.kind,
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": {**_copied_annotations(deployment), REVISION: str(_next_revision(rollout))},
            "ownerReferences": [owner_reference(DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": _first_size(view, rollout),
            "minReadySeconds": int(spec.get("minReadySeconds") or 0),
            "selector": selector,
            "template": template,
        },
    }
    name, size = replica_set["metadata"]["name"], replica_set["spec"]["replicas"]  # type: ignore[index]
    made = Record(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")
    return [Create(REPLICA_SET, replica_set, owner=deployment), made]


def _first_size(view: View, rollout: _Rollout) -> int:
    running = sum(_wants(item) for item in rollout.old)
    if lookup(rollout.deployment, "spec", "strategy", "type") == "Recreate":
        old_pods = any(is_active(pod) for item in rollout.old for pod in view.pods.owned_by(uid_of(item)))
        return 0 if running or old_pods else rollout.replicas
    surge, _ = _bounds(rollout)
    return max(0, min(rollout.replicas, rollout.replicas + surge - running))


def _copied_annotations(deployment: JsonObject) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in _NOT_COPIED}


def _next_revision(rollout: _Rollout) -> int:
    return max((_revision_of(item) for item in rollout.old), default=0) + 1


def _revision(rollout: _Rollout) -> list[Action]:
    """A set that is used again (undo) becomes the newest revision; the Deployment carries the number too."""
    new, actions = rollout.new, list[Action]()
    assert new is not None
    revision = _revision_of(new)
    if rollout.old and revision < _next_revision(rollout):
        revision = _next_revision(rollout)
        actions.append(Patch(REPLICA_SET, new, {"metadata": {"annotations": {REVISION: str(revision)}}}, loose=True))
    shown = (rollout.deployment["metadata"].get("annotations") or {}).get(REVISION)
    if shown != str(revision):
        patch = {"metadata": {"annotations": {REVISION: str(revision)}}}
        actions.append(Patch(DEPLOYMENT, rollout.deployment, patch, loose=True))
    return actions


def _clean_up(rollout: _Rollout) -> list[Action]:
    """Keeps `revisionHistoryLimit` (10) empty old sets for undo."""
    limit = int(spec_of(rollout.deployment).get("revisionHistoryLimit", 10))
    empty = [item for item in rollout.old if _wants(item) == 0 and not status_of(item).get("replicas")]
    return [Delete(REPLICA_SET, item) for item in empty[: max(0, len(empty) - limit)]]


def _status(rollout: _Rollout, now: Moment) -> tuple[JsonObject, float | None]:
    sets, new = rollout.sets, rollout.new
    total = sum(int(status_of(item).get("replicas", 0)) for item in sets)
    available = sum(_available(item) for item in sets)
    counts: JsonObject = {
        "observedGeneration": rollout.deployment["metadata"].get("generation", 0),
        "replicas": total,
        "updatedReplicas": int(status_of(new).get("replicas", 0)) if new is not None else 0,
        "readyReplicas": sum(int(status_of(item).get("readyReplicas", 0)) for item in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, rollout.replicas) - available),
    }
    conditions, again = _conditions(rollout, counts, now)
    return {**status_of(rollout.deployment), **counts, "conditions": conditions}, again


def _conditions(rollout: _Rollout, counts: JsonObject, now: Moment) -> tuple[list[JsonObject], float | None]:
    conditions = list(status_of(rollout.deployment).get("conditions") or [])
    _, unavailable = _bounds(rollout)
    if counts["availableReplicas"] >= rollout.replicas - unavailable:
        words = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        words = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    conditions = _set(conditions, "Available", words, now)
    failure = next((found for item in rollout.sets if (found := condition(item, "ReplicaFailure"))), None)
    if failure:
        conditions = _set(conditions, "ReplicaFailure", ("True", "FailedCreate", str(failure.get("message", ""))), now)
    else:
        conditions = without_condition(conditions, "ReplicaFailure")
    return _progressing(rollout, counts, conditions, now)


def _set(conditions: list[JsonObject], kind: str, words: tuple[str, str, str], now: Moment) -> list[JsonObject]:
    status, reason, message = words
    new = {"type": kind, "status": status, "reason": reason, "message": message}
    return with_condition(conditions, new, wall=now.wall, updated=True)


def _progressing(
    rollout: _Rollout, counts: JsonObject, conditions: list[JsonObject], now: Moment
) -> tuple[list[JsonObject], float | None]:
    """Progress is a change of the counts; without one for `progressDeadlineSeconds` the rollout is said to be stuck."""
    name = rollout.new["metadata"]["name"] if rollout.new is not None else ""
    if _is_complete(rollout, counts):
        words = ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
        return _set(conditions, "Progressing", words, now), None
    if spec_of(rollout.deployment).get("paused"):
        return _set(conditions, "Progressing", ("Unknown", "DeploymentPaused", "Deployment is paused"), now), None
    old = next((item for item in conditions if item.get("type") == "Progressing"), {})
    before = status_of(rollout.deployment)
    moved = any(before.get(key) != counts[key] for key in counts)
    if moved or not old or old.get("reason") == "NewReplicaSetAvailable":
        rest = [item for item in conditions if item is not old]  # a new one, so that its time moves
        words = ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        return _set(rest, "Progressing", words, now), _deadline(rollout)
    left = parse_time(str(old.get("lastUpdateTime", ""))) + _deadline(rollout) - now.wall
    if left > 0:
        return conditions, left + 1
    words = ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
    return _set(conditions, "Progressing", words, now), None


def _deadline(rollout: _Rollout) -> float:
    return float(spec_of(rollout.deployment).get("progressDeadlineSeconds") or 600)


def _is_complete(rollout: _Rollout, counts: JsonObject) -> bool:
    ready = (counts["updatedReplicas"], counts["replicas"], counts["availableReplicas"])
    return rollout.new is not None and ready == (rollout.replicas,) * 3


def _of_replica_set(_view: View, obj: JsonObject) -> list[Key]:
    owner = controller_of(obj)
    if owner.get("kind") != DEPLOYMENT.kind:
        return []
    return [(obj["metadata"]["namespace"], str(owner.get("name", "")))]


def _of_pod(view: View, pod: JsonObject) -> list[Key]:
    """Only a Recreate waits for pods to go."""
    owner = controller_of(pod)
    replica_set = view.replica_sets.get(pod["metadata"]["namespace"], str(owner.get("name", "")))
    return _of_replica_set(view, replica_set) if replica_set is not None and not is_active(pod) else []


CONTROLLER = Controller("deployments", desired, {DEPLOYMENT: own_key, REPLICA_SET: _of_replica_set, POD: _of_pod})
