"""What the controllers ask of the API server: objects by kind, over the lab's client of its Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from isthmus_lab.kubelet.client import ApiClient, ApiError

JsonObject = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the objects of one kind are found. `group` is empty for core/v1."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path; without a namespace the collection of all namespaces."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{namespace}"
        return "/".join(part for part in (f"{base}/{self.plural}", name, subresource) if part)


POD = Kind("", "v1", "pods", "Pod")
SERVICE = Kind("", "v1", "services", "Service")
ENDPOINTS = Kind("", "v1", "endpoints", "Endpoints")
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
EVENT = Kind("", "v1", "events", "Event")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SET = Kind("apps", "v1", "daemonsets", "DaemonSet")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")


def is_missing(error: Exception) -> bool:
    """True when the object, or its kind, is not there."""
    return isinstance(error, ApiError) and error.code == 404


def is_conflict(error: Exception) -> bool:
    """True when somebody else changed or made the object meanwhile."""
    return isinstance(error, ApiError) and error.code == 409


def is_expired(error: Exception) -> bool:
    """True when a watch must list again."""
    return isinstance(error, ApiError) and error.code == 410


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch."""

    type: EventType
    object: JsonObject


@dataclass(frozen=True, slots=True)
class Listing:
    """A list and the revision it was read at."""

    items: list[JsonObject]
    resource_version: str


class Client:
    """Requests by kind. All raise `ApiError` when the server refuses and `UnreachableError` when it is away."""

    def __init__(self, socket_path: str, token: str) -> None:
        self._api = ApiClient(socket_path, token)

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """One object."""
        return await self._api.get(kind.path(namespace, name))

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "") -> Listing:
        """All objects of a kind, or those of one namespace."""
        answer = await self._api.get(kind.path(namespace), **({"labelSelector": labels} if labels else {}))
        items = answer.get("items") or []
        for item in items:  # lists leave these out of their items
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.kind)
        return Listing(items, str((answer.get("metadata") or {}).get("resourceVersion", "")))

    async def create(self, kind: Kind, obj: JsonObject, *, subresource: str = "", name: str = "") -> JsonObject:
        """Creates it in the namespace it names; with `subresource` posts to that of the object `name`."""
        namespace = str(obj.get("metadata", {}).get("namespace") or "")
        return await self._api.post(kind.path(namespace, name, subresource), obj)

    async def update(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """Replaces it; a `metadata.resourceVersion` in it makes a concurrent change a conflict."""
        meta = obj["metadata"]
        return await self._api.put(kind.path(str(meta.get("namespace") or ""), meta["name"]), obj)

    async def patch(
        self, kind: Kind, namespace: str, name: str, patch: JsonObject, *, subresource: str = ""
    ) -> JsonObject:
        """A JSON merge patch (RFC 7396); a `metadata.resourceVersion` in it makes a concurrent change a conflict."""
        return await self._api.merge(kind.path(namespace, name, subresource), patch)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str = "", grace_seconds: int | None = None
    ) -> JsonObject:
        """Deletes it; with `uid` only that very object. Answers a Status, or the object while it terminates."""
        body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        return await self._api.delete(kind.path(namespace, name), body)

    async def watch(self, kind: Kind, resource_version: str) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, until the server ends the stream. Raises ApiError 410 when too old."""
        query = {"allowWatchBookmarks": "true", "resourceVersion": resource_version}
        async for line in self._api.watch(kind.path(), query):
            if line["type"] == "ERROR":
                status = line["object"]
                raise ApiError(int(status.get("code", 500)), str(status.get("reason", "")), str(status.get("message")))
            yield WatchEvent(line["type"], line["object"])
