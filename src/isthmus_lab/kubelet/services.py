"""What Services and EndpointSlices of the own cluster mean on a node: ClusterIP rules and names. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus_lab.net.rules import ServicePort

Object = dict[str, Any]
_OWNER_LABEL = "kubernetes.io/service-name"
DOMAIN = "cluster.local"


def slices_by_service(slices: Iterable[Object]) -> dict[str, list[Object]]:
    """EndpointSlices by `namespace/service`."""
    found: dict[str, list[Object]] = {}
    for item in slices:
        owner = (item["metadata"].get("labels") or {}).get(_OWNER_LABEL)
        if owner and item.get("addressType", "IPv4") == "IPv4":
            found.setdefault(f"{item['metadata']['namespace']}/{owner}", []).append(item)
    return found


def is_ready(endpoint: Mapping[str, Any]) -> bool:
    """Unknown readiness counts as ready (discovery.k8s.io/v1)."""
    return (endpoint.get("conditions") or {}).get("ready") is not False


def ready_endpoints(slices: Iterable[Object], port_name: str) -> tuple[tuple[str, int], ...]:
    """Address and port of all ready endpoints behind a named service port, sorted."""
    found = set()
    for item in slices:
        ports = [p["port"] for p in item.get("ports") or [] if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in item.get("endpoints") or []:
            if is_ready(endpoint):
                found |= {(address, int(port)) for address in endpoint["addresses"] for port in ports}
    return tuple(sorted(found))


def service_ports(services: Iterable[Object], slices: Iterable[Object]) -> list[ServicePort]:
    """All ClusterIP ports with their ready endpoints, in a stable order."""
    by_service = slices_by_service(slices)
    result = []
    for service in services:
        spec = service.get("spec") or {}
        ips = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None" and ":" not in ip]
        meta = service["metadata"]
        mine = by_service.get(f"{meta['namespace']}/{meta['name']}", [])
        for port in spec.get("ports") or []:
            protocol = str(port.get("protocol") or "TCP").lower()
            if protocol not in ("tcp", "udp"):
                continue
            endpoints = ready_endpoints(mine, port.get("name") or "")
            result += [ServicePort(ip, protocol, int(port["port"]), endpoints) for ip in ips]
    return sorted(result)


def is_called_from_outside(pod: Object, services: Iterable[Object]) -> bool:
    """True if a Service of type LoadBalancer selects the pod."""
    meta = pod["metadata"]
    labels = (meta.get("labels") or {}).items()
    for service in services:
        spec, selector = service.get("spec") or {}, (service.get("spec") or {}).get("selector")
        same = service["metadata"]["namespace"] == meta["namespace"]
        if same and spec.get("type") == "LoadBalancer" and selector and selector.items() <= labels:
            return True
    return False


def name_table(services: Iterable[Object], slices: Iterable[Object]) -> dict[str, tuple[str, ...]]:
    """IPv4 addresses by lower-case name without the last dot: ClusterIPs, and ready endpoints of headless services.

    As Kubernetes' DNS specification §2.3-2.4; a service without any address is there with none, so that it is NODATA.
    """
    by_service = slices_by_service(slices)
    table: dict[str, tuple[str, ...]] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        name = f"{meta['name']}.{meta['namespace']}.svc.{DOMAIN}".lower()
        mine = by_service.get(f"{meta['namespace']}/{meta['name']}", [])
        if spec.get("clusterIP") == "None":
            table[name] = _headless(table, name, mine)
        elif spec.get("clusterIP"):
            table[name] = (spec["clusterIP"],)
    return table


def _headless(table: dict[str, tuple[str, ...]], name: str, slices: list[Object]) -> tuple[str, ...]:
    addresses: list[str] = []
    for item in slices:
        for endpoint in item.get("endpoints") or []:
            if is_ready(endpoint):
                addresses += endpoint["addresses"]
                if endpoint.get("hostname"):
                    table[f"{endpoint['hostname']}.{name}".lower()] = tuple(endpoint["addresses"])
    return tuple(sorted(set(addresses)))
