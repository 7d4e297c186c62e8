"""What linked control planes tell each other, on paper: by the bytes that they would send."""

from collections.abc import Callable, Iterator

from isthmus.graph.mesh import Mesh
from isthmus.ingest.peer_wire import Claim, read_service
from isthmus.model.peering import PeerBundle, PeerLink, PeerService
from isthmus.tables.changes import Change, Put
from isthmus.xds.resource import PEER_SERVICE


def told(mesh: Mesh, own: Callable[[str], Mesh]) -> Iterator[Change]:
    """What linked control planes told one: their services, and whose roots are believed. `own` by cluster."""
    for _, link in mesh.sources.peer_links.rows():
        domain = PeerBundle(cluster=link.peer, name=link.trust_domain, roots=link.roots)
        yield Put(PeerBundle.TABLE, domain.key, domain)
        for row in _exported(link, own(link.peer)):
            yield Put(PeerService.TABLE, row.key, row)


def _exported(link: PeerLink, peer: Mesh) -> Iterator[PeerService]:
    claim = Claim(link.peer, link.network, link.trust_domain)
    for name, resource in peer.exports.resources(PEER_SERVICE).items():
        row, problems = read_service(claim, name, resource.body)
        assert row is not None, problems
        yield row
