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

REPORT_WINDOW = 14.0
"""Seconds for which a proxy's report counts; proxies repeat theirs every 10 s while they have traffic. What worked
long ago must not speak for a gateway that is dead now."""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a signal says, since when (seconds since the epoch), and what was seen. `not_good_since`: since when it is
    not good, be it bad or unknown."""

    health: Health = Health.UNKNOWN
    since: float = 0.0
    text: str = "never seen"
    not_good_since: float = 0.0

    def now(self, health: Health, now: float, text: str) -> "Reading":
        """The reading after another look."""
        since = self.since if health is self.health and self.since else now
        lost = 0.0 if health is Health.GOOD else self.not_good_since or now
        return Reading(health, since, text, lost)


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
    """What a proxy met at one address since its last report.

    `worked`: connections that came up and requests that were answered well; `failed`: connections that did not come
    up and requests that got no answer in time; `errors`: answers that were errors, which a living cluster gives, too.
    """

    address: str
    port: int
    worked: int
    failed: int
    errors: int = 0

    @property
    def fails(self) -> bool:
        """True if more failed than worked."""
        return self.failed > self.worked

    @property
    def troubled(self) -> bool:
        """True if more than a tenth went wrong in one way or another."""
        wrong = self.failed + self.errors
        return 10 * wrong > self.worked + wrong

    def plus(self, other: "Upstream") -> "Upstream":
        """Both together, under this one's address."""
        sums = (self.worked + other.worked, self.failed + other.failed, self.errors + other.errors)
        return Upstream(self.address, self.port, *sums)

    @property
    def idle(self) -> bool:
        """True if nothing was tried."""
        return not (self.worked or self.failed or self.errors)


class Report(msgspec.Struct, frozen=True, gc=False):
    """What one proxy, of a verified cluster, told at a time."""

    cluster: str
    network: str
    at: float
    upstreams: tuple[Upstream, ...]


class Votes(msgspec.Struct, frozen=True, gc=False):
    """How many proxies called a cluster lately, and how they fared.

    `far` are those of other clusters, and `far_failing` those of them that failed more often than not. `callers` are
    all, and `troubled` those of them for whom more than a tenth went wrong.
    """

    far: int = 0
    far_failing: int = 0
    callers: int = 0
    troubled: int = 0


ClusterOf = Callable[[str, str], str]
"""(network of the caller, address) -> the cluster that answers there, empty if nobody knows."""


class Ballot(msgspec.Struct, frozen=True, gc=False):
    """A report as votes: of which cluster the caller is, when it told, and (cluster, fails, troubled)."""

    cluster: str
    at: float
    votes: tuple[tuple[str, bool, bool], ...]


def ballot(report: Report, cluster_of: ClusterOf) -> Ballot:
    """The votes of one proxy; addresses that nobody knows count for nothing."""
    found: dict[str, Upstream] = {}
    for upstream in report.upstreams:
        cluster = cluster_of(report.network, upstream.address)
        if cluster and not upstream.idle:
            found[cluster] = found[cluster].plus(upstream) if cluster in found else upstream
    cast = tuple((cluster, total.fails, total.troubled) for cluster, total in found.items())
    return Ballot(report.cluster, report.at, cast)


def votes(ballots: Iterable[Ballot], now: float) -> dict[str, Votes]:
    """How each cluster fares in the eyes of the proxies that called it lately."""
    counts: dict[str, list[int]] = {}
    for one in ballots:
        if now - one.at > REPORT_WINDOW:
            continue
        for cluster, fails, troubled in one.votes:
            count = counts.setdefault(cluster, [0, 0, 0, 0])
            far = cluster != one.cluster
            count[0] += far
            count[1] += far and fails
            count[2] += 1
            count[3] += troubled
    return {cluster: Votes(*count) for cluster, count in counts.items()}


def data_plane(vote: Votes | None) -> tuple[Health, str]:
    """The proxies of other clusters together: most of them fail, or not. Its own do not cross anything."""
    if vote is None or not vote.far:
        return Health.UNKNOWN, "no traffic from other clusters"
    text = f"{vote.far - vote.far_failing} of {vote.far} calling proxies succeed"
    return (Health.BAD if 2 * vote.far_failing > vote.far else Health.GOOD), text
