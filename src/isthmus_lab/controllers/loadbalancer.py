"""Service of type LoadBalancer -> status.loadBalancer: the WAN addresses of the pods behind it."""

from __future__ import annotations

import ipaddress

from isthmus_lab.apiserver.objects import annotations_of
from isthmus_lab.controllers.client import POD, SERVICE
from isthmus_lab.controllers.endpoints import selected_pods, services_of_pod
from isthmus_lab.controllers.facts import is_deleting, is_finished, is_ready, spec_of, status_of
from isthmus_lab.controllers.plan import Controller, Patch, Plan, own_key
from isthmus_lab.controllers.view import Key, Moment, View

WAN_ADDRESS = "lab.isthmus.dev/wan-ip"
"""The kubelet writes the pod's address on the WAN here; it stays while the pod lives."""


def desired(view: View, key: Key, _now: Moment) -> Plan:
    """The addresses of ready pods, as a load balancer sends to no other; of all pods while none is ready.

    So the last gateway keeps its address while its pod exists, and a new one is not called before it can answer.
    """
    service = view.services.get(*key)
    if service is None or is_deleting(service):
        return Plan()
    addresses: list[str] = []
    if spec_of(service).get("type") == "LoadBalancer" and spec_of(service).get("selector"):
        pods = [pod for pod in selected_pods(view, service) if annotations_of(pod).get(WAN_ADDRESS)]
        pods = [pod for pod in pods if not is_finished(pod)]
        serving = [pod for pod in pods if is_ready(pod) and not is_deleting(pod)]
        addresses = sorted({annotations_of(pod)[WAN_ADDRESS] for pod in serving or pods}, key=_order)
    wanted = {"ingress": [{"ip": address, "ipMode": "VIP"} for address in addresses]} if addresses else {}
    if (status_of(service).get("loadBalancer") or {}) == wanted:
        return Plan()
    patch = {"status": {"loadBalancer": {"ingress": wanted.get("ingress")}}}
    return Plan((Patch(SERVICE, service, patch, "status"),))


def _order(address: str) -> tuple[int, str]:
    try:
        return int(ipaddress.ip_address(address)), address
    except ValueError:
        return -1, address


CONTROLLER = Controller("loadbalancers", desired, {SERVICE: own_key, POD: services_of_pod})
