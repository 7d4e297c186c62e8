"""Sidecar injection: an admission request for a pod -> the JSON patch (RFC 6902) that gives it a proxy.

The pod gets an init container that sets up capture and the proxy as a native sidecar (an init container that keeps
running), both before the pod's own init containers, so that these may use the mesh. Istio's labels and annotations
apply.

Probes of the application are left as they are: a kubelet outside the pod must exclude their ports from capture
(`traffic.sidecar.istio.io/excludeInboundPorts`) where only mutual TLS is accepted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from isthmus.base.errors import UsageError
from isthmus.base.labels import NETWORK_LABEL, TLS_MODE_LABEL, TUNNEL_LABEL
from isthmus.install import capture
from isthmus.install.proxy import pod_ports, proxy_env, readiness, security_context, volume_mounts, volumes
from isthmus.install.values import REVISION_LABEL, Manifest, MeshValues

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"
PROXY_CONTAINER = "istio-proxy"
INIT_CONTAINER = "istio-init"
_SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_RESOURCES = {
    "sidecar.istio.io/proxyCPU": "cpu",
    "sidecar.istio.io/proxyMemory": "memory",
    "sidecar.istio.io/proxyCPULimit": "cpu_limit",
    "sidecar.istio.io/proxyMemoryLimit": "memory_limit",
}
_TRUE = ("true", "yes", "y", "on", "1")
_FALSE = ("false", "no", "n", "off", "0")


class InjectionError(UsageError):
    """The pod asks for something that cannot be done; it is refused with this text."""


def inject(pod: Manifest, request: Mapping[str, Any], values: MeshValues) -> list[Manifest]:
    """The patch; empty for a pod that is to stay as it is. `request` is the AdmissionRequest. Raises InjectionError."""
    target = _Pod(pod, str(request.get("namespace") or ""))
    if skip_reason(pod, target.namespace):
        return []
    target.check()
    network = target.labels.get(NETWORK_LABEL) or values.network
    owner, workload = target.workload()
    return [
        *_metadata_patch(target, values, network=network, workload=workload),
        *_spec_patch(target, values, network=network, workload={"WORKLOAD_NAME": workload, "OWNER": owner}),
    ]


def skip_reason(pod: Manifest, namespace: str) -> str:
    """Why a pod that the API server sent gets no sidecar, in a word or two; empty if it gets one."""
    spec, meta = pod.get("spec") or {}, pod.get("metadata") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if spec.get("hostNetwork"):
        return "host network"
    if namespace in _SYSTEM_NAMESPACES:
        return "system namespace"
    if STATUS in annotations or PROXY_CONTAINER in {item.get("name") for item in _all_containers(spec)}:
        return "has a sidecar already"
    asked = str(labels.get(INJECT, annotations.get(INJECT, ""))).lower()
    return "not wanted" if asked in _FALSE else ""


@dataclass(frozen=True, slots=True)
class _Pod:
    """The pod as it was sent, and the namespace it goes to (which it need not name itself)."""

    obj: Manifest
    namespace: str

    @property
    def meta(self) -> Manifest:
        return self.obj.get("metadata") or {}

    @property
    def spec(self) -> Manifest:
        return self.obj.get("spec") or {}

    @property
    def labels(self) -> dict[str, str]:
        return self.meta.get("labels") or {}

    @property
    def annotations(self) -> dict[str, str]:
        return self.meta.get("annotations") or {}

    @property
    def containers(self) -> list[Manifest]:
        return self.spec.get("containers") or []

    def check(self) -> None:
        """Raises InjectionError for what would not work, with the remedy."""
        asked = str(self.labels.get(INJECT, self.annotations.get(INJECT, ""))).lower()
        if asked and asked not in _TRUE:
            raise InjectionError(f"{INJECT} is {asked!r}", 'Set it to "true" or "false"')
        names = {item.get("name") for item in _all_containers(self.spec)}
        if INIT_CONTAINER in names:
            raise InjectionError(f"a container is named {INIT_CONTAINER}", "Rename it: injection needs that name")
        taken = {item["name"] for item in volumes()} & {item.get("name") for item in self.spec.get("volumes") or []}
        if taken:
            raise InjectionError(f"volume {min(taken)} is there already", "Rename it: injection needs that name")

    def workload(self) -> tuple[str, str]:
        """(owner, name) of what made the pod: a Deployment is seen through its ReplicaSet."""
        owners = self.meta.get("ownerReferences") or []
        owner = next((item for item in owners if item.get("controller")), None)
        if owner is None:
            name = str(self.meta.get("name") or self.meta.get("generateName", "").rstrip("-"))
            return self._owner("v1", "pods", name), name
        api, kind, name = str(owner.get("apiVersion", "")), str(owner.get("kind", "")), str(owner.get("name", ""))
        digest = self.labels.get("pod-template-hash")
        if kind == "ReplicaSet" and digest and name.endswith(f"-{digest}"):
            kind, name = "Deployment", name.removesuffix(f"-{digest}")
        return self._owner(api, f"{kind.lower()}s", name), name

    def _owner(self, api_version: str, plural: str, name: str) -> str:
        return f"kubernetes://apis/{api_version}/namespaces/{self.namespace}/{plural}/{name}"


def _all_containers(spec: Manifest) -> Iterable[Manifest]:
    return [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]


def _metadata_patch(pod: _Pod, values: MeshValues, *, network: str, workload: str) -> list[Manifest]:
    labels = pod.labels
    name = labels.get(CANONICAL_NAME) or labels.get("app.kubernetes.io/name") or labels.get("app") or workload
    revision = labels.get(CANONICAL_REVISION) or labels.get("app.kubernetes.io/version") or labels.get("version")
    added = {
        TLS_MODE_LABEL: "istio",
        CANONICAL_NAME: name[:63].rstrip("-_."),
        CANONICAL_REVISION: revision or "latest",
        REVISION_LABEL: values.revision,
    }
    if network:
        added[NETWORK_LABEL] = network
    if values.hbone:
        added[TUNNEL_LABEL] = "http"
    status = {
        "initContainers": [INIT_CONTAINER, PROXY_CONTAINER],
        "containers": None,
        "volumes": [item["name"] for item in volumes()],
        "revision": values.revision,
    }
    annotations = {**pod.annotations, STATUS: json.dumps(status, separators=(",", ":"))}
    if pod.containers:
        annotations.setdefault("kubectl.kubernetes.io/default-container", str(pod.containers[0].get("name", "")))
    patch: list[Manifest] = [] if "metadata" in pod.obj else [_add("/metadata", {})]
    return [*patch, _add("/metadata/labels", {**added, **labels}), _add("/metadata/annotations", annotations)]


def _spec_patch(pod: _Pod, values: MeshValues, *, network: str, workload: Mapping[str, str]) -> list[Manifest]:
    first = [_proxy_container(pod, values, network=network, workload=workload)]
    arguments = capture.arguments(pod.annotations, dns=values.dns_capture)
    if arguments is not None:
        first.insert(0, _init_container(values, arguments))
    patch = [
        _add("/spec/initContainers", [*first, *(pod.spec.get("initContainers") or [])]),
        _add("/spec/volumes", [*(pod.spec.get("volumes") or []), *volumes()]),
    ]
    security = pod.spec.get("securityContext") or {}
    if "fsGroup" not in security:  # so that the proxy's user can read its token
        patch.append(_add("/spec/securityContext", {**security, "fsGroup": 1337}))
    return patch


def _init_container(values: MeshValues, arguments: list[str]) -> Manifest:
    security = security_context(user=0)
    security |= {"runAsNonRoot": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}}
    return {
        "name": INIT_CONTAINER,
        "image": values.images.init,
        "imagePullPolicy": values.images.pull_policy,
        "args": ["istio-iptables", *arguments],
        "resources": values.proxy_resources.manifest(),
        "securityContext": security,
    }


def _proxy_container(pod: _Pod, values: MeshValues, *, network: str, workload: Mapping[str, str]) -> Manifest:
    metadata = {
        "ISTIO_META_APP_CONTAINERS": ",".join(str(item.get("name", "")) for item in pod.containers),
        "ISTIO_META_POD_PORTS": pod_ports(pod.containers),
        "ISTIO_META_INTERCEPTION_MODE": capture.mode(pod.annotations),
        "ISTIO_META_DNS_CAPTURE": str(values.dns_capture).lower(),
        **({"ISTIO_META_ENABLE_HBONE": "true"} if values.hbone else {}),
        **_proxy_config(pod.annotations),
    }
    wanted = {key: pod.annotations[name] for name, key in _RESOURCES.items() if name in pod.annotations}
    return {
        "name": PROXY_CONTAINER,
        "image": pod.annotations.get("sidecar.istio.io/proxyImage") or values.images.proxy,
        "imagePullPolicy": values.images.pull_policy,
        "restartPolicy": "Always",
        "args": ["proxy", "sidecar", "--domain", f"$(POD_NAMESPACE).svc.{values.domain}"],
        "env": proxy_env(values, network=network, workload=workload, metadata=metadata),
        "ports": [{"containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP"}],
        "startupProbe": readiness(period=1, failures=600),
        "readinessProbe": readiness(period=2, failures=4),
        "resources": replace(values.proxy_resources, **wanted).manifest(),
        "securityContext": security_context(),
        "volumeMounts": volume_mounts(),
    }


def _proxy_config(annotations: Mapping[str, str]) -> dict[str, str]:
    """`proxyMetadata` of the annotation `proxy.istio.io/config`, as JSON or YAML."""
    text = annotations.get("proxy.istio.io/config")
    if not text:
        return {}
    import yaml

    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InjectionError(f"proxy.istio.io/config is not YAML ({error})", "Correct the annotation") from None
    found = config.get("proxyMetadata") if isinstance(config, dict) else None
    if found is not None and not isinstance(found, dict):
        raise InjectionError("proxyMetadata in proxy.istio.io/config is no mapping", "Write NAME: value pairs")
    return {str(key): str(value) for key, value in (found or {}).items()}


def _add(path: str, value: Any) -> Manifest:
    return {"op": "add", "path": path, "value": value}
