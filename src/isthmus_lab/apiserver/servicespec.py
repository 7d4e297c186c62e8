"""Defaults and rules of services."""

from __future__ import annotations

from isthmus_lab.apiserver import names
from isthmus_lab.apiserver.errors import Cause, duplicate, forbidden_field, invalid_value, required
from isthmus_lab.apiserver.objects import JsonObject, items, section
from isthmus_lab.apiserver.podspec import number


def defaults(obj: JsonObject) -> None:
    spec = obj.setdefault("spec", {})
    kind = spec.get("type", "ClusterIP")
    for port in items(spec, "ports"):
        if "targetPort" not in port and port.get("port") is not None:
            port["targetPort"] = port["port"]
    if kind == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    else:
        spec.pop("externalTrafficPolicy", None)
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    spec = section(new, "spec")
    found: list[Cause] = []
    ports = items(spec, "ports")
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        found.append(required("spec.ports"))
    seen_names: set[str] = set()
    seen_ports: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        _port(port, path, found, several=len(ports) > 1)
        name = port.get("name") or ""
        if name and name in seen_names:
            found.append(duplicate(f"{path}.name", name))
        seen_names.add(name)
        identity = (port.get("port"), port.get("protocol", "TCP"))
        if identity in seen_ports:
            found.append(duplicate(path, {"port": identity[0], "protocol": identity[1]}))
        seen_ports.add(identity)
    if spec.get("type") == "ExternalName" and not spec.get("externalName"):
        found.append(required("spec.externalName"))
    if spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("clusterIP") == "None":
        found.append(
            invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services")
        )
    found += names.label_causes(section(spec, "selector"), "spec.selector")
    if old is not None:
        _immutable(spec, section(old, "spec"), found)
    return found


def _port(port: JsonObject, path: str, found: list[Cause], *, several: bool) -> None:
    name = port.get("name") or ""
    if several and not name:
        found.append(required(f"{path}.name"))
    elif name and (problem := names.label_problem(name)):
        found.append(invalid_value(f"{path}.name", name, problem))
    number(port.get("port"), f"{path}.port", found)
    target = port.get("targetPort")
    number(target, f"{path}.targetPort", found)
    if isinstance(target, str) and not names.is_port_name(target):
        detail = "must contain at least one letter (a-z) and only alpha-numeric characters and hyphens, at most 15"
        found.append(invalid_value(f"{path}.targetPort", target, detail))


def _immutable(spec: JsonObject, old: JsonObject, found: list[Cause]) -> None:
    before, after = old.get("clusterIP"), spec.get("clusterIP")
    if "ExternalName" in (spec.get("type"), old.get("type")) or not before:
        return
    if after and after != before:
        found.append(invalid_value("spec.clusterIPs[0]", [after], "may not change once set"))
    if not after and before == "None":
        found.append(forbidden_field("spec.clusterIP", "may not be unset"))
