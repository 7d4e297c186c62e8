"""Who holds what: from a resource to the proxies that subscribe to it, and back to what must be kept up to date.

Subscribers of one scope and type that want the same names form a *group*; a thousand sidecars of one view are one
group, so that a proxy costs a few references. A group demands (pins) the resources it names that exist. It learns of
changes by two inverted indexes: scope and type -> its groups, and resource -> groups that demand it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Any

from isthmus.graph.names import PROVIDES, ScopedName, ScopedType
from isthmus.graph.places import NOTHING, Names
from isthmus.model.scopes import Scope
from isthmus.tables.graph import Changed, Derived, Graph
from isthmus.xds.resource import WILDCARD, XdsResource

NamesTable = Derived[ScopedType, Set[str]]
ResourceTable = Derived[ScopedName, XdsResource | None]
Dirty = dict[str, dict[str, set[str]]]
"""Proxy -> type URL -> names that may differ from what it holds: changed, appeared or vanished."""


class Group:
    """Subscribers of one scope and type that want the same: `names`, or everything if None."""

    __slots__ = ("members", "names", "pinned", "scope", "type_url")

    def __init__(self, scope: Scope, type_url: str, names: Names | None) -> None:
        self.scope = scope
        self.type_url = type_url
        self.names = names
        self.members: dict[str, None] = {}
        self.pinned: set[str] = set()

    def wants(self, existing: Set[str]) -> Set[str]:
        """Those of the existing names that the group holds."""
        return existing if self.names is None else self.names & existing


class Subscriber:
    """One proxy: its scopes in order, and what it asked for by type."""

    __slots__ = ("id", "names", "scopes", "wildcards")

    def __init__(self, proxy_id: str) -> None:
        self.id = proxy_id
        self.scopes: tuple[Scope, ...] = ()
        self.names: dict[str, Names] = {}
        self.wildcards: set[str] = set()

    def wants(self, type_url: str, names: Names) -> Names:
        """Those of the names that it asked for."""
        return names if type_url in self.wildcards else self.names.get(type_url, NOTHING) & names

    def types(self) -> set[str]:
        """The types that it asked for."""
        return self.wildcards | {type_url for type_url, names in self.names.items() if names}


class Subscriptions:
    """All groups, and the demand they put on the graph."""

    def __init__(self, graph: Graph, existing: NamesTable, resources: Mapping[str, ResourceTable]) -> None:
        self._graph = graph
        self._names = existing
        self._resources = resources
        self._subscribers: dict[str, Subscriber] = {}
        self._groups: dict[tuple[Scope, str], dict[Names | None, Group]] = {}
        self._holders: dict[tuple[str, Scope, str], dict[Group, None]] = {}
        self._same: dict[Names, Names] = {}
        self._whole: dict[tuple[Scope, str], dict[str, XdsResource]] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def ids(self) -> Iterator[str]:
        """The proxies that are connected."""
        return iter(self._subscribers)

    def subscriber(self, proxy_id: str) -> Subscriber | None:
        """The proxy's subscriptions, None if it is not connected."""
        return self._subscribers.get(proxy_id)

    def connect(self, proxy_id: str) -> Subscriber:
        """The proxy's subscriptions, empty if it is new."""
        found = self._subscribers.get(proxy_id)
        if found is None:
            found = self._subscribers[proxy_id] = Subscriber(proxy_id)
        return found

    def disconnect(self, proxy_id: str) -> None:
        """Forget the proxy and demand nothing for it any more."""
        found = self._subscribers.pop(proxy_id, None)
        if found is not None:
            self._move(found, scopes=found.scopes, after=())
            self._graph.collect()

    # -- what a proxy wants ---------------------------------------------------------------------------------------

    def subscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy wants these names, too; "*" is everything."""
        subscriber = self.connect(proxy_id)
        before = subscriber.names.get(type_url, NOTHING)
        after = before.union(name for name in names if name != WILDCARD)
        self._set(subscriber, type_url, after, wildcard=WILDCARD in names or type_url in subscriber.wildcards)

    def unsubscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy wants these names no more."""
        subscriber = self.subscriber(proxy_id)
        if subscriber is None:
            return
        after = subscriber.names.get(type_url, NOTHING).difference(names)
        self._set(subscriber, type_url, after, wildcard=WILDCARD not in names and type_url in subscriber.wildcards)

    def _set(self, subscriber: Subscriber, type_url: str, names: Names, *, wildcard: bool) -> None:
        old = list(self._memberships(subscriber, type_url))
        subscriber.names[type_url] = self._same.setdefault(names, names)
        (subscriber.wildcards.add if wildcard else subscriber.wildcards.discard)(type_url)
        new = list(self._memberships(subscriber, type_url))
        self._regroup(subscriber, type_url, old=old, new=new)
        self._graph.collect()

    def _memberships(self, subscriber: Subscriber, type_url: str) -> Iterator[tuple[Scope, Names | None]]:
        """The groups that a proxy belongs to for a type: one for each scope that can provide it."""
        names: Names | None = subscriber.names.get(type_url, NOTHING)
        if type_url in subscriber.wildcards:
            names = None
        elif not names:
            return
        for scope in subscriber.scopes:
            if type_url in PROVIDES[type(scope)]:
                yield scope, names

    def _regroup(
        self,
        subscriber: Subscriber,
        type_url: str,
        *,
        old: Iterable[tuple[Scope, Names | None]],
        new: Iterable[tuple[Scope, Names | None]],
    ) -> None:
        """Join before leaving, so that what both hold is never dropped."""
        old, new = list(old), list(new)
        for scope, names in new:
            if (scope, names) not in old:
                self._join(subscriber.id, scope, type_url, names)
        for scope, names in old:
            if (scope, names) not in new:
                self._leave(subscriber.id, scope, type_url, names)

    def _join(self, proxy_id: str, scope: Scope, type_url: str, names: Names | None) -> None:
        groups = self._groups.get((scope, type_url))
        if groups is None:
            groups = self._groups[scope, type_url] = {}
            self._graph.pin(self._names, (scope, type_url))
        group = groups.get(names)
        if group is None:
            group = groups[names] = Group(scope, type_url, names)
            for name in group.wants(self.existing(scope, type_url)):
                self._pin(group, name)
        group.members[proxy_id] = None

    def _leave(self, proxy_id: str, scope: Scope, type_url: str, names: Names | None) -> None:
        groups = self._groups[scope, type_url]
        group = groups[names]
        del group.members[proxy_id]
        if group.members:
            return
        del groups[names]
        for name in list(group.pinned):
            self._unpin(group, name)
        if names is not None and not any(names in other for other in self._groups.values()):
            self._same.pop(names, None)
        if not groups:
            del self._groups[scope, type_url]
            self._graph.unpin(self._names, (scope, type_url))

    def _pin(self, group: Group, name: str) -> None:
        group.pinned.add(name)
        self._holders.setdefault((group.type_url, group.scope, name), {})[group] = None
        self._graph.pin(self._resources[group.type_url], (group.scope, name))

    def _unpin(self, group: Group, name: str) -> None:
        group.pinned.discard(name)
        holders = self._holders[group.type_url, group.scope, name]
        del holders[group]
        if not holders:
            del self._holders[group.type_url, group.scope, name]
        self._graph.unpin(self._resources[group.type_url], (group.scope, name))

    # -- what changed ---------------------------------------------------------------------------------------------

    def resource_changed(self, type_url: str, scope: Scope, name: str, dirty: Dirty) -> None:
        """A demanded resource differs: note it for those who hold it."""
        for group in self._holders.get((type_url, scope, name), ()):
            _note(dirty, group.members, type_url, (name,))

    def names_changed(self, scope: Scope, type_url: str, before: Set[str], after: Set[str], dirty: Dirty) -> None:
        """Names appeared in or vanished from a scope: demand or let go, and note it."""
        for group in list(self._groups.get((scope, type_url), {}).values()):
            appeared, vanished = group.wants(after - before), group.wants(before - after)
            for name in appeared:
                self._pin(group, name)
            for name in vanished & group.pinned:
                self._unpin(group, name)
            if appeared or vanished:
                _note(dirty, group.members, type_url, appeared | vanished)

    def scopes_changed(self, proxy_id: str, after: tuple[Scope, ...], dirty: Dirty) -> None:
        """The proxy's row yields other scopes: move it, and note what it sees differently."""
        subscriber = self.connect(proxy_id)
        before = subscriber.scopes
        if before == after:
            return
        kept = [scope for scope in before if scope in after]
        lost = [scope for scope in before if scope not in after]
        held = {
            (type_url, name): self._find(before, type_url, name)
            for type_url in subscriber.types()
            for name in self._wanted_in(subscriber, lost, type_url)
        }
        self._move(subscriber, scopes=before, after=after)
        concerned = set(held)
        for type_url in subscriber.types():
            gained = [scope for scope in after if scope not in before]
            concerned.update((type_url, name) for name in self._wanted_in(subscriber, gained, type_url))
        for type_url, name in concerned:
            old = held[type_url, name] if (type_url, name) in held else self._find(kept, type_url, name)
            if self._find(after, type_url, name) != old:
                _note(dirty, (proxy_id,), type_url, (name,))

    def _wanted_in(self, subscriber: Subscriber, scopes: Iterable[Scope], type_url: str) -> Names:
        """What the proxy asked for among the names in these scopes."""
        return subscriber.wants(type_url, NOTHING.union(*self._names_in(scopes, type_url)))

    def _names_in(self, scopes: Iterable[Scope], type_url: str) -> Iterator[Set[str]]:
        for scope in scopes:
            if type_url in PROVIDES[type(scope)]:
                yield self.existing(scope, type_url)

    def _move(self, subscriber: Subscriber, *, scopes: tuple[Scope, ...], after: tuple[Scope, ...]) -> None:
        for type_url in subscriber.types():
            subscriber.scopes = scopes
            old = list(self._memberships(subscriber, type_url))
            subscriber.scopes = after
            self._regroup(subscriber, type_url, old=old, new=self._memberships(subscriber, type_url))
        subscriber.scopes = after

    # -- what there is --------------------------------------------------------------------------------------------

    def existing(self, scope: Scope, type_url: str) -> Set[str]:
        """The names that exist in a scope."""
        return self._graph.peek(self._names, (scope, type_url))

    def find(self, subscriber: Subscriber, type_url: str, name: str) -> XdsResource | None:
        """The resource of that name in the first of the proxy's scopes that has it."""
        return self._find(subscriber.scopes, type_url, name)

    def find_all(self, subscriber: Subscriber, type_url: str) -> dict[str, XdsResource]:
        """Every resource of the type in the proxy's scopes; not to be changed, for others may be given the same."""
        parts = [self._all_in(scope, type_url) for scope in subscriber.scopes if type_url in PROVIDES[type(scope)]]
        parts = [part for part in parts if part]
        if len(parts) == 1:
            return parts[0]
        merged: dict[str, XdsResource] = {}
        for part in reversed(parts):
            merged.update(part)
        return merged

    def _all_in(self, scope: Scope, type_url: str) -> dict[str, XdsResource]:
        """Every resource of the type in a scope, put together once for all proxies that ask between two changes."""
        known = self._whole.get((scope, type_url))
        if known is None:
            found = ((name, self._value(scope, type_url, name)) for name in self.existing(scope, type_url))
            known = self._whole[scope, type_url] = {name: one for name, one in found if one is not None}
        return known

    def observed_changed(self) -> None:
        """Something else than the connected proxies changed: nothing that was put together is true any more."""
        self._whole.clear()

    def _find(self, scopes: Iterable[Scope], type_url: str, name: str) -> XdsResource | None:
        for scope in scopes:
            if type_url in PROVIDES[type(scope)] and name in self.existing(scope, type_url):
                found = self._value(scope, type_url, name)
                if found is not None:
                    return found
        return None

    def _value(self, scope: Scope, type_url: str, name: str) -> XdsResource | None:
        return self._graph.peek(self._resources[type_url], (scope, name))


def _note(dirty: Dirty, proxies: Iterable[str], type_url: str, names: Iterable[str]) -> None:
    for proxy_id in proxies:
        dirty.setdefault(proxy_id, {}).setdefault(type_url, set()).update(names)


def split(changed: Changed) -> dict[str, list[tuple[Any, Any, Any]]]:
    """Changed rows by table: (key, before, after)."""
    found: dict[str, list[tuple[Any, Any, Any]]] = {}
    for (table, key), (before, after) in changed.items():
        found.setdefault(table.name, []).append((key, before, after))
    return found
