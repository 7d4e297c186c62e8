"""Relays one Envoy's discovery stream to a control plane, frame by frame, and closes it when that one is lost.

The agent keeps no configuration: Envoy reconnects with the versions it holds, to whichever control plane answers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import grpc
import grpc.aio
from structlog.typing import FilteringBoundLogger

from isthmus.base.errors import IsthmusError
from isthmus.edge.control_plane import CONNECT_SECONDS, Backoff, Target, Upstream
from isthmus.edge.homing import Homing

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA = "DeltaAggregatedResources"

FIRST_WAIT = 0.2
LONGEST_WAIT = 5.0
"""Seconds between tries to reach a control plane, doubling."""

FIRST_ANSWER = 20.0
"""Seconds that a control plane has for its first response, if there is another one to turn to."""

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Taken:
    """A response that was meant for the agent; `answer` goes back to the control plane."""

    answer: bytes


class Rider(Protocol):
    """Something of the agent's own that rides on Envoy's stream."""

    def join(self) -> bytes | None:
        """A request to send after Envoy's first one, which says who asks."""

    def take(self, response: bytes) -> Taken | None:
        """Keeps a response of its own; None if it is Envoy's."""


class _LostError(Exception):
    """The control plane ended the stream, or could not be reached."""


class _BetterError(Exception):
    """A control plane that is preferred answers again."""


class Relay:
    """The relay of one proxy; Envoy has at most one stream at a time through it."""

    def __init__(
        self,
        upstream: Upstream,
        homing: Homing,
        *,
        riders: Sequence[Rider],
        gate: Callable[[], Awaitable[object]],
        log: FilteringBoundLogger,
        greeting: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        """`gate` returns when Envoy may be configured: once it has a certificate.

        `greeting` is a request to send at the beginning of each stream, such as how the workload is; None: nothing.
        """
        self._greeting = greeting
        self._upstream = upstream
        self._homing = homing
        self._riders = riders
        self._gate = gate
        self._log = log
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._skip = 0
        self._rank = 0
        self._choices = 1
        self._open: tuple[Call, asyncio.Lock] | None = None
        self.connected_to = ""
        """Target of the open stream, empty without one."""

    def handler(self) -> grpc.GenericRpcHandler:
        """The service to add to the proxy's gRPC server."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {DELTA: grpc.stream_stream_rpc_method_handler(self._relay)}
        )

    async def send(self, frame: bytes) -> bool:
        """Send a request of the agent's own on Envoy's stream; False if there is none that has begun, or it broke."""
        if self._open is None:
            return False
        try:
            await _write(*self._open, frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True

    async def _relay(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._gate()
        async with contextlib.AsyncExitStack() as stack:
            call = await self._connect(stack)
            lost = await self._carry(requests, context, call)
        if lost:
            # Envoy comes back with what it holds; the stream is not resumed, so nothing can be half told.
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"control plane lost: {lost}")

    async def _carry(self, requests: AsyncIterator[bytes], context: Context, call: Call) -> str:
        """Relay until one side ends; why the control plane's did, empty if Envoy's ended first."""
        lost = ""
        try:
            await self._pump(requests, context, call)
        except* (_LostError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as group:
            lost = "; ".join(dict.fromkeys(map(_describe, group.exceptions)))
            self._log.warning("control plane lost", target=self.connected_to, reason=lost)
            self._homing.lost()
        except* _BetterError as group:
            lost = "; ".join(map(str, group.exceptions))
            self._log.info("control plane left", target=self.connected_to, reason=lost)
        finally:
            call.cancel()
            self._open = None
            self.connected_to = ""
        return lost

    async def _connect(self, stack: contextlib.AsyncExitStack) -> Call:
        """An open stream to the first control plane that takes one. Tries for as long as Envoy waits."""
        while True:
            try:
                targets = await self._upstream.targets()
                self._choices = len(targets)
                for offset in range(len(targets)):
                    target = targets[(self._skip + offset) % len(targets)]
                    call = await self._try(stack, target)
                    if call is not None:
                        return call
            except IsthmusError as error:
                self._log.warning("control plane not reached", reason=str(error))
            await asyncio.sleep(self._backoff.delay())

    async def _try(self, stack: contextlib.AsyncExitStack, target: Target) -> Call | None:
        async with contextlib.AsyncExitStack() as attempt:
            channel = await attempt.enter_async_context(self._upstream.channel(target.address))
            call: Call = channel.stream_stream(f"/{SERVICE}/{DELTA}")(metadata=self._upstream.metadata())
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await call.wait_for_connection()
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                call.cancel()
                self._log.warning("control plane not reached", target=target.address, reason=_describe(error))
                return None
            stack.push_async_exit(attempt.pop_all())
        self.connected_to, self._rank = target.address, target.rank
        self._log.info("control plane reached", target=target.address)
        return call

    async def _pump(self, requests: AsyncIterator[bytes], context: Context, call: Call) -> None:
        writing = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._down(context, call, writing))]
            if self._rank:
                tasks.append(group.create_task(self._go_home()))
            first = True
            async for frame in requests:
                await _write(call, writing, frame)
                for own in (*(rider.join() for rider in self._riders), self._greeting()) if first else ():
                    if own is not None:
                        await _write(call, writing, own)
                first = False
                self._open = call, writing
            for task in tasks:
                task.cancel()

    async def _go_home(self) -> None:
        better = await self._homing.better_than(self._rank)
        raise _BetterError(f"{better.address} is preferred and answers again")

    async def _down(self, context: Context, call: Call, writing: asyncio.Lock) -> None:
        # Until it answers, the next attempt begins with the address after this one.
        self._skip += 1
        frame = await self._first_answer(call)
        while frame is not grpc.aio.EOF:
            self._skip = 0
            self._backoff.reset()
            taken = next((taken for rider in self._riders if (taken := rider.take(frame))), None)
            if taken is None:
                await context.write(frame)
            else:
                await _write(call, writing, taken.answer)
            frame = await call.read()
        raise _LostError(f"{(await call.code()).name}: {await call.details()}")

    async def _first_answer(self, call: Call) -> bytes:
        """The first response; one that hangs is left where there are others. Its bytes or `grpc.aio.EOF`."""
        try:
            async with asyncio.timeout(FIRST_ANSWER if self._choices > 1 else None):
                frame: bytes = await call.read()
        except TimeoutError:
            raise _LostError("no response") from None
        return frame


async def _write(call: Call, lock: asyncio.Lock, frame: bytes) -> None:
    """gRPC allows one write at a time."""
    async with lock:
        await call.write(frame)


def _describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return "no answer in time" if isinstance(error, TimeoutError) else str(error)
