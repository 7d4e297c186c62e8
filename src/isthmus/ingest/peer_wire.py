"""What linked control planes tell each other: encoded for the peer, and read of a peer with every claim compared.

A peer speaks for one cluster, one network and one trust domain: those that the link to it declares. What it says of
anything else is refused and told; the rest counts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from isthmus.base.errors import IsthmusError, ObjectRef, Problem
from isthmus.ingest.finding import is_address
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope
from isthmus.model.rows import Locality, Protocol, ServicePort
from isthmus.proto import peering_pb2
from isthmus.trust.pem import certificates_to_pem, load_certificates, self_signed

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IDENTITY = re.compile(r"spiffe://([^/]+)/ns/[^/]+/sa/[^/]+")
MOST = 1_000_000
"""No place has more endpoints than this; weights are made of the counts."""

MOST_ENTRANCES = 64

_TELL = "See to the control plane of that cluster, or correct the link"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a peer may speak for, as the link to it declares."""

    cluster: str
    network: str
    trust_domain: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Who a control plane says it is, at which addresses its network is entered now, and the proof of the former."""

    cluster: str
    network: str
    trust_domain: str
    mesh_id: str = ""
    version: str = ""
    entrances: tuple[str, ...] = ()
    proof: str = ""
    believed: frozenset[str] = frozenset()
    """By which of our roots (fingerprints) we are believed there."""


# -- for the peer -------------------------------------------------------------------------------------------------


def write_service(row: PeerService) -> bytes:
    """A service that this control plane exports; equal rows give equal bytes."""
    message = peering_pb2.Service(
        namespace=row.namespace,
        name=row.name,
        scope=row.scope.value,
        ports=[
            peering_pb2.Service.Port(name=port.name, number=port.port, protocol=port.protocol.value)
            for port in row.ports
        ],
        identities=sorted(row.identities),
        places=[_place(one) for one in sorted(row.endpoints)],
        traffic_distribution=row.traffic_distribution,
    )
    return bytes(message.SerializeToString(deterministic=True))


def _place(found: PeerEndpoints) -> peering_pb2.Service.Place:
    where = found.locality
    return peering_pb2.Service.Place(
        network=found.network,
        region=where.region,
        zone=where.zone,
        subzone=where.subzone,
        healthy=found.healthy,
        total=found.total,
    )


def write_bundle(trust_domain: str, roots: str, *, own: bool = False, signer: str = "") -> bytes:
    """The roots (PEM) of a trust domain."""
    message = peering_pb2.TrustBundle(trust_domain=trust_domain, roots=roots, own=own, signer=signer)
    return bytes(message.SerializeToString(deterministic=True))


def write_hello(hello: Hello) -> bytes:
    """Who we are."""
    message = peering_pb2.ControlPlane(
        cluster=hello.cluster,
        network=hello.network,
        trust_domain=hello.trust_domain,
        mesh_id=hello.mesh_id,
        version=hello.version,
        entrances=hello.entrances,
        proof=hello.proof,
    )
    return bytes(message.SerializeToString(deterministic=True))


def for_guest(body: bytes, proof: str, believed: Iterable[str]) -> bytes:
    """The same for one who asks: with a proof, and with those of its roots (fingerprints) by which it is believed."""
    return body + bytes(peering_pb2.ControlPlane(proof=proof, believed=sorted(believed)).SerializeToString())


def proof_for(challenge: str, identity: str) -> str:
    """Whom a proof is for: this stream of this peer, so that who is between the two cannot hand it on."""
    return f"{challenge} {identity}"


# -- of a peer ----------------------------------------------------------------------------------------------------


class _Reader:
    """Collects what is wrong with one resource of a peer."""

    def __init__(self, claim: Claim, kind: str, name: str) -> None:
        namespace, _, own = name.rpartition("/")
        self.where = ObjectRef(claim.cluster, kind, namespace, own)
        self.problems: list[Problem] = []

    def refuse(self, field: str, message: str) -> None:
        self.problems.append(Problem(self.where, field, message, _TELL))


def read_service(claim: Claim, name: str, body: bytes) -> tuple[PeerService | None, Sequence[Problem]]:
    """The service of a resource. None if it must not count at all: undecodable, misnamed, or of foreign identities."""
    read = _Reader(claim, "PeerService", name)
    try:
        message = peering_pb2.Service.FromString(body)
    except DecodeError as error:
        read.refuse("(message)", f"cannot be decoded ({error})")
        return None, read.problems
    words = (message.namespace, message.name)
    if name != "/".join(words) or not all(map(_LABEL.fullmatch, words)):
        read.refuse("name", f"the resource {name!r} describes the service {'/'.join(words)!r}")
        return None, read.problems
    try:
        scope = ServiceScope(message.scope)
    except ValueError:
        read.refuse("scope", f"{message.scope!r} is no scope of a service")
        return None, read.problems
    identities = tuple(_identities(read, claim, message))
    if message.identities and not identities:
        # Without identities to compare with, whoever answers would be believed.
        return None, read.problems
    row = PeerService(
        cluster=claim.cluster,
        namespace=message.namespace,
        name=message.name,
        scope=scope,
        ports=tuple(_ports(read, message)),
        identities=identities,
        endpoints=tuple(_places(read, claim, message)),
        traffic_distribution=message.traffic_distribution,
    )
    return (None if scope is ServiceScope.LOCAL else row), read.problems


def _identities(read: _Reader, claim: Claim, message: peering_pb2.Service) -> Iterator[str]:
    for identity in sorted(set(message.identities)):
        found = _IDENTITY.fullmatch(identity)
        if found is None:
            read.refuse("identities", f"{identity!r} is no identity of a workload")
        elif found[1] != claim.trust_domain:
            read.refuse(
                "identities",
                f"{identity} is not of the trust domain {claim.trust_domain}, for which alone {claim.cluster} speaks",
            )
        else:
            yield identity


def _ports(read: _Reader, message: peering_pb2.Service) -> Iterator[ServicePort]:
    for port in message.ports:
        if not 1 <= port.number <= 65535:
            read.refuse("ports", f"{port.number} is no port")
            continue
        known = port.protocol in Protocol.__members__
        yield ServicePort(port.name, port.number, Protocol(port.protocol) if known else Protocol.TCP)


def _places(read: _Reader, claim: Claim, message: peering_pb2.Service) -> Iterator[PeerEndpoints]:
    for place in message.places:
        if place.network != claim.network:
            read.refuse(
                "places",
                f"endpoints in network {place.network!r}: {claim.cluster} speaks for network {claim.network} alone",
            )
        elif not place.healthy <= place.total <= MOST:
            read.refuse("places", f"{place.healthy} of {place.total} endpoints healthy cannot be")
        else:
            yield PeerEndpoints(
                place.network, Locality(place.region, place.zone, place.subzone), place.healthy, place.total
            )


def read_bundle(claim: Claim, name: str, body: bytes) -> tuple[str, Sequence[Problem]]:
    """The roots (PEM) that a peer announces for its trust domain; empty if they must not count."""
    read = _Reader(claim, "TrustBundle", name)
    try:
        message = peering_pb2.TrustBundle.FromString(body)
        found = load_certificates(message.roots.encode())
    except (DecodeError, IsthmusError) as error:
        read.refuse("(message)", f"cannot be decoded ({error})")
        return "", read.problems
    if message.trust_domain != claim.trust_domain or name != claim.trust_domain:
        read.refuse(
            "trustDomain",
            f"roots for {message.trust_domain}: {claim.cluster} speaks for trust domain {claim.trust_domain} alone",
        )
        return "", read.problems
    roots = [one for one in found if self_signed(one)]
    if len(roots) < len(found):
        # Proxies that anchor at an intermediate refuse everybody.
        read.refuse("roots", f"{len(found) - len(roots)} certificates are no roots")
    if not roots:
        read.refuse("roots", "there is no root")
    return certificates_to_pem(dict.fromkeys(roots)).decode(), read.problems


def read_hello(claim: Claim, body: bytes) -> tuple[Hello | None, Sequence[Problem]]:
    """Who answers; None, with the reason, if that is not whom the link declares."""
    read = _Reader(claim, "ControlPlane", claim.cluster)
    try:
        message = peering_pb2.ControlPlane.FromString(body)
    except DecodeError as error:
        read.refuse("(message)", f"cannot be decoded ({error})")
        return None, read.problems
    told = Hello(
        message.cluster,
        message.network,
        message.trust_domain,
        message.mesh_id,
        message.version,
        read_entrances(message.entrances),
        message.proof,
        frozenset(message.believed),
    )
    declared = (claim.cluster, claim.network, claim.trust_domain)
    names = ("cluster", "network", "trust domain")
    for what, said, wanted in zip(names, (told.cluster, told.network, told.trust_domain), declared, strict=True):
        if said != wanted:
            read.refuse(what, f"who answers says its {what} is {said!r}, the link declares {wanted!r}")
    return (None if read.problems else told), read.problems


def read_entrances(told: Sequence[str]) -> tuple[str, ...]:
    """The addresses among these."""
    return tuple(dict.fromkeys(one for one in told[:MOST_ENTRANCES] if is_address(one)))


def entered_at(linked: Sequence[str], before: Sequence[str], told: Sequence[str]) -> tuple[str, ...]:
    """Where a peer is entered that says it is at `told`; `before` is what was believed, empty: what the link says.

    A link to other addresses, of a load balancer or a name that the peer does not know of itself, stays as it is. One
    that says that it is nowhere is where it was: whatever it lost, there is no better place to look for it.
    """
    if not told or (not before and set(linked).isdisjoint(told)):
        return tuple(before)
    return tuple(told)
