"""What is seen of a cluster, from three sides, as signals with the time since which they hold. No single look decides.

A proxy has one vote on each cluster that it calls, whatever its traffic: one that lies, or is itself broken, does not
outvote the others.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from isthmus.model.liveness import Health

RISE, FALL = 2, 2
"""So many looks in a row that say the same turn a signal."""

HEARD_WITHIN = 6.0
"""Seconds without a word after which an API server counts as silent: quiet ones are asked every 3 s, for 2 s."""

REPORT_WINDOW = 45.0
"""Seconds for which a proxy's report counts; proxies repeat theirs every 15 s while they have traffic."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a signal says, since when (seconds since the epoch), and what was seen."""

    health: Health = Health.UNKNOWN
    since: float = 0.0
    text: str = "never seen"

    def now(self, health: Health, now: float, text: str) -> "Reading":
        """The reading after another look."""
        return Reading(health, self.since if health is self.health and self.since else now, text)


class Track:
    """Looks at one thing that is good or bad. One that was never good is unknown: the way from here may not exist."""

    def __init__(self, *, reached: bool = False) -> None:
        self.reached = reached
        self.reading = Reading()
        self._streak = 0

    def saw(self, good: bool, now: float, text: str) -> Reading:
        """Take a look in; a signal turns after several that agree, and becomes good at the first ever."""
        same = self._streak != 0 and (self._streak > 0) == good
        self._streak = (self._streak if same else 0) + (1 if good else -1)
        health = self.reading.health
        if good and (health is Health.UNKNOWN or self._streak >= RISE):
            health = Health.GOOD
        elif not good and -self._streak >= FALL and (self.reached or health is not Health.UNKNOWN):
            health = Health.BAD
        self.reached = self.reached or good
        self.reading = self.reading.now(health, now, text)
        return self.reading


def gateways(tracks: Mapping[str, Track]) -> tuple[Health, str]:
    """A cluster's gateways together, by address: one that serves is enough."""
    by_health: dict[Health, list[str]] = {}
    for address, track in sorted(tracks.items()):
        by_health.setdefault(track.reading.health, []).append(f"{address}: {track.reading.text}")
    for health in (Health.GOOD, Health.UNKNOWN, Health.BAD):
        if health in by_health:
            return health, "; ".join(by_health[health])
    return Health.UNKNOWN, "no gateway"


def api_server(last_contact: float | None, error: str, now: float) -> tuple[Health, str]:
    """Contact with an API server; `last_contact` None: never."""
    if last_contact is None:
        return Health.UNKNOWN, error or "never reached"
    silent = now - last_contact
    if silent <= HEARD_WITHIN:
        return Health.GOOD, "answers"
    return Health.BAD, error or f"no answer for {silent:.0f} s"


class Upstream(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a proxy met at one address: how many attempts worked and failed since its last report."""

    address: str
    port: int
    worked: int
    failed: int


class Report(msgspec.Struct, frozen=True, gc=False):
    """What one proxy, of a verified cluster, told at a time."""

    cluster: str
    network: str
    at: float
    upstreams: tuple[Upstream, ...]


class Votes(msgspec.Struct, frozen=True, gc=False):
    """How many proxies called a cluster lately, and how many of them failed more often than not.

    `near` and `near_failing` are the cluster's own proxies, `far` and `far_failing` all others.
    """

    far: int = 0
    far_failing: int = 0
    near: int = 0
    near_failing: int = 0

    @property
    def callers(self) -> int:
        """All proxies that called it."""
        return self.far + self.near

    @property
    def failing(self) -> int:
        """All of them that fail."""
        return self.far_failing + self.near_failing


ClusterOf = Callable[[str, str], str]
"""(network of the caller, address) -> the cluster that answers there, empty if nobody knows."""


class Ballot(msgspec.Struct, frozen=True, gc=False):
    """A report as votes: of which cluster the caller is, when it told, and (cluster, more failed than worked)."""

    cluster: str
    at: float
    votes: tuple[tuple[str, bool], ...]


def ballot(report: Report, cluster_of: ClusterOf) -> Ballot:
    """The votes of one proxy; addresses that nobody knows count for nothing."""
    found: dict[str, tuple[int, int]] = {}
    for upstream in report.upstreams:
        cluster = cluster_of(report.network, upstream.address)
        if cluster and (upstream.worked or upstream.failed):
            worked, failed = found.get(cluster, (0, 0))
            found[cluster] = (worked + upstream.worked, failed + upstream.failed)
    return Ballot(report.cluster, report.at, tuple((c, failed > worked) for c, (worked, failed) in found.items()))


def votes(ballots: Iterable[Ballot], now: float) -> dict[str, Votes]:
    """How each cluster fares in the eyes of the proxies that called it lately."""
    counts: dict[str, list[int]] = {}
    for one in ballots:
        if now - one.at > REPORT_WINDOW:
            continue
        for cluster, fails in one.votes:
            count = counts.setdefault(cluster, [0, 0, 0, 0])
            where = 2 if cluster == one.cluster else 0
            count[where] += 1
            count[where + 1] += fails
    return {cluster: Votes(*count) for cluster, count in counts.items()}


def data_plane(vote: Votes | None) -> tuple[Health, str]:
    """The proxies of other clusters together: most of them fail, or not. Its own do not cross anything."""
    if vote is None or not vote.far:
        return Health.UNKNOWN, "no traffic from other clusters"
    text = f"{vote.far - vote.far_failing} of {vote.far} calling proxies succeed"
    return (Health.BAD if 2 * vote.far_failing > vote.far else Health.GOOD), text
