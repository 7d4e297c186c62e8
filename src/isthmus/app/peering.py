"""The peers of this control plane: whom links declare, whom we follow, who follows us, and by which roots.

Nothing here decides what a proxy gets: what peers tell becomes rows, and what they are told is derived from rows.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from envoy.config.core.v3 import base_pb2

from isthmus.app.belief import Beliefs
from isthmus.app.cluster_settings import ClusterStatus
from isthmus.app.peer import Ground, Peer
from isthmus.app.peer_guests import ToldToGuest, chosen
from isthmus.base.clock import Clock
from isthmus.base.errors import Problem
from isthmus.base.names import CONTROL_PLANE_ACCOUNT, peers_host, spiffe_id
from isthmus.derive.link_status import LinkSeen, leader
from isthmus.edge.grpc_server import ServingCertificate
from isthmus.edge.link_status import Standing
from isthmus.edge.peer_client import Credentials
from isthmus.edge.peer_files import Kept, PeerFiles
from isthmus.edge.peer_server import Chain, Guest, PeerRefusedError
from isthmus.edge.trust_keeper import Serving, TrustKeeper
from isthmus.edge.xds_streams import Streams
from isthmus.graph.mesh import Mesh
from isthmus.ingest.peer_wire import Claim, Hello, proof_for, read_entrances, write_bundle, write_hello
from isthmus.model.peering import PeerLink
from isthmus.tables.changes import Change
from isthmus.trust import assertion
from isthmus.trust.assertion import holder
from isthmus.trust.authority import server_names, workload_names
from isthmus.trust.errors import TokenError
from isthmus.trust.issue import Validity, serial_from
from isthmus.trust.pem import fingerprint, key_to_pem, load_certificates, new_key
from isthmus.trust.rotation import due
from isthmus.xds.node import Node
from isthmus.xds.resource import CONTROL_PLANE, PEER_SERVICE, TRUST_BUNDLE, XdsResource

log = structlog.get_logger()

LOOK = 2.0
"""Seconds between looks at our own certificate, roots and network, and between writes of what peers told."""

CHALLENGE = "CHALLENGE"
"""Metadata of who asks: what the proof must be made for."""

REPLICA = ("app", "istiod")
"""The label of control planes, which may be several."""

PATIENCE = 10.0
"""Seconds that a start waits for a peer that was never heard."""


@dataclass(frozen=True, slots=True)
class PeeringSettings:
    """Who we are. `directory` keeps what peers told; None: nothing is kept."""

    cluster: str
    mesh_id: str
    system_namespace: str
    instance: str
    version: str
    directory: Path | None
    lifetime: float = 86_400.0


class Peering:
    """Follows the links of the config cluster. `run` it; `links_changed` when one of them may say something else."""

    def __init__(
        self,
        settings: PeeringSettings,
        clock: Clock,
        *,
        mesh: Mesh,
        streams: Streams,
        trust: TrustKeeper,
        emit: Callable[[list[Change]], None],
        trust_domain: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._mesh = mesh
        self._trust = trust
        self._emit = emit
        self._beliefs = Beliefs(mesh, streams, cluster=settings.cluster, emit=emit)
        self._trust_domain = trust_domain
        self._files = PeerFiles(settings.directory)
        self._kept: dict[str, Kept] = {}
        self._peers: dict[str, Peer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._guests: dict[str, Guest] = {}
        self._problems: list[Problem] = []
        self._group: asyncio.TaskGroup | None = None
        self._poked = asyncio.Event()
        self._identity: Serving | None = None
        self._authority: object = None
        self._shown: object = None
        self._links_known = False
        self._told: dict[str, Mapping[str, XdsResource]] = {CONTROL_PLANE: {}, TRUST_BUNDLE: {}}
        self.certificate: ServingCertificate | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> ServingCertificate:
        """Read what was kept and make the certificate to show to peers. There must be an authority."""
        self._kept, damaged = await asyncio.to_thread(self._files.read_all)
        for message in damaged:
            log.warning("what a peer told cannot be used", file=message)
        self._look()
        assert self.certificate is not None
        return self.certificate

    async def run(self) -> None:
        """Until cancelled; then keep what peers told for the next start."""
        try:
            async with asyncio.TaskGroup() as self._group:
                while True:
                    # Changes of links say so; what such a message misses must not stay for ever.
                    self.links_changed()
                    self._poked.clear()
                    self._look()
                    await self._write()
                    try:
                        async with asyncio.timeout(LOOK):
                            await self._poked.wait()
                    except TimeoutError:
                        continue
        finally:
            self._group = None
            await self._write()

    async def settled(self) -> None:
        """Return when every linked peer was heard, restored, or waited for long enough. Links must be known."""
        self.links_changed()
        self._links_known = True
        self._forget_unlinked()
        try:
            async with asyncio.timeout(PATIENCE):
                for peer in list(self._peers.values()):
                    await peer.settled.wait()
        except TimeoutError:
            silent = [name for name, peer in self._peers.items() if not peer.settled.is_set()]
            log.warning("peers that were never heard are not waited for", peers=silent)

    def links_changed(self) -> None:
        """Make the peers those of the links."""
        if self._group is None:
            return
        wanted, self._problems = chosen(self._links())
        for name in self._peers.keys() - wanted.keys():
            self._unlink(name)
        for name, link in wanted.items():
            self._link(name, link)

    def dispatch(self) -> None:
        """Tell who follows us what of our services differs."""
        for guest_id, changed in self._mesh.take_peers_dirty().items():
            guest = self._guests.get(guest_id)
            if guest is not None and guest.session.mark(changed):
                guest.kick()

    def _links(self) -> list[PeerLink]:
        rows = (row for _, row in self._mesh.sources.peer_links.rows())
        return sorted(
            (row for row in rows if row.cluster == self._settings.cluster), key=lambda row: (row.created, row.key)
        )

    def _link(self, name: str, link: PeerLink) -> None:
        old = self._peers.get(name)
        claim = Claim(name, link.network, link.trust_domain or self._trust_domain())
        if old is not None and (old.link, old.claim) == (link, claim):
            return
        kept = old.kept() if old is not None else self._kept.pop(name, None)
        if old is not None:
            self._stop(name)
        peer = self._peers[name] = Peer(link, claim, self._ground(), kept)
        log.info("peer linked", peer=name, link=f"{link.namespace}/{link.name}", addresses=link.addresses)
        self._tasks[name] = self._spawn(peer.run())
        self._end_guests(name, unless=peer)
        self.poke()

    def _unlink(self, name: str) -> None:
        log.info("peer unlinked", peer=name)
        self._stop(name)
        self._peers.pop(name).remove()
        self._end_guests(name)
        self._spawn(asyncio.to_thread(self._files.remove, name))
        self.poke()

    def _stop(self, name: str) -> None:
        self._tasks.pop(name).cancel()

    def _end_guests(self, name: str, unless: Peer | None = None) -> None:
        """Streams of a peer whose link is another one now: it may come again, and is looked at anew."""
        for guest in list(self._guests.values()):
            if guest.peer == name and (unless is None or guest.declared != unless.declared):
                guest.end()

    def _forget_unlinked(self) -> None:
        for name in list(self._kept):
            del self._kept[name]
            self._spawn(asyncio.to_thread(self._files.remove, name))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None
        return self._group.create_task(work)

    def poke(self) -> None:
        """Look now: something of ours, or of a peer's roots, may have changed."""
        self._poked.set()

    async def _write(self) -> None:
        for name, peer in list(self._peers.items()):
            if not peer.dirty:
                continue
            peer.dirty = False
            try:
                await asyncio.to_thread(self._files.write, peer.kept())
            except OSError as error:
                peer.dirty = True
                log.warning("what a peer told cannot be kept", peer=name, error=str(error))

    # -- who we are -----------------------------------------------------------------------------------------------

    def _ground(self) -> Ground:
        return Ground(
            clock=self._clock,
            emit=self._emit,
            credentials=self._credentials,
            node=self._node,
            identity=self._identity_of,
            roots=self._own_roots,
            entrances=self._entrances,
            server_name=peers_host(self._settings.system_namespace),
            changed=self.poke,
        )

    def _own_roots(self) -> str:
        return self._trust.authority.root_bundle.decode()

    def _credentials(self, roots: str) -> Credentials:
        assert self._identity is not None
        return Credentials(self._identity.key, self._identity.issued.presented, (roots or self._own_roots()).encode())

    def _identity_of(self, trust_domain: str) -> str:
        domain = trust_domain or self._trust_domain()
        return spiffe_id(domain, self._settings.system_namespace, CONTROL_PLANE_ACCOUNT)

    def _node(self, challenge: str) -> base_pb2.Node:
        settings = self._settings
        domain = f"{settings.system_namespace}.svc"
        node = base_pb2.Node(id=f"peer~0.0.0.0~{settings.instance}.{settings.system_namespace}~{domain}")
        node.metadata.update(
            {
                "CLUSTER_ID": settings.cluster,
                "NETWORK": self._mesh.network_of(settings.cluster),
                "TRUST_DOMAIN": self._trust_domain(),
                "ISTIO_VERSION": settings.version,
                CHALLENGE: challenge,
            }
        )
        return node

    def _look(self) -> None:
        """Renew our certificate when it is due or the authority is another one; tell peers what changed of us."""
        self._renew()
        assert self._identity is not None
        roots = self.all_roots()
        shown = (self._identity.key, roots)
        if shown != self._shown:
            self._shown = shown
            parts = (self._identity.key, self._identity.issued.presented, roots)
            if self.certificate is None:
                self.certificate = ServingCertificate(*parts)
            else:
                self.certificate.replace(*parts)
        self._beliefs.tell(self._trust_domain(), self._trust.authority)
        for peer in self._beliefs.accepted(self._peers.values(), self._own_roots()):
            peer.poke()
            self._tell_guests({CONTROL_PLANE: {self._settings.cluster}}, of=peer.claim.cluster)
        self._tell(TRUST_BUNDLE, self._trust_domain(), write_bundle(self._trust_domain(), self._own_roots()))
        self._tell(CONTROL_PLANE, self._settings.cluster, write_hello(self._hello()))

    def _renew(self) -> None:
        now, authority, current = self._clock.now(), self._trust.authority, self._identity
        identity = self._identity_of("")
        made_of = (authority.certificate, authority.roots, identity)
        if current and made_of == self._authority and not due(current.issued.not_before, current.issued.not_after, now):
            return
        key = new_key()
        names = [*server_names([peers_host(self._settings.system_namespace)]), *workload_names(identity)]
        issued = authority.issue(
            key.public_key(),
            names,
            validity=Validity(now, self._settings.lifetime),
            serial=serial_from(secrets.token_bytes(19)),
        )
        self._identity, self._authority = Serving(key_to_pem(key), issued), made_of

    def _hello(self) -> Hello:
        settings = self._settings
        return Hello(
            settings.cluster,
            self._mesh.network_of(settings.cluster),
            self._trust_domain(),
            settings.mesh_id,
            settings.version,
            entrances=self._entrances(),
        )

    def _entrances(self) -> tuple[str, ...]:
        here = (self._mesh.network_of(self._settings.cluster), self._settings.cluster)
        gateways = (one for one in self._mesh.gateways() if (one.network, one.cluster) == here)
        return tuple(sorted({one.address for one in gateways if one.hbone_port}))

    def _tell(self, type_url: str, name: str, body: bytes) -> None:
        before, after = self._told[type_url], {name: XdsResource(type_url, name, body)}
        if before == after:
            return
        self._told[type_url] = after
        self._tell_guests({type_url: {*before, *after}})
        for peer in self._peers.values():
            peer.poke()

    def _tell_guests(self, changed: Mapping[str, set[str]], of: str = "") -> None:
        """Who follows us looks at this again; `of` one peer, or of all."""
        for guest in self._guests.values():
            if guest.peer == (of or guest.peer) and guest.session.mark(changed):
                guest.kick()

    def disbelievers(self, roots: frozenset[str], seconds: float) -> Sequence[str]:
        """Who would refuse what is signed under these roots (fingerprints) alone, told so many seconds ago."""
        if not self._links_known:
            return ("clusters whose links were not read yet",)
        return self._beliefs.disbelievers(self._peers, roots, seconds)

    def all_roots(self) -> bytes:
        """Our roots and those of all peers (PEM): what TLS lets in, to be looked at more closely."""
        texts = [self._own_roots(), *(peer.roots for peer in self._peers.values())]
        return "\n".join(dict.fromkeys(filter(None, texts))).encode()

    # -- who follows us (edge.peer_server.Host) -------------------------------------------------------------------

    def admit(self, chain: Chain, node: Node) -> tuple[str, str]:
        """The caller's cluster, and what is declared of it, if that is who calls. Raises PeerRefusedError."""
        peer = self._peers.get(node.cluster)
        if peer is None:
            raise PeerRefusedError(
                f"cluster {node.cluster} is not linked here", "Make a link to it: isthmus multicluster link"
            )
        claim, remedy = peer.claim, "Correct the link to it, or call with the certificate of its control plane"
        try:
            found = holder(chain, load_certificates((peer.roots or self._own_roots()).encode()), now=self._clock.now())
        except TokenError as error:
            raise PeerRefusedError(f"{error.message}: not a certificate of {claim.trust_domain}", remedy) from error
        identity = spiffe_id(found.trust_domain, found.namespace, found.service_account)
        wanted = self._identity_of(claim.trust_domain)
        if identity != wanted:
            raise PeerRefusedError(f"{identity} is not {wanted}, the control plane of {claim.cluster}", remedy)
        return claim.cluster, peer.declared

    def welcome(self, guest: Guest) -> "ToldToGuest":
        """The guest follows us from now on."""
        self._guests[guest.id] = guest
        challenge = str(guest.node.metadata.get(CHALLENGE, ""))
        peer = self._peers[guest.peer]
        identity = self._identity_of(peer.claim.trust_domain)
        return ToldToGuest(
            self._mesh,
            self._told,
            guest.id,
            prove=lambda: self._prove(challenge, identity),
            believed=lambda: peer.accepted,
        )

    def _prove(self, challenge: str, identity: str) -> str:
        """Proof of who we are, for one stream of one peer."""
        assert self._identity is not None
        audience = proof_for(challenge, identity)
        chain = self._identity.issued.presented
        return assertion.make(self._identity.key, chain, now=self._clock.now(), audience=audience)

    def farewell(self, guest: Guest) -> None:
        """It follows us no more."""
        self._guests.pop(guest.id, None)
        self._mesh.exports.leave_all(guest.id)

    def told_roots(self, guest: Guest, roots: str) -> None:
        """A guest announces its roots."""
        peer = self._peers.get(guest.peer)
        if peer is not None:
            peer.hear_roots(roots)

    def told_entrances(self, guest: Guest, addresses: Sequence[str]) -> None:
        """A guest says where it is entered."""
        peer = self._peers.get(guest.peer)
        if peer is not None:
            peer.told_entrances(read_entrances(addresses))

    def told_belief(self, guest: Guest, believed: frozenset[str]) -> None:
        """A guest says by which of our roots it believes us."""
        peer = self._peers.get(guest.peer)
        if peer is not None:
            peer.believes = believed

    # -- what is shown --------------------------------------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """Links that do not count, and what peers said that does not."""
        return [*self._problems, *(problem for peer in self._peers.values() for problem in peer.problems())]

    def statuses(self) -> list[ClusterStatus]:
        """The peers that we follow, for those who judge how clusters stand."""
        return [peer.status() for _, peer in sorted(self._peers.items()) if peer.asks]

    def links(self) -> list[Standing]:
        """Every link of the config cluster, and how it stands."""
        return [(link, seen) for link in self._links() if (seen := self._standing(link))]

    def leads(self) -> bool:
        """True if it is this replica that tells links how they stand."""
        sources, settings = self._mesh.sources, self._settings
        found = (sources.workloads.get(key) for key in sources.pods_in.get(settings.system_namespace))
        pods = [pod for pod in found if pod and pod.cluster == settings.cluster and REPLICA in pod.labels]
        return leader(settings.instance, ((pod.name, pod.ready) for pod in pods))

    def _standing(self, link: PeerLink) -> LinkSeen | str:
        """How it stands, or why it does not count; empty if it was not looked at yet."""
        peer = self._peers.get(link.peer)
        if peer is None or peer.link.key != link.key:
            why = (one.message for one in self._problems if (one.where.namespace, one.where.name) == link.key[1:])
            return next(why, "")
        return LinkSeen(
            state=peer.state,
            by=self._settings.instance,
            since=peer.connected_since,
            updated=peer.updated,
            round_trip=peer.round_trip,
            error=peer.error,
            services_in=len(peer.rows),
            services_out=self._told_to(link.peer),
            refused=len(peer.problems()),
        )

    def _told_to(self, name: str) -> int | None:
        """How many services a peer holds of ours; None if it does not follow us."""
        held = (guest.session.subscriptions.get(PEER_SERVICE) for guest in self._guests.values() if guest.peer == name)
        return max((len(one.held) for one in held if one is not None), default=None)

    def page(self) -> dict[str, Any]:
        """Plain data on us and on every peer."""
        ready = self._trust.ready
        return {
            "istiod": self._settings.instance,
            "cluster": self._settings.cluster,
            "network": self._mesh.network_of(self._settings.cluster),
            "trustDomain": self._trust_domain(),
            "systemNamespace": self._settings.system_namespace,
            "roots": self._own_roots() if ready else "",
            "newAuthorityWaitsFor": list(self._trust.waits_for),
            "rootsKept": sorted(self._trust.kept_roots),
            "peers": [self._described(name) for name in sorted(self._peers)],
            "problems": [str(problem) for problem in self.problems()],
        }

    def _described(self, name: str) -> dict[str, Any]:
        peer = self._peers[name]
        guests = sorted((guest for guest in self._guests.values() if guest.peer == name), key=lambda one: one.number)
        return {
            **peer.described(),
            "rootFingerprints": [fingerprint(one) for one in load_certificates(peer.roots.encode())],
            "believesOurRoots": sorted(peer.believes),
            "servicesOut": self._told_to(name),
            "followers": [
                {
                    "istiod": guest.node.name,
                    "address": guest.address,
                    "since": guest.since,
                    "roundTrip": guest.round_trip,
                    "error": guest.error,
                }
                for guest in guests
            ],
        }
