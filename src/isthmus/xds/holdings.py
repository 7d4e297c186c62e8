"""What a client holds: names and versions. Clients that hold the same share one map, so a thousand cost as one."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from sys import intern

FEW = 32
"""So many differences from the shared map are kept aside before another shared map is sought."""

Names = frozenset[str]
NOTHING: Names = frozenset()
EMPTY: dict[str, str] = {}


class Pool:
    """Maps and sets of names that are used now or were lately; bounded, and shared by all streams of a server."""

    def __init__(self, most: int = 128) -> None:
        self._most = most
        self._maps: OrderedDict[int, dict[str, str]] = OrderedDict()
        self._sets: OrderedDict[Names, Names] = OrderedDict()

    def find(self, versions: Mapping[str, str]) -> dict[str, str] | None:
        """A shared map with exactly this content, if there is one."""
        size = len(versions)
        for key in reversed(self._maps):
            known = self._maps[key]
            if len(known) == size and known == versions:
                self._maps.move_to_end(key)
                return known
        return None

    def share(self, versions: dict[str, str]) -> dict[str, str]:
        """The shared map of this content; it may be this one, which nobody may change from now on."""
        known = self.find(versions)
        if known is None:
            known = self._maps[id(versions)] = versions
            if len(self._maps) > self._most:
                self._maps.popitem(last=False)
        return known

    def names(self, names: Iterable[str]) -> Names:
        """The shared set of these names."""
        wanted = frozenset(names)
        known = self._sets.setdefault(wanted, wanted)
        self._sets.move_to_end(known)
        if len(self._sets) > self._most:
            self._sets.popitem(last=False)
        return known


class Holdings:
    """Name -> version, as a shared map and a few differences from it."""

    __slots__ = ("_base", "_own", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._base: dict[str, str] = EMPTY
        self._own: dict[str, str | None] = {}

    def adopt(self, versions: Mapping[str, str]) -> None:
        """Start with what the client says it holds."""
        known = self._pool.find(versions)
        if known is None:
            known = self._pool.share({intern(name): intern(version) for name, version in versions.items()})
        self._base, self._own = known, {}

    def get(self, name: str) -> str | None:
        """The version held, None if the name is not."""
        own = self._own
        return own[name] if name in own else self._base.get(name)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __setitem__(self, name: str, version: str) -> None:
        if self._base.get(name) == version:
            self._own.pop(name, None)
        else:
            self._own[name] = version

    def discard(self, name: str) -> None:
        """Hold it no more."""
        if name in self._base:
            self._own[name] = None
        else:
            self._own.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        own = self._own
        if not own:
            return iter(self._base)
        return iter(self.versions())

    def __len__(self) -> int:
        if not self._own:
            return len(self._base)
        return len(self.versions())

    def versions(self) -> Mapping[str, str]:
        """All of it; not to be changed."""
        if not self._own:
            return self._base
        merged: dict[str, str | None] = {**self._base, **self._own}
        return {name: version for name, version in merged.items() if version is not None}

    def settle(self) -> None:
        """Everything was answered: if there are many differences, look for somebody who holds the same."""
        if len(self._own) > FEW:
            self._base, self._own = self._pool.share(dict(self.versions())), {}
