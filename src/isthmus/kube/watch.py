"""The watch of one collection as a state machine: list in pages and slices, watch, bookmarks, 410, idle, backoff.

It does no I/O and knows no clock: `feed(event, now)` takes what happened and returns what to do and what was learnt.
After every list the whole collection is handed over as one `Replaced`, so what vanished during an outage is found
by difference. Protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

import msgspec

from isthmus.kube.events import (
    Applied,
    CloseWatch,
    ContactLost,
    ContactRegained,
    Deleted,
    Event,
    Failed,
    LineArrived,
    OpenList,
    OpenWatch,
    Output,
    PageArrived,
    Replaced,
    RequestFailed,
    RequestWakeup,
    Started,
    WatchEnded,
    WatchOpened,
    WokeUp,
    Yield,
    Yielded,
)
from isthmus.kube.lines import Line, ProtocolError, decode_line, decode_page, decode_status
from isthmus.kube.requests import Resource, Scope, list_request, watch_request

T = TypeVar("T")

GONE = 410
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Times in seconds, sizes in objects."""

    page: int = 500
    slice: int = 200
    watch_timeout: int = 300
    idle_timeout: float = 90.0
    backoff_first: float = 0.25
    backoff_most: float = 5.0
    missing_confirm: float = 1.0
    missing_retry: float = 5.0
    short_watch: float = 1.0


EVERYTHING = Scope()
DEFAULTS = WatchOptions()


class Phase(Enum):
    """Where a watch is."""

    NEW = auto()
    LISTING = auto()
    OPENING = auto()
    WATCHING = auto()
    WAITING = auto()


class WatchMachine(Generic[T]):
    """Watches one collection. `decode` turns an object's bytes into the value handed on; it must not raise.

    `jitter` gives numbers in [0, 1) that spread retries. After a failed list the list is tried again; after a failed
    watch the watch is resumed where it was, unless the server has forgotten that version (410).
    """

    def __init__(
        self,
        resource: Resource,
        decode: Callable[[msgspec.Raw], T],
        *,
        scope: Scope = EVERYTHING,
        options: WatchOptions = DEFAULTS,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.phase = Phase.NEW
        self.listed = False
        self._resource = resource
        self._decode = decode
        self._scope = scope
        self._options = options
        self._jitter = jitter
        self._failures = 0
        self._missing = 0
        self._version = ""
        self._list_version = ""
        self._expired = False
        self._values: list[T] = []
        self._raw: list[msgspec.Raw] = []
        self._next = 0
        self._continued = ""
        self._deadline = 0.0
        self._opened = 0.0

    def feed(self, event: Event, now: float) -> list[Output[T]]:
        """What to do after `event`. An event that does not fit the phase is late and changes nothing."""
        match event:
            case LineArrived(line) if self.phase is Phase.WATCHING:
                return self._line(line, now)
            case PageArrived(body) if self.phase is Phase.LISTING:
                return self._page(body, now)
            case Yielded() if self.phase is Phase.LISTING:
                return self._slice(now)
            case Started() if self.phase is Phase.NEW:
                return self._list()
            case WatchOpened() if self.phase is Phase.OPENING:
                self.phase = Phase.WATCHING
                self._opened = now
                return [self._idle(now)]
            case WatchEnded(error) if self.phase is Phase.WATCHING:
                return self._ended(error, now)
            case RequestFailed() if self.phase in (Phase.LISTING, Phase.OPENING):
                return self._failed(event, now)
            case _:
                return self._nudged(event, now)

    def minds(self, contact: ContactLost | ContactRegained) -> bool:
        """Whether word of the server's contact changes anything now: who watches is not to be told that it may."""
        return self.phase is (Phase.WATCHING if isinstance(contact, ContactLost) else Phase.WAITING)

    def _nudged(self, event: Event, now: float) -> list[Output[T]]:
        """Events about time and contact, which mean something only in some phases."""
        match event:
            case WokeUp() if now < self._deadline and self.phase in (Phase.WAITING, Phase.WATCHING):
                return [RequestWakeup(self._deadline)]
            case WokeUp() if self.phase is Phase.WAITING:
                return self._resume()
            case WokeUp() if self.phase is Phase.WATCHING:
                # A stream that says nothing, not even a bookmark, may hang on a dead connection.
                return [CloseWatch(), *self._watch()]
            case ContactLost() if self.minds(event):
                return [CloseWatch(), *self._wait(now)]
            case ContactRegained() if self.minds(event):
                return self._resume()
            case _:
                return []

    def _list(self) -> list[Output[T]]:
        self.phase = Phase.LISTING
        self._values, self._raw, self._next, self._version = [], [], 0, ""
        return [OpenList(list_request(self._resource, self._scope, limit=self._options.page))]

    def _page(self, body: bytes, now: float) -> list[Output[T]]:
        try:
            page = decode_page(body)
        except ProtocolError as error:
            return [Failed(0, str(error)), *self._wait(now)]
        self._raw, self._next = page.items, 0
        self._continued, self._list_version = page.continued, page.version
        return self._slice(now)

    def _slice(self, now: float) -> list[Output[T]]:
        """Decode the next slice; a page may be the whole collection where the server ignores `limit`."""
        end = self._next + self._options.slice
        self._values += map(self._decode, self._raw[self._next : end])
        self._next = end
        if end < len(self._raw):
            return [Yield()]
        self._raw = []
        if self._continued:
            request = list_request(self._resource, self._scope, limit=self._options.page, continued=self._continued)
            return [OpenList(request)]
        values, self._values = tuple(self._values), []
        self._version = self._list_version
        self.listed = True
        self._missing = 0
        return [Replaced(values), *self._watch()]

    def _watch(self) -> list[Output[T]]:
        self.phase = Phase.OPENING
        timeout = self._options.watch_timeout + int(self._options.watch_timeout * self._jitter())
        return [OpenWatch(watch_request(self._resource, self._scope, version=self._version, timeout_seconds=timeout))]

    def _line(self, text: bytes, now: float) -> list[Output[T]]:
        try:
            line = decode_line(text)
        except ProtocolError as error:
            # Nothing after a broken line can be trusted, and the version before it may be lost: look again.
            self._version = ""
            return [CloseWatch(), Failed(0, str(error)), *self._wait(now)]
        if line.type == "ERROR":
            return self._refused(line, now)
        self._failures, self._expired = 0, False
        self._version = line.version or self._version
        if line.type == "BOOKMARK":
            return [self._idle(now)]
        value = self._decode(line.object)
        return [Deleted(value) if line.type == "DELETED" else Applied(value), self._idle(now)]

    def _refused(self, line: Line, now: float) -> list[Output[T]]:
        """An error inside the stream: the version is too old (410), or the server cannot go on."""
        status = decode_status(line.object)
        message = status.message or status.reason
        if status.code == GONE or status.reason in ("Expired", "Gone"):
            return [CloseWatch(), *self._forgotten(now)]
        return [CloseWatch(), Failed(status.code, message), *self._wait(now)]

    def _forgotten(self, now: float) -> list[Output[T]]:
        """410: list again, at once the first time. The rows stay until the list is complete."""
        self._version = ""
        again, self._expired = self._expired, True
        return self._wait(now) if again else self._list()

    def _ended(self, error: str, now: float) -> list[Output[T]]:
        """The end of a watch is ordinary; one that ends as it begins is not."""
        if not error and now - self._opened >= self._options.short_watch:
            self._failures = 0
            return self._watch()
        facts: list[Output[T]] = [Failed(0, error)] if error else []
        return facts + self._wait(now)

    def _failed(self, event: RequestFailed, now: float) -> list[Output[T]]:
        if event.status == GONE:
            return self._forgotten(now)
        if event.status == NOT_FOUND and self.phase is Phase.LISTING:
            return self._absent(now)
        if event.status == NOT_FOUND:
            self._version = ""
        return [Failed(event.status, event.message), *self._wait(now, at_least=event.retry_after)]

    def _absent(self, now: float) -> list[Output[T]]:
        """404 to list: the kind is not installed. Seen twice it is believed, then asked for now and then."""
        self._missing += 1
        if self._missing == 1:
            return self._sleep(now + self._options.missing_confirm)
        facts: list[Output[T]] = [Replaced(())] if self._missing == 2 else []
        self.listed = True
        return facts + self._sleep(now + self._options.missing_retry)

    def _wait(self, now: float, *, at_least: float = 0.0) -> list[Output[T]]:
        delay = min(self._options.backoff_most, self._options.backoff_first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._sleep(now + max(at_least, delay * (0.5 + self._jitter() / 2)))

    def _sleep(self, until: float) -> list[Output[T]]:
        self.phase = Phase.WAITING
        self._deadline = until
        return [RequestWakeup(until)]

    def _resume(self) -> list[Output[T]]:
        """Watch on from where it was, or list where there is no such place."""
        return self._watch() if self._version else self._list()

    def _idle(self, now: float) -> RequestWakeup:
        self._deadline = now + self._options.idle_timeout
        return RequestWakeup(self._deadline)
