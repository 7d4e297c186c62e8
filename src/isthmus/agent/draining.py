"""Lets an Envoy leave: clients are told to go, and it serves until they went or the time is over."""

import asyncio
import re

import msgspec
from structlog.typing import FilteringBoundLogger

from isthmus.agent.settings import Drain, ProxySettings
from isthmus.base.clock import Clock
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import LoopbackClient

LOOK_EVERY = 0.25

_ACTIVE = re.compile(r"^listener\.(?!admin\.|isthmus_)(?!.*\.worker_\d+\.).*\.downstream_cx_active$")
STATS = r"/stats?format=json&usedonly&filter=^listener\..*downstream_cx_active$"


class _Stat(msgspec.Struct):
    name: str = ""
    value: int = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]


def active_connections(stats: bytes) -> int:
    """Open connections of applications in the admin port's JSON; those of admin, readiness and metrics do not count."""
    try:
        found = msgspec.json.decode(stats, type=_Stats).stats
    except msgspec.DecodeError:
        return 0
    return sum(stat.value for stat in found if _ACTIVE.match(stat.name))


async def drain(
    admin: LoopbackClient, settings: ProxySettings, *, limits: Drain, clock: Clock, log: FilteringBoundLogger
) -> None:
    """Fail readiness, ask clients to leave, wait. Returns at once if Envoy does not answer or never became ready.

    Failing the health check closes HTTP connections with their next response (`connection: close`, GOAWAY), while
    listeners still accept: clients that have not heard yet are served.
    """
    begin = clock.monotonic()
    port = settings.ports.admin
    # A sidecar's application may still have to call others while it ends.
    scope = "inboundonly&graceful" if settings.kind == "sidecar" else "graceful"
    try:
        if (await admin.request("GET", port, "/ready")).status != 200:
            return
        await admin.request("POST", port, "/healthcheck/fail")
        await admin.request("POST", port, f"/drain_listeners?{scope}")
        open_connections = 0
        while (waited := clock.monotonic() - begin) < limits.most:
            await asyncio.sleep(min(LOOK_EVERY, limits.most - waited))
            open_connections = active_connections((await admin.request("GET", port, STATS)).body)
            if not open_connections and clock.monotonic() - begin >= limits.least:
                break
    except UnreachableError as error:
        log.warning("drain ended early", reason=str(error))
        return
    log.info("drained", seconds=round(clock.monotonic() - begin, 1), open_connections=open_connections)
