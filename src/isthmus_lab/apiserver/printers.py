"""The columns of each kind, in the words kubectl users know."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isthmus_lab.apiserver.jsonpath import json_path
from isthmus_lab.apiserver.objects import JsonObject, items, labels_of, lookup, name_of, parse_time, section
from isthmus_lab.apiserver.resources import Resource, Version

Cell = Callable[[JsonObject, float], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """`wide` columns show with -o wide only."""

    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"
    description: str = ""
    format: str = ""

    def definition(self) -> JsonObject:
        return {
            "name": self.name,
            "type": self.type,
            "format": "name" if self.name == "Name" else self.format,
            "description": self.description or self.name,
            "priority": 1 if self.wide else 0,
        }


class Printer:
    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns

    def definitions(self) -> list[JsonObject]:
        return [column.definition() for column in self._columns]

    def cells(self, obj: JsonObject, now: float) -> list[Any]:
        return [column.cell(obj, now) for column in self._columns]


# --- durations as kubectl writes them


def duration(seconds: float) -> str:
    """k8s.io/apimachinery HumanDuration: two units at most, coarser as it grows."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}" + (f"{small}{small_unit}" if small else "")


def since(text: object, now: float) -> str:
    if not isinstance(text, str) or not text:
        return "<unknown>"
    return duration(now - parse_time(text))


def name(obj: JsonObject, _now: float) -> str:
    return name_of(obj)


def age(obj: JsonObject, now: float) -> str:
    return since(lookup(obj, "metadata", "creationTimestamp"), now)


def path(*steps: str | int, default: Any = "") -> Cell:
    return lambda obj, _now: lookup(obj, *steps, default=default)


def joined_labels(labels: object) -> str:
    if not isinstance(labels, dict) or not labels:
        return "<none>"
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def label_selector(selector: object) -> str:
    """metav1.FormatLabelSelector."""
    if not isinstance(selector, dict):
        return "<none>"
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or []:
        key, values = item.get("key", ""), ",".join(sorted(item.get("values") or []))
        op = item.get("operator")
        terms.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(op, f"!{key}")
        )
    return ",".join(terms) or "<none>"


def containers(obj: JsonObject, _now: float) -> str:
    return ",".join(str(c.get("name", "")) for c in lookup(obj, "spec", "template", "spec", "containers", default=[]))


def images(obj: JsonObject, _now: float) -> str:
    return ",".join(str(c.get("image", "")) for c in lookup(obj, "spec", "template", "spec", "containers", default=[]))


NAME = Column("Name", name, description="Name must be unique within a namespace.")
AGE = Column("Age", age, description="Time since the object was created.")


# --- pods


def _init_phase(obj: JsonObject) -> str:
    """`Init:0/2` and the like while init containers run; empty once they are done."""
    statuses = items(section(obj, "status"), "initContainerStatuses")
    specs = {c.get("name"): c for c in items(section(obj, "spec"), "initContainers")}
    for index, status in enumerate(statuses):
        terminated, waiting = lookup(status, "state", "terminated"), lookup(status, "state", "waiting")
        sidecar = lookup(specs.get(status.get("name"), {}), "restartPolicy") == "Always"
        if (terminated and terminated.get("exitCode") == 0) or (sidecar and status.get("started")):
            continue
        if terminated:
            return f"Init:{terminated.get('reason') or 'ExitCode:' + str(terminated.get('exitCode'))}"
        reason = (waiting or {}).get("reason")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{index}/{len(specs)}"
    return ""


def pod_status(obj: JsonObject, _now: float = 0.0) -> str:
    """The STATUS column: the phase, or what holds the pod up."""
    status = section(obj, "status")
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    reason = _init_phase(obj) or _container_reason(status, reason)
    if lookup(obj, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return reason


def _container_reason(status: JsonObject, reason: str) -> str:
    running = False
    for container in reversed(items(status, "containerStatuses")):
        waiting, terminated = lookup(container, "state", "waiting"), lookup(container, "state", "terminated")
        if waiting and waiting.get("reason"):
            reason = str(waiting["reason"])
        elif terminated and terminated.get("reason"):
            reason = str(terminated["reason"])
        elif terminated:
            signal = terminated.get("signal")
            reason = f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode')}"
        elif container.get("ready") and lookup(container, "state", "running") is not None:
            running = True
    if reason == "Completed" and running:
        return "Running" if _condition(status, "Ready") else "NotReady"
    return reason


def _condition(status: JsonObject, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in items(status, "conditions"))


def _counted(obj: JsonObject) -> list[JsonObject]:
    """Statuses of the containers that READY and RESTARTS count: the main ones and sidecars."""
    status = section(obj, "status")
    sidecars = {
        c.get("name") for c in items(section(obj, "spec"), "initContainers") if c.get("restartPolicy") == "Always"
    }
    return [
        *(s for s in items(status, "initContainerStatuses") if s.get("name") in sidecars),
        *items(status, "containerStatuses"),
    ]


def _pod_ready(obj: JsonObject, _now: float) -> str:
    spec = section(obj, "spec")
    total = len(items(spec, "containers"))
    total += sum(c.get("restartPolicy") == "Always" for c in items(spec, "initContainers"))
    return f"{sum(bool(s.get('ready')) for s in _counted(obj))}/{total}"


def _pod_restarts(obj: JsonObject, now: float) -> str:
    counted = _counted(obj)
    restarts = sum(int(s.get("restartCount") or 0) for s in counted)
    ended = [lookup(s, "lastState", "terminated", "finishedAt") for s in counted]
    last = max((parse_time(text) for text in ended if text), default=0.0)
    return f"{restarts} ({duration(now - last)} ago)" if restarts and last else str(restarts)


def _readiness_gates(obj: JsonObject, _now: float) -> str:
    gates = items(section(obj, "spec"), "readinessGates")
    if not gates:
        return "<none>"
    met = sum(_condition(section(obj, "status"), str(g.get("conditionType"))) for g in gates)
    return f"{met}/{len(gates)}"


POD = (
    NAME,
    Column("Ready", _pod_ready, description="Ready containers of all."),
    Column("Status", pod_status, description="The phase, or what holds the pod up."),
    Column("Restarts", _pod_restarts, description="How often containers were restarted."),
    AGE,
    Column("IP", path("status", "podIP", default="<none>"), wide=True),
    Column("Node", path("spec", "nodeName", default="<none>"), wide=True),
    Column("Nominated Node", path("status", "nominatedNodeName", default="<none>"), wide=True),
    Column("Readiness Gates", _readiness_gates, wide=True),
)

# --- services and endpoints


def _external_ip(obj: JsonObject, _now: float) -> str:
    spec = section(obj, "spec")
    kind = spec.get("type", "ClusterIP")
    given = [str(ip) for ip in items(spec, "externalIPs")]
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        ingress = lookup(obj, "status", "loadBalancer", "ingress", default=[])
        found = [str(entry.get("ip") or entry.get("hostname") or "") for entry in ingress]
        return ",".join([*found, *given]) or "<pending>"
    return ",".join(given) or "<none>"


def _service_ports(obj: JsonObject, _now: float) -> str:
    parts = []
    for port in items(section(obj, "spec"), "ports"):
        number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else str(port.get("port"))
        parts.append(f"{number}/{port.get('protocol', 'TCP')}")
    return ",".join(parts) or "<none>"


SERVICE = (
    NAME,
    Column("Type", path("spec", "type", default="ClusterIP")),
    Column("Cluster-IP", path("spec", "clusterIP", default="<none>")),
    Column("External-IP", _external_ip),
    Column("Port(s)", _service_ports),
    AGE,
    Column("Selector", lambda obj, _now: joined_labels(lookup(obj, "spec", "selector")), wide=True),
)


def _shortened(parts: list[str], most: int = 3) -> str:
    if not parts:
        return "<none>"
    more = f" + {len(parts) - most} more..." if len(parts) > most else ""
    return ",".join(parts[:most]) + more


def _endpoints(obj: JsonObject, _now: float) -> str:
    found = []
    for subset in items(obj, "subsets"):
        for address in items(subset, "addresses"):
            ports = items(subset, "ports") or [{}]
            found += [f"{address.get('ip')}:{p['port']}" if p else str(address.get("ip")) for p in ports]
    return _shortened(found)


def _slice_ports(obj: JsonObject, _now: float) -> str:
    found = [str(p["port"]) if p.get("port") is not None else "*" for p in items(obj, "ports")]
    return _shortened(found) if found else "<unset>"


def _slice_addresses(obj: JsonObject, _now: float) -> str:
    found = [str(a) for e in items(obj, "endpoints") for a in items(e, "addresses")]
    return _shortened(found) if found else "<unset>"


# --- nodes


def _node_status(obj: JsonObject, _now: float) -> str:
    ready = next((c for c in items(section(obj, "status"), "conditions") if c.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if lookup(obj, "spec", "unschedulable") else text


def _roles(obj: JsonObject, _now: float) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(k.removeprefix(prefix) for k in labels_of(obj) if k.startswith(prefix))) or "<none>"


def _address(kind: str) -> Cell:
    def cell(obj: JsonObject, _now: float) -> str:
        for found in items(section(obj, "status"), "addresses"):
            if found.get("type") == kind:
                return str(found.get("address", "<none>"))
        return "<none>"

    return cell


# --- the rest


def _deployment_ready(obj: JsonObject, _now: float) -> str:
    return f"{lookup(obj, 'status', 'readyReplicas', default=0)}/{lookup(obj, 'spec', 'replicas', default=0)}"


def _node_selector(obj: JsonObject, _now: float) -> str:
    found = section(section(section(section(obj, "spec"), "template"), "spec"), "nodeSelector")
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())) or "<none>"


def _event_object(obj: JsonObject, _now: float) -> str:
    target = section(obj, "involvedObject") or section(obj, "regarding")
    return f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"


def _event_last(obj: JsonObject, now: float) -> str:
    last = lookup(obj, "series", "lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return since(last or obj.get("firstTimestamp") or lookup(obj, "metadata", "creationTimestamp"), now)


def _hpa_reference(obj: JsonObject, _now: float) -> str:
    target = lookup(obj, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _subjects(kind: str) -> Cell:
    def cell(obj: JsonObject, _now: float) -> str:
        found = [s for s in items(obj, "subjects") if s.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{s.get('namespace', '')}/{s.get('name', '')}" for s in found)
        return ", ".join(str(s.get("name", "")) for s in found)

    return cell


def _binding_columns() -> tuple[Column, ...]:
    return (
        NAME,
        Column("Role", lambda o, _now: f"{lookup(o, 'roleRef', 'kind')}/{lookup(o, 'roleRef', 'name')}"),
        AGE,
        Column("Users", _subjects("User"), wide=True),
        Column("Groups", _subjects("Group"), wide=True),
        Column("ServiceAccounts", _subjects("ServiceAccount"), wide=True),
    )


def _created(obj: JsonObject, _now: float) -> str:
    return str(lookup(obj, "metadata", "creationTimestamp", default=""))


_BUILTIN: dict[str, tuple[Column, ...]] = {
    "pods": POD,
    "services": SERVICE,
    "endpoints": (NAME, Column("Endpoints", _endpoints), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        Column("AddressType", path("addressType")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_addresses),
        AGE,
    ),
    "namespaces": (NAME, Column("Status", path("status", "phase")), AGE),
    "nodes": (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _roles),
        AGE,
        Column("Version", path("status", "nodeInfo", "kubeletVersion")),
        Column("Internal-IP", _address("InternalIP"), wide=True),
        Column("External-IP", _address("ExternalIP"), wide=True),
        Column("OS-Image", path("status", "nodeInfo", "osImage", default="<unknown>"), wide=True),
        Column("Kernel-Version", path("status", "nodeInfo", "kernelVersion", default="<unknown>"), wide=True),
        Column(
            "Container-Runtime", path("status", "nodeInfo", "containerRuntimeVersion", default="<unknown>"), wide=True
        ),
    ),
    "serviceaccounts": (NAME, Column("Secrets", lambda o, _now: len(items(o, "secrets")), type="string"), AGE),
    "secrets": (
        NAME,
        Column("Type", path("type")),
        Column("Data", lambda o, _now: len(section(o, "data"))),
        AGE,
    ),
    "configmaps": (
        NAME,
        Column("Data", lambda o, _now: len(section(o, "data")) + len(section(o, "binaryData"))),
        AGE,
    ),
    "events": (
        Column("Last Seen", _event_last),
        Column("Type", path("type")),
        Column("Reason", path("reason")),
        Column("Object", _event_object),
        Column("Subobject", path("involvedObject", "fieldPath"), wide=True),
        Column("Source", path("source", "component"), wide=True),
        Column("Message", lambda o, _now: str(o.get("message") or o.get("note") or "").strip()),
        Column("First Seen", lambda o, now: since(o.get("firstTimestamp") or o.get("eventTime"), now), wide=True),
        Column("Count", lambda o, _now: o.get("count") or 1, wide=True),
        Column("Name", name, wide=True),
    ),
    "deployments.apps": (
        NAME,
        Column("Ready", _deployment_ready),
        Column("Up-to-date", path("status", "updatedReplicas", default=0)),
        Column("Available", path("status", "availableReplicas", default=0)),
        AGE,
        Column("Containers", containers, wide=True),
        Column("Images", images, wide=True),
        Column("Selector", lambda o, _now: label_selector(lookup(o, "spec", "selector")), wide=True),
    ),
    "statefulsets.apps": (
        NAME,
        Column("Ready", _deployment_ready),
        AGE,
        Column("Containers", containers, wide=True),
        Column("Images", images, wide=True),
    ),
    "daemonsets.apps": (
        NAME,
        Column("Desired", path("status", "desiredNumberScheduled", default=0), type="integer"),
        Column("Current", path("status", "currentNumberScheduled", default=0), type="integer"),
        Column("Ready", path("status", "numberReady", default=0), type="integer"),
        Column("Up-to-date", path("status", "updatedNumberScheduled", default=0), type="integer"),
        Column("Available", path("status", "numberAvailable", default=0), type="integer"),
        Column("Node Selector", _node_selector),
        AGE,
        Column("Containers", containers, wide=True),
        Column("Images", images, wide=True),
        Column("Selector", lambda o, _now: label_selector(lookup(o, "spec", "selector")), wide=True),
    ),
    "replicasets.apps": (
        NAME,
        Column("Desired", path("spec", "replicas", default=0), type="integer"),
        Column("Current", path("status", "replicas", default=0), type="integer"),
        Column("Ready", path("status", "readyReplicas", default=0), type="integer"),
        AGE,
        Column("Containers", containers, wide=True),
        Column("Images", images, wide=True),
        Column("Selector", lambda o, _now: label_selector(lookup(o, "spec", "selector")), wide=True),
    ),
    "horizontalpodautoscalers.autoscaling": (
        NAME,
        Column("Reference", _hpa_reference),
        Column("MinPods", path("spec", "minReplicas", default="<unset>")),
        Column("MaxPods", path("spec", "maxReplicas"), type="integer"),
        Column("Replicas", path("status", "currentReplicas", default=0), type="integer"),
        AGE,
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        Column("Min Available", path("spec", "minAvailable", default="N/A")),
        Column("Max Unavailable", path("spec", "maxUnavailable", default="N/A")),
        Column("Allowed Disruptions", path("status", "disruptionsAllowed", default=0), type="integer"),
        AGE,
    ),
    "leases.coordination.k8s.io": (NAME, Column("Holder", path("spec", "holderIdentity")), AGE),
    "roles.rbac.authorization.k8s.io": (NAME, Column("Created At", _created)),
    "clusterroles.rbac.authorization.k8s.io": (NAME, Column("Created At", _created)),
    "rolebindings.rbac.authorization.k8s.io": _binding_columns(),
    "clusterrolebindings.rbac.authorization.k8s.io": _binding_columns(),
    "customresourcedefinitions.apiextensions.k8s.io": (NAME, Column("Created At", _created)),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": (
        NAME,
        Column("Webhooks", lambda o, _now: len(items(o, "webhooks")), type="integer"),
        AGE,
    ),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": (
        NAME,
        Column("Webhooks", lambda o, _now: len(items(o, "webhooks")), type="integer"),
        AGE,
    ),
}

# --- custom resources


def _custom_cell(text: str, kind: str) -> Cell:
    def cell(obj: JsonObject, now: float) -> Any:
        value = json_path(obj, text)
        if value is None:
            return None
        if kind == "date":
            return since(value, now)
        if kind == "integer":
            return int(value) if isinstance(value, int | float) else None
        if isinstance(value, bool) and kind == "string":
            return str(value).lower()
        if isinstance(value, list | dict):
            return json.dumps(value, separators=(",", ":"))
        return value if kind in ("boolean", "number") and not isinstance(value, str) else str(value)

    return cell


def _custom(version: Version) -> tuple[Column, ...]:
    if not version.columns:
        return (NAME, AGE)
    return (NAME, *(_custom_column(given) for given in version.columns))


def _custom_column(given: JsonObject) -> Column:
    return Column(
        str(given.get("name")),
        _custom_cell(str(given.get("jsonPath")), str(given.get("type"))),
        wide=bool(given.get("priority")),
        type=str(given.get("type", "string")),
        description=str(given.get("description", "")),
        format=str(given.get("format", "")),
    )


def printer(resource: Resource, version: Version) -> Printer:
    if resource.custom:
        return Printer(_custom(version))
    return Printer(_BUILTIN.get(resource.storage, (NAME, AGE)))
