"""Nodes without processes: pods bound to them run and are ready at once, and are gone when deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from isthmus_lab.controllers.client import LEASE, NODE, POD, Client, is_conflict, is_missing
from isthmus_lab.kubelet.client import ApiError

LEASE_NAMESPACE = "kube-node-lease"


def stamp() -> str:
    """metav1.Time of now."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PretendedNodes:
    """Registers `names` (zone by name) and plays their kubelets until cancelled. `broken` images never get ready."""

    def __init__(self, client: Client, zones: dict[str, str], *, broken: str = "broken") -> None:
        self._client = client
        self._zones = zones
        self._broken = broken
        self._next = 1
        self.ready = asyncio.Event()

    async def register(self) -> None:
        """Makes the Node objects, ready, each with a lease."""
        for name, zone in self._zones.items():
            labels = {"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name}
            await self._client.create(
                NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            )
            await self.renew(name, first=True)
            conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": stamp()}]
            await self._client.patch(NODE, "", name, {"status": {"conditions": conditions}}, subresource="status")
        self.ready.set()

    async def renew(self, name: str, *, first: bool = False) -> None:
        """Renews a node's lease."""
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if first:
            spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewed}
            meta = {"name": name, "namespace": LEASE_NAMESPACE}
            await self._client.create(
                LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": meta, "spec": spec}
            )
        else:
            await self._client.patch(LEASE, LEASE_NAMESPACE, name, {"spec": {"renewTime": renewed}})

    async def run(self) -> None:
        """Looks after the pods of all nodes."""
        await self.register()
        listing = await self._client.list(POD)
        for pod in listing.items:
            await self._sync(pod)
        async for event in self._client.watch(POD, listing.resource_version):
            if event.type in ("ADDED", "MODIFIED"):
                await self._sync(event.object)

    async def _sync(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        if pod["spec"].get("nodeName") not in self._zones:
            return
        try:
            if meta.get("deletionTimestamp"):
                await self._client.delete(POD, meta["namespace"], meta["name"], uid=meta["uid"], grace_seconds=0)
            elif not (pod.get("status") or {}).get("podIP"):
                await self._client.patch(POD, meta["namespace"], meta["name"], self._running(pod), subresource="status")
        except ApiError as refused:
            if not (is_missing(refused) or is_conflict(refused)):
                raise

    def _running(self, pod: dict[str, Any]) -> dict[str, Any]:
        good = all(item["image"] != self._broken for item in pod["spec"]["containers"])
        ready = {"type": "Ready", "status": "True" if good else "False", "lastTransitionTime": stamp()}
        self._next += 1
        address = f"10.10.{self._next // 250}.{self._next % 250 + 1}"
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        return {"status": status}
