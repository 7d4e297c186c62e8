"""Rows about other control planes: links to them, and what they say of the services that they export.

A peer is known by what it says, not by reading its API server. Its rows have its cluster's name as first part of
their key, as if they had been read there: silence leaves them, unlinking removes a range.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec

from isthmus.base.labels import GLOBAL_LABEL, SERVICE_SCOPE_LABEL
from isthmus.model.rows import Labels, Locality, Row, ServicePort


class ServiceScope(StrEnum):
    """How far a service reaches (AM2): its cluster, the mesh by a name of its own, or the mesh by all its names."""

    LOCAL = ""
    GLOBAL = "global"
    GLOBAL_ONLY = "global-only"


SCOPE_WORDS = {
    "global": ServiceScope.GLOBAL,
    "global-only": ServiceScope.GLOBAL_ONLY,
    "cluster": ServiceScope.LOCAL,
    "local": ServiceScope.LOCAL,
}
"""What the label `solo.io/service-scope` may say; `cluster` takes a service out of a namespace that is global."""


def scope_said(found: Labels) -> ServiceScope | None:
    """What labels of a Service or a namespace say; None if nothing. What is not understood exposes nothing."""
    said = dict(found)
    if word := said.get(SERVICE_SCOPE_LABEL, ""):
        return SCOPE_WORDS.get(word.lower(), ServiceScope.LOCAL)
    if word := said.get(GLOBAL_LABEL, ""):
        return ServiceScope.GLOBAL if word.lower() == "true" else ServiceScope.LOCAL
    return None


class PeerLink(Row, frozen=True, kw_only=True, gc=False):
    """A declared link: a Gateway of class `istio-remote`, which says where a peer's network is entered.

    `peer` is the peer's cluster, `addresses` are IPs or host names; ports are 0 where nothing is offered. Without
    `xds_port` the peer is only let in: nothing is asked of it. An empty `trust_domain` is the mesh's own, empty
    `roots` (PEM) are the mesh's own. `gateway_identity` is the SPIFFE ID of the peer's gateway.
    """

    TABLE: ClassVar[str] = "peer_links"
    peer: str = ""
    network: str = ""
    trust_domain: str = ""
    addresses: tuple[str, ...] = ()
    hbone_port: int = 0
    xds_port: int = 0
    roots: str = ""
    gateway_identity: str = ""
    created: str = ""


class PeerBundle(Row, frozen=True, kw_only=True, gc=False):
    """The roots of a linked trust domain (`name`), as the link declares them or as the peer announced them since.

    `roots` are PEM; empty: those of the mesh.
    """

    TABLE: ClassVar[str] = "peer_bundles"
    roots: str = ""


class OwnAuthority(Row, frozen=True, kw_only=True, gc=False):
    """The authority in force of this control plane, for its trust domain (`name`).

    `roots` (PEM) are those that are to be believed, more than it needs while they change. `signer` is the fingerprint
    of the certificate that signs.
    """

    TABLE: ClassVar[str] = "own_authority"
    roots: str = ""
    signer: str = ""


class PeerEntrances(Row, frozen=True, kw_only=True, gc=False):
    """Where a peer's network (`name`) is entered now, by the peer's own word: instead of what the link to it says."""

    TABLE: ClassVar[str] = "peer_entrances"
    addresses: tuple[str, ...] = ()


class PeerEndpoints(msgspec.Struct, frozen=True, gc=False, order=True):
    """The endpoints of a service in one place of a peer, in summary: how many are healthy, and how many there are."""

    network: str
    locality: Locality = Locality()
    healthy: int = 0
    total: int = 0


class PeerService(Row, frozen=True, kw_only=True, gc=False):
    """A service that a peer exports. `identities` are the SPIFFE IDs of its endpoints (AM8)."""

    TABLE: ClassVar[str] = "peer_services"
    scope: ServiceScope = ServiceScope.GLOBAL
    ports: tuple[ServicePort, ...] = ()
    identities: tuple[str, ...] = ()
    endpoints: tuple[PeerEndpoints, ...] = ()
    traffic_distribution: str = ""
