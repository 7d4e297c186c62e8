"""Resources that are the same for whoever asks: one derived row holds all of a type, by name."""

from collections.abc import Mapping

from isthmus.graph.sources import ALL
from isthmus.graph.subscriptions import Dirty
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Graph
from isthmus.xds.resource import XdsResource

NamedResources = Mapping[str, XdsResource]


class Common:
    """Who follows a type, and what of it differs after a revision. Without followers nothing is evaluated."""

    def __init__(self, graph: Graph, tables: Mapping[str, Derived[Key, NamedResources]]) -> None:
        self._graph = graph
        self._tables = tables
        self._followers: dict[str, set[str]] = {type_url: set() for type_url in tables}

    def __contains__(self, type_url: str) -> bool:
        return type_url in self._tables

    def follow(self, who: str, type_url: str) -> None:
        """Tell of changes of this type from now on."""
        followers = self._followers[type_url]
        if not followers:
            self._graph.pin(self._tables[type_url], ALL)
        followers.add(who)

    def leave(self, who: str, type_url: str) -> None:
        """Tell of changes of this type no more."""
        followers = self._followers[type_url]
        if who in followers:
            followers.discard(who)
            if not followers:
                self._graph.unpin(self._tables[type_url], ALL)

    def leave_all(self, who: str) -> None:
        """It is gone."""
        for type_url in self._tables:
            self.leave(who, type_url)

    def resources(self, type_url: str) -> NamedResources:
        """All that there is of the type."""
        return self._graph.peek(self._tables[type_url], ALL)

    def changed(self, changed: Mapping[str, list[tuple[Key, NamedResources, NamedResources]]], dirty: Dirty) -> None:
        """Note for every follower the names that differ; `changed` are the demanded rows that do, by table."""
        for type_url, table in self._tables.items():
            for _, before, after in changed.get(table.name, ()):
                names = {name for name in (*before, *after) if before.get(name) != after.get(name)}
                for who in self._followers[type_url]:
                    dirty.setdefault(who, {}).setdefault(type_url, set()).update(names)
