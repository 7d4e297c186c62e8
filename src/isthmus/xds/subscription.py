"""One stream's memory of one resource type: what the client asked for, what it has, what must be looked at."""

from collections.abc import Collection
from enum import StrEnum

from isthmus.xds.holdings import NOTHING, Holdings, Names, Pool
from isthmus.xds.resource import ECDS, EDS, RDS, SDS, WILDCARD

ALWAYS_NAMED = frozenset({EDS, RDS, SDS, ECDS})
"""Types without a wildcard meaning: a request that names nothing asks for nothing."""


class SyncState(StrEnum):
    """How a client stands with one type, in the words of proxy-status."""

    SYNCED = "SYNCED"
    NOT_SENT = "NOT SENT"
    STALE = "STALE"
    ERROR = "ERROR"


class Subscription:
    """A client's subscription to one type on one stream.

    There is no queue: `dirty` names what to compare again when the stream is free, so that a slow client costs
    bounded memory and gets the latest. `held` maps a name to the version the client was given or said it has.
    """

    __slots__ = (
        "_pool", "acked_at", "answer_due", "dirty", "error", "explicit", "forced", "gone", "held", "legacy_open",
        "nonce", "refresh", "sent_at", "sent_once", "type_url", "waiting", "wildcard",
    )  # fmt: skip

    def __init__(self, type_url: str, pool: Pool) -> None:
        self.type_url = type_url
        self._pool = pool
        self.wildcard = False
        self.legacy_open = type_url not in ALWAYS_NAMED
        """No name was ever given on this stream, so an empty request still means the wildcard."""
        self.explicit: Names = NOTHING
        self.held = Holdings(pool)
        self.dirty: set[str] = set()
        self.forced: set[str] = set()
        """Names that must be answered although the client seems to have them: asked again, or warming (XD7)."""
        self.gone: set[str] = set()
        """Names the client holds that exist no more; removed after all updates (make before break)."""
        self.refresh = False
        """Compare everything the wildcard names."""
        self.answer_due = False
        """The client waits for a response even if there is nothing in it."""
        self.nonce = ""
        self.waiting = False
        """The last response was neither accepted nor rejected yet."""
        self.error = ""
        self.sent_once = False
        self.sent_at = 0.0
        self.acked_at = 0.0

    def wants(self, name: str) -> bool:
        """True if the client asked for that name, itself or by wildcard."""
        return self.wildcard or name in self.explicit

    def asked_for(self, name: str) -> bool:
        """True if the client subscribed to exactly this name ("*" is one, too)."""
        return self.wildcard if name == WILDCARD else name in self.explicit

    @property
    def asked(self) -> Names:
        """What the client subscribed to, "*" among it."""
        return self.explicit.union((WILDCARD,)) if self.wildcard else self.explicit

    @property
    def active(self) -> bool:
        """True while the client wants anything of this type."""
        return self.wildcard or bool(self.explicit)

    @property
    def pending(self) -> bool:
        """True if something must be compared or answered."""
        return bool(self.dirty) or self.refresh or self.answer_due

    def subscribe(self, names: Collection[str], *, known: bool = False) -> list[str]:
        """Add names; `known`: the client told versions it has, so equal ones need no answer. Returns new names.

        A name that is already subscribed must be answered again: the client may have forgotten it.
        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#subscribing-to-resources
        """
        if not names:
            return []
        self.legacy_open = False
        added = []
        plain = names
        if WILDCARD in names:
            plain = [name for name in names if name != WILDCARD]
            if self.wildcard:
                self.forced.update(self.held)
            else:
                added.append(WILDCARD)
            self.wildcard = self.refresh = True
            self.answer_due = not known or not len(self.held)
        added += [name for name in plain if name not in self.explicit]
        if plain:
            self.explicit = self._pool.names(self.explicit.union(plain))
            self.dirty.update(plain)
            held = self.held
            self.forced.update([name for name in plain if name not in held] if known else plain)
        return added

    def open_legacy_wildcard(self, *, known: bool) -> None:
        """The first request named nothing: it means "*" for types that have a wildcard.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
        """
        self.wildcard = self.refresh = True
        self.answer_due = not known

    def unsubscribe(self, names: Collection[str]) -> list[str]:
        """Forget names; returns those that were subscribed. Names never asked for are ignored."""
        dropped = [name for name in names if name in self.explicit]
        if dropped:
            self.explicit = self._pool.names(self.explicit.difference(dropped))
        for name in names:
            if name == WILDCARD:
                dropped.extend([name] if self.wildcard else [])
                self.wildcard = self.legacy_open = self.refresh = False
                self._keep_only_explicit()
            elif self.wildcard or name in dropped:
                self._release(name)
        return dropped

    def _release(self, name: str) -> None:
        if self.wildcard:
            # The client cannot know whether the wildcard still covers the name: say so, either way.
            # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources
            self.dirty.add(name)
            self.forced.add(name)
            return
        self.held.discard(name)
        for names in (self.dirty, self.forced, self.gone):
            names.discard(name)

    def _keep_only_explicit(self) -> None:
        for name in list(self.held):
            if name not in self.explicit:
                self.held.discard(name)
        for names in (self.dirty, self.forced, self.gone):
            names.intersection_update(self.explicit)

    def sent(self, nonce: str, now: float) -> None:
        """A response went out and awaits its answer."""
        self.nonce = nonce
        self.waiting = self.sent_once = True
        self.sent_at = now
        self.answer_due = False

    def answered(self, nonce: str, error: str, now: float) -> bool:
        """The client accepted (`error` empty) or rejected a response; False if the nonce answers nothing that waits."""
        if not self.waiting or nonce != self.nonce:
            return False
        self.waiting = False
        self.acked_at = now
        self.error = error
        self.held.settle()
        return True

    @property
    def state(self) -> SyncState:
        """Where the client stands with this type."""
        if self.error:
            return SyncState.ERROR
        if self.waiting or self.pending or self.gone:
            return SyncState.STALE
        return SyncState.SYNCED if self.sent_once or len(self.held) else SyncState.NOT_SENT
