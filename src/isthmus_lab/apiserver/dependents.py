"""Which objects name which as their owner."""

from __future__ import annotations

from isthmus_lab.apiserver.objects import items, section
from isthmus_lab.apiserver.store import Entry, Event, Store

Key = tuple[str, str, str]  # storage name, namespace, name


class Dependents:
    """An index over the store: owner UID to dependents, and UIDs that exist."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_owner: dict[str, set[Key]] = {}
        self._uids: set[str] = set()
        for storage in store.resources():
            for entry in store.list(storage):
                self._add(storage, entry)
        store.listen(self._changed)

    def of(self, uid: str) -> list[tuple[str, Entry]]:
        found = []
        for storage, namespace, name in sorted(self._by_owner.get(uid, ())):
            entry = self._store.get(storage, namespace, name)
            if entry is not None:
                found.append((storage, entry))
        return found

    def exists(self, uid: str) -> bool:
        return uid in self._uids

    def owned(self) -> list[Key]:
        """Every object that names an owner."""
        return sorted({key for keys in self._by_owner.values() for key in keys})

    def _changed(self, event: Event) -> None:
        if event.before is not None:
            self._drop(event.resource, event.before)
        if event.change != "DELETED":
            self._add(event.resource, event.entry)

    def _add(self, storage: str, entry: Entry) -> None:
        self._uids.add(entry.uid)
        for uid in owners(entry):
            self._by_owner.setdefault(uid, set()).add((storage, entry.namespace, entry.name))

    def _drop(self, storage: str, entry: Entry) -> None:
        self._uids.discard(entry.uid)
        for uid in owners(entry):
            keys = self._by_owner.get(uid, set())
            keys.discard((storage, entry.namespace, entry.name))
            if not keys:
                self._by_owner.pop(uid, None)


def owners(entry: Entry) -> list[str]:
    """UIDs of the object's owners."""
    return [str(owner.get("uid")) for owner in items(section(entry.obj, "metadata"), "ownerReferences")]
