"""What both variants of the protocol share: the subscriptions of one stream, marks, order, and what happened.

Sans-io: `receive` takes a parsed request, `mark` takes what changed, `next` gives the bytes to write when the
stream is free. Nothing here waits, and time is an argument (seconds).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from isthmus.xds.holdings import Pool
from isthmus.xds.resource import (
    ADDRESS,
    AUTHORIZATION,
    CDS,
    EDS,
    LDS,
    ON_DEMAND,
    PUSH_ORDER,
    RDS,
    SHORT_NAMES,
    TRUST_BUNDLE,
    WORKLOAD,
    XdsResource,
)
from isthmus.xds.subscription import Subscription, SyncState


class Source(Protocol):
    """What exists for one proxy. Absence is an answer here, so a source must not be asked before it knows."""

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        """The resource of that name as it is now."""

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        """Everything of that type that exists now: what the wildcard names."""

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """The client wants these names ("*" is the wildcard): tell of their changes from now on."""

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """The client wants these names no more."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client applied a response."""

    type_url: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client refused a response and keeps what it had (NACK)."""

    type_url: str
    message: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client asked for more or for less."""

    type_url: str
    added: int
    dropped: int


@dataclass(frozen=True, slots=True)
class HealthReported:
    """The client says how its workload is; nothing is sent back (HealthInformation)."""

    message: str


@dataclass(frozen=True, slots=True)
class UpstreamsReported:
    """The client says how the addresses fare that it calls; nothing is sent back."""

    message: str


Event = Accepted | Rejected | Subscribed | HealthReported | UpstreamsReported


@dataclass(frozen=True, slots=True)
class Push:
    """One response to write. `resources` and `removed` say how many it holds."""

    type_url: str
    nonce: str
    data: bytes
    resources: int
    removed: int = 0


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How a client stands with one type. Times are what `now` was then, 0 if never."""

    type: str
    state: SyncState
    held: int
    sent_at: float
    answered_at: float
    error: str


REMOVAL_ORDER = (LDS, RDS, CDS, EDS, ADDRESS, WORKLOAD, AUTHORIZATION)
"""What refers to others goes first; types that are not named go last."""


def _rank(order: Sequence[str], type_url: str) -> int:
    if type_url == TRUST_BUNDLE:
        # Who is believed comes before who is called and let in.
        return -1
    return order.index(type_url) if type_url in order else len(order)


def _is_silent(subscription: Subscription) -> bool:
    """True where there is nothing to tell: bundles, while all trust domains are under the mesh's own roots."""
    return subscription.type_url == TRUST_BUNDLE and not (len(subscription.held) or subscription.error)


Request = TypeVar("Request")


class Session(ABC, Generic[Request]):
    """The server's side of one stream."""

    def __init__(self, source: Source, pool: Pool | None = None) -> None:
        self._source = source
        self._pool = pool or Pool()
        self._count = 0
        self._last_names: dict[str, tuple[str, ...]] = {}
        self._warming: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._ordered: list[Subscription] = []
        self._for_removal: list[Subscription] = []

    @abstractmethod
    def receive(self, request: Request, now: float) -> list[Event]:
        """Take one request; returns what it meant."""

    @abstractmethod
    def next(self, now: float) -> Push | None:
        """The next response to write, None if the client has everything or must answer first."""

    def mark(self, changed: Mapping[str, Collection[str]]) -> bool:
        """Names that may differ now, by type; True if this client cares."""
        concerned = False
        for type_url, names in changed.items():
            subscription = self.subscriptions.get(type_url)
            if subscription is None or not (subscription.active or type_url in ON_DEMAND):
                continue
            before = len(subscription.dirty)
            if subscription.wildcard or type_url in ON_DEMAND:
                # Of these types the source names what the client must know, whether it asked for it or for something
                # that it belongs to.
                subscription.dirty.update(names)
            else:
                subscription.dirty.update(subscription.explicit.intersection(names))
            concerned = concerned or len(subscription.dirty) > before
        return concerned

    def mark_all(self) -> None:
        """Compare everything again, for instance after the source was replaced."""
        for subscription in self.subscriptions.values():
            subscription.refresh = subscription.wildcard
            subscription.dirty.update(subscription.explicit)

    def status(self) -> list[TypeStatus]:
        """How the client stands with each type it asked for, in push order."""
        return [
            TypeStatus(
                type=SHORT_NAMES.get(subscription.type_url, subscription.type_url.rpartition("/")[2]),
                state=subscription.state,
                held=len(subscription.held),
                sent_at=subscription.sent_at,
                answered_at=subscription.acked_at,
                error=subscription.error,
            )
            for subscription in self._ordered
            if subscription.active and not _is_silent(subscription)
        ]

    def asked_for(self, type_url: str, name: str) -> bool:
        """True if the client subscribed to exactly this name ("*" is one, too)."""
        subscription = self.subscriptions.get(type_url)
        return subscription is not None and subscription.asked_for(name)

    @property
    def idle(self) -> bool:
        """True if nothing is due and nothing awaits an answer."""
        return all(not (sub.pending or sub.gone or sub.waiting) for sub in self.subscriptions.values())

    def _may_send(self, subscription: Subscription) -> bool:
        """True if something is due and the client is free for it.

        Listeners and routes also wait for clusters that could not be sent yet: they may refer to them.
        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
        """
        if subscription.waiting or not (subscription.dirty or subscription.refresh or subscription.answer_due):
            return False
        clusters = self.subscriptions.get(CDS) if subscription.type_url in (LDS, RDS) else None
        return clusters is None or not clusters.pending

    def _note_warming(self, type_url: str, sent: Collection[str]) -> None:
        """A cluster that was sent serves only when its endpoints arrive afterwards, even equal ones (XD7).

        The client may ask for them before or after, and say that it holds them: they are sent all the same.
        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming
        """
        if type_url == CDS:
            self._warming.update(sent)
            endpoints = self.subscriptions.get(EDS)
            if endpoints is not None:
                endpoints.dirty.update(endpoints.explicit.intersection(sent))
        elif type_url == EDS and self._warming:
            self._warming = self._warming.difference(sent)

    def _subscription(self, type_url: str) -> Subscription:
        found = self.subscriptions.get(type_url)
        if found is None:
            found = self.subscriptions[type_url] = Subscription(type_url, self._pool)
            self._ordered = sorted(self.subscriptions.values(), key=lambda each: _rank(PUSH_ORDER, each.type_url))
            self._for_removal = sorted(
                self.subscriptions.values(), key=lambda each: _rank(REMOVAL_ORDER, each.type_url)
            )
        return found

    def _next_nonce(self) -> str:
        self._count += 1
        return str(self._count)

    def _answer(self, subscription: Subscription, nonce: str, error: str | None, now: float) -> list[Event]:
        """Match an ACK (`error` None) or NACK to the response it answers."""
        since = subscription.sent_at
        text = "" if error is None else error or "rejected without a reason"
        if not nonce or not subscription.answered(nonce, text, now):
            return []
        if error is None:
            return [Accepted(subscription.type_url, now - since)]
        return [Rejected(subscription.type_url, text, self._last_names.get(subscription.type_url, ()))]

    def _tell_source(self, subscription: Subscription, added: list[str], dropped: list[str]) -> list[Event]:
        if added:
            self._source.subscribe(subscription.type_url, added)
        if dropped:
            self._source.unsubscribe(subscription.type_url, dropped)
        return [Subscribed(subscription.type_url, len(added), len(dropped))] if added or dropped else []

    def _record(self, subscription: Subscription, nonce: str, names: list[str], now: float) -> None:
        subscription.sent(nonce, now)
        self._last_names[subscription.type_url] = tuple(names[:20])
