"""Where other control planes ask for what we export: delta xDS over mutual TLS, and nothing else.

The certificate says who asks. TLS has compared it with the roots of all linked trust domains; here it is compared with
those of the one trust domain that it claims, because the roots of one must not vouch for another.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
import structlog
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.trust.errors import TrustError
from isthmus.trust.pem import load_certificates
from isthmus.xds.delta import DeltaSession
from isthmus.xds.node import Node, NodeError, read_node
from isthmus.xds.resource import BELIEF_REPORT, ENTRANCES_REPORT, ROOTS_REPORT
from isthmus.xds.session import Accepted, Rejected, Source

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA = "DeltaAggregatedResources"

LEAF, CHAIN = "x509_pem_cert", "x509_pem_cert_chain"
"""What gRPC calls the certificates of a caller."""

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Chain = tuple[x509.Certificate, ...]


class PeerRefusedError(IsthmusError):
    """Who asks may not have what it asks for."""


@dataclass(eq=False, slots=True)
class Guest:
    """A control plane that follows ours, on one stream."""

    number: int
    peer: str
    declared: str
    """What the link said when it was let in: under another it must come again."""
    address: str
    since: float
    node: Node
    session: DeltaSession = field(init=False)
    kick: Callable[[], None] = field(init=False)
    end: Callable[[], None] = field(init=False)
    answered_at: float = 0.0
    round_trip: float = 0.0
    """Seconds from the last response to its answer."""
    error: str = ""

    @property
    def id(self) -> str:
        """The name by which it follows the exports."""
        return f"{self.peer}#{self.number}"


class Host(Protocol):
    """What the service needs of whoever knows the links (`app.peering`)."""

    def admit(self, chain: Chain, node: Node) -> tuple[str, str]:
        """(peer's cluster, what is declared of it). Raises PeerRefusedError."""

    def welcome(self, guest: Guest) -> Source:
        """The guest follows from now on; what it sees."""

    def farewell(self, guest: Guest) -> None:
        """It follows no more."""

    def told_roots(self, guest: Guest, roots: str) -> None:
        """A guest announces the roots (PEM) of its trust domain."""

    def told_entrances(self, guest: Guest, addresses: Sequence[str]) -> None:
        """A guest says at which addresses its network is entered."""

    def told_belief(self, guest: Guest, believed: frozenset[str]) -> None:
        """A guest says by which of our roots (fingerprints) it believes us."""


class PeerService:
    """The service; `gate` returns when there is something to answer with."""

    def __init__(self, host: Host, clock: Clock, *, gate: Callable[[], Awaitable[None]]) -> None:
        self._host = host
        self._clock = clock
        self._gate = gate
        self._numbers = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """The service to add to a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {DELTA: grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    async def _serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        guest: Guest | None = None
        work = asyncio.Event()
        writer: asyncio.Task[None] | None = None
        try:
            async for data in requests:
                request = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
                if guest is None:
                    guest = await self._open(request, context, work)
                    writer = asyncio.create_task(self._write(context, guest, work))
                self._receive(guest, request)
                work.set()
        except PeerRefusedError as error:
            log.info("peer refused", address=context.peer(), reason=str(error))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the request cannot be decoded ({error})")
        finally:
            if writer is not None:
                writer.cancel()
            if guest is not None:
                self._host.farewell(guest)
                log.info("peer left", peer=guest.peer, address=guest.address)

    async def _open(self, request: Any, context: Context, work: asyncio.Event) -> Guest:
        try:
            node = read_node(request.node)
            chain = _chain(context.auth_context())
        except (NodeError, TrustError) as error:
            raise PeerRefusedError(error.message, error.remedy) from error
        await self._gate()
        peer, declared = self._host.admit(chain, node)
        self._numbers += 1
        guest = Guest(self._numbers, peer, declared, context.peer(), self._clock.now(), node)
        guest.kick = work.set
        owner = asyncio.current_task()
        assert owner is not None
        guest.end = partial(_cancel, owner)
        guest.session = DeltaSession(self._host.welcome(guest))
        log.info("peer connected", peer=peer, address=guest.address)
        return guest

    def _receive(self, guest: Guest, request: Any) -> None:
        now = self._clock.now()
        guest.answered_at = now
        if request.type_url == ROOTS_REPORT:
            self._host.told_roots(guest, request.error_detail.message)
            return
        if request.type_url == ENTRANCES_REPORT:
            self._host.told_entrances(guest, request.error_detail.message.split())
            return
        if request.type_url == BELIEF_REPORT:
            self._host.told_belief(guest, frozenset(request.error_detail.message.split()))
            return
        for event in guest.session.receive(request, now):
            match event:
                case Accepted(_, seconds):
                    guest.round_trip, guest.error = seconds, ""
                case Rejected(type_url, message, _):
                    guest.error = message
                    log.warning("peer rejected a response", peer=guest.peer, type=type_url, error=message)

    async def _write(self, context: Context, guest: Guest, work: asyncio.Event) -> None:
        try:
            while True:
                await work.wait()
                work.clear()
                while push := guest.session.next(self._clock.now()):
                    await context.write(push.data)
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            log.debug("stream broke while it was written", peer=guest.peer, error=str(error))
        except Exception:
            # Without this answer the peer would wait for ever: end the stream, so that it comes again.
            log.exception("a response to a peer could not be made", peer=guest.peer)
            guest.end()


def _chain(found: Mapping[str, Any]) -> Chain:
    """The caller's certificates, leaf first, as TLS got them."""
    leaf, above = (load_certificates(b"\n".join(found.get(name, ()))) for name in (LEAF, CHAIN))
    return tuple(dict.fromkeys((*leaf, *above)))


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
