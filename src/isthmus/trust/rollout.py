"""How one authority takes the place of another so that nobody is refused meanwhile: decisions, without time or I/O.

A new root is told first, and nothing is signed under it before everybody believes it. An old one is believed for as
long as somebody has a certificate under it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from isthmus.trust.authority import Authority
from isthmus.trust.errors import TrustError
from isthmus.trust.pem import fingerprint, issued_by

Fingerprints = frozenset[str]


def anchors(authority: Authority) -> Fingerprints:
    """Fingerprints of the roots by which what it signs is believed: each of them is enough."""
    top = authority.chain[-1] if authority.chain else authority.certificate
    return frozenset(fingerprint(root) for root in authority.roots if root == top or issued_by(top, root))


def check_succession(current: Authority, found: Authority) -> None:
    """Raises TrustError where those who believe one would have no way to learn of the other (TR2)."""
    if not (set(found.roots) <= set(current.roots) or set(found.roots) >= set(current.roots)):
        raise TrustError(
            "the new certificate authority shares no root with the present one and is ignored",
            "Add the new root to root-cert.pem beside the old one first, then replace the intermediate",
        )


def to_be_believed(current: Authority, found: Authority) -> Fingerprints:
    """Roots one of which everybody must believe before `found` may sign; none: they believe it as it is."""
    wanted = anchors(found)
    return frozenset() if wanted & anchors(current) else wanted


def with_roots_of(current: Authority, found: Authority) -> Authority:
    """The present signer, with the other's roots told beside its own."""
    return replace(current, roots=(*current.roots, *(root for root in found.roots if root not in current.roots)))


def successor(current: Authority, found: Authority, needed: Collection[str]) -> Authority:
    """The new signer, with those of the old roots that are still needed (fingerprints)."""
    gone = (root for root in current.roots if root not in found.roots)
    return replace(found, roots=(*found.roots, *(root for root in gone if fingerprint(root) in needed)))


@dataclass(frozen=True, slots=True)
class Signed:
    """The last certificate of one holder: by which roots it is believed, and until when (seconds)."""

    anchors: Fingerprints
    until: float


def needed_roots(signed: Mapping[str, Signed], remaining: Fingerprints, now: float) -> Fingerprints:
    """Roots besides `remaining` without which a certificate that is still in use would be refused."""
    alone = (one.anchors for one in signed.values() if one.until > now and not one.anchors & remaining)
    return frozenset().union(*alone)
