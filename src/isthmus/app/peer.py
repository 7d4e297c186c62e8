"""One linked control plane as we follow it: what it told, how it answers, and what of it counts.

Silence takes nothing away: rows stay until the peer says otherwise or the link is removed.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from envoy.config.core.v3 import base_pb2
from google.protobuf.message import DecodeError

from isthmus.app.cluster_settings import ERROR, SYNCED, SYNCING, ClusterStatus
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, Problem
from isthmus.base.names import spiffe_id
from isthmus.edge.control_plane import Backoff
from isthmus.edge.peer_client import Credentials, PeerStream, open_stream
from isthmus.edge.peer_files import Kept, KeptResource
from isthmus.ingest.peer_wire import (
    Claim,
    Hello,
    entered_at,
    proof_for,
    read_bundle,
    read_hello,
    read_service,
    write_bundle,
)
from isthmus.model.peering import PeerBundle, PeerEntrances, PeerLink, PeerService
from isthmus.tables.changes import Change, Drop, Put, Replace
from isthmus.trust.assertion import verify
from isthmus.trust.errors import TokenError
from isthmus.trust.pem import load_certificates
from isthmus.xds.client import DeltaClient, Held, Update
from isthmus.xds.resource import (
    BELIEF_REPORT,
    CONTROL_PLANE,
    ENTRANCES_REPORT,
    PEER_SERVICE,
    ROOTS_REPORT,
    TRUST_BUNDLE,
)

log = structlog.get_logger()

FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0
"""Seconds between tries to reach a peer, doubling."""

PING = 3.0
"""Seconds between looks whether a quiet peer is there, and how far away it is."""


class PeerMismatchError(IsthmusError):
    """Who answers is not whom the link declares."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all peers of one control plane share."""

    clock: Clock
    emit: Callable[[list[Change]], None]
    credentials: Callable[[str], Credentials]
    """What to show to a peer whose roots are these (PEM; empty: the mesh's own)."""
    node: Callable[[str], base_pb2.Node]
    """Who asks; takes the challenge that the peer must answer with a proof of itself."""
    identity: Callable[[str], str]
    """The SPIFFE ID of the control plane of a trust domain; an empty one is ours."""
    roots: Callable[[], str]
    """Our own roots, to be announced."""
    entrances: Callable[[], Sequence[str]]
    """Where our own network is entered, to be announced."""
    server_name: str
    changed: Callable[[], None]
    """The roots of a peer changed, or how it stands."""


class Peer:
    """One peer. `run` follows it until cancelled; `update` when its link says something else."""

    def __init__(self, link: PeerLink, claim: Claim, ground: Ground, kept: Kept | None = None) -> None:
        self.link = link
        self.claim = claim
        self.connected_since: float | None = None
        self.updated: float | None = None
        self.heard: float | None = None
        self.round_trip: float | None = None
        self.error = ""
        self.address = ""
        self.hello: Hello | None = None
        self.entrances: tuple[str, ...] = ()
        """Where the peer is entered by its own word; empty: where the link says."""
        self.dirty = False
        self.stale = False
        """What counts was restored and not heard again yet."""
        self.settled = asyncio.Event()
        self.rows: dict[str, PeerService] = {}
        self.accepted: frozenset[str] = frozenset()
        """Its roots (fingerprints) by which our proxies are known to believe it."""
        self.believes: frozenset[str] = frozenset()
        """Our roots by which its proxies believe us, as it says."""
        self._ground = ground
        self._announced = ""
        self._problems: dict[tuple[str, str], Sequence[Problem]] = {}
        self._client = DeltaClient((PEER_SERVICE, TRUST_BUNDLE), fresh=CONTROL_PLANE)
        self._verified = False
        self._challenge = ""
        self._asked_at: float | None = None
        self._poked = asyncio.Event()
        if kept is not None and kept.declared == self.declared:
            self._restore(kept)
        self._swap()
        self._emit_bundle()
        self._emit_entrances()

    # -- what counts ----------------------------------------------------------------------------------------------

    @property
    def declared(self) -> str:
        """A digest of what the link says of the peer's identity: what was told under another counts no more."""
        parts = (*map(repr, (self.claim.cluster, self.claim.network, self.claim.trust_domain)), self.link.roots)
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    @property
    def roots(self) -> str:
        """The roots (PEM) by which the peer's identities are believed; empty: those of the mesh."""
        return (self._announced or self.link.roots) if self.link.roots else ""

    @property
    def asks(self) -> bool:
        """False for a link that only lets the peer in."""
        return bool(self.link.xds_port and self.link.addresses)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where to look for the peer: where it is now, and after that where the link says."""
        return tuple(dict.fromkeys((*self.entrances, *self.link.addresses)))

    def told_entrances(self, told: tuple[str, ...]) -> None:
        """The peer says where its network is entered, on whichever stream: we may not reach it where it was."""
        found = entered_at(self.link.addresses, self.entrances, told)
        if found != self.entrances:
            log.info("peer is entered elsewhere", peer=self.claim.cluster, addresses=list(found))
            self.entrances, self.dirty = found, True
            self._emit_entrances()
            # Kept at once: who starts again without it looks for the peer where it was.
            self._ground.changed()

    def _emit_entrances(self) -> None:
        claim = self.claim
        row = PeerEntrances(cluster=claim.cluster, name=claim.network, addresses=self.entrances)
        rows = ((row.key, row),) if self.entrances else ()
        self._ground.emit([Replace(PeerEntrances.TABLE, (claim.cluster,), rows)])

    def problems(self) -> list[Problem]:
        """What the peer said that does not count."""
        return [problem for found in self._problems.values() for problem in found]

    def kept(self) -> Kept:
        """What to keep for a restart."""
        resources = tuple(
            KeptResource(type_url, name, one.version, one.body)
            for type_url, held in self._client.held.items()
            for name, one in sorted(held.items())
        )
        return Kept(
            self.claim.cluster,
            self.declared,
            resources,
            updated=self.updated or 0.0,
            roots=self._announced,
            entrances=self.entrances,
            linked=self.link.addresses,
        )

    def remove(self) -> None:
        """The link is gone: so is everything that the peer told."""
        prefix = (self.claim.cluster,)
        tables = (PeerService.TABLE, PeerBundle.TABLE, PeerEntrances.TABLE)
        self._ground.emit([Replace(table, prefix, ()) for table in tables])

    def told_roots(self, roots: str) -> None:
        """The peer announces its roots (PEM), on whichever stream. Those that no link declares are the mesh's own."""
        if self.link.roots and roots and roots != self._announced:
            before, self._announced = self.roots, roots
            self.dirty = True
            if before != roots:
                log.info("peer announces other roots", peer=self.claim.cluster)
                self._emit_bundle()
                self._ground.changed()

    def hear_roots(self, roots: str) -> None:
        """The same, as the message that the peer sends with its own requests."""
        body = write_bundle(self.claim.trust_domain, roots)
        found, problems = read_bundle(self.claim, self.claim.trust_domain, body)
        self._note(ROOTS_REPORT, self.claim.trust_domain, problems)
        self.told_roots(found)

    def status(self) -> ClusterStatus:
        """The peer as a cluster that one hears of: its link stands where others have their API server."""
        status = {"connected": SYNCED, "connecting": SYNCING}.get(self.state, ERROR)
        server = next((f"{one}:{self.link.xds_port}" for one in self.link.addresses), "")
        return ClusterStatus(
            id=self.claim.cluster,
            secret="",
            server=server,
            status=status,
            last_contact=self.heard,
            last_error=self.error,
            rows=len(self.rows),
            stale=self.stale,
        )

    def described(self) -> dict[str, Any]:
        """Plain data. Times are seconds since the epoch; `roundTrip` is in seconds."""
        return {
            "peer": self.claim.cluster,
            "network": self.claim.network,
            "trustDomain": self.claim.trust_domain,
            "link": f"{self.link.namespace}/{self.link.name}",
            "addresses": [f"{one}:{self.link.xds_port}" for one in self.addresses],
            "state": self.state,
            "connectedSince": self.connected_since,
            "lastUpdate": self.updated,
            "roundTrip": self.round_trip,
            "lastError": self.error,
            "servicesIn": len(self.rows),
            "stale": self.stale,
            "version": self.hello.version if self.hello else "",
        }

    @property
    def state(self) -> str:
        """`inbound` (only let in), `connected`, `error` or `connecting`."""
        if not self.asks:
            return "inbound"
        if self.connected_since is not None:
            return "connected"
        return "error" if self.error else "connecting"

    def poke(self) -> None:
        """Our own roots or entrances changed, or by which of its own we believe it: tell the peer."""
        self._poked.set()

    def _restore(self, kept: Kept) -> None:
        """Of a peer that nothing is asked of, only its roots count."""
        for one in kept.resources if self.asks else ():
            if one.type_url in self._client.held:
                self._client.held[one.type_url][one.name] = Held(one.version, one.body)
        self._announced, self.updated = kept.roots, kept.updated or None
        # Who corrects the addresses of a link knows better than what was told before.
        self.entrances = kept.entrances if kept.linked == self.link.addresses else ()
        self.heard = self.updated
        self.stale = True
        self.settled.set()

    @property
    def bundle(self) -> PeerBundle:
        """What our proxies are told of its roots."""
        return PeerBundle(cluster=self.claim.cluster, name=self.claim.trust_domain, roots=self.roots)

    def _emit_bundle(self) -> None:
        row = self.bundle
        self._ground.emit([Replace(PeerBundle.TABLE, (self.claim.cluster,), ((row.key, row),))])

    def _swap(self) -> None:
        """All services of the peer as one change."""
        self.rows = {}
        self._problems = {key: found for key, found in self._problems.items() if key[0] != PEER_SERVICE}
        for name, held in self._client.held[PEER_SERVICE].items():
            self._read(name, held)
        rows = tuple((row.key, row) for row in self.rows.values())
        self._ground.emit([Replace(PeerService.TABLE, (self.claim.cluster,), rows)])

    def _read(self, name: str, held: Held) -> PeerService | None:
        row, problems = read_service(self.claim, name, held.body)
        self._note(PEER_SERVICE, name, problems)
        if row is None:
            self.rows.pop(name, None)
        else:
            self.rows[name] = row
        return row

    def _note(self, type_url: str, name: str, problems: Sequence[Problem]) -> None:
        if problems:
            self._problems[type_url, name] = problems
        else:
            self._problems.pop((type_url, name), None)

    # -- the stream -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the peer until cancelled, at whichever of its addresses answers."""
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        while self.asks:
            for address in self.addresses:
                try:
                    await self._follow(address, backoff)
                except* (IsthmusError, DecodeError) as group:
                    self._lost("; ".join(dict.fromkeys(map(_words, _leaves(group)))))
            await asyncio.sleep(backoff.delay())
        self.settled.set()

    async def _follow(self, address: str, backoff: Backoff) -> None:
        credentials = self._ground.credentials(self.roots)
        before = {type_url: dict(held) for type_url, held in self._client.held.items()}
        self._verified = False
        self._challenge = secrets.token_urlsafe(24)
        try:
            async with open_stream(
                address, self.link.xds_port, name=self._ground.server_name, credentials=credentials
            ) as stream:
                self.address = stream.address
                self._asked_at = self._ground.clock.monotonic()
                for frame in (*self._client.open(self._ground.node(self._challenge)), *self._reports()):
                    await stream.send(frame)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_asking(stream))
                    while True:
                        await self._take(stream, await stream.receive())
                        backoff.reset()
        finally:
            if not self._verified:
                # What somebody told who is not known to be the peer must not be held for the peer's word.
                self._client.held.update(before)
            self._verified = False

    async def _take(self, stream: PeerStream, frame: bytes) -> None:
        update = self._client.receive(frame)
        if self._verified:
            self.heard = self._ground.clock.now()
        if update is None:
            return
        problems: list[Problem] = []
        if update.type_url == CONTROL_PLANE:
            self._greet(update)
        elif self._verified:
            problems = self._apply(update)
        await stream.send(self._client.answer(update, "; ".join(str(one) for one in problems)))

    def _greet(self, update: Update) -> None:
        """The peer says who it is: at the beginning, when it has answered everything else, and whenever it is asked."""
        clock = self._ground.clock
        for held in update.changed.values():
            hello, problems = read_hello(self.claim, held.body)
            self._note(CONTROL_PLANE, "", problems)
            if hello is None:
                raise PeerMismatchError("; ".join(one.message for one in problems), "Correct the link")
            if not self._verified:
                self._check_proof(hello)
            self.hello, self.believes = hello, hello.believed
            self.told_entrances(hello.entrances)
        if self._asked_at is not None:
            self.round_trip, self._asked_at = clock.monotonic() - self._asked_at, None
        if self._verified or not update.changed:
            return
        self._verified = True
        self.connected_since = self.heard = clock.now()
        self.error = ""
        log.info("peer reached", peer=self.claim.cluster, address=self.address, services=len(self.rows))
        self._adopt()
        self._ground.changed()

    def _check_proof(self, hello: Hello) -> None:
        """TLS said that who answers is under the peer's roots; where others are, too, only this says who it is."""
        ground = self._ground
        roots = load_certificates(ground.credentials(self.roots).roots)
        audience = proof_for(self._challenge, ground.identity(""))
        try:
            found = verify(hello.proof, roots, now=ground.clock.now(), audience=audience)
        except TokenError as error:
            raise PeerMismatchError(f"who answers does not prove who it is: {error.message}") from error
        identity = spiffe_id(found.trust_domain, found.namespace, found.service_account)
        if identity != ground.identity(self.claim.trust_domain):
            raise PeerMismatchError(f"who answers proves to be {identity}", "Correct the link")

    def _adopt(self) -> None:
        """Everything was told, by whom the link declares: it counts from now on."""
        before = self.rows
        self._swap()
        if self.rows != before or self.updated is None:
            self.updated, self.dirty = self._ground.clock.now(), True
        self.stale = False
        for name, held in self._client.held[TRUST_BUNDLE].items():
            self._bundle(name, held)
        self.settled.set()

    def _apply(self, update: Update) -> list[Problem]:
        """What changed; returns what of it does not count."""
        changes: list[Change] = []
        found: list[Problem] = []
        namespaced = (name.partition("/") for name in update.removed)
        if update.type_url == PEER_SERVICE:
            for namespace, _, name in namespaced:
                self.rows.pop(f"{namespace}/{name}", None)
                self._note(PEER_SERVICE, f"{namespace}/{name}", ())
                changes.append(Drop(PeerService.TABLE, (self.claim.cluster, namespace, name)))
            for name, held in update.changed.items():
                row = self._read(name, held)
                found += self._problems.get((PEER_SERVICE, name), ())
                key = (self.claim.cluster, *name.split("/", 1))
                changes.append(Drop(PeerService.TABLE, key) if row is None else Put(PeerService.TABLE, key, row))
        else:
            for name, held in update.changed.items():
                found += self._bundle(name, held)
        self.updated, self.dirty = self._ground.clock.now(), True
        if changes:
            self._ground.emit(changes)
        return found

    def _bundle(self, name: str, held: Held) -> Sequence[Problem]:
        roots, problems = read_bundle(self.claim, name, held.body)
        self._note(TRUST_BUNDLE, name, problems)
        self.told_roots(roots)
        return problems

    def _reports(self) -> tuple[bytes, ...]:
        """Our roots, where we are entered, and by which of its own the peer is believed, for one that does not follow
        us."""
        return (
            DeltaClient.report(ROOTS_REPORT, self._ground.roots()),
            DeltaClient.report(ENTRANCES_REPORT, " ".join(self._ground.entrances())),
            DeltaClient.report(BELIEF_REPORT, " ".join(sorted(self.accepted))),
        )

    async def _keep_asking(self, stream: PeerStream) -> None:
        while True:
            try:
                async with asyncio.timeout(PING):
                    await self._poked.wait()
            except TimeoutError:
                self._asked_at = self._ground.clock.monotonic()
                await stream.send(self._client.ask_again(CONTROL_PLANE, self.claim.cluster))
            else:
                self._poked.clear()
                for frame in self._reports():
                    await stream.send(frame)

    def _lost(self, error: str) -> None:
        if error != self.error:
            log.warning("peer not reached", peer=self.claim.cluster, error=error)
        self.error = error
        self.connected_since = self.round_trip = None
        self.address = ""
        self._ground.changed()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, IsthmusError) else f"an answer cannot be decoded ({error})"
