"""Facts about single objects that several controllers ask for."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from isthmus_lab.apiserver.objects import JsonObject, lookup, parse_time, section, timestamp
from isthmus_lab.controllers.client import Kind

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes puts into generated names: no vowels, no look-alikes


def spec_of(obj: JsonObject) -> JsonObject:
    """The spec, empty when absent."""
    return section(obj, "spec")


def status_of(obj: JsonObject) -> JsonObject:
    """The status, empty when absent."""
    return section(obj, "status")


def uid_of(obj: JsonObject) -> str:
    """The object's uid."""
    return str(obj["metadata"].get("uid", ""))


def is_deleting(obj: JsonObject) -> bool:
    """True from the delete request until the object is gone."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_finished(pod: JsonObject) -> bool:
    """True for a pod that will never run again."""
    return status_of(pod).get("phase") in ("Succeeded", "Failed")


def is_active(pod: JsonObject) -> bool:
    """True for a pod that counts as a replica."""
    return not is_deleting(pod) and not is_finished(pod)


def condition(obj: JsonObject, kind: str) -> JsonObject:
    """The condition of that type, empty when absent."""
    for item in status_of(obj).get("conditions") or []:
        if item.get("type") == kind:
            return dict(item)
    return {}


def is_ready(pod: JsonObject) -> bool:
    """The pod's Ready condition."""
    return condition(pod, "Ready").get("status") == "True"


def available_in(pod: JsonObject, *, min_ready_seconds: int, wall: float) -> float | None:
    """Seconds until the pod counts as available: 0.0 when it does, None when it is not ready at all."""
    if not is_ready(pod):
        return None
    since = parse_time(str(condition(pod, "Ready").get("lastTransitionTime", "")))
    return max(0.0, since + min_ready_seconds - wall) if min_ready_seconds else 0.0


def controller_of(obj: JsonObject) -> JsonObject:
    """The owner reference of the managing controller, empty when there is none."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return dict(owner)
    return {}


def owner_reference(kind: Kind, owner: JsonObject) -> JsonObject:
    """The reference that makes `owner` the controller of something."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def short_hash(value: Any, length: int = 10) -> str:
    """A name suffix that depends on the content only."""
    digest = hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:length])


def with_condition(
    conditions: list[JsonObject], new: JsonObject, *, wall: float, updated: bool = False
) -> list[JsonObject]:
    """The conditions with `new` (type, status, reason, message) set; an equal one is left as it is, so is no write.

    `updated` adds the lastUpdateTime that Deployments have and other kinds do not.
    """
    old = next((item for item in conditions if item.get("type") == new["type"]), None)
    if old is not None and all(old.get(key) == new.get(key) for key in ("status", "reason", "message")):
        return list(conditions)
    now = timestamp(wall)
    turned = old.get("lastTransitionTime", now) if old is not None and old.get("status") == new["status"] else now
    stamped = {**new, **({"lastUpdateTime": now} if updated else {}), "lastTransitionTime": turned}
    return [stamped if item is old else item for item in conditions] if old is not None else [*conditions, stamped]


def without_condition(conditions: list[JsonObject], kind: str) -> list[JsonObject]:
    """The conditions without this one."""
    return [item for item in conditions if item.get("type") != kind]


def pod_selects(selector: JsonObject, labels: dict[str, str]) -> bool:
    """A Service's selector: each pair must be there; the empty selector selects nothing (there are no such pods)."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def zone_of(node: JsonObject | None) -> str:
    """The zone in the node's labels, empty when unknown."""
    return str(lookup(node, "metadata", "labels", "topology.kubernetes.io/zone", default="")) if node else ""
