"""Objects of a synthetic cluster as an API server sends them: JSON with all that ours does not read, too.

Made once for each size. `@@` stands for the cluster's two digits, in names and as the second part of addresses, so
that one text serves every cluster.
"""

import json
from dataclasses import dataclass
from typing import Any

from isthmus.kube.requests import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SECRETS, SERVICES, Resource

Json = dict[str, Any]
HOLE = "@@"
NAMESPACE = "bench"
SYSTEM = "istio-system"
NODES_EACH = 40
SLICE = 100
"""Endpoints of one EndpointSlice at most, as Kubernetes has it."""
VERSION = "1000"


@dataclass(frozen=True, slots=True)
class Size:
    """How many services and endpoints (pods) a cluster has."""

    services: int = 300
    endpoints: int = 4000


def meta(name: str, namespace: str = NAMESPACE, **more: Any) -> Json:
    """Metadata with what every object of a real cluster has."""
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "uid": f"3f1f8a52-0000-4000-8000-{abs(hash_of(name)) % 10**12:012}",
        "resourceVersion": VERSION,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **more,
    }


def hash_of(text: str) -> int:
    """A number of a text that is the same in every process."""
    return int.from_bytes(text.encode()[-8:], "big")


def managed(manager: str, fields: Json) -> list[Json]:
    """`managedFields`: who set what; a third of a real object's bytes."""
    entry = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z"}
    return [{**entry, "fieldsType": "FieldsV1", "fieldsV1": fields}]


def service(number: int) -> Json:
    """Every other service speaks HTTP on port 80, the rest TCP."""
    name, http = f"svc-{HOLE}-{number}", number % 2 == 0
    port = {"name": "http" if http else "tcp", "port": 80 if http else 9000, "protocol": "TCP"}
    address = f"172.{number >> 8}.{HOLE}.{number & 255}"
    return {
        "metadata": meta(name, labels={"app": name}, managedFields=managed("kubectl", {"f:spec": {"f:ports": {}}})),
        "spec": {
            "type": "ClusterIP",
            "ports": [{**port, "targetPort": 8080 if http else 9000}],
            "selector": {"app": name},
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    }


def address(serial: int) -> str:
    """The address of a cluster's pod of that number."""
    return f"10.{HOLE}.{serial >> 8}.{serial & 255}"


def pod(number: int, index: int, serial: int) -> Json:
    """A pod with an injected sidecar: about 5 KB."""
    app = f"svc-{HOLE}-{number}"
    name = f"{app}-7d4b9c6f5-{index:05}"
    port = 8080 if number % 2 == 0 else 9000
    containers = [_container(app, port), _container("istio-proxy", 15090)]
    return {
        "metadata": meta(
            name,
            generateName=f"{app}-7d4b9c6f5-",
            labels={"app": app, "pod-template-hash": "7d4b9c6f5", "security.istio.io/tlsMode": "istio"},
            annotations={"sidecar.istio.io/status": json.dumps({"initContainers": ["istio-init"], "revision": "x"})},
            ownerReferences=[{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{app}-7d4b9c6f5",
                              "uid": "0", "controller": True, "blockOwnerDeletion": True}],
            managedFields=managed("kube-controller-manager", {f"f:spec-{n}": {"f:fields": {}} for n in range(20)}),
        ),
        "spec": {
            "containers": containers,
            "initContainers": [_container("istio-init", 0)],
            "serviceAccountName": app,
            "nodeName": f"node-{HOLE}-{serial % NODES_EACH}",
            "volumes": [{"name": f"volume-{n}", "emptyDir": {}} for n in range(5)],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running",
            "podIP": address(serial),
            "podIPs": [{"ip": address(serial)}],
            "hostIP": "192.168.0.1",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                           for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")],
            "containerStatuses": [{"name": c["name"], "ready": True, "restartCount": 0, "image": c["image"],
                                   "imageID": "sha256:" + "0" * 64, "state": {"running": {}}} for c in containers],
        },
    }  # fmt: skip


def _container(name: str, port: int) -> Json:
    return {
        "name": name,
        "image": f"registry.example.com/{name}:1.0",
        "ports": [{"containerPort": port, "protocol": "TCP"}] if port else [],
        "env": [{"name": f"VARIABLE_{n}", "value": f"value-{n}"} for n in range(8)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": f"volume-{n}", "mountPath": f"/var/run/volume-{n}"} for n in range(5)],
        "imagePullPolicy": "IfNotPresent",
    }


def endpoint_slice(number: int, part: int, endpoints: list[tuple[int, int]]) -> Json:
    """One slice; `endpoints` are (index, serial) of the service's pods."""
    app = f"svc-{HOLE}-{number}"
    http = number % 2 == 0
    return {
        "metadata": meta(
            f"{app}-{part}",
            labels={"kubernetes.io/service-name": app, "endpointslice.kubernetes.io/managed-by": "controller"},
            managedFields=managed("kube-controller-manager", {"f:endpoints": {}, "f:ports": {}}),
        ),
        "addressType": "IPv4",
        "ports": [{"name": "http" if http else "tcp", "port": 8080 if http else 9000, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [address(serial)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{HOLE}-{serial % NODES_EACH}",
                "zone": f"zone-{serial % 3}",
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": f"{app}-7d4b9c6f5-{index:05}"},
            }
            for index, serial in endpoints
        ],
    }


def node(number: int) -> Json:
    """A node in one of three zones."""
    zone = {"topology.kubernetes.io/region": f"region-{HOLE}", "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    addresses = [{"type": "InternalIP", "address": f"192.168.{HOLE}.{number}"}]
    return {"metadata": meta(f"node-{HOLE}-{number}", "", labels=zone), "status": {"addresses": addresses}}


def everything(size: Size) -> dict[Resource, list[Json]]:
    """All objects of a cluster. All clusters are on one network, so that all endpoints go to all proxies."""
    label = {"topology.istio.io/network": "n0"}
    found: dict[Resource, list[Json]] = {
        NAMESPACES: [{"metadata": meta(SYSTEM, "", labels=label)}, {"metadata": meta(NAMESPACE, "")}],
        NODES: [node(number) for number in range(NODES_EACH)],
        SERVICES: [service(number) for number in range(size.services)],
        ENDPOINT_SLICES: [],
        PODS: [],
        SECRETS: [],
    }
    serials: dict[int, list[tuple[int, int]]] = {}
    for serial in range(size.endpoints):
        mine = serials.setdefault(serial % size.services, [])
        mine.append((len(mine), serial))
    for number, pods in serials.items():
        found[PODS] += [pod(number, index, serial) for index, serial in pods]
        parts = [pods[at : at + SLICE] for at in range(0, len(pods), SLICE)]
        found[ENDPOINT_SLICES] += [endpoint_slice(number, part, some) for part, some in enumerate(parts)]
    return found
