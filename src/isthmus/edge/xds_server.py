"""The aggregated discovery service over gRPC: raw bytes in and out, one task per idle stream.

15012 speaks TLS and wants a bearer token; 15010 is plaintext, without identities, and belongs on loopback (AU3, AU7).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.edge.authenticate import Authenticator, UnauthenticatedError
from isthmus.edge.grpc_server import call_metadata
from isthmus.edge.registrar import Key as EntryKey
from isthmus.edge.registrar import Registrar, RegistrationDeniedError
from isthmus.edge.xds_streams import Gate, MakeRow, Stream, Streams
from isthmus.trust.caller import Caller, Claim, disagreement
from isthmus.xds.delta import DeltaSession
from isthmus.xds.node import Node, NodeError, read_node
from isthmus.xds.session import Event, HealthReported, Push, Rejected, Session
from isthmus.xds.sotw import SotwSession

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

Request = Any
"""A DeltaDiscoveryRequest or a DiscoveryRequest; Envoy's protobufs come without types."""
Parse = Callable[[bytes], Request]


class RefusedError(Exception):
    """A stream that is ended with a status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class XdsService:
    """Serves streams. `authenticator` None is the plaintext service: what a node says of itself is believed."""

    def __init__(
        self,
        streams: Streams,
        clock: Clock,
        *,
        make_row: MakeRow,
        gate: Gate,
        authenticator: Authenticator | None,
        registrar: Registrar | None = None,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._make_row = make_row
        self._gate = gate
        self._authenticator = authenticator
        self._registrar = registrar
        self._on_push: Callable[[Push], None] = lambda _: None
        self._on_event: Callable[[Stream, Event], None] = lambda *_: None

    def observe(self, on_push: Callable[[Push], None], on_event: Callable[[Stream, Event], None]) -> None:
        """Tell metrics of each response and of each event."""
        self._on_push, self._on_event = on_push, on_event

    def handler(self) -> grpc.GenericRpcHandler:
        """The service to add to a gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
            },
        )

    async def _delta(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await self._serve(requests, context, discovery_pb2.DeltaDiscoveryRequest.FromString, DeltaSession)

    async def _sotw(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await self._serve(requests, context, discovery_pb2.DiscoveryRequest.FromString, SotwSession)

    async def _serve(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
        parse: Parse,
        make_session: Callable[[Any, Any], Session[Any]],
    ) -> None:
        stream: Stream | None = None
        pump = _Pump(context, self._clock, self._on_push)
        try:
            async for data in requests:
                request = _parse(parse, data)
                if stream is None:
                    stream = await self._open(request, context, make_session, pump)
                self._receive(stream, request)
                pump.start()
        except RefusedError as error:
            log.info("stream refused", peer=context.peer(), reason=str(error), code=error.code.name)
            await context.abort(error.code, str(error))
        finally:
            pump.stop()
            if stream is not None:
                self._streams.close(stream)
                if self._registrar is not None and stream.entry is not None:
                    self._registrar.leave(stream.entry)
                log.info("proxy left", proxy=stream.proxy.id, seconds=round(self._clock.now() - stream.connected_at, 1))

    async def _open(
        self,
        request: Request,
        context: grpc.aio.ServicerContext[bytes, bytes],
        make_session: Callable[[Any, Any], Session[Any]],
        pump: "_Pump",
    ) -> Stream:
        """Who is it, may it be that, and is there anything to answer with yet?"""
        caller = await self._identify(context)
        node = _node(request)
        if caller is not None:
            claim = Claim(node.cluster, node.namespace, node.service_account, node.name)
            wrong = disagreement(caller, claim)
            if wrong:
                raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, wrong)
        await self._gate()
        try:
            row = self._make_row(node, caller)
        except IsthmusError as error:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        stream = Stream(0, row, node, caller, context.peer(), self._clock.now())
        stream.entry = await self._register(node, caller)
        stream.kick = pump.start
        self._streams.open(stream, make_session)
        pump.session = stream.session
        log.info("proxy connected", proxy=row.id, caller=str(caller or "nobody"), variant=make_session.__name__)
        return stream

    async def _register(self, node: Node, caller: Caller | None) -> EntryKey | None:
        """The WorkloadEntry of a machine that registers itself (VM1)."""
        if self._registrar is None:
            return None
        try:
            return await self._registrar.arrive(node, caller)
        except RegistrationDeniedError as error:
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
        except IsthmusError as error:
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error

    async def _identify(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> Caller | None:
        if self._authenticator is None:
            return None
        try:
            return await self._authenticator.authenticate(call_metadata(context))
        except UnauthenticatedError as error:
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error

    def _receive(self, stream: Stream, request: Request) -> None:
        for event in stream.session.receive(request, self._clock.now()):
            self._on_event(stream, event)
            match event:
                case Rejected(type_url, message, names):
                    log.warning(
                        "proxy rejected a response", proxy=stream.proxy.id, type=type_url, names=names, error=message
                    )
                case HealthReported(message):
                    if self._registrar is not None and stream.entry is not None:
                        self._registrar.report(stream.entry, message)


class _Pump:
    """Writes what a session has due: a task only while there is something to write."""

    __slots__ = ("_clock", "_context", "_on_push", "_owner", "_task", "session")

    def __init__(
        self, context: grpc.aio.ServicerContext[bytes, bytes], clock: Clock, on_push: Callable[[Push], None]
    ) -> None:
        self._context = context
        self._clock = clock
        self._on_push = on_push
        self._owner: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # made in a handler
        self._task: asyncio.Task[None] | None = None
        self.session: Session[Any] | None = None

    def start(self) -> None:
        """Write what is due, unless that is under way."""
        if self._task is None and self.session is not None:
            first = self.session.next(self._clock.now())
            if first is not None:
                self._task = asyncio.get_running_loop().create_task(self._run(self.session, first))

    async def _run(self, session: Session[Any], push: Push | None) -> None:
        try:
            while push is not None:
                await self._context.write(push.data)
                self._on_push(push)
                push = session.next(self._clock.now())
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            log.debug("stream broke while it was written", error=str(error))
        except Exception:
            # Without this stream's answer the proxy would wait for ever: end it, so that it comes again.
            log.exception("a response could not be made")
            self._owner.cancel()
        finally:
            self._task = None

    def stop(self) -> None:
        """The stream ends."""
        self.session = None
        if self._task is not None:
            self._task.cancel()


def _parse(parse: Parse, data: bytes) -> Request:
    try:
        return parse(data)
    except DecodeError as error:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"the request cannot be decoded ({error})") from error


def _node(request: Request) -> Node:
    if not request.HasField("node"):
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the first request does not carry a node")
    try:
        return read_node(request.node)
    except NodeError as error:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
