"""The proxy's container: what sidecars and gateways have in common."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.install.values import PROXY_UID, ROOT_CONFIG_MAP, Manifest, MeshValues

STATUS_PORT = 15021
TOKEN_AUDIENCE = "istio-ca"
TOKEN_SECONDS = 43200
TOKEN_DIR = "/var/run/secrets/tokens"
ROOT_DIR = "/var/run/secrets/istio"
POD_DIR = "/var/run/secrets/pod"
STATE_DIR = "/var/run/isthmus"


def field_env(name: str, path: str) -> Manifest:
    """An environment variable from the pod's own fields."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def plain_env(values: Mapping[str, str]) -> list[Manifest]:
    """Environment variables in order."""
    return [{"name": name, "value": value} for name, value in values.items()]


def proxy_env(
    mesh: MeshValues, *, network: str, workload: Mapping[str, str], metadata: Mapping[str, str]
) -> list[Manifest]:
    """Environment of the proxy (semantics §1.17). `workload` has WORKLOAD_NAME and OWNER; `metadata` wins over all."""
    fixed = {
        "CA_ADDR": mesh.discovery_address,
        "PILOT_ADDRESS": mesh.discovery_address,
        "TRUST_DOMAIN": mesh.trust_domain,
        "ISTIO_META_CLUSTER_ID": mesh.cluster,
        "ISTIO_META_MESH_ID": mesh.mesh_id or mesh.trust_domain,
    }
    if network:
        fixed["ISTIO_META_NETWORK"] = network
    fixed |= {f"ISTIO_META_{key}": value for key, value in workload.items() if value}
    fixed |= {**mesh.proxy_env, **metadata}
    fields = [
        field_env("POD_NAME", "metadata.name"),
        field_env("POD_NAMESPACE", "metadata.namespace"),
        field_env("INSTANCE_IP", "status.podIP"),
        field_env("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field_env("HOST_IP", "status.hostIP"),
        field_env("NODE_NAME", "spec.nodeName"),
    ]
    return fields + plain_env(fixed)


def pod_ports(containers: Iterable[Mapping[str, Any]]) -> str:
    """ISTIO_META_POD_PORTS: the ports that the application's containers name, as JSON."""
    found = []
    for container in containers:
        for port in container.get("ports") or []:
            item = {key: port[key] for key in ("name", "containerPort", "protocol") if port.get(key)}
            if "containerPort" in item:
                found.append(item)
    return json.dumps(found, separators=(",", ":"))


def volumes() -> list[Manifest]:
    """Token for the control plane, root certificate, the pod's labels, and the agent's own files."""
    token = {"audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "istio-token"}
    paths = [{"path": name, "fieldRef": {"fieldPath": f"metadata.{name}"}} for name in ("labels", "annotations")]
    return [
        {"name": "isthmus-data", "emptyDir": {}},
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "istiod-ca-cert", "configMap": {"name": ROOT_CONFIG_MAP}},
        {"name": "istio-podinfo", "downwardAPI": {"items": paths}},
    ]


def volume_mounts() -> list[Manifest]:
    """Where the agent looks for them; all below /var/run."""
    return [
        {"name": "isthmus-data", "mountPath": STATE_DIR},
        {"name": "istio-token", "mountPath": TOKEN_DIR, "readOnly": True},
        {"name": "istiod-ca-cert", "mountPath": ROOT_DIR, "readOnly": True},
        {"name": "istio-podinfo", "mountPath": POD_DIR, "readOnly": True},
    ]


def readiness(*, period: int, failures: int) -> Manifest:
    """A probe of the agent: ready once Envoy has its configuration."""
    return {
        "httpGet": {"path": "/healthz/ready", "port": STATUS_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def security_context(*, user: int = PROXY_UID) -> Manifest:
    """A process that can do nothing but its work."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": user,
        "runAsNonRoot": True,
        "runAsUser": user,
    }
