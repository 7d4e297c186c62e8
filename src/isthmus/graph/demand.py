"""On-demand subscriptions (XD8): who asks for one thing is told of what belongs to it, now and when that changes.

What was once told of is followed until it is gone: the client holds it.
"""

from collections.abc import Collection, Iterable

from isthmus.graph.places import Names
from isthmus.graph.subscriptions import Dirty, Subscriptions
from isthmus.graph.ztunnel_reach import ON_NODE, Asked, Reach
from isthmus.model.scopes import WorkloadView
from isthmus.tables.graph import Graph
from isthmus.xds.resource import ON_DEMAND, WILDCARD, XdsResource


class Demand:
    """What ztunnels asked for by name, and what that means."""

    def __init__(self, graph: Graph, reach: Reach, subscriptions: Subscriptions) -> None:
        self._graph = graph
        self._reach = reach
        self._subscriptions = subscriptions
        self._askers: dict[Asked, dict[tuple[str, str], None]] = {}
        self._asked: dict[str, dict[tuple[str, Asked], None]] = {}

    def ask(self, proxy_id: str, type_url: str, names: Iterable[str], node: str = "") -> Names:
        """Follow what belongs to these names, and to a node; returns it."""
        view = self._view(proxy_id)
        if view is None or type_url not in ON_DEMAND:
            return frozenset()
        wanted = [name for name in names if name != WILDCARD] + ([ON_NODE + node] if node else [])
        found = frozenset[str]().union(*(self._follow(proxy_id, type_url, (view, name)) for name in wanted))
        self._subscriptions.subscribe(proxy_id, type_url, found)
        return found

    def _follow(self, proxy_id: str, type_url: str, asked: Asked) -> Names:
        mine = self._asked.setdefault(proxy_id, {})
        if (type_url, asked) in mine:
            return self._graph.peek(self._reach.table, asked)
        mine[type_url, asked] = None
        self._askers.setdefault(asked, {})[proxy_id, type_url] = None
        return self._graph.pin(self._reach.table, asked)

    def moved(self, proxy_id: str, dirty: Dirty) -> None:
        """The proxy sees the mesh from somewhere else: what it asked for means something else there."""
        asked = list(self._asked.get(proxy_id, ()))
        self.leave(proxy_id)
        for type_url, (_, name) in asked:
            found = self.ask(proxy_id, type_url, [name])
            dirty.setdefault(proxy_id, {}).setdefault(type_url, set()).update(found, (name,))

    def leave(self, proxy_id: str, type_url: str = "", names: Collection[str] = ()) -> None:
        """These names are asked for no more; without a type: nothing is."""
        mine = self._asked.get(proxy_id, {})
        for kind, asked in list(mine):
            if type_url and (kind != type_url or asked[1] not in names):
                continue
            del mine[kind, asked]
            askers = self._askers[asked]
            del askers[proxy_id, kind]
            if not askers:
                del self._askers[asked]
            self._graph.unpin(self._reach.table, asked)
        if not mine:
            self._asked.pop(proxy_id, None)

    def reach_changed(self, asked: Asked, before: Names, after: Names, dirty: Dirty) -> None:
        """Something else belongs to what was asked for: follow it, too, and tell."""
        for proxy_id, type_url in self._askers.get(asked, ()):
            self._subscriptions.subscribe(proxy_id, type_url, after - before)
            dirty.setdefault(proxy_id, {}).setdefault(type_url, set()).update({asked[1]} | (before ^ after))

    def aliased(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        """What an address means, under that name: whoever waits for it knows no other."""
        view, subscriber = self._view(proxy_id), self._subscriptions.subscriber(proxy_id)
        if view is None or subscriber is None or type_url not in ON_DEMAND or name.count("/") != 1:
            return None
        primary = self._graph.peek(self._reach.primary, (view, name))
        found = self._subscriptions.find(subscriber, type_url, primary) if primary else None
        return XdsResource(type_url, name, found.body) if found is not None else None

    def _view(self, proxy_id: str) -> WorkloadView | None:
        subscriber = self._subscriptions.subscriber(proxy_id)
        scopes = subscriber.scopes if subscriber is not None else ()
        return next((scope for scope in scopes if isinstance(scope, WorkloadView)), None)
