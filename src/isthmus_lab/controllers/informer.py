"""Lists and watches one kind into a store, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from isthmus.base.errors import UnreachableError
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.controllers.client import Client, Kind, is_expired, is_missing
from isthmus_lab.controllers.view import Store
from isthmus_lab.kubelet.client import ApiError

_log = structlog.get_logger(__name__)
_PAUSE = 0.2
_UNKNOWN_PAUSE = 5.0  # a kind that is not known now may be defined later


class Informer:
    """Keeps `store` equal to the API server. `changed` is called for each object that is new, other or gone."""

    def __init__(
        self, client: Client, store: Store, *, changed: Callable[[Kind, JsonObject], None], mono: Callable[[], float]
    ) -> None:
        self._client = client
        self._store = store
        self._changed = changed
        self._mono = mono
        self._revision = ""
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Never returns; an API server that is away is asked again. A kind that it does not know counts as empty."""
        while True:
            try:
                if not self._revision:
                    await self._list()
                await self._watch()
            except (ApiError, UnreachableError) as failure:
                if is_expired(failure) or is_missing(failure):
                    self._revision = ""
                if is_missing(failure):
                    self.synced.set()
                if not is_expired(failure):
                    await self._pause(failure)

    async def _list(self) -> None:
        listing = await self._client.list(self._store.kind)
        for obj in self._store.replace(listing.items, mono=self._mono()):
            self._changed(self._store.kind, obj)
        self._revision = listing.resource_version
        self.synced.set()

    async def _watch(self) -> None:
        kind = self._store.kind
        async for event in self._client.watch(kind, self._revision):
            self._revision = str(event.object["metadata"].get("resourceVersion") or self._revision)
            if event.type == "BOOKMARK":
                continue
            if event.type == "DELETED":
                self._store.remove(event.object)
                self._changed(kind, event.object)
            elif self._store.put(event.object, mono=self._mono()):
                self._changed(kind, event.object)

    async def _pause(self, failure: Exception) -> None:
        _log.info("watch interrupted", kind=self._store.kind.plural, error=str(failure))
        await asyncio.sleep(_UNKNOWN_PAUSE if is_missing(failure) else _PAUSE)
