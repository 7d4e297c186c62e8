"""The open streams: which proxies are connected, what they follow, and who must be told of a change.

A proxy may have several streams (its Envoy's and its agent's); they share one row in the mesh, and the mesh hears of
a subscription once.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from isthmus.model.rows import Proxy
from isthmus.trust.caller import Caller
from isthmus.xds.holdings import Pool
from isthmus.xds.node import Node
from isthmus.xds.resource import ON_DEMAND, WILDCARD, XdsResource
from isthmus.xds.session import Session, Source
from isthmus.xds.subscription import SyncState

log = structlog.get_logger()

Dirty = Mapping[str, Mapping[str, Collection[str]]]
"""What differs for whom: proxy id, type, names."""


class MeshPort(Protocol):
    """What the streams need of the mesh (`isthmus.graph.mesh.Mesh`)."""

    def connect(self, proxy: Proxy) -> Dirty:
        """A proxy is there, or says something else about itself."""

    def disconnect(self, proxy_id: str) -> None:
        """A proxy left."""

    def subscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy follows names from now on."""

    def unsubscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy does not follow names any more."""

    def demand(self, proxy_id: str, type_url: str, names: Collection[str]) -> Collection[str]:
        """What belongs to these names and to the proxy's place: it follows that, too (XD8)."""

    def resource(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        """One resource as the proxy must see it."""

    def resources(self, proxy_id: str, type_url: str) -> Mapping[str, XdsResource]:
        """All that the wildcard of a type names."""


@dataclass(eq=False, slots=True)
class Stream:
    """One open stream. `pump` writes what is due; it returns when nothing is."""

    number: int
    proxy: Proxy
    node: Node
    caller: Caller | None
    peer: str
    connected_at: float
    entry: tuple[str, str] | None = None
    """(namespace, name) of the WorkloadEntry of a machine that registered itself."""
    session: Session[Any] = field(init=False)
    kick: Callable[[], None] = field(init=False)
    """Starts the pump unless it runs."""


@dataclass(eq=False, slots=True)
class _Follower:
    proxy: Proxy
    streams: list[Stream] = field(default_factory=list)


class _ProxySource:
    """One proxy's view of the mesh, as one of its streams asks it. The mesh hears of a name from the first stream
    that wants it, and again when the last one lets it go."""

    __slots__ = ("_follower", "_mesh", "_proxy_id", "_stream")

    def __init__(self, mesh: MeshPort, follower: _Follower, stream: Stream) -> None:
        self._mesh = mesh
        self._follower = follower
        self._stream = stream
        self._proxy_id = follower.proxy.id

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        return self._mesh.resource(self._proxy_id, type_url, name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        return self._mesh.resources(self._proxy_id, type_url)

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        mine = self._wanted_here_only(type_url, names)
        if mine:
            self._mesh.subscribe(self._proxy_id, type_url, mine)
        if type_url in ON_DEMAND and WILDCARD not in names:
            self._stream.session.mark({type_url: self._mesh.demand(self._proxy_id, type_url, names)})

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        mine = self._wanted_here_only(type_url, names)
        if mine:
            self._mesh.unsubscribe(self._proxy_id, type_url, mine)

    def _wanted_here_only(self, type_url: str, names: Collection[str]) -> Collection[str]:
        others = [stream.session for stream in self._follower.streams if stream is not self._stream]
        if not others:
            return names
        return [name for name in names if not any(other.asked_for(type_url, name) for other in others)]

    def leave(self) -> None:
        for type_url, subscription in self._stream.session.subscriptions.items():
            self.unsubscribe(type_url, subscription.asked)


class Streams:
    """All open streams by proxy."""

    def __init__(self, mesh: MeshPort) -> None:
        self._mesh = mesh
        self._followers: dict[str, _Follower] = {}
        self._pool = Pool()
        self._numbers = 0

    def __len__(self) -> int:
        return sum(len(follower.streams) for follower in self._followers.values())

    def open(self, stream: Stream, make_session: Callable[[Source, Pool], Session[Any]]) -> None:
        """A stream begins: its proxy's row enters the mesh, or replaces the one that another stream gave."""
        follower = self._followers.get(stream.proxy.id)
        if follower is None:
            follower = self._followers[stream.proxy.id] = _Follower(stream.proxy)
            self.dispatch(self._mesh.connect(stream.proxy))
        elif follower.proxy != stream.proxy:
            follower.proxy = stream.proxy
            self.dispatch(self._mesh.connect(stream.proxy))
        self._numbers += 1
        stream.number = self._numbers
        stream.session = make_session(_ProxySource(self._mesh, follower, stream), self._pool)
        follower.streams.append(stream)

    def close(self, stream: Stream) -> None:
        """A stream ended; the last one takes its proxy out of the mesh."""
        follower = self._followers[stream.proxy.id]
        if len(follower.streams) > 1:
            _ProxySource(self._mesh, follower, stream).leave()
            follower.streams.remove(stream)
            return
        del self._followers[stream.proxy.id]
        self._mesh.disconnect(stream.proxy.id)

    def dispatch(self, dirty: Dirty) -> int:
        """Tell the streams concerned; returns how many. Nothing is done for a proxy that is not named."""
        told = 0
        for proxy_id, changed in dirty.items():
            follower = self._followers.get(proxy_id)
            if follower is None:
                continue
            for stream in follower.streams:
                told += self._tell(stream, changed)
        return told

    @staticmethod
    def _tell(stream: Stream, changed: Mapping[str, Collection[str]]) -> bool:
        try:
            concerned = stream.session.mark(changed)
            if concerned:
                stream.kick()
        except Exception:
            # A defect that one proxy meets must not keep the change from the others.
            log.exception("proxy could not be told", proxy=stream.proxy.id)
            return False
        return concerned

    def all(self) -> list[Stream]:
        """Every open stream, by proxy."""
        return [stream for _, follower in sorted(self._followers.items()) for stream in follower.streams]

    def behind(self, type_url: str) -> list[str]:
        """The proxies that follow a type and did not confirm what they were told last."""
        found = []
        for proxy_id, follower in sorted(self._followers.items()):
            held = (stream.session.subscriptions.get(type_url) for stream in follower.streams)
            if any(one.state in (SyncState.STALE, SyncState.ERROR) for one in held if one is not None and one.active):
                found.append(proxy_id)
        return found

    def without(self, type_url: str) -> list[str]:
        """The proxies that hold nothing of a type."""
        return [
            proxy_id
            for proxy_id, follower in sorted(self._followers.items())
            if not any(
                len(one.held)
                for stream in follower.streams
                if (one := stream.session.subscriptions.get(type_url)) is not None
            )
        ]

    def of(self, proxy_id: str) -> list[Stream]:
        """The streams of one proxy."""
        follower = self._followers.get(proxy_id)
        return list(follower.streams) if follower else []


MakeRow = Callable[[Node, Caller | None], Proxy]
"""Builds a proxy's row from what it says of itself and what was verified."""

Gate = Callable[[], Awaitable[None]]
"""Returns when streams may be answered: when every known cluster was looked at."""
