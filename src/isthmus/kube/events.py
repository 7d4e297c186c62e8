"""The words of a watch: events (what happened), commands (what to do), facts (what was learnt)."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from isthmus.kube.requests import Request

T = TypeVar("T")


# Events: what happened.


@dataclass(frozen=True, slots=True)
class Started:
    """The watch is to begin."""


@dataclass(frozen=True, slots=True)
class PageArrived:
    """The answer to OpenList is complete."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Yielded:
    """Others had their turn; the next slice may be decoded."""


@dataclass(frozen=True, slots=True)
class WatchOpened:
    """The server accepted OpenWatch."""


@dataclass(frozen=True, slots=True)
class LineArrived:
    """A line of the watch, without its end."""

    line: bytes


@dataclass(frozen=True, slots=True)
class WatchEnded:
    """The stream is over; `error` is empty if the server ended it in order."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The server refused a request (status) or could not be reached (status 0). A failure is an answer."""

    status: int
    message: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class WokeUp:
    """The time asked for by RequestWakeup has come (or any other time: the machine looks at `now`)."""


@dataclass(frozen=True, slots=True)
class ContactLost:
    """Something else found the server silent: an open stream is not to be trusted."""


@dataclass(frozen=True, slots=True)
class ContactRegained:
    """Something else found the server answering: waiting is over."""


Event = (
    Started
    | PageArrived
    | Yielded
    | WatchOpened
    | LineArrived
    | WatchEnded
    | RequestFailed
    | WokeUp
    | ContactLost
    | ContactRegained
)


# Commands: what to do.


@dataclass(frozen=True, slots=True)
class OpenList:
    """Send the request and feed PageArrived or RequestFailed."""

    request: Request


@dataclass(frozen=True, slots=True)
class OpenWatch:
    """Send the request and feed WatchOpened, then lines, then WatchEnded; or RequestFailed."""

    request: Request


@dataclass(frozen=True, slots=True)
class CloseWatch:
    """Drop the open stream; no WatchEnded follows."""


@dataclass(frozen=True, slots=True)
class Yield:
    """Let others run, then feed Yielded."""


@dataclass(frozen=True, slots=True)
class RequestWakeup:
    """Feed WokeUp at this time; it replaces the wake-up asked for before."""

    at: float


# Facts: what was learnt about the collection.


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """An object exists and is now so."""

    value: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object is gone; its last state."""

    value: T


@dataclass(frozen=True, slots=True)
class Replaced(Generic[T]):
    """The collection is exactly this."""

    values: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed; what was learnt before stays true as far as known."""

    status: int
    message: str


Fact = Applied[T] | Deleted[T] | Replaced[T] | Failed
Command = OpenList | OpenWatch | CloseWatch | Yield | RequestWakeup
Output = Command | Fact[T]
