"""The state-of-the-world variant of the protocol, server's side.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
"""

from hashlib import blake2b

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.resource import CDS, EDS, HEALTH, LDS, UPSTREAMS, WILDCARD, XdsResource
from isthmus.xds.session import Event, HealthReported, Push, Session, UpstreamsReported
from isthmus.xds.subscription import Subscription
from isthmus.xds.wire import sotw_response

WHOLE = frozenset({CDS, LDS})
"""Types of which each response must hold everything; what is missing is deleted by the client.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses
"""


class SotwSession(Session[discovery_pb2.DiscoveryRequest]):
    """One client's state-of-the-world stream."""

    def receive(self, request: discovery_pb2.DiscoveryRequest, now: float) -> list[Event]:
        """Take a request: it carries the full list of names every time, and maybe an answer."""
        error = request.error_detail.message if request.HasField("error_detail") else None
        if request.type_url == HEALTH:
            return [HealthReported(error or "")]
        if request.type_url == UPSTREAMS:
            return [UpstreamsReported(error or "")]
        subscription = self._subscription(request.type_url)
        nonce = request.response_nonce
        if nonce and subscription.sent_once and nonce != subscription.nonce:
            # Stale: the client will answer the newer response, with its names as they are then (XD5).
            # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-updates
            return []
        events = self._answer(subscription, nonce, error, now)
        fresh = not (nonce and subscription.sent_once)
        added, dropped = self._update_names(subscription, list(request.resource_names))
        if fresh and subscription.active:
            # No answer to anything of ours: a first request, one after a reconnect, or one asking again. A client
            # that reconnects names a nonce of the stream before; it always gets a response (XD6).
            self._ask_all(subscription)
        return events + self._tell_source(subscription, added, dropped)

    @staticmethod
    def _ask_all(subscription: Subscription) -> None:
        subscription.answer_due = subscription.answer_due or subscription.wildcard
        subscription.refresh = subscription.wildcard
        subscription.forced.update(subscription.explicit, subscription.held)
        subscription.dirty.update(subscription.explicit)

    @staticmethod
    def _update_names(subscription: Subscription, names: list[str]) -> tuple[list[str], list[str]]:
        """The new full list of names against the one before; returns names added and dropped.

        An empty list is the wildcard until any name was given, afterwards it ends the subscription (XD6).
        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return
        """
        if not names and subscription.legacy_open:
            if subscription.wildcard:
                return [], []
            subscription.open_legacy_wildcard(known=False)
            return [WILDCARD], []
        wanted = set(names)
        before = subscription.explicit | ({WILDCARD} if subscription.wildcard else set())
        dropped = subscription.unsubscribe(sorted(before - wanted))
        return subscription.subscribe(sorted(wanted - before)), dropped

    def next(self, now: float) -> Push | None:
        """The next response in push order."""
        for subscription in self._ordered:
            if self._may_send(subscription):
                push = self._respond(subscription, now)
                if push:
                    return push
        return None

    def _respond(self, subscription: Subscription, now: float) -> Push | None:
        whole = subscription.type_url in WHOLE
        due, forced = subscription.answer_due, set(subscription.forced)
        names = None if subscription.refresh or whole else sorted(subscription.dirty)
        current = self._current(subscription, names)
        if subscription.type_url == EDS:
            forced |= self._warming
        changed = {
            name: found
            for name, found in current.items()
            if name in forced or subscription.held.get(name) != found.version
        }
        looked_at = subscription.held if names is None else names
        gone = [name for name in looked_at if name in subscription.held and name not in current]
        for name in gone:
            subscription.held.discard(name)
        self._clear(subscription)
        if not (changed or due or (gone and whole)):
            return None
        self._note_warming(subscription.type_url, changed)
        for name, found in changed.items():
            subscription.held[name] = found.version
        return self._push(subscription, current if whole else changed, now)

    def _current(self, subscription: Subscription, names: list[str] | None) -> dict[str, XdsResource]:
        """What exists of the names to look at; None means everything the client wants."""
        found: dict[str, XdsResource] = {}
        if names is None and subscription.wildcard:
            found.update(self._source.resources(subscription.type_url))
        for name in sorted(subscription.explicit) if names is None else names:
            resource = self._source.resource(subscription.type_url, name)
            if resource is not None:
                found[name] = resource
        return found

    @staticmethod
    def _clear(subscription: Subscription) -> None:
        subscription.dirty.clear()
        subscription.forced.clear()
        subscription.refresh = subscription.answer_due = False

    def _push(self, subscription: Subscription, chosen: dict[str, XdsResource], now: float) -> Push:
        nonce = self._next_nonce()
        ordered = sorted(chosen.items())
        digest = blake2b(digest_size=8)
        for name, resource in ordered:
            digest.update(f"{name}={resource.version}\n".encode())
        self._record(subscription, nonce, [name for name, _ in ordered], now)
        framed = [resource.framed_any() for _, resource in ordered]
        data = sotw_response(subscription.type_url, framed, nonce=nonce, version=digest.hexdigest())
        return Push(subscription.type_url, nonce, data, len(framed))
