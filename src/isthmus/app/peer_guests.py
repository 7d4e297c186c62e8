"""What those see who follow us, and which links count."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from isthmus.base.errors import ObjectRef, Problem
from isthmus.graph.mesh import Mesh
from isthmus.ingest.peer_wire import for_guest
from isthmus.model.peering import PeerLink
from isthmus.xds.resource import CONTROL_PLANE, PEER_SERVICE, WILDCARD, XdsResource

Told: TypeAlias = Mapping[str, Mapping[str, XdsResource]]
"""What all are told alike: by type and name."""


class ToldToGuest:
    """What one guest sees (`xds.session.Source`)."""

    def __init__(
        self,
        mesh: Mesh,
        told: Told,
        who: str,
        *,
        prove: Callable[[], str],
        believed: Callable[[], frozenset[str]],
    ) -> None:
        """`prove` proves who we are to this guest; `believed` are its roots (fingerprints) that count here."""
        self._mesh = mesh
        self._told = told
        self._who = who
        self._prove = prove
        self._believed = believed
        self._made_of: object = None
        self._made: Mapping[str, XdsResource] = {}

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        """One resource as it is now."""
        return self.resources(type_url).get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        """All of a type."""
        if type_url == PEER_SERVICE:
            return self._mesh.exports.resources(type_url)
        found = self._told.get(type_url, {})
        return self._for_guest(found) if type_url == CONTROL_PLANE else found

    def _for_guest(self, found: Mapping[str, XdsResource]) -> Mapping[str, XdsResource]:
        """Made once for each content: what did not change has no other version."""
        believed = self._believed()
        if self._made_of != (found, believed):
            self._made_of = (found, believed)
            proof = self._prove()
            self._made = {
                name: XdsResource(CONTROL_PLANE, name, for_guest(one.body, proof, believed))
                for name, one in found.items()
            }
        return self._made

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """Tell of changes."""
        if type_url == PEER_SERVICE:
            self._mesh.exports.follow(self._who, type_url)

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """Tell of changes no more."""
        if type_url == PEER_SERVICE and WILDCARD in names:
            self._mesh.exports.leave(self._who, type_url)


def chosen(links: Iterable[PeerLink]) -> tuple[dict[str, PeerLink], list[Problem]]:
    """One link for each peer, the first of them; what the others are for nobody can tell."""
    found: dict[str, PeerLink] = {}
    problems = []
    for link in links:
        first = found.setdefault(link.peer, link)
        if first is not link:
            problems.append(
                Problem(
                    ObjectRef(link.cluster, "KubernetesGateway", link.namespace, link.name),
                    "metadata.labels",
                    f"cluster {link.peer} is linked by {first.namespace}/{first.name} already",
                    "Remove one of them; an address more is a further entry of spec.addresses",
                )
            )
    return found, problems
