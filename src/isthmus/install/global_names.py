"""Global names between clusters that know nothing of each other: what one of them tells the others.

A cluster's services with the label `istio.io/global: "true"` become ServiceEntries `<name>.<namespace>.global`, whose
endpoints are the cluster's gateways. The same objects may be applied in every cluster, their own included.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.base.labels import CLUSTER_LABEL, EGRESS_LABEL, GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.base.names import DEFAULT_DOMAIN, spiffe_id
from isthmus.install.values import GatewayValues, Manifest

GLOBAL_LABEL = "istio.io/global"
GLOBAL_HOSTS = "*.global"
EGRESS_PORT = 15445
_MTLS_PORT = 15443
_PROTOCOLS = {"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "https": "TLS", "tls": "TLS"}

Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Home:
    """The cluster that tells of its services."""

    cluster: str
    trust_domain: str = DEFAULT_DOMAIN


def egress_service(values: GatewayValues, selector: Mapping[str, str], labels: Mapping[str, str]) -> Manifest:
    """The way out for the cluster's own pods: for them alone, so not through the load balancer."""
    port = {"name": "tls-egress", "port": EGRESS_PORT, "protocol": "TCP", "targetPort": EGRESS_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"{values.name}-egress",
            "namespace": values.mesh.namespace,
            "labels": {**labels, EGRESS_LABEL: str(EGRESS_PORT)},
        },
        "spec": {"type": "ClusterIP", "selector": dict(selector), "ports": [port]},
    }


def global_entries(home: Home, services: Objects, pods: Objects) -> list[Manifest]:
    """The ServiceEntries of a cluster's global services; none without a gateway that has an address.

    `services` and `pods` are all of the cluster, as its API server gives them. The pods say who serves.
    """
    gateways = [gateway for service in services for gateway in _gateways(service)]
    chosen = [service for service in services if _labels(service).get(GLOBAL_LABEL) == "true"]
    chosen.sort(key=lambda service: (service["metadata"]["namespace"], service["metadata"]["name"]))
    return [_entry(home, service, gateways, pods) for service in chosen if gateways and _ports(service)]


def without_pods(services: Objects, pods: Objects) -> list[str]:
    """Global services, as `namespace/name`, whose identity nobody knows yet."""
    chosen = (service for service in services if _labels(service).get(GLOBAL_LABEL) == "true")
    return [
        f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        for service in chosen
        if not _accounts(service, pods)
    ]


@dataclass(frozen=True, slots=True)
class _Gateway:
    address: str
    port: int
    network: str


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def _gateways(service: Mapping[str, Any]) -> Iterator[_Gateway]:
    """The addresses at which other networks enter (NW4, NW5)."""
    network, text = _labels(service).get(NETWORK_LABEL, ""), _labels(service).get(GATEWAY_PORT_LABEL, "")
    port = int(text) if text.isdecimal() else _MTLS_PORT
    if not network or all(known.get("port") != port for known in service["spec"].get("ports") or ()):
        return
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    found = [item.get("ip") or item.get("hostname") for item in ingress]
    for address in dict.fromkeys([*found, *(service["spec"].get("externalIPs") or ())]):
        if address:
            yield _Gateway(address, port, network)


def _entry(home: Home, service: Mapping[str, Any], gateways: Iterable[_Gateway], pods: Objects) -> Manifest:
    meta = service["metadata"]
    ports = _ports(service)
    endpoints = [
        {
            "address": gateway.address,
            "network": gateway.network,
            "labels": {CLUSTER_LABEL: home.cluster},
            "ports": {port["name"]: gateway.port for port in ports},
        }
        for gateway in gateways
    ]
    names = [spiffe_id(home.trust_domain, meta["namespace"], account) for account in _accounts(service, pods)]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": f"{meta['name']}-global-{home.cluster}", "namespace": meta["namespace"]},
        "spec": {
            "hosts": [f"{meta['name']}.{meta['namespace']}.global"],
            "location": "MESH_INTERNAL",
            "resolution": "DNS",  # gateways may have host names, which the control plane resolves
            "ports": ports,
            "endpoints": endpoints,
            **({"subjectAltNames": names} if names else {}),
        },
    }


def _ports(service: Mapping[str, Any]) -> list[Manifest]:
    found: list[Manifest] = []
    for port in service["spec"].get("ports") or ():
        if port.get("protocol", "TCP") != "TCP":
            continue
        word = (port.get("appProtocol") or str(port.get("name") or "").partition("-")[0]).lower()
        protocol = _PROTOCOLS.get(word, "TCP")
        name = port.get("name") or f"{protocol.lower()}-{port['port']}"
        found.append({"number": port["port"], "name": name, "protocol": protocol})
    return found


def _accounts(service: Mapping[str, Any], pods: Objects) -> list[str]:
    """The service accounts of the pods behind it."""
    selector = service["spec"].get("selector") or {}
    return sorted(
        {
            (pod.get("spec") or {}).get("serviceAccountName") or "default"
            for pod in pods
            if selector
            and pod["metadata"]["namespace"] == service["metadata"]["namespace"]
            and selector.items() <= _labels(pod).items()
        }
    )
