"""How links stand, and whether clusters may be linked: what `isthmus multicluster check` shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isthmus.checks.finding import Category, Finding, Level
from isthmus.cli.check import show
from isthmus.cli.linking import NotReadyError, Site, peer_values
from isthmus.cli.output import Cell, Colour, age, json
from isthmus.install.peer_link import PeerValues

HEADERS = ("CLUSTER", "PEER", "STATE", "CONNECTED", "LAST UPDATE", "ROUND TRIP", "SERVICES IN", "SERVICES OUT",
           "ISTIOD", "LAST ERROR")  # fmt: skip

_COLOURS = {"connected": Colour.GOOD, "inbound": Colour.GOOD, "connecting": Colour.UNSURE}

WHO = Category("clusters")
ENTRANCE = Category("gateways")
TRUST = Category("trust")


@dataclass(frozen=True, slots=True)
class Standing:
    """A link as one control plane sees it."""

    cluster: str
    istiod: str
    entry: Mapping[str, Any]

    @property
    def peer(self) -> str:
        """The cluster at the other end."""
        return str(self.entry["peer"])

    @property
    def good(self) -> bool:
        """True if the peer is heard, or only let in."""
        return self.entry["state"] in ("connected", "inbound")

    def row(self, now: float) -> tuple[str, ...]:
        """One line of the table."""
        entry = self.entry
        out, trip = entry["servicesOut"], entry["roundTrip"]
        return (
            self.cluster,
            self.peer,
            Cell(entry["state"], _COLOURS.get(entry["state"], Colour.BAD)),
            _since(entry["connectedSince"], now),
            _since(entry["lastUpdate"], now),
            "-" if trip is None else f"{1000 * trip:.1f} ms",
            "-" if entry["state"] == "inbound" else str(entry["servicesIn"]),
            "-" if out is None else str(out),
            self.istiod,
            entry["lastError"],
        )

    def as_json(self) -> dict[str, Any]:
        """The same, in full."""
        return {"cluster": self.cluster, "istiod": self.istiod, **self.entry}


def _since(when: float | None, now: float) -> str:
    return "-" if when is None else age(now - when)


def standings(found: Iterable[Site]) -> list[Standing]:
    """Every link of these clusters, as each of their control planes sees it."""
    made = [
        Standing(site.cluster, istiod, entry)
        for site in found
        for istiod, page in site.pages.items()
        for entry in page["peers"]
    ]
    return sorted(made, key=lambda one: (one.cluster, one.peer, one.istiod))


def successions(found: Iterable[Site]) -> Iterator[str]:
    """What is under way where the authority of a cluster is replaced: a line for each of its control planes."""
    for site in found:
        for istiod, page in site.pages.items():
            who = f"{site.cluster} ({istiod})"
            if waits := page["newAuthorityWaitsFor"]:
                yield f"{who}: the new authority does not sign yet; it is not believed by {', '.join(waits)}"
            if kept := page["rootsKept"]:
                shown = ", ".join(one[:11] for one in kept)
                yield f"{who}: root {shown} is believed on, as there are certificates under it"


async def precheck(found: Sequence[Site], namespace: str) -> list[Finding]:
    """Whether these clusters may be linked to each other."""
    entered: dict[str, PeerValues | NotReadyError] = {}
    for site in found:
        try:
            entered[site.context] = await peer_values(site, namespace)
        except NotReadyError as error:
            entered[site.context] = error
    return [*names(found), *entrances(entered), *trust(found)]


def names(found: Sequence[Site]) -> Iterator[Finding]:
    """Clusters and networks of one mesh have names of their own."""
    for what in ("cluster", "network"):
        owners: dict[str, list[str]] = {}
        for site in found:
            owners.setdefault(site.cluster if what == "cluster" else site.network, []).append(site.context)
        for name, contexts in owners.items():
            if not name:
                yield WHO.error(
                    f"there is no {what}",
                    *contexts,
                    effect="nobody can say which endpoints are behind its gateway",
                    remedy="Label the system namespace with topology.istio.io/network",
                )
            elif len(contexts) > 1:
                yield WHO.error(
                    f"{what} {name} is the name of {len(contexts)} clusters",
                    *contexts,
                    effect=f"what one tells of its {what} is taken for the other's",
                    remedy=f"Give each a {what} of its own: isthmus install --{what}",
                )
            else:
                yield WHO.good(f"{what} {name} is the name of one", *contexts)


def entrances(entered: Mapping[str, PeerValues | NotReadyError]) -> Iterator[Finding]:
    """Every cluster can be entered by an east-west gateway with an address."""
    for context, found in entered.items():
        if isinstance(found, NotReadyError):
            yield ENTRANCE.error(
                found.message, context, effect="no other cluster can be linked to it", remedy=found.remedy
            )
        else:
            yield ENTRANCE.good(f"entered at {', '.join(found.addresses)}", context)


def trust(found: Sequence[Site]) -> Iterator[Finding]:
    """A trust domain has one set of roots: two that differ cannot be told apart by their names."""
    by_domain: dict[str, dict[str, list[str]]] = {}
    for site in found:
        by_domain.setdefault(site.trust_domain, {}).setdefault(site.roots, []).append(site.context)
    for domain, roots in by_domain.items():
        contexts = [name for group in roots.values() for name in group]
        if len(roots) > 1:
            yield TRUST.error(
                f"trust domain {domain} has {len(roots)} sets of roots",
                *contexts,
                effect="each of these clusters can make identities of the others",
                remedy="Give each cluster a trust domain of its own, or all of them one root",
            )
        elif len(contexts) > 1:
            yield TRUST.warning(
                f"trust domain {domain} is that of {len(contexts)} clusters",
                *contexts,
                effect="policies cannot tell these clusters apart",
                remedy="Install each with --trust-domain of its own where that matters",
            )
        else:
            yield TRUST.good(f"trust domain {domain} is that of one cluster", *contexts)


def print_findings(found: Sequence[Finding], *, as_json: bool) -> bool:
    """Print them; True if nothing is wrong."""
    if as_json:
        json([asdict(finding) for finding in found])
    else:
        show(found, verbose=False)
    return all(finding.level is not Level.ERROR for finding in found)
