"""Is this object acceptable? Schema rules for every kind, and the rules particular to a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus_lab.apiserver import crds, podspec, servicespec
from isthmus_lab.apiserver.errors import Cause, duplicate, forbidden_field, invalid_value, not_supported, required
from isthmus_lab.apiserver.objects import JsonObject, items, section
from isthmus_lab.apiserver.resources import Resource, Version
from isthmus_lab.apiserver.schema import Schema

Rule = Callable[[JsonObject, JsonObject | None], list[Cause]]

_EMPTY_IS_MISSING = frozenset(
    {"containers", "versions", "name", "kind", "group", "plural", "key", "containerPort", "mountPath"}
)


def schema_causes(obj: JsonObject, schema: Schema) -> list[Cause]:
    """Required fields, allowed values and least numbers of a built-in object, but for its metadata and status."""
    found: list[Cause] = []
    judged = {key: value for key, value in obj.items() if key not in _NOT_JUDGED}
    _walk_object(judged, schema, "", found)
    return found


_NOT_JUDGED = ("metadata", "status")


def _is_missing(key: str, value: Any) -> bool:
    return value is None or (key in _EMPTY_IS_MISSING and value in ("", [], 0))


def _walk_object(value: JsonObject, schema: Schema, path: str, found: list[Cause]) -> None:
    prefix = f"{path}." if path else ""
    found += [
        required(prefix + key) for key in schema.required if key not in _NOT_JUDGED and _is_missing(key, value.get(key))
    ]
    for key, element in value.items():
        sub = schema.properties.get(key)
        if sub is not None:
            if not _is_missing(key, element):
                _walk(element, sub, prefix + key, found)
        elif schema.values is not None:
            _walk(element, schema.values, f"{path}[{key}]", found)


def _walk(value: Any, schema: Schema, path: str, found: list[Cause]) -> None:
    if isinstance(value, dict):
        _walk_object(value, schema, path, found)
    elif isinstance(value, list):
        if schema.items is not None and not (schema.items.opaque and not schema.items.enum):
            for index, element in enumerate(value):
                _walk(element, schema.items, f"{path}[{index}]", found)
    elif schema.enum and value not in schema.enum:
        found.append(not_supported(path, value, list(schema.enum)))
    elif schema.minimum is not None and isinstance(value, int) and value < schema.minimum:
        found.append(invalid_value(path, value, f"must be greater than or equal to {schema.minimum}"))


# --- kinds


def _data(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Keys of ConfigMaps and Secrets, and what cannot change."""
    import re

    found = []
    for part in ("data", "binaryData"):
        for key in section(new, part):
            if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) or key in (".", ".."):
                detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                found.append(invalid_value(f"{part}[{key}]", key, detail))
    if old is not None:
        if old.get("immutable"):
            frozen = [part for part in ("data", "binaryData", "immutable") if new.get(part) != old.get(part)]
            found += [forbidden_field(part, "field is immutable when `immutable` is set") for part in frozen]
        if "type" in old and new.get("type") != old["type"]:
            found.append(invalid_value("type", new.get("type"), "field is immutable"))
    return found


def _role_binding(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    found = []
    ref = section(new, "roleRef")
    if ref.get("kind") not in ("Role", "ClusterRole"):
        found.append(not_supported("roleRef.kind", ref.get("kind"), ["Role", "ClusterRole"]))
    if old is not None and ref != section(old, "roleRef"):
        found.append(invalid_value("roleRef", ref, "cannot change roleRef"))
    for index, subject in enumerate(items(new, "subjects")):
        path = f"subjects[{index}]"
        if subject.get("kind") not in ("User", "Group", "ServiceAccount"):
            found.append(not_supported(f"{path}.kind", subject.get("kind"), ["User", "Group", "ServiceAccount"]))
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
    return found


def _role(new: JsonObject, _old: JsonObject | None) -> list[Cause]:
    found = []
    for index, rule in enumerate(items(new, "rules")):
        path = f"rules[{index}]"
        if not items(rule, "verbs"):
            found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if items(rule, "nonResourceURLs"):
            continue
        if not items(rule, "apiGroups"):
            found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not items(rule, "resources"):
            found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return found


def _webhooks(new: JsonObject, _old: JsonObject | None) -> list[Cause]:
    found = []
    seen: set[str] = set()
    for index, webhook in enumerate(items(new, "webhooks")):
        path = f"webhooks[{index}]"
        name = str(webhook.get("name") or "")
        if name and name.count(".") < 2:
            detail = "should be a domain with at least three segments separated by dots"
            found.append(invalid_value(f"{path}.name", name, detail))
        if name in seen:
            found.append(duplicate(f"{path}.name", name))
        seen.add(name)
        client = section(webhook, "clientConfig")
        if ("url" in client) == ("service" in client):
            found.append(required(f"{path}.clientConfig", "exactly one of url or service is required"))
        if webhook.get("sideEffects") not in ("None", "NoneOnDryRun"):
            found.append(not_supported(f"{path}.sideEffects", webhook.get("sideEffects"), ["None", "NoneOnDryRun"]))
        if "v1" not in items(webhook, "admissionReviewVersions"):
            detail = "must include at least one of v1"
            found.append(
                invalid_value(f"{path}.admissionReviewVersions", items(webhook, "admissionReviewVersions"), detail)
            )
        if not 1 <= int(webhook.get("timeoutSeconds") or 10) <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            found.append(invalid_value(f"{path}.timeoutSeconds", webhook.get("timeoutSeconds"), detail))
    return found


def _endpoint_slice(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    found = []
    if old is not None and new.get("addressType") != old.get("addressType"):
        found.append(invalid_value("addressType", new.get("addressType"), "field is immutable"))
    if new.get("addressType") == "IPv4":
        import ipaddress

        for index, endpoint in enumerate(items(new, "endpoints")):
            for place, address in enumerate(items(endpoint, "addresses")):
                try:
                    ipaddress.IPv4Address(address)
                except ValueError:
                    path = f"endpoints[{index}].addresses[{place}]"
                    found.append(invalid_value(path, address, "must be a valid IPv4 address"))
    return found


_RULES: dict[str, Rule] = {
    "pods": podspec.pod_causes,
    "deployments.apps": podspec.template_causes,
    "replicasets.apps": podspec.template_causes,
    "statefulsets.apps": podspec.stateful_causes,
    "daemonsets.apps": podspec.daemon_causes,
    "services": servicespec.causes,
    "secrets": _data,
    "configmaps": _data,
    "roles.rbac.authorization.k8s.io": _role,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "customresourcedefinitions.apiextensions.k8s.io": crds.definition_causes,
}


def validate(resource: Resource, version: Version, new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Everything that keeps `new` from being stored; `old` is what it replaces."""
    if resource.custom:
        return crds.object_causes(version, new)
    found = [] if resource.storage == "events" else schema_causes(new, version.schema)
    rule = _RULES.get(resource.storage)
    if rule is not None:
        found += rule(new, old)
    return found
