"""Do all clusters trust each other's certificates, and only as far as they should?"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Snapshot

TRUST = Category("trust")

SOON = 30 * 86_400.0
"""Seconds of remaining life below which an authority should be replaced."""


def trust(snapshots: Sequence[Snapshot], now: float) -> Iterator[Finding]:
    """A common root, authorities that live on, and intermediates bound to their trust domain where domains differ."""
    yield from _roots(snapshots)
    authorities = [(one.name, authority) for one in snapshots for authority in authorities_of(one)]
    for cluster, authority in authorities:
        yield from _life(cluster, authority, now)
    domains = {str(authority.get("trust_domain", "")) for _, authority in authorities}
    if len(domains) > 1:
        for cluster, authority in authorities:
            yield from _constraint(cluster, authority)


def authorities_of(one: Snapshot) -> list[Mapping[str, Any]]:
    """The authorities that the cluster's control planes sign with, each once, as their page /debug/trust tells them.

    Keys: `fingerprint`, `subject`, `not_after` (seconds since the epoch), `trust_domain` of this cluster,
    `permitted_domains` (empty: any).
    """
    found: dict[str, Mapping[str, Any]] = {}
    for plane in one.planes:
        page = plane.pages.get("trust") or {}
        for certificate in list(page.get("chain") or ())[:1]:
            found[certificate["fingerprint"]] = {
                "fingerprint": certificate["fingerprint"],
                "subject": certificate["subject"],
                "not_after": datetime.fromisoformat(certificate["notAfter"]).timestamp(),
                "trust_domain": page.get("trustDomain", ""),
                "permitted_domains": certificate["trustDomains"] or (),
            }
    return list(found.values())


def _roots(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    found = [one for one in snapshots if one.roots]
    if len(found) < 2:
        return
    common = set.intersection(*(set(one.roots) for one in found))
    names = [one.name for one in found]
    if common:
        shown = ", ".join(sorted(root[:11] for root in common))
        yield TRUST.good(f"all clusters trust a common root ({shown})", *names)
        return
    apart = [(one, other) for one in found for other in found if one is not other and not _believes(one, other)]
    if not apart:
        yield TRUST.good("the clusters believe each other's roots by their links", *names)
    elif any(_linked(one) for one in found):
        for one, other in apart:
            yield _apart(one, other)
    else:
        yield TRUST.error(
            "the clusters have no root in common: "
            + "; ".join(
                f"{one.name} trusts {', '.join(sorted(root[:11] for root in set(one.roots)))}" for one in found
            ),
            *names,
            effect="calls between these clusters fail in the TLS handshake (503, CERTIFICATE_VERIFY_FAILED)",
            remedy="Give each cluster an intermediate of one root in the secret cacerts, and restart the workloads; or "
            "link them: isthmus multicluster link",
        )


def _linked(one: Snapshot) -> dict[str, set[str]]:
    """The roots by which a cluster believes those that it is linked to, as its control planes tell them (by name)."""
    found: dict[str, set[str]] = {}
    for plane in one.planes:
        for peer in (plane.pages.get("peers") or {}).get("peers") or ():
            # Without roots of its own a peer is believed by those of the mesh.
            found.setdefault(str(peer["peer"]), set()).update(peer.get("rootFingerprints") or one.roots)
    return found


def _believes(one: Snapshot, other: Snapshot) -> bool:
    return bool(set(other.roots) & (set(one.roots) | _linked(one).get(other.name, set())))


def _apart(one: Snapshot, other: Snapshot) -> Finding:
    """What is wrong where one of two clusters does not believe the other's certificates."""
    known = other.name in _linked(one)
    return TRUST.error(
        f"{one.name} does not believe the roots of {other.name}"
        + (", though it is linked to it" if known else ", and is not linked to it"),
        one.name,
        other.name,
        effect=f"calls of {other.name} to {one.name} fail in the TLS handshake",
        remedy=f"Link them{' again' if known else ''}: isthmus multicluster link",
    )


def _life(cluster: str, authority: Mapping[str, Any], now: float) -> Iterator[Finding]:
    left = float(authority.get("not_after") or 0) - now
    subject = authority.get("subject") or "the authority"
    if left <= 0:
        yield TRUST.error(
            f"{subject} has expired",
            cluster,
            effect="no certificate is renewed: proxies lose their identity as theirs end",
            remedy="Replace the secret cacerts in the system namespace",
        )
    elif left < SOON:
        yield TRUST.warning(
            f"{subject} expires in {left / 86_400:.0f} days",
            cluster,
            effect="certificates made from now on end with it",
            remedy="Replace the secret cacerts in the system namespace before that",
        )
    else:
        yield TRUST.good(f"{subject} is valid for {left / 86_400:.0f} days", cluster)


def _constraint(cluster: str, authority: Mapping[str, Any]) -> Iterator[Finding]:
    domain = str(authority.get("trust_domain", ""))
    permitted = [str(one) for one in authority.get("permitted_domains") or ()]
    if domain in permitted:
        yield TRUST.good(f"the intermediate may sign identities of {', '.join(permitted)} only", cluster)
        return
    yield TRUST.error(
        f"the intermediate of trust domain {domain} is "
        + (f"constrained to {', '.join(permitted)}" if permitted else "not constrained to it"),
        cluster,
        effect="whoever steals its key can sign identities of every cluster",
        remedy=f"Make it again with nameConstraints: isthmus ca intermediate --trust-domain {domain}",
    )
