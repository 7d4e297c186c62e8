"""All checks in the order in which they are shown."""

from collections.abc import Iterator, Sequence

from isthmus.checks import ambient, before, links, networks, reach, sameness, trust
from isthmus.checks.finding import Finding
from isthmus.checks.snapshot import Snapshot


def installed(snapshots: Sequence[Snapshot], now: float) -> Iterator[Finding]:
    """What can be wrong with a mesh that runs. `now` is in seconds since the epoch."""
    yield from reach.access(snapshots)
    yield from reach.clocks(snapshots)
    yield from reach.versions(snapshots)
    yield from trust.trust(snapshots, now)
    yield from links.secrets(snapshots, now)
    yield from networks.networks(snapshots)
    yield from networks.gateways(snapshots)
    yield from networks.addresses(snapshots)
    yield from ambient.captured(snapshots)
    yield from sameness.namespaces(snapshots)
    yield from sameness.services(snapshots)
    yield from sameness.configuration(snapshots)
    yield from sameness.problems(snapshots)


def precheck(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """What would be in the way of an installation."""
    yield from reach.access(snapshots)
    yield from before.rights(snapshots)
    yield from before.room(snapshots)
    yield from reach.clocks(snapshots)
    yield from reach.versions(snapshots)
    yield from networks.addresses(snapshots)
    yield from sameness.services(snapshots)
