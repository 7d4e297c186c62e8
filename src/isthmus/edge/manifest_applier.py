"""Applies manifests of an installation to a cluster, in order, and waits until what they start is there."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.edge.kube_client import KubeClient
from isthmus.kube.requests import Request, Resource

Manifest = dict[str, Any]
MANAGER = "isthmus-install"
_POLL = 0.2


class ManifestApplier:
    """Server-side apply under one field manager: what others set in these objects stays theirs.

    `report` is told of each object that was applied.
    """

    def __init__(self, client: KubeClient, *, report: Callable[[str], None]) -> None:
        self._client = client
        self._report = report
        self._known: dict[str, dict[str, Resource]] = {}

    async def apply(self, manifests: Iterable[Manifest], *, within: float) -> None:
        """Apply in order; a definition is served before the next object. Raises KubeError, UnreachableError."""
        for manifest in manifests:
            resource = await self._resource(str(manifest["apiVersion"]), str(manifest["kind"]))
            await self._client.apply(resource, manifest, manager=MANAGER)
            self._report(f"{manifest['kind']} {manifest['metadata']['name']}")
            if manifest["kind"] == "CustomResourceDefinition":
                await self.wait(resource, manifest, _is_established, within=within)

    async def wait_available(self, manifests: Iterable[Manifest], *, within: float) -> None:
        """Wait for the Deployments and DaemonSets among them. Raises UnreachableError."""
        for manifest in manifests:
            done = _COMPLETE.get(str(manifest["kind"]))
            if done is not None:
                resource = await self._resource(str(manifest["apiVersion"]), str(manifest["kind"]))
                await self.wait(resource, manifest, done, within=within)

    async def wait(
        self, resource: Resource, manifest: Manifest, done: Callable[[Mapping[str, Any]], bool], *, within: float
    ) -> None:
        """Ask until the object is as wanted. Raises UnreachableError after `within` seconds."""
        namespace, name = manifest["metadata"].get("namespace", ""), str(manifest["metadata"]["name"])
        try:
            async with asyncio.timeout(within):
                while True:
                    if done(await self._client.get(resource, namespace, name)):
                        return
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            where = f"-n {namespace} " if namespace else ""
            raise UnreachableError(
                f"{manifest['kind']} {name} is not ready after {within:g} s",
                f"See kubectl describe {manifest['kind'].lower()} {where}{name}",
            ) from None

    async def _resource(self, api_version: str, kind: str) -> Resource:
        found = self._known.get(api_version, {}).get(kind)
        if found is None:  # also when a definition was added since
            self._known[api_version] = await self._discover(api_version)
            found = self._known[api_version].get(kind)
        if found is None:
            raise UsageError(f"the cluster knows no {kind} of {api_version}", "Install its definition first")
        return found

    async def _discover(self, api_version: str) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        root = Resource(group, version, "").root
        listed = (await self._client.json(Request("GET", root))).get("resources") or []
        return {
            str(item["kind"]): Resource(group, version, str(item["name"]), namespaced=bool(item["namespaced"]))
            for item in listed
            if "/" not in item["name"]
        }


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(item.get("type") == "Established" and item.get("status") == "True" for item in conditions)


def _is_available(deployment: Mapping[str, Any]) -> bool:
    """The rollout is complete, as `kubectl rollout status` says it."""
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    counts = [int(status.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return _is_seen(deployment) and counts == [wanted] * 3


def _is_everywhere(daemon_set: Mapping[str, Any]) -> bool:
    """It runs, up to date and available, on each node that it is meant for."""
    status = daemon_set.get("status") or {}
    wanted = int(status.get("desiredNumberScheduled") or 0)
    counts = [int(status.get(key) or 0) for key in ("updatedNumberScheduled", "numberAvailable")]
    return _is_seen(daemon_set) and counts == [wanted] * 2


def _is_seen(manifest: Mapping[str, Any]) -> bool:
    """Its controller has seen what is wanted now."""
    status = manifest.get("status") or {}
    return int(status.get("observedGeneration") or 0) >= int(manifest["metadata"].get("generation") or 0)


_COMPLETE = {"Deployment": _is_available, "DaemonSet": _is_everywhere}
