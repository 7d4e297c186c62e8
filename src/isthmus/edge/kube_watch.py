"""Runs a WatchMachine against an API server: performs its commands, feeds it what happened, hands its facts on."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from isthmus.base.errors import IsthmusError
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube.events import (
    CloseWatch,
    ContactLost,
    ContactRegained,
    Event,
    Fact,
    LineArrived,
    OpenList,
    OpenWatch,
    PageArrived,
    RequestFailed,
    RequestWakeup,
    Started,
    WatchEnded,
    WatchOpened,
    WokeUp,
    Yield,
    Yielded,
)
from isthmus.kube.requests import Request
from isthmus.kube.watch import WatchMachine

T = TypeVar("T")

Action = OpenList | OpenWatch | Yield | None
"""What to do next; None: sleep until the wake-up asked for."""

_FOREVER = 3600.0


class Watcher(Generic[T]):
    """One running watch. `facts` gets what was learnt, in batches; `contact` is called whenever the server is heard."""

    def __init__(
        self,
        client: KubeClient,
        machine: WatchMachine[T],
        *,
        facts: Callable[[list[Fact[T]]], None],
        contact: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._machine = machine
        self._facts = facts
        self._contact = contact
        self._wake_at = 0.0
        self._timer: asyncio.Timeout | None = None
        self._nudge: Event | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        action, _ = self._feed([Started()])
        while True:
            action = await self._perform(action)

    def nudge(self, event: ContactLost | ContactRegained) -> None:
        """Tell the machine something from outside, now. What it does not mind must not end the stream it follows."""
        if self._timer is not None and not self._timer.expired() and self._machine.minds(event):
            self._nudge = event
            self._timer.reschedule(0.0)

    async def _perform(self, action: Action) -> Action:
        match action:
            case OpenList(request):
                event = await self._list(request)
            case OpenWatch(request):
                return await self._stream(request)
            case Yield():
                await asyncio.sleep(0)
                event = Yielded()
            case None:
                event = await self._sleep()
        return self._feed([event])[0]

    async def _list(self, request: Request) -> Event:
        try:
            body = await self._client.call(request)
        except IsthmusError as error:
            return self._failure(error)
        self._contact()
        return PageArrived(body)

    async def _stream(self, request: Request) -> Action:
        """Follow the stream until it ends or is to be closed; what to do then."""
        try:
            async with self._client.stream(request) as pieces:
                self._contact()
                self._feed([WatchOpened()])
                async with asyncio.timeout_at(self._wake_at) as self._timer:
                    rest = b""
                    async for piece in pieces:
                        self._contact()
                        *lines, rest = (rest + piece).split(b"\n")
                        action, closed = self._feed(LineArrived(line) for line in lines if line.strip())
                        if closed:
                            return action
                        self._nudge = None
                        self._timer.reschedule(self._wake_at)
            return self._feed([WatchEnded()])[0]
        except TimeoutError:
            return self._feed([self._take_nudge()])[0]
        except IsthmusError as error:
            opened = self._timer is not None
            return self._feed([WatchEnded(str(error)) if opened else self._failure(error)])[0]
        finally:
            self._timer = None

    async def _sleep(self) -> Event:
        try:
            async with asyncio.timeout_at(self._wake_at) as self._timer:
                await asyncio.sleep(_FOREVER)
        except TimeoutError:
            pass
        finally:
            self._timer = None
        return self._take_nudge()

    def _take_nudge(self) -> Event:
        event, self._nudge = self._nudge or WokeUp(), None
        return event

    def _failure(self, error: IsthmusError) -> RequestFailed:
        if isinstance(error, KubeError):
            if error.status in (404, 410):
                self._contact()
            return RequestFailed(error.status, str(error), error.retry_after)
        return RequestFailed(0, str(error))

    def _feed(self, events: Iterable[Event]) -> tuple[Action, bool]:
        """Feed events until one closes the stream; what to do next, and whether the stream is to be closed."""
        loop = asyncio.get_running_loop()
        facts: list[Fact[T]] = []
        action: Action = None
        closed = False
        for event in events:
            # A timer may fire a moment early by rounding: the time that was asked for has come then.
            now = max(loop.time(), self._wake_at) if isinstance(event, WokeUp) else loop.time()
            for output in self._machine.feed(event, now):
                match output:
                    case OpenList() | OpenWatch() | Yield():
                        action = output
                    case RequestWakeup(at):
                        self._wake_at = at
                    case CloseWatch():
                        closed = True
                    case _:
                        facts.append(output)
            if closed:
                break
        if facts:
            self._facts(facts)
        return action, closed
