"""What proxies report of the addresses they call, turned into votes on clusters."""

from collections.abc import Iterable

import msgspec
import structlog

from isthmus.base.clock import Clock
from isthmus.derive.signals import REPORT_WINDOW, Ballot, Report, Upstream, Votes, ballot, votes
from isthmus.graph.mesh import Mesh
from isthmus.model.rows import Proxy
from isthmus.model.scopes import OutboundView, RouterView

log = structlog.get_logger()

LOOK_UP_EVERY = 5.0
"""Seconds between searches for addresses that are not known yet: each goes through all pods."""

FORGET_AFTER = 120.0
"""Seconds after which an address is looked up anew: pods come and go, and others get their addresses."""


LONGEST_REPORT = 64 * 1024
"""Characters; an agent tells of at most 64 addresses, in a small part of that."""

_decode = msgspec.json.Decoder(tuple[Upstream, ...]).decode


class CallerReports:
    """Takes reports as they come and counts votes when asked."""

    def __init__(self, mesh: Mesh, clock: Clock) -> None:
        self._mesh = mesh
        self._clock = clock
        self._fresh: dict[str, Report] = {}
        self._ballots: dict[str, Ballot] = {}
        self._owners: dict[tuple[str, str], tuple[str, float]] = {}
        self._looked_at = -LOOK_UP_EVERY

    def take(self, proxy: Proxy, message: str, *, voter: str = "") -> None:
        """What a proxy of a verified cluster told; what cannot be read counts for nothing.

        `voter` is whose vote it is, by default that of the proxy's id, of which a proxy may choose a part: two
        streams of one voter have one vote, the last that was told.
        """
        if len(message) > LONGEST_REPORT:
            log.debug("report too long", proxy=proxy.id, characters=len(message))
            return
        try:
            upstreams = _decode(message)
        except msgspec.MsgspecError as error:
            log.debug("report not understood", proxy=proxy.id, error=str(error))
            return
        views = (scope for scope in self._mesh.scopes(proxy.id) if isinstance(scope, OutboundView | RouterView))
        network = next((view.network for view in views), "")
        self._fresh[voter or proxy.id] = Report(proxy.cluster, network, self._clock.now(), upstreams)

    def votes(self, now: float) -> dict[str, Votes]:
        """How the clusters fare."""
        self._resolve()
        for proxy, report in self._fresh.items():
            self._ballots[proxy] = ballot(report, self._owner)
        self._fresh.clear()
        for proxy in [name for name, one in self._ballots.items() if now - one.at > REPORT_WINDOW]:
            del self._ballots[proxy]
        return votes(self._ballots.values(), now)

    def _owner(self, network: str, address: str) -> str:
        found = self._owners.get(("", address)) or self._owners.get((network, address))
        return found[0] if found else ""

    def _resolve(self) -> None:
        """Find out whose the addresses in the fresh reports are: a gateway's, or a pod's in the caller's network."""
        monotonic = self._clock.monotonic()
        self._owners = {key: found for key, found in self._owners.items() if found[1] > monotonic}
        until = monotonic + FORGET_AFTER
        for gateway in self._mesh.gateways() if self._fresh else ():
            self._owners["", gateway.address] = (gateway.cluster, until)
        wanted = {(report.network, one.address) for report in self._fresh.values() for one in report.upstreams}
        wanted = {key for key in wanted if key not in self._owners and ("", key[1]) not in self._owners}
        if wanted and monotonic - self._looked_at >= LOOK_UP_EVERY:
            self._looked_at = monotonic
            self._owners.update(dict.fromkeys(wanted, ("", until)))
            self._owners.update({key: (cluster, until) for key, cluster in self._search(wanted)})

    def _search(self, wanted: set[tuple[str, str]]) -> Iterable[tuple[tuple[str, str], str]]:
        addresses = {address for _, address in wanted}
        for network, pod in self._mesh.placed():
            for address in addresses.intersection(pod.addresses):
                if (network, address) in wanted:
                    yield (network, address), pod.cluster
