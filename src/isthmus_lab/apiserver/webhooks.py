"""Admission webhooks without the I/O: which are called for a request, what they are sent, what their answer means."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from isthmus_lab.apiserver import errors, views
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.objects import JsonObject, decode, items, labels_of, name_of, section
from isthmus_lab.apiserver.patch import json_patch
from isthmus_lab.apiserver.resources import Resource
from isthmus_lab.apiserver.selectors import from_label_selector

GROUP = "admissionregistration.k8s.io"
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class WebhookError(Exception):
    """The webhook could not be called, or its answer is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What is up for admission; `new` is None for a deletion, `old` for a creation. Objects as they are stored."""

    operation: str
    new: JsonObject | None
    old: JsonObject | None


def matching_version(webhook: JsonObject, call: Call, operation: str) -> str:
    """The version of the resource that a rule names, the request's own first; empty when no rule matches."""
    versions = [call.version.name]
    if webhook.get("matchPolicy", "Equivalent") == "Equivalent":
        versions += [version for version in call.resource.versions if version != call.version.name]
    for version in versions:
        if any(_rule_matches(rule, call, operation, version) for rule in items(webhook, "rules")):
            return version
    return ""


def _rule_matches(rule: JsonObject, call: Call, operation: str, version: str) -> bool:
    scope = rule.get("scope", "*")
    if scope != "*" and (scope == "Namespaced") != call.resource.namespaced:
        return False
    return (
        _any(items(rule, "operations"), operation)
        and _any(items(rule, "apiGroups"), call.resource.group)
        and _any(items(rule, "apiVersions"), version)
        and any(_resource(pattern, call) for pattern in items(rule, "resources"))
    )


def _any(patterns: list[str], value: str) -> bool:
    return "*" in patterns or value in patterns


def _resource(pattern: str, call: Call) -> bool:
    plural, slash, subresource = pattern.partition("/")
    if plural not in ("*", call.resource.plural):
        return False
    if not slash:
        return not call.info.subresource
    return subresource in ("*", call.info.subresource)


def selected(webhook: JsonObject, admitted: Admitted, resource: Resource, namespace: Mapping[str, str] | None) -> bool:
    """Whether the selectors fit. `namespace` are the labels of the object's namespace, None when it is in none."""
    objects = [obj for obj in (admitted.new, admitted.old) if obj is not None]
    wanted = from_label_selector(webhook.get("objectSelector") or {})
    if not any(wanted(labels_of(obj)) for obj in objects):
        return False
    if resource.storage == "namespaces":
        namespace = labels_of(objects[0])
    if namespace is None:
        return True
    return from_label_selector(webhook.get("namespaceSelector") or {})(namespace)


def review(call: Call, admitted: Admitted, *, version: str, uid: str) -> JsonObject:
    """The AdmissionReview to send; objects in the version that the webhook's rule names."""
    resource = call.resource

    def kind(of: str) -> JsonObject:
        return {"group": resource.group, "version": of, "kind": resource.kind}

    def path(of: str) -> JsonObject:
        return {"group": resource.group, "version": of, "resource": resource.plural}

    def shown(obj: JsonObject | None) -> JsonObject | None:
        return None if obj is None else views.shown(obj, resource, version)

    some = admitted.new or admitted.old or {}
    request: JsonObject = {
        "uid": uid,
        "kind": kind(version),
        "resource": path(version),
        "requestKind": kind(call.version.name),
        "requestResource": path(call.version.name),
        "name": name_of(some),
        "operation": admitted.operation,
        "userInfo": call.user.info(),
        "object": shown(admitted.new),
        "oldObject": shown(admitted.old),
        "dryRun": call.dry_run,
        "options": {"kind": _OPTIONS[admitted.operation], "apiVersion": "meta.k8s.io/v1"},
    }
    if call.namespace:
        request["namespace"] = call.namespace
    if call.info.subresource:
        request["subResource"] = request["requestSubResource"] = call.info.subresource
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`patched` is the object after a mutating webhook's patch, None when it has none."""

    patched: JsonObject | None
    warnings: tuple[str, ...]


def verdict(answer: object, *, name: str, uid: str, obj: JsonObject | None) -> Verdict:
    """Reads an AdmissionReview response. Raises the denial as ApiError, WebhookError when it makes no sense."""
    response = section(answer, "response") if isinstance(answer, dict) else {}
    if not response:
        raise WebhookError("webhook response was absent")
    if response.get("uid") != uid:
        raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid")}"')
    warnings = tuple(str(text).replace('"', '\\"') for text in items(response, "warnings"))
    if not response.get("allowed"):
        raise _denied(name, section(response, "status"))
    if not response.get("patch"):
        return Verdict(None, warnings)
    if response.get("patchType") != "JSONPatch" or obj is None:
        raise WebhookError(f"unexpected response.patchType {response.get('patchType')!r}")
    try:
        operations = decode(base64.b64decode(response["patch"]))
        return Verdict(json_patch(obj, operations), warnings)
    except (ValueError, ApiError) as error:
        raise WebhookError(f"its patch cannot be applied: {error}") from error


def _denied(name: str, status: JsonObject) -> ApiError:
    message = f'admission webhook "{name}" denied the request'
    if status.get("message"):
        message += f": {status['message']}"
    elif status.get("reason"):
        message += f": {status['reason']}"
    else:
        message += " without explanation"
    code = int(status.get("code") or 403)
    reason = str(status.get("reason") or ("Forbidden" if code == 403 else "BadRequest"))
    return ApiError(code, reason, message, details=section(status, "details") or None)


def call_failed(name: str, why: str) -> ApiError:
    return errors.internal(f'failed calling webhook "{name}": failed to call webhook: {why}')
