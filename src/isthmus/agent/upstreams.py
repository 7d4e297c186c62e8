"""What Envoy met at the addresses it calls, as counters of its admin port tell, and when to report it.

A report is compact: addresses with something new since the last one, those that fail first. It goes at once when an
address begins to fail or to work, and otherwise now and then while there is traffic.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from envoy.service.discovery.v3 import discovery_pb2
from structlog.typing import FilteringBoundLogger

from isthmus.base.clock import Clock
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.xds.resource import UPSTREAMS

PATH = "/clusters?format=json"
LOOK_EVERY = 2.0
REPORT_EVERY = 10.0
"""Seconds between looks, and between reports of what goes on as before."""

SHARE = 0.02
"""A look at many endpoints takes long; so much of the time may be spent on looking."""

MOST = 64
"""Addresses in one report; those that fail come first, then those with most traffic."""

Where = tuple[str, int]


class _SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class _HostAddress(msgspec.Struct):
    socket_address: _SocketAddress | None = None


class _Stat(msgspec.Struct):
    name: str = ""
    value: int | str = 0


class _Health(msgspec.Struct):
    failed_outlier_check: bool = False


class _Host(msgspec.Struct):
    health_status: _Health = msgspec.field(default_factory=_Health)
    address: _HostAddress = msgspec.field(default_factory=_HostAddress)
    stats: list[_Stat] = msgspec.field(default_factory=list)


class _Cluster(msgspec.Struct):
    name: str = ""
    host_statuses: list[_Host] = msgspec.field(default_factory=list)


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = msgspec.field(default_factory=list)


class Counters(msgspec.Struct, frozen=True):
    """Envoy's counters of one address, summed over the destinations that it serves. They grow while it is known.

    `used`: how many destinations ever used it; `ejected`: from how many of these Envoy has taken it out now, because
    calls to it fail.
    """

    begun: int = 0
    refused: int = 0
    answered: int = 0
    unanswered: int = 0
    errors: int = 0
    used: int = 0
    ejected: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )

    def began_anew(self, before: "Counters") -> bool:
        """True if the address went and came back since."""
        return self.begun < before.begun or self.answered < before.answered


class Met(msgspec.Struct, frozen=True):
    """What is new at one address: what worked, what failed, and answers that were errors."""

    worked: int = 0
    failed: int = 0
    errors: int = 0

    def plus(self, other: "Met") -> "Met":
        """Both together."""
        return Met(self.worked + other.worked, self.failed + other.failed, self.errors + other.errors)

    @property
    def fails(self) -> bool:
        """True if more failed than worked."""
        return self.failed > self.worked

    @property
    def total(self) -> int:
        """Everything that was tried."""
        return self.worked + self.failed + self.errors


def read_counters(body: bytes) -> dict[Where, Counters]:
    """The counters in the admin port's answer, by address, of destinations that the control plane named."""
    try:
        clusters = msgspec.json.decode(body, type=_Clusters).cluster_statuses
    except msgspec.MsgspecError:
        return {}
    found: dict[Where, Counters] = {}
    for cluster in clusters:
        for host in cluster.host_statuses if cluster.name.startswith("outbound") else ():
            place = host.address.socket_address
            if place is not None:
                where = (place.address, place.port_value)
                found[where] = found.get(where, Counters()) + _counters(host)
    return found


def _counters(host: _Host) -> Counters:
    value = {stat.name: int(stat.value) for stat in host.stats}
    used = bool(value.get("cx_total"))
    return Counters(
        begun=value.get("cx_total", 0),
        refused=value.get("cx_connect_fail", 0),
        answered=value.get("rq_success", 0),
        unanswered=value.get("rq_timeout", 0),
        errors=value.get("rq_error", 0),
        used=int(used),
        ejected=int(used and host.health_status.failed_outlier_check),
    )


class _Address:
    """Follows one address."""

    __slots__ = ("before", "settled")

    def __init__(self, counters: Counters) -> None:
        self.before = counters
        self.settled = counters.begun - counters.refused

    def met(self, now: Counters) -> Met:
        """What is new. A connection that was begun counts as one that worked when it has not failed by the next look:
        until then it may still be coming up."""
        before = self.before
        if now.began_anew(before):
            before, self.settled = Counters(), 0
        settled = max(self.settled, before.begun - now.refused)
        found = Met(
            worked=settled - self.settled + now.answered - before.answered,
            failed=max(now.refused - before.refused, 0) + max(now.unanswered - before.unanswered, 0),
            errors=max(now.errors - before.errors, 0),
        )
        self.before, self.settled = now, settled
        if 2 * now.ejected > now.used:
            # What worked before Envoy took it out speaks for it no more.
            return Met(0, max(found.failed, 1), found.errors)
        return found


Report = list[tuple[str, int, int, int, int]]
"""(address, port, worked, failed, errors)."""


class Tally:
    """Adds up what is new between reports, and knows when one is due."""

    def __init__(self) -> None:
        self._known: dict[Where, _Address] | None = None
        self._new: dict[Where, Met] = {}
        self._failing: dict[Where, bool] = {}
        self._reported_at = 0.0

    def look(self, counters: Mapping[Where, Counters], now: float) -> Report:
        """Take in the counters; returns the report that is due now, empty if none is. Time in seconds."""
        first = self._known is None
        known = self._known or {}
        nothing = Counters()
        self._known = {
            where: known.get(where) or _Address(one if first else nothing) for where, one in counters.items()
        }
        turned = False
        for where, one in counters.items():
            fresh = self._known[where].met(one)
            if fresh.total:
                self._new[where] = self._new.get(where, Met()).plus(fresh)
                turned = turned or self._failing.get(where) is not fresh.fails
                self._failing[where] = fresh.fails
        for gone in self._failing.keys() - counters.keys():
            del self._failing[gone]
        if not self._new or not (turned or now - self._reported_at >= REPORT_EVERY):
            return []
        return self._take(now)

    def _take(self, now: float) -> Report:
        chosen = sorted(self._new.items(), key=lambda item: (not item[1].fails, -item[1].total))[:MOST]
        self._new.clear()
        self._reported_at = now
        return [(*where, met.worked, met.failed, met.errors) for where, met in chosen]


def request(report: Report) -> bytes:
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
                report = tally.look(read_counters(body), self._clock.monotonic())
                if report:
                    await self._send(request(report))
            except UnreachableError as error:
                self._log.debug("counters not read", reason=str(error))
            took = self._clock.monotonic() - begin
            await asyncio.sleep(max(LOOK_EVERY, took / SHARE))
