"""Service -> Endpoints (core/v1): what `kubectl get endpoints` shows; Isthmus itself reads EndpointSlices."""

from __future__ import annotations

from isthmus_lab.apiserver.objects import JsonObject, labels_of
from isthmus_lab.controllers.client import ENDPOINTS, POD, SERVICE
from isthmus_lab.controllers.endpoints import Ports, has_selector, resolve_ports, selected_pods, services_of_pod
from isthmus_lab.controllers.facts import is_deleting, is_finished, is_ready, spec_of, status_of, uid_of
from isthmus_lab.controllers.plan import Controller, Create, Delete, Plan, Replace, own_key
from isthmus_lab.controllers.view import Key, Moment, View, key_of

_MARK = "endpoints.kubernetes.io/managed-by"
_MANAGER = "endpoint-controller"


def desired(view: View, key: Key, _now: Moment) -> Plan:
    """One object per service with a selector, of the same name."""
    service, existing = view.services.get(*key), view.endpoints.get(*key)
    if service is None:
        ours = existing is not None and labels_of(existing).get(_MARK) == _MANAGER
        return Plan((Delete(ENDPOINTS, existing),)) if existing is not None and ours else Plan()
    if is_deleting(service) or not has_selector(service):
        return Plan()
    wanted = _endpoints(view, service)
    if existing is None:
        return Plan((Create(ENDPOINTS, wanted, owner=service),))
    if (existing.get("subsets") or []) == wanted["subsets"] and labels_of(existing) == wanted["metadata"]["labels"]:
        return Plan()
    wanted["metadata"]["resourceVersion"] = existing["metadata"].get("resourceVersion")
    return Plan((Replace(ENDPOINTS, wanted),))


def _endpoints(view: View, service: JsonObject) -> JsonObject:
    always = bool(spec_of(service).get("publishNotReadyAddresses"))
    subsets: dict[Ports, dict[str, list[JsonObject]]] = {}
    for pod in sorted(selected_pods(view, service), key=key_of):
        if not status_of(pod).get("podIP") or is_finished(pod) or is_deleting(pod):
            continue
        field = "addresses" if always or is_ready(pod) else "notReadyAddresses"
        subsets.setdefault(resolve_ports(service, pod), {}).setdefault(field, []).append(_address(pod))
    return {
        "apiVersion": "v1",
        "kind": ENDPOINTS.kind,
        "metadata": {
            "name": service["metadata"]["name"],
            "namespace": service["metadata"]["namespace"],
            "labels": {**labels_of(service), _MARK: _MANAGER},
        },
        "subsets": [{**found, "ports": [_port(*port) for port in ports]} for ports, found in subsets.items()],
    }


def _address(pod: JsonObject) -> JsonObject:
    meta = pod["metadata"]
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": uid_of(pod)}
    address: JsonObject = {"ip": str(status_of(pod)["podIP"]), "targetRef": target}
    node = spec_of(pod).get("nodeName")
    return {**address, "nodeName": node} if node else address


def _port(name: str, number: int, protocol: str, app_protocol: str) -> JsonObject:
    port: JsonObject = {"port": number, "protocol": protocol}
    if name:
        port["name"] = name
    return {**port, "appProtocol": app_protocol} if app_protocol else port


CONTROLLER = Controller("endpoints", desired, {SERVICE: own_key, POD: services_of_pod, ENDPOINTS: own_key})
