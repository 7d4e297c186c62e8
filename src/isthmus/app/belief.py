"""How far roots have come: ours to our proxies and to peers, and those of peers to our proxies.

A root counts where it is believed, which is later than where it was told: proxies confirm what they were told, and a
peer says by which of our roots its proxies believe us.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from isthmus.app.peer import Peer
from isthmus.edge.xds_streams import Streams
from isthmus.graph.mesh import Mesh
from isthmus.model.peering import OwnAuthority
from isthmus.tables.changes import Change, Replace
from isthmus.trust.authority import Authority
from isthmus.trust.pem import fingerprint, load_certificates
from isthmus.trust.rollout import Fingerprints
from isthmus.xds.resource import TRUST_BUNDLE

FILES_SECONDS = 100.0
"""Seconds until a changed ConfigMap is in all pods that mount it: kubelets look every minute or so."""


def fingerprints(roots: str) -> Fingerprints:
    """Of the certificates in a bundle (PEM)."""
    return frozenset(map(fingerprint, load_certificates(roots.encode())))


class Beliefs:
    """Tells our proxies which authority is in force, and knows whether they have heard it."""

    def __init__(self, mesh: Mesh, streams: Streams, *, cluster: str, emit: Callable[[list[Change]], None]) -> None:
        self._mesh = mesh
        self._streams = streams
        self._cluster = cluster
        self._emit = emit
        self._own: OwnAuthority | None = None

    def tell(self, trust_domain: str, authority: Authority) -> None:
        """Our proxies hear of it, if it is another than before."""
        row = OwnAuthority(
            cluster=self._cluster,
            name=trust_domain,
            roots=authority.root_bundle.decode(),
            signer=fingerprint(authority.certificate),
        )
        if row != self._own:
            self._own = row
            self._emit([Replace(OwnAuthority.TABLE, (self._cluster,), ((row.key, row),))])

    def heard(self, peers: Iterable[Peer]) -> bool:
        """True if our proxies have confirmed everything that is to be believed now."""
        sources, own = self._mesh.sources, self._own
        if own is None or sources.own_authority.get(own.key) != own:
            return False
        told = all(sources.peer_bundles.get(peer.bundle.key) == peer.bundle for peer in peers)
        return told and not self._streams.behind(TRUST_BUNDLE)

    def accepted(self, peers: Iterable[Peer], own_roots: str) -> list[Peer]:
        """Those peers of whom other roots count than before, because our proxies have heard, or are to forget some."""
        found = list(peers)
        heard, changed = self.heard(found), []
        for peer in found:
            told = fingerprints(peer.roots or own_roots)
            counts = told if heard else told & peer.accepted
            if counts != peer.accepted:
                peer.accepted = counts
                changed.append(peer)
        return changed

    def disbelievers(self, peers: Mapping[str, Peer], roots: Fingerprints, seconds: float) -> Sequence[str]:
        """Who does not believe any of these roots of ours yet, which were told so many seconds ago."""
        found = [f"cluster {name}" for name, peer in sorted(peers.items()) if not peer.believes & roots]
        if not self.heard(peers.values()):
            found.append("own proxies that have not confirmed it")
        elif seconds < FILES_SECONDS and self._streams.without(TRUST_BUNDLE):
            found.append(f"own proxies that read roots of files, for up to {FILES_SECONDS:.0f} s")
        return found
