"""A small Kubernetes client over the API server's Unix socket, for the processes of the lab itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import msgspec

JsonObject = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

IDLE_SECONDS = 90.0
"""A watch that is silent for longer than this, bookmarks included, is taken for dead."""


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
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")


class RefusedError(Exception):
    """The API server answered with an error. `code` is the HTTP status, `reason` Kubernetes' word for it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def not_found(self) -> bool:
        """True when the object (or its kind) is not there."""
        return self.code == 404

    @property
    def conflict(self) -> bool:
        """True when somebody else changed or made the object meanwhile."""
        return self.code == 409

    @property
    def expired(self) -> bool:
        """True when a watch must list again (HTTP 410)."""
        return self.code == 410


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
    """Requests to one API server. Use as an async context manager.

    Raises `RefusedError` for error answers and `OSError` when the server cannot be reached or breaks off.
    """

    def __init__(self, socket_path: str, token: str, *, timeout: float = 30.0) -> None:
        self._socket = socket_path
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket_path, limits=limits),
            base_url="http://lab-apiserver",
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=timeout,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def get(self, kind: Kind, namespace: str, name: str, *, subresource: str = "") -> JsonObject:
        """One object."""
        return await self.request("GET", kind.path(namespace, name, subresource))

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """All objects of a kind, or those of one namespace."""
        answer = await self.request("GET", kind.path(namespace), params=_selectors(labels, fields))
        items = answer.get("items") or []
        for item in items:  # lists leave these out of their items
            item.setdefault("apiVersion", kind.api_version)
            item.setdefault("kind", kind.kind)
        return Listing(items, str((answer.get("metadata") or {}).get("resourceVersion", "")))

    async def create(self, kind: Kind, obj: JsonObject, *, subresource: str = "", name: str = "") -> JsonObject:
        """Creates it in the namespace it names; with `subresource` posts to that of the object `name`."""
        namespace = str(obj.get("metadata", {}).get("namespace") or "")
        return await self.request("POST", kind.path(namespace, name, subresource), body=obj)

    async def update(self, kind: Kind, obj: JsonObject, *, subresource: str = "") -> JsonObject:
        """Replaces it; a `metadata.resourceVersion` in it makes a concurrent change a conflict."""
        meta = obj["metadata"]
        return await self.request(
            "PUT", kind.path(str(meta.get("namespace") or ""), meta["name"], subresource), body=obj
        )

    async def patch(
        self, kind: Kind, namespace: str, name: str, patch: JsonObject, *, subresource: str = ""
    ) -> JsonObject:
        """A JSON merge patch (RFC 7396); a `metadata.resourceVersion` in it makes a concurrent change a conflict."""
        return await self.request(
            "PATCH",
            kind.path(namespace, name, subresource),
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str = "", grace_seconds: int | None = None
    ) -> JsonObject:
        """Deletes it; with `uid` only that very object. Answers a Status, or the object while it terminates."""
        body: JsonObject = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        return await self.request("DELETE", kind.path(namespace, name), body=body)

    async def watch(
        self, kind: Kind, resource_version: str, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, until the server ends the stream. `RefusedError` 410: too old."""
        params = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        params.update(_selectors(labels, fields))
        timeout = httpx.Timeout(30.0, read=IDLE_SECONDS)
        try:
            async with self._http.stream("GET", kind.path(namespace), params=params, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    raise _failure(answer.status_code, await answer.aread())
                async for line in _lines(answer):
                    yield _event(line)
        except httpx.HTTPError as error:
            raise ConnectionError(
                f"API server at {self._socket}: watch of {kind.plural} broke off: {error!r}"
            ) from error

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        """Any request; the decoded answer."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": content_type} if content is not None else {}
        try:
            answer = await self._http.request(method, path, params=params, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise ConnectionError(f"API server at {self._socket}: {method} {path}: {error!r}") from error
        if answer.status_code >= 400:
            raise _failure(answer.status_code, answer.content)
        return msgspec.json.decode(answer.content, type=JsonObject)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    params = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in params.items() if value}


def _failure(code: int, content: bytes) -> RefusedError:
    try:
        status = msgspec.json.decode(content, type=JsonObject)
    except msgspec.DecodeError:
        return RefusedError(code, "Unknown", content.decode(errors="replace")[:500])
    return RefusedError(code, str(status.get("reason", "")), str(status.get("message", "")))


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    buffer = b""
    async for chunk in answer.aiter_raw():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line


def _event(line: bytes) -> WatchEvent:
    decoded = msgspec.json.decode(line, type=JsonObject)
    if decoded["type"] == "ERROR":
        status = decoded["object"]
        raise RefusedError(int(status.get("code", 500)), str(status.get("reason", "")), str(status.get("message", "")))
    return WatchEvent(decoded["type"], decoded["object"])
