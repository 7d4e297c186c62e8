"""Defaults and rules of pods and pod templates."""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver import names
from isthmus_lab.apiserver.errors import Cause, duplicate, forbidden_field, invalid_value, not_supported, required
from isthmus_lab.apiserver.objects import JsonObject, items, section

_MUTABLE_POD_FIELDS = (
    "activeDeadlineSeconds",
    "terminationGracePeriodSeconds",
    "tolerations",
    "nodeName",
    "ephemeralContainers",
)
_FORBIDDEN_UPDATE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def defaults(spec: JsonObject) -> None:
    """What the schema's defaults cannot say: they depend on other fields."""
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*items(spec, "containers"), *items(spec, "initContainers")]:
        container.setdefault("resources", {})
        image = str(container.get("image", ""))
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        container.setdefault(
            "imagePullPolicy", "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"
        )
        limits = section(section(container, "resources"), "limits")
        if limits:
            requests = container["resources"].setdefault("requests", {})
            for name, amount in limits.items():
                requests.setdefault(name, amount)


def pod_defaults(obj: JsonObject) -> None:
    spec = obj.setdefault("spec", {})
    defaults(spec)


def qos_class(spec: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort, by the cpu and memory of all containers."""
    every = [*items(spec, "containers"), *items(spec, "initContainers")]
    resources = [section(container, "resources") for container in every]
    if not any(section(r, "requests") or section(r, "limits") for r in resources):
        return "BestEffort"
    for found in resources:
        limits, requests = section(found, "limits"), section(found, "requests")
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"


# --- rules


def causes(spec: JsonObject, path: str) -> list[Cause]:
    """What is wrong with a pod spec beyond its schema."""
    found: list[Cause] = []
    volumes = _volumes(spec, path, found)
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(items(spec, kind)):
            _container(container, f"{path}.{kind}[{index}]", volumes, found)
            name = str(container.get("name") or "")
            if name and name in seen:
                found.append(duplicate(f"{path}.{kind}[{index}].name", name))
            seen.add(name)
    return found


def _volumes(spec: JsonObject, path: str, found: list[Cause]) -> set[str]:
    known: set[str] = set()
    for index, volume in enumerate(items(spec, "volumes")):
        here = f"{path}.volumes[{index}]"
        name = str(volume.get("name") or "")
        if name and (problem := names.label_problem(name)):
            found.append(invalid_value(f"{here}.name", name, problem))
        if name in known:
            found.append(duplicate(f"{here}.name", name))
        known.add(name)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            found.append(forbidden_field(f"{here}.{sources[1]}", "may not specify more than 1 volume type"))
        elif not sources:
            found.append(required(here, "must specify a volume type"))
    return known


def _container(container: JsonObject, path: str, volumes: set[str], found: list[Cause]) -> None:
    name = str(container.get("name") or "")
    if name and (problem := names.label_problem(name)):
        found.append(invalid_value(f"{path}.name", name, problem))
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    for index, port in enumerate(items(container, "ports")):
        number(port.get("containerPort"), f"{path}.ports[{index}].containerPort", found)
        label = port.get("name")
        if label and not names.is_port_name(label):
            found.append(invalid_value(f"{path}.ports[{index}].name", label, _PORT_NAME))
    for index, mount in enumerate(items(container, "volumeMounts")):
        if mount.get("name") and mount["name"] not in volumes:
            found.append(
                Cause(f"{path}.volumeMounts[{index}].name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')
            )
    _probes(container, path, found)


_PORT_NAME = (
    "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), must contain at least one letter (a-z), "
    "and be no more than 15 characters"
)


def number(value: Any, path: str, found: list[Cause]) -> None:
    """A port number."""
    if isinstance(value, int) and not 1 <= value <= 65535:
        found.append(invalid_value(path, value, "must be between 1 and 65535, inclusive"))


def _probes(container: JsonObject, path: str, found: list[Cause]) -> None:
    handlers = ("exec", "httpGet", "tcpSocket", "grpc")
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(kind)
        if not isinstance(probe, dict):
            continue
        given = [handler for handler in handlers if handler in probe]
        if not given:
            found.append(required(f"{path}.{kind}", "must specify a handler type"))
        elif len(given) > 1:
            found.append(forbidden_field(f"{path}.{kind}.{given[1]}", "may not specify more than 1 handler type"))


def pod_causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    spec = section(new, "spec")
    found = causes(spec, "spec")
    if old is not None and _frozen(spec) != _frozen(section(old, "spec")):
        found.append(forbidden_field("spec", _FORBIDDEN_UPDATE))
    return found


def _frozen(spec: JsonObject) -> JsonObject:
    """The part of a pod's spec that no update may change."""
    kept = {key: value for key, value in spec.items() if key not in _MUTABLE_POD_FIELDS}
    for kind in ("containers", "initContainers"):
        kept[kind] = [{k: v for k, v in c.items() if k not in ("image", "imagePullPolicy")} for c in items(spec, kind)]
    return kept


def template_causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Of a Deployment or ReplicaSet: its template, and that its selector selects it."""
    spec = section(new, "spec")
    template = section(spec, "template")
    found = causes(section(template, "spec"), "spec.template.spec")
    labels = section(section(template, "metadata"), "labels")
    found += names.label_causes(labels, "spec.template.metadata.labels")
    selector = section(spec, "selector")
    wanted = section(selector, "matchLabels")
    if not wanted and not items(selector, "matchExpressions"):
        detail = "empty selector is invalid for deployment"
        found.append(invalid_value("spec.selector", selector, detail))
    elif any(labels.get(key) != value for key, value in wanted.items()):
        detail = "`selector` does not match template `labels`"
        found.append(invalid_value("spec.template.metadata.labels", labels, detail))
    policy = section(template, "spec").get("restartPolicy", "Always")
    if policy != "Always":
        found.append(not_supported("spec.template.spec.restartPolicy", policy, ["Always"]))
    if old is not None and selector != section(section(old, "spec"), "selector"):
        found.append(invalid_value("spec.selector", selector, "field is immutable"))
    return found


def stateful_causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Of a StatefulSet. There are no volumes to claim here, and a set without them would not be what was asked for."""
    found = template_causes(new, old)
    for field in ("volumeClaimTemplates", "ordinals"):
        if section(new, "spec").get(field):
            found.append(forbidden_field(f"spec.{field}", "is not offered by the lab"))
    return found


def daemon_causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """Of a DaemonSet. A node has one pod of it at a time."""
    found = template_causes(new, old)
    rolling = section(section(section(new, "spec"), "updateStrategy"), "rollingUpdate")
    if rolling.get("maxSurge") not in (None, 0, "0", "0%"):
        found.append(forbidden_field("spec.updateStrategy.rollingUpdate.maxSurge", "is not offered by the lab"))
    return found
