"""What Envoy met at the addresses it calls, as counters of its admin port tell, and when to report it.

A report is compact: addresses with something new since the last one, those that fail first. It goes at once when an
address begins to fail or to work, and otherwise now and then while there is traffic.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from structlog.typing import FilteringBoundLogger

from isthmus.base.clock import Clock
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.model.mesh import MAPPED
from isthmus.xds.resource import UPSTREAMS

PATH = "/clusters?format=json"
LOOK_EVERY = 2.0
REPORT_EVERY = 15.0
"""Seconds between looks, and between reports of what goes on as before."""

SHARE = 0.01
"""A look at many endpoints takes long; so much of the time may be spent on looking."""

MOST = 64
"""Addresses in one report; those that fail come first, then those with most traffic."""

Where = tuple[str, int]


class _SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: _SocketAddress | None = None


class _Stat(msgspec.Struct):
    name: str = ""
    value: int | str = 0


class _Host(msgspec.Struct):
    address: _Address = msgspec.field(default_factory=_Address)
    stats: list[_Stat] = msgspec.field(default_factory=list)


class _Cluster(msgspec.Struct):
    name: str = ""
    host_statuses: list[_Host] = msgspec.field(default_factory=list)


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = msgspec.field(default_factory=list)


class Counts(msgspec.Struct, frozen=True):
    """Counters of one address, summed over the destinations that it serves. They only grow while it is known."""

    worked: int = 0
    failed: int = 0
    errors: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.worked + other.worked, self.failed + other.failed, self.errors + other.errors)

    def since(self, before: "Counts") -> "Counts":
        """What is new; an address that went and came back began from 0."""
        if self.worked < before.worked or self.failed < before.failed or self.errors < before.errors:
            return self
        return Counts(self.worked - before.worked, self.failed - before.failed, self.errors - before.errors)

    @property
    def fails(self) -> bool:
        """True if more failed than worked."""
        return self.failed > self.worked

    @property
    def total(self) -> int:
        """Everything that was tried."""
        return self.worked + self.failed + self.errors


def read_counts(body: bytes) -> dict[Where, Counts]:
    """The counters in the admin port's answer, by address, of destinations that the control plane named."""
    try:
        clusters = msgspec.json.decode(body, type=_Clusters).cluster_statuses
    except msgspec.MsgspecError:
        return {}
    found: dict[Where, Counts] = {}
    for cluster in clusters:
        for host in cluster.host_statuses if cluster.name.startswith("outbound") else ():
            place = host.address.socket_address
            if place is not None:
                where = (place.address.removeprefix(MAPPED), place.port_value)
                found[where] = found.get(where, Counts()) + _counts(host.stats)
    return found


def _counts(stats: Iterable[_Stat]) -> Counts:
    value = {stat.name: int(stat.value) for stat in stats}
    failed = value.get("cx_connect_fail", 0)
    return Counts(
        # A connection that is still coming up counts as one that worked; if it fails, that is told next time.
        worked=max(value.get("cx_total", 0) - failed, 0) + value.get("rq_success", 0),
        failed=failed + value.get("rq_timeout", 0),
        errors=value.get("rq_error", 0),
    )


class Tally:
    """Adds up what is new between reports, and knows when one is due."""

    def __init__(self) -> None:
        self._last: dict[Where, Counts] | None = None
        self._new: dict[Where, Counts] = {}
        self._failing: dict[Where, bool] = {}
        self._reported_at = 0.0

    def look(self, counts: Mapping[Where, Counts], now: float) -> list[tuple[str, int, int, int, int]]:
        """Take in the counters; returns the report that is due now, empty if none is. Time in seconds."""
        before, self._last = self._last, dict(counts)
        if before is None:
            return []
        turned = False
        for where, count in counts.items():
            fresh = count.since(before.get(where, Counts()))
            if fresh.total:
                self._new[where] = self._new.get(where, Counts()) + fresh
                turned = turned or self._failing.get(where) is not fresh.fails
                self._failing[where] = fresh.fails
        for gone in self._failing.keys() - counts.keys():
            del self._failing[gone]
        if not self._new or not (turned or now - self._reported_at >= REPORT_EVERY):
            return []
        return self._take(now)

    def _take(self, now: float) -> list[tuple[str, int, int, int, int]]:
        chosen = sorted(self._new.items(), key=lambda item: (not item[1].fails, -item[1].total))[:MOST]
        self._new.clear()
        self._reported_at = now
        return [(*where, count.worked, count.failed, count.errors) for where, count in chosen]


def request(report: list[tuple[str, int, int, int, int]]) -> bytes:
    """The report as a request of the discovery stream."""
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=UPSTREAMS)
    message.error_detail.message = msgspec.json.encode(report).decode()
    return bytes(message.SerializeToString())


class UpstreamWatch:
    """Looks and reports until cancelled."""

    def __init__(
        self,
        admin: LoopbackClient,
        port: int,
        *,
        send: Callable[[bytes], Awaitable[bool]],
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`port` is that of Envoy's admin interface; `send` says whether there was a stream to send on."""
        self._admin = admin
        self._port = port
        self._send = send
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Never ends by itself; an Envoy that is away is asked again."""
        tally = Tally()
        while True:
            begin = self._clock.monotonic()
            try:
                body = (await self._admin.request("GET", self._port, PATH)).body
                report = tally.look(read_counts(body), self._clock.monotonic())
                if report:
                    await self._send(request(report))
            except UnreachableError as error:
                self._log.debug("counters not read", reason=str(error))
            took = self._clock.monotonic() - begin
            await asyncio.sleep(max(LOOK_EVERY, took / SHARE))
