"""The Node object: created, labelled by region and zone, kept alive by a Lease."""

import asyncio
import contextlib
import os
import platform
import time
from datetime import UTC, datetime

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.client import ApiClient, ApiError, Object
from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.status import conditions, timestamp

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LEASE_SECONDS = 10
_RENEW = 3.0
_REPORT = 300.0
"""As Kubernetes' nodeStatusReportFrequency: an unchanged status is written again after this many seconds."""
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


def node_object(config: NodeConfig) -> Object:
    """The Node without its status."""
    node = config.node
    labels = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "topology.kubernetes.io/region": node.region,
        "topology.kubernetes.io/zone": node.zone,
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels}}


def node_status(config: NodeConfig, old: Object, now: float) -> Object:
    """The Node's status: ready, addresses, room."""
    wanted = {kind: (False, f"KubeletHasNo{kind}", "") for kind in _PRESSURES}
    wanted["Ready"] = (True, "KubeletReady", "kubelet is posting ready status")
    room = {"cpu": str(os.cpu_count() or 1), "memory": "8Gi", "pods": "110"}
    return {
        "conditions": _heartbeats(conditions(wanted, old.get("conditions") or [], now), now),
        "addresses": [
            {"type": "InternalIP", "address": config.node.ip},
            {"type": "Hostname", "address": config.node.name},
        ],
        "capacity": room,
        "allocatable": room,
        "nodeInfo": {
            "machineID": config.node.netns,
            "systemUUID": config.node.netns,
            "bootID": config.node.netns,
            "kernelVersion": platform.release(),
            "osImage": "isthmus lab",
            "containerRuntimeVersion": "isthmus-lab://1",
            "kubeletVersion": "v1.32.0",
            "kubeProxyVersion": "v1.32.0",
            "operatingSystem": "linux",
            "architecture": node_object(config)["metadata"]["labels"]["kubernetes.io/arch"],
        },
    }


def _heartbeats(found: list[Object], now: float) -> list[Object]:
    """A node's conditions tell when they were last looked at, and have no time of a probe, which is a pod's."""
    seen = {"lastHeartbeatTime": timestamp(now)}
    return [{key: value for key, value in item.items() if key != "lastProbeTime"} | seen for item in found]


async def register(client: ApiClient, config: NodeConfig) -> None:
    """Create the Node or bring its labels up to date, and report it ready. ApiError, UnreachableError: try again."""
    path = f"/api/v1/nodes/{config.node.name}"
    wanted = node_object(config)
    try:
        current = await client.get(path)
    except ApiError as error:
        if error.code != 404:
            raise
        current = await client.post("/api/v1/nodes", wanted)
    if not wanted["metadata"]["labels"].items() <= (current["metadata"].get("labels") or {}).items():
        await client.merge(path, {"metadata": {"labels": wanted["metadata"]["labels"]}})
    status = node_status(config, current.get("status") or {}, time.time())
    await client.merge(f"{path}/status", {"status": status})


async def keep_alive(client: ApiClient, config: NodeConfig) -> None:
    """Register, then renew the Lease until cancelled.

    Registers again if the Node was deleted or marked not ready, and now and then, so that its heartbeat stays young.
    """
    registered = 0.0
    while True:
        with contextlib.suppress(UnreachableError, ApiError):
            stale = not registered or time.monotonic() - registered > _REPORT
            if stale or not await _is_ready(client, config):
                await register(client, config)
                registered = time.monotonic()
            await _renew(client, config)
        await asyncio.sleep(_RENEW if registered else 0.1)


async def _is_ready(client: ApiClient, config: NodeConfig) -> bool:
    try:
        node = await client.get(f"/api/v1/nodes/{config.node.name}")
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    found = (node.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found)


async def _renew(client: ApiClient, config: NodeConfig) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    name = config.node.name
    spec = {"holderIdentity": name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
    try:
        await client.merge(f"{_LEASES}/{name}", {"spec": spec})
    except ApiError as error:
        if error.code != 404:
            raise
        meta = {"name": name, "namespace": "kube-node-lease"}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
        await client.post(_LEASES, {**lease, "spec": {**spec, "acquireTime": now}})
