"""The incremental variant of the protocol, server's side.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from collections.abc import Callable

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.xds.resource import ECDS, EDS, HEALTH, ON_DEMAND, UPSTREAMS, WILDCARD, XdsResource
from isthmus.xds.session import Event, HealthReported, Push, Session, UpstreamsReported
from isthmus.xds.subscription import Subscription
from isthmus.xds.wire import delta_response

MANY = 64
"""From so many names on, they are looked up in all that there is instead of one by one."""


class DeltaSession(Session[discovery_pb2.DeltaDiscoveryRequest]):
    """One client's incremental stream.

    At most one response per type awaits its answer: what changes meanwhile is compared when the answer is there, so
    a slow client gets the latest and not the history.
    """

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest, now: float) -> list[Event]:
        """Take a request: an answer to a response, a change of subscription, or both in one."""
        error = request.error_detail.message if request.HasField("error_detail") else None
        if request.type_url == HEALTH:
            return [HealthReported(error or "")]
        if request.type_url == UPSTREAMS:
            return [UpstreamsReported(error or "")]
        first = request.type_url not in self.subscriptions
        subscription = self._subscription(request.type_url)
        events = self._answer(subscription, request.response_nonce, error, now)
        # A subscription changes even if the nonce is stale:
        # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
        wanted, unwanted = list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)
        if first:
            self._adopt(subscription, request)
        if first and _asks_for_nothing(request):
            # What ztunnel says when it will ask for one thing after the other; after a reconnect it means what it has.
            wanted, unwanted = list(request.initial_resource_versions), []
            subscription.legacy_open = False
            self._source.subscribe(request.type_url, ())
        known = first and len(subscription.held) > 0
        added = subscription.subscribe(wanted, known=known)
        if subscription.legacy_open and not (subscription.wildcard or wanted or unwanted):
            subscription.open_legacy_wildcard(known=known)
            added.append(WILDCARD)
        dropped = subscription.unsubscribe(unwanted)
        return events + self._tell_source(subscription, added, dropped)

    @staticmethod
    def _adopt(subscription: Subscription, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """A client that reconnects says which versions it holds: start from there and send only what differs.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds (reconnect)
        """
        named = set(request.resource_names_subscribe)
        all_of_them = WILDCARD in named or not named
        versions = dict(request.initial_resource_versions)
        if not all_of_them and not named.issuperset(versions):
            versions = {name: version for name, version in versions.items() if name in named}
        if versions:
            subscription.held.adopt(versions)

    def next(self, now: float) -> Push | None:
        """Updates in push order first; when all of them were answered, what is no more."""
        for subscription in self._ordered:
            if self._may_send(subscription):
                push = self._update(subscription, now)
                if push:
                    return push
        return self._removal(now)

    def _update(self, subscription: Subscription, now: float) -> Push | None:
        """What the client lacks of one type, or None if it lacks nothing."""
        absent: list[str] = []
        changed = self._compare_all(subscription) if subscription.refresh else {}
        if subscription.dirty:
            find = self._finder(subscription)
            for name in sorted(subscription.dirty):
                self._compare(subscription, name, find(name), changed, absent)
        due = subscription.answer_due
        subscription.dirty.clear()
        subscription.forced.clear()
        subscription.refresh = subscription.answer_due = False
        if not (changed or absent or due):
            return None
        self._note_warming(subscription.type_url, changed)
        for name, resource in changed.items():
            subscription.held[name] = resource.version
            subscription.gone.discard(name)
        return self._push(subscription, changed, absent, now)

    def _compare_all(self, subscription: Subscription) -> dict[str, XdsResource]:
        """Everything that the wildcard names against everything that the client holds."""
        held, forced = subscription.held.versions(), subscription.forced
        current = self._source.resources(subscription.type_url)
        subscription.gone.update(name for name in held if name not in current and name not in subscription.explicit)
        get = held.get
        return {name: resource for name, resource in current.items() if get(name) != resource.version or name in forced}

    def _finder(self, subscription: Subscription) -> Callable[[str], XdsResource | None]:
        """How to look names up: one by one, or, for many, in all that there is."""
        type_url = subscription.type_url
        if len(subscription.dirty) > MANY and (subscription.wildcard or type_url not in ON_DEMAND):
            return self._source.resources(type_url).get
        return lambda name: self._source.resource(type_url, name)

    def _compare(
        self,
        subscription: Subscription,
        name: str,
        resource: XdsResource | None,
        changed: dict[str, XdsResource],
        absent: list[str],
    ) -> None:
        if resource is not None:
            subscription.gone.discard(name)
            must = name in subscription.forced or (subscription.type_url == EDS and name in self._warming)
            if must or subscription.held.get(name) != resource.version:
                changed[resource.name] = resource
        elif name in subscription.held:
            subscription.gone.add(name)
        elif name in subscription.forced:
            # Asked for and not there: say so, or the client waits for its timeout.
            # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#knowing-when-a-requested-resource-does-not-exist
            absent.append(name)

    def _removal(self, now: float) -> Push | None:
        """What is no more, once every update was answered."""
        gone = None
        for subscription in self._for_removal:
            if subscription.waiting or subscription.pending:
                return None
            if subscription.type_url == ECDS:
                # Extension configurations are never taken away (XD7): what uses them is.
                subscription.gone.clear()
            if gone is None and subscription.gone:
                gone = subscription
        if gone is None:
            return None
        names = sorted(gone.gone)
        gone.gone.clear()
        for name in names:
            gone.held.discard(name)
        return self._push(gone, {}, names, now)

    def _push(
        self, subscription: Subscription, changed: dict[str, XdsResource], removed: list[str], now: float
    ) -> Push:
        nonce = self._next_nonce()
        framed = [resource.framed for resource in changed.values()]
        self._record(subscription, nonce, [*changed, *removed], now)
        data = delta_response(subscription.type_url, framed, removed, nonce=nonce)
        return Push(subscription.type_url, nonce, data, len(framed), len(removed))


def _asks_for_nothing(request: discovery_pb2.DeltaDiscoveryRequest) -> bool:
    """True for a first request that takes the wildcard back at once: there is no other way to ask for nothing."""
    both = (request.resource_names_subscribe, request.resource_names_unsubscribe)
    return request.type_url in ON_DEMAND and all(list(names) == [WILDCARD] for names in both)
