"""What is particular to a kind when it is written: defaults, status, generation, what an update cannot touch."""

from __future__ import annotations

from collections.abc import Callable

from isthmus_lab.apiserver import podspec, servicespec
from isthmus_lab.apiserver.errors import Cause, invalid, invalid_value
from isthmus_lab.apiserver.objects import JsonObject, items, meta, name_of, section
from isthmus_lab.apiserver.resources import Resource, Version

_NO_GENERATION = frozenset(
    {
        "secrets", "configmaps", "events", "leases.coordination.k8s.io", "serviceaccounts", "namespaces", "nodes",
        "services", "pods", "endpoints", "bindings", "roles.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    }
)  # fmt: skip
_REVISION_REQUIRED = frozenset(
    {
        "leases.coordination.k8s.io", "customresourcedefinitions.apiextensions.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    }
)  # fmt: skip
_KEEPS_STATUS = frozenset({"nodes"})  # the kubelet registers a node with its status
_KEPT_METADATA = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "namespace",
)


# --- defaults


def _deployment(obj: JsonObject) -> None:
    spec = section(obj, "spec")
    strategy = spec.setdefault("strategy", {"type": "RollingUpdate"})
    if strategy.get("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    podspec.defaults(section(section(spec, "template"), "spec"))


def _replica_set(obj: JsonObject) -> None:
    podspec.defaults(section(section(section(obj, "spec"), "template"), "spec"))


def _stateful_set(obj: JsonObject) -> None:
    _replica_set(obj)
    update = obj.setdefault("spec", {}).setdefault("updateStrategy", {})
    if update.setdefault("type", "RollingUpdate") == "RollingUpdate":
        update.setdefault("rollingUpdate", {}).setdefault("partition", 0)


def _daemon_set(obj: JsonObject) -> None:
    _replica_set(obj)
    update = obj.setdefault("spec", {}).setdefault("updateStrategy", {})
    if update.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = update.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", 0)
        rolling.setdefault("maxUnavailable", 1)


def _secret(obj: JsonObject) -> None:
    import base64

    text = obj.pop("stringData", None)
    if text:
        data = obj.setdefault("data", {})
        data.update({key: base64.b64encode(value.encode()).decode() for key, value in text.items()})


def _namespace(obj: JsonObject) -> None:
    meta(obj).setdefault("labels", {}).setdefault("kubernetes.io/metadata.name", name_of(obj))
    obj.setdefault("status", {}).setdefault("phase", "Active")
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])


def _webhooks(obj: JsonObject) -> None:
    for webhook in items(obj, "webhooks"):
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})


def _binding(obj: JsonObject) -> None:
    for subject in items(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


_DEFAULTS: dict[str, Callable[[JsonObject], None]] = {
    "pods": podspec.pod_defaults,
    "services": servicespec.defaults,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "secrets": _secret,
    "namespaces": _namespace,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
}


def defaults(resource: Resource, obj: JsonObject) -> None:
    """What the schema's defaults cannot say."""
    fill = _DEFAULTS.get(resource.storage)
    if fill is not None:
        fill(obj)


# --- create and update


def prepare_create(resource: Resource, version: Version, obj: JsonObject) -> None:
    """Clears what a client may not set on a new object."""
    if version.status and resource.storage not in _KEEPS_STATUS:
        obj.pop("status", None)
    if resource.storage not in _NO_GENERATION:
        meta(obj)["generation"] = 1
    if resource.storage == "pods":
        obj["status"] = {"phase": "Pending", "qosClass": podspec.qos_class(section(obj, "spec"))}


def prepare_update(resource: Resource, version: Version, new: JsonObject, *, old: JsonObject, subresource: str) -> None:
    """Puts back what this way of writing may not change. `subresource` is empty, status, or another writable part."""
    metadata = meta(new)
    if subresource == "status":
        status = new.get("status")
        managed = metadata.get("managedFields")
        new.clear()
        new.update(old)
        new["metadata"] = dict(old["metadata"])
        if managed is not None:
            new["metadata"]["managedFields"] = managed
        new.pop("status", None)
        if status is not None:
            new["status"] = status
        return
    for field in _KEPT_METADATA:
        if field in old["metadata"]:
            metadata[field] = old["metadata"][field]
        else:
            metadata.pop(field, None)
    if version.status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]


def require_revision(resource: Resource, obj: JsonObject) -> None:
    """Some kinds cannot be replaced blindly. Raises 422."""
    if (resource.custom or resource.storage in _REVISION_REQUIRED) and not meta(obj).get("resourceVersion"):
        cause = invalid_value("metadata.resourceVersion", "", "must be specified for an update")
        raise invalid(resource.group, resource.plural, name_of(obj), [Cause(cause.field, cause.reason, cause.message)])


def _substance(obj: JsonObject, *, without: tuple[str, ...]) -> JsonObject:
    return {key: value for key, value in obj.items() if key not in without}


def unchanged(new: JsonObject, old: JsonObject) -> bool:
    """Whether a write would change nothing but the times in its bookkeeping."""
    if _substance(new, without=("metadata",)) != _substance(old, without=("metadata",)):
        return False
    return _own_metadata(new) == _own_metadata(old)


def _own_metadata(obj: JsonObject) -> JsonObject:
    metadata = section(obj, "metadata")
    kept = {
        key: value
        for key, value in metadata.items()
        if key not in ("resourceVersion", "managedFields", "selfLink") and value not in (None, {}, [])
    }
    kept["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"} for entry in items(metadata, "managedFields")
    ]
    return kept


def bump_generation(resource: Resource, version: Version, new: JsonObject, old: JsonObject | None) -> None:
    """`metadata.generation` counts changes of the desired state."""
    if old is None or resource.storage in _NO_GENERATION:
        return
    ignored: tuple[str, ...] = ("metadata", "apiVersion", "kind")
    if version.status or not resource.custom:
        ignored += ("status",)
    generation = int(section(old, "metadata").get("generation") or 1)
    deleting = bool(meta(new).get("deletionTimestamp")) != bool(old["metadata"].get("deletionTimestamp"))
    changed = _substance(new, without=ignored) != _substance(old, without=ignored)
    meta(new)["generation"] = generation + (1 if changed or deleting else 0)


def finished(obj: JsonObject) -> bool:
    """Whether a deleted object may now go: no finalizer is left and no grace period runs."""
    metadata = section(obj, "metadata")
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if obj.get("kind") == "Namespace" and section(obj, "spec").get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")
