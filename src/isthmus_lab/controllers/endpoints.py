"""Service -> EndpointSlices: the addresses of the selected pods, and whether they can be used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus_lab.apiserver.objects import JsonObject, labels_of
from isthmus_lab.controllers.client import ENDPOINT_SLICE, NODE, POD, SERVICE
from isthmus_lab.controllers.facts import (
    is_deleting,
    is_finished,
    is_ready,
    owner_reference,
    pod_selects,
    short_hash,
    spec_of,
    status_of,
    uid_of,
    zone_of,
)
from isthmus_lab.controllers.plan import Action, Controller, Create, Delete, Plan, Replace, own_key
from isthmus_lab.controllers.view import Key, Moment, View, key_of

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
MAX_ENDPOINTS = 100

Ports = tuple[tuple[str, int, str, str], ...]
"""(name, number, protocol, appProtocol) of a slice's ports: pods with equal ports share slices."""


def desired(view: View, key: Key, _now: Moment) -> Plan:
    """The slices of one service. Those of services without selector belong to whoever made them."""
    existing = [item for item in view.slices.in_namespace(key[0]) if _is_ours(item, key[1])]
    service = view.services.get(*key)
    if service is None or is_deleting(service) or not has_selector(service):
        return Plan(tuple(Delete(ENDPOINT_SLICE, item) for item in existing))
    groups: dict[Ports, list[JsonObject]] = {}
    for pod in sorted(selected_pods(view, service), key=key_of):
        if status_of(pod).get("podIP") and not is_finished(pod):
            groups.setdefault(resolve_ports(service, pod), []).append(_endpoint(view, service, pod))
    if not groups:
        groups[_ports_without_pods(service, existing)] = []
    actions: list[Action] = []
    by_ports: dict[Ports, list[JsonObject]] = {ports: [] for ports in groups}
    for item in existing:
        if uid_of(service) not in _owner_uids(item) or _ports_of(item) not in by_ports:
            actions.append(Delete(ENDPOINT_SLICE, item))
        else:
            by_ports[_ports_of(item)].append(item)
    for ports, endpoints in groups.items():
        actions = [*_write(service, ports, endpoints, by_ports[ports]), *actions]
    return Plan(tuple(actions))


def has_selector(service: JsonObject) -> bool:
    """True when endpoints come from pods."""
    spec = spec_of(service)
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def selected_pods(view: View, service: JsonObject) -> list[JsonObject]:
    """All pods that the service's selector names, whatever their state."""
    selector = spec_of(service).get("selector") or {}
    pods = view.pods.in_namespace(service["metadata"]["namespace"])
    return [pod for pod in pods if pod_selects(selector, labels_of(pod))]


def resolve_ports(service: JsonObject, pod: JsonObject) -> Ports:
    """The service's ports as this pod has them; a named target port that it lacks is left out."""
    found = []
    for port in spec_of(service).get("ports") or []:
        number = _target(port, pod)
        if number:
            protocol = str(port.get("protocol") or "TCP")
            found.append((str(port.get("name") or ""), number, protocol, str(port.get("appProtocol") or "")))
    return tuple(found)


def _ports_without_pods(service: JsonObject, existing: list[JsonObject]) -> Ports:
    """What the one empty slice says: numbers as they will be, names as they were while there were pods."""
    ports = resolve_ports(service, {})
    if len(ports) < len(spec_of(service).get("ports") or []) and existing:
        return _ports_of(existing[0])
    return ports


def _target(port: JsonObject, pod: JsonObject) -> int:
    target = port.get("targetPort") or port.get("port") or 0
    if isinstance(target, int):
        return target
    if str(target).isdecimal():
        return int(target)
    protocol = port.get("protocol") or "TCP"
    spec = spec_of(pod)
    sidecars = [item for item in spec.get("initContainers") or [] if item.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or []), *sidecars]:
        for item in container.get("ports") or []:
            if item.get("name") == target and (item.get("protocol") or "TCP") == protocol:
                return int(item.get("containerPort") or 0)
    return 0


def _endpoint(view: View, service: JsonObject, pod: JsonObject) -> JsonObject:
    spec, serving = spec_of(pod), is_ready(pod)
    terminating = is_deleting(pod)
    always = bool(spec_of(service).get("publishNotReadyAddresses"))
    endpoint: JsonObject = {
        "addresses": [str(status_of(pod)["podIP"])],
        "conditions": {
            "ready": always or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "uid": uid_of(pod),
        },
    }
    node = str(spec.get("nodeName") or "")
    if node:
        endpoint["nodeName"] = node
        zone = zone_of(view.nodes.get("", node))
        if zone:
            endpoint["zone"] = zone
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def _write(
    service: JsonObject, ports: Ports, endpoints: list[JsonObject], existing: list[JsonObject]
) -> Iterable[Action]:
    """Endpoints stay in the slice they are in; new ones go where there is room."""
    places = sorted(existing, key=key_of)
    left = {_identity(item): item for item in endpoints}
    contents: list[list[JsonObject]] = []
    for item in places:
        kept = [left.pop(_identity(old)) for old in item.get("endpoints") or [] if _identity(old) in left]
        contents.append(kept)
    waiting = list(left.values())
    for content in contents:
        room = max(0, MAX_ENDPOINTS - len(content))
        content.extend(waiting[:room])
        waiting = waiting[room:]
    for item, content in zip(places, contents, strict=True):
        wanted = _slice(service, ports, content, str(item["metadata"]["name"]))
        if not content and any(contents):
            yield Delete(ENDPOINT_SLICE, item)
        elif not _same(item, wanted):
            wanted["metadata"]["resourceVersion"] = item["metadata"].get("resourceVersion")
            yield Replace(ENDPOINT_SLICE, wanted)
    taken = {str(item["metadata"]["name"]) for item in places}
    while waiting or not places:
        name = _new_name(service, ports, taken)
        taken.add(name)
        yield Create(ENDPOINT_SLICE, _slice(service, ports, waiting[:MAX_ENDPOINTS], name), owner=service)
        waiting = waiting[MAX_ENDPOINTS:]
        places = [service]


def _identity(endpoint: JsonObject) -> tuple[Any, ...]:
    return (endpoint.get("targetRef", {}).get("uid"), tuple(endpoint.get("addresses") or ()))


def _new_name(service: JsonObject, ports: Ports, taken: set[str]) -> str:
    """Depends on the content only, so that a repeated creation meets the first one."""
    number = 0
    while True:
        name = f"{service['metadata']['name']}-{short_hash([uid_of(service), ports, number], 5)}"
        if name not in taken:
            return name
        number += 1


def _slice(service: JsonObject, ports: Ports, endpoints: list[JsonObject], name: str) -> JsonObject:
    labels = {**labels_of(service), SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if spec_of(service).get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    made: JsonObject = {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": name,
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(SERVICE, service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [_port(*port) for port in ports],
    }
    return made


def _port(name: str, number: int, protocol: str, app_protocol: str) -> JsonObject:
    port: JsonObject = {"name": name, "port": number, "protocol": protocol}
    return {**port, "appProtocol": app_protocol} if app_protocol else port


def _same(item: JsonObject, wanted: JsonObject) -> bool:
    return (
        (item.get("endpoints") or []) == wanted["endpoints"]
        and _ports_of(item) == _ports_of(wanted)
        and labels_of(item) == labels_of(wanted)
    )


def _ports_of(item: JsonObject) -> Ports:
    return tuple(
        (
            str(p.get("name") or ""),
            int(p.get("port") or 0),
            str(p.get("protocol") or "TCP"),
            str(p.get("appProtocol") or ""),
        )
        for p in item.get("ports") or []
    )


def _is_ours(item: JsonObject, service: str) -> bool:
    labels = labels_of(item)
    return labels.get(SERVICE_NAME) == service and labels.get(MANAGED_BY) == MANAGER


def _owner_uids(item: JsonObject) -> set[str]:
    return {str(owner.get("uid", "")) for owner in item["metadata"].get("ownerReferences") or []}


def services_of_pod(view: View, pod: JsonObject) -> list[Key]:
    """The services whose endpoints a change of this pod may change: those that select it and those that list it."""
    namespace, labels = str(pod["metadata"]["namespace"]), labels_of(pod)
    keys = {
        key_of(service)
        for service in view.services.in_namespace(namespace)
        if pod_selects(spec_of(service).get("selector") or {}, labels)
    }
    uid = uid_of(pod)
    for item in view.slices.in_namespace(namespace):
        if any((endpoint.get("targetRef") or {}).get("uid") == uid for endpoint in item.get("endpoints") or []):
            keys.add((namespace, labels_of(item).get(SERVICE_NAME, "")))
    return sorted(keys)


def _of_slice(_view: View, item: JsonObject) -> list[Key]:
    name = labels_of(item).get(SERVICE_NAME)
    return [(item["metadata"]["namespace"], name)] if name else []


def _of_node(view: View, node: JsonObject) -> list[Key]:
    """A node's zone is written into endpoints."""
    name = node["metadata"]["name"]
    keys: set[Key] = set()
    for pod in view.pods:
        if spec_of(pod).get("nodeName") == name:
            keys.update(services_of_pod(view, pod))
    return sorted(keys)


CONTROLLER = Controller(
    "endpointslices",
    desired,
    {SERVICE: own_key, POD: services_of_pod, ENDPOINT_SLICE: _of_slice, NODE: _of_node},
)
