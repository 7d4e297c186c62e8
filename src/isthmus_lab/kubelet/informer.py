"""Keeps a copy of a list in the API server: list, then watch; both again after whatever goes wrong."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.client import ApiClient, ApiError, Object

Listener = Callable[[str, Object], None]
_RETRY_FIRST, _RETRY_MOST = 0.1, 1.0


def key_of(obj: Mapping[str, Any]) -> str:
    """`namespace/name`, or `name` for what has no namespace."""
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Informer:
    """Objects by key. While the API server is away the copy stays as it was; a relist finds what was missed."""

    def __init__(self, client: ApiClient, path: str, listener: Listener | None = None, **query: str) -> None:
        self.objects: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._path = path
        self._query = query
        self._listener = listener or (lambda _kind, _object: None)

    async def run(self) -> None:
        """List and watch until cancelled."""
        delay = _RETRY_FIRST
        while True:
            with contextlib.suppress(UnreachableError, ApiError, ValueError, KeyError):  # ValueError: cut off mid-way
                version = await self._list()
                delay = _RETRY_FIRST
                await self._watch(version)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _RETRY_MOST)

    async def _list(self) -> str:
        answer = await self._client.get(self._path, **self._query)
        kind = str(answer.get("kind", "")).removesuffix("List")
        found = {key_of(item): {"kind": kind, **item} for item in answer.get("items") or []}
        for key in self.objects.keys() - found.keys():
            self._listener("DELETED", self.objects.pop(key))
        for key, item in found.items():
            self._put(key, item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    def _put(self, key: str, item: Object) -> None:
        old = self.objects.get(key)
        self.objects[key] = item
        if old is None:
            self._listener("ADDED", item)
        elif old["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
            self._listener("MODIFIED", item)

    async def _watch(self, version: str) -> None:
        """Follow until the server ends the watch, which it does when it no longer has the versions in between (410)."""
        while True:
            query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true"}
            got = False
            async for event in self._client.watch(self._path, query):
                item = event["object"]
                if event["type"] == "ERROR":
                    return
                got, version = True, item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self.objects.pop(key_of(item), None)
                    self._listener("DELETED", item)
                elif event["type"] != "BOOKMARK":
                    self._put(key_of(item), item)
            if not got:
                await asyncio.sleep(_RETRY_FIRST)
