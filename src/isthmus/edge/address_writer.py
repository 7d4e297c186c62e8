"""Writes the addresses that the mesh gave to hosts of ServiceEntries into their status, where they are kept (DN9).

Proxies have them at once, because every replica finds the same; what is written is for people, and so that an address
stays when other objects come. So there is no election: replicas write the same.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from isthmus.base.errors import IsthmusError
from isthmus.derive.external import unwritten
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube.requests import SERVICE_ENTRIES
from isthmus.model.external import ServiceEntry

log = structlog.get_logger()

INTERVAL = 30.0
"""Seconds until what could not be written is tried again."""

SETTLE = 0.2
"""Seconds in which changes are gathered; other replicas' writes become known meanwhile."""

NOT_FOUND = 404


class AddressWriter:
    """Looks when it is poked, and now and then."""

    def __init__(self, *, rows: Callable[[], Sequence[ServiceEntry]], client: Callable[[], KubeClient | None]) -> None:
        """`rows` are the ServiceEntries of the config cluster, all of them: not to be asked before it was listed."""
        self._rows = rows
        self._client = client
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """A ServiceEntry changed."""
        self._poked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._poked.clear()
            await self._write()
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._poked.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE)

    async def _write(self) -> None:
        client = self._client()
        if client is None:
            return
        for row, wanted in unwritten(self._rows()):
            addresses = [{"value": address, "host": host} for host, address in wanted] or None
            try:
                await client.patch_status(
                    SERVICE_ENTRIES, {"status": {"addresses": addresses}}, namespace=row.namespace, name=row.name
                )
            except KubeError as error:
                if error.status != NOT_FOUND:
                    log.warning("addresses not written", entry=(row.namespace, row.name), error=str(error))
            except IsthmusError as error:
                log.debug("addresses not written", error=str(error))
                return
            else:
                log.info("addresses written", entry=(row.namespace, row.name), addresses=[a for _, a in wanted])
