"""Tells links how they stand, in their status, so that `kubectl get gateway` shows it."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.derive.link_status import LinkSeen, duplicate_status, link_status, stamp
from isthmus.edge.gateway_controller import GATEWAYS
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.model.peering import PeerLink
from isthmus.tables.changes import Key

log = structlog.get_logger()

INTERVAL = 1.0
"""Seconds between looks whether something is to be told."""

REFRESH = 60.0
"""Seconds after which what changes all the time, such as the round trip, is told again."""

NOT_FOUND, CONFLICT = 404, 409

Standing = tuple[PeerLink, LinkSeen | str]
"""A link and how it stands, or why it does not count."""


class LinkStatusWriter:
    """Writes what changed. Of several replicas the one that leads has the word, and says who it is."""

    def __init__(
        self,
        clock: Clock,
        *,
        rows: Callable[[], Sequence[Standing]],
        client: Callable[[], KubeClient | None],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """While `leads` says no, nothing is written; what was is compared anew by who leads next."""
        self._clock = clock
        self._leads = leads
        self._rows = rows
        self._client = client
        self._told: dict[Key, tuple[object, float]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Once."""
        if not self._leads():
            self._told.clear()
            return
        client, rows = self._client(), self._rows()
        self._told = {link.key: self._told[link.key] for link, _ in rows if link.key in self._told}
        for link, seen in rows if client is not None else ():
            essence = (link, seen if isinstance(seen, str) else seen.essence)
            told, at = self._told.get(link.key, (None, 0.0))
            now = self._clock.monotonic()
            if told == essence and now - at < REFRESH:
                continue
            try:
                assert client is not None
                await self._tell(client, link, seen)
            except KubeError as error:
                if error.status not in (NOT_FOUND, CONFLICT):
                    log.warning("link not told how it stands", link=link.key, error=str(error))
            except IsthmusError as error:
                log.debug("link not told how it stands", link=link.key, error=str(error))
                return
            self._told[link.key] = (essence, now)

    async def _tell(self, client: KubeClient, link: PeerLink, seen: LinkSeen | str) -> None:
        found = await client.find(GATEWAYS, link.namespace, link.name)
        if found is None:
            return
        meta, before = found["metadata"], found.get("status") or {}
        generation, now = int(meta.get("generation") or 0), stamp(self._clock.now())
        if isinstance(seen, str):
            status = duplicate_status(link, seen, generation, before, now)
        else:
            status = link_status(link, seen, generation, before, now)
        if all(before.get(key) == value for key, value in status.items()):
            return
        body = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
        await client.patch_status(GATEWAYS, body, namespace=link.namespace, name=link.name)
