"""What the controllers know of the cluster: the objects as last seen, with the indexes they ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from isthmus_lab.apiserver.objects import JsonObject, name_of, namespace_of
from isthmus_lab.controllers import client as kinds
from isthmus_lab.controllers.client import Kind

Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-wide object is empty."""

_TOMBSTONES = 1024


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: `wall` in seconds since the Unix epoch for what is written, `mono` for measuring how long."""

    wall: float
    mono: float


def key_of(obj: JsonObject) -> Key:
    """The object's (namespace, name)."""
    return (namespace_of(obj), name_of(obj))


def revision_of(obj: JsonObject) -> int:
    """The lab's API server counts revisions in whole numbers, so they can be compared; 0 when there is none."""
    text = str(obj["metadata"].get("resourceVersion") or "0")
    return int(text) if text.isdecimal() else 0


class Store:
    """The objects of one kind. Shared by all controllers: never change what it returns.

    Answers to our own writes are put in at once, so the next decision sees them although the watch has not told yet;
    revisions keep an older copy from replacing a newer one.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._objects: dict[Key, JsonObject] = {}
        self._namespaces: dict[str, dict[str, JsonObject]] = {}
        self._owned: dict[str, set[Key]] = {}
        self._seen: dict[Key, float] = {}
        self._gone: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[JsonObject]:
        return iter(list(self._objects.values()))

    def get(self, namespace: str, name: str) -> JsonObject | None:
        """The object, None when there is none."""
        return self._objects.get((namespace, name))

    def in_namespace(self, namespace: str) -> list[JsonObject]:
        """All objects of a namespace."""
        return list(self._namespaces.get(namespace, {}).values())

    def owned_by(self, uid: str) -> list[JsonObject]:
        """All objects that name this uid among their owners, sorted by name."""
        return [self._objects[key] for key in sorted(self._owned.get(uid, ()))]

    def seen(self, namespace: str, name: str) -> float:
        """When (monotonic seconds) the present version of the object was first seen here."""
        return self._seen.get((namespace, name), 0.0)

    def put(self, obj: JsonObject, *, mono: float = 0.0) -> bool:
        """Takes in a version of an object; False when what is known is as new."""
        key = key_of(obj)
        before = self._objects.get(key)
        known = revision_of(before) if before is not None else self._gone.get(key, -1)
        revision = revision_of(obj)
        if known >= revision > 0:
            return False
        if before is not None:
            self._unlink(key, before)
        self._objects[key] = obj
        self._namespaces.setdefault(key[0], {})[key[1]] = obj
        for uid in _owner_uids(obj):
            self._owned.setdefault(uid, set()).add(key)
        self._seen[key] = mono
        return True

    def remove(self, obj: JsonObject) -> bool:
        """The object is gone; False when a newer one of the same name is known."""
        key, revision = key_of(obj), revision_of(obj)
        before = self._objects.get(key)
        if before is None or (revision_of(before) > revision > 0):
            return False
        self._unlink(key, before)
        del self._objects[key]
        del self._namespaces[key[0]][key[1]]
        self._seen.pop(key, None)
        self._gone[key] = revision
        self._gone.move_to_end(key)
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        return True

    def replace(self, objects: Iterable[JsonObject], *, mono: float = 0.0) -> list[JsonObject]:
        """Takes in a whole list; returns the objects that are new, changed or vanished."""
        listed = {key_of(obj): obj for obj in objects}
        changed = [obj for obj in listed.values() if self.put(obj, mono=mono)]
        for key in [key for key in self._objects if key not in listed]:
            gone = self._objects[key]
            self.remove(gone)
            changed.append(gone)
        return changed

    def _unlink(self, key: Key, obj: JsonObject) -> None:
        for uid in _owner_uids(obj):
            owned = self._owned.get(uid)
            if owned is not None:
                owned.discard(key)
                if not owned:
                    del self._owned[uid]


def _owner_uids(obj: JsonObject) -> list[str]:
    return [str(owner.get("uid", "")) for owner in obj["metadata"].get("ownerReferences") or []]


WATCHED: tuple[Kind, ...] = (
    kinds.NODE,
    kinds.LEASE,
    kinds.SERVICE,
    kinds.DEPLOYMENT,
    kinds.REPLICA_SET,
    kinds.STATEFUL_SET,
    kinds.DAEMON_SET,
    kinds.POD,
    kinds.ENDPOINT_SLICE,
    kinds.ENDPOINTS,
)
"""All kinds that some controller reads."""


@dataclass(slots=True)
class View:
    """The stores of all kinds, and what went wrong lately: the last failure of each object, by (kind name, key)."""

    stores: dict[Kind, Store] = field(default_factory=lambda: {kind: Store(kind) for kind in WATCHED})
    failures: dict[tuple[str, Key], str] = field(default_factory=dict)

    @property
    def nodes(self) -> Store:
        """Nodes."""
        return self.stores[kinds.NODE]

    @property
    def leases(self) -> Store:
        """Leases."""
        return self.stores[kinds.LEASE]

    @property
    def services(self) -> Store:
        """Services."""
        return self.stores[kinds.SERVICE]

    @property
    def deployments(self) -> Store:
        """Deployments."""
        return self.stores[kinds.DEPLOYMENT]

    @property
    def replica_sets(self) -> Store:
        """ReplicaSets."""
        return self.stores[kinds.REPLICA_SET]

    @property
    def stateful_sets(self) -> Store:
        """StatefulSets."""
        return self.stores[kinds.STATEFUL_SET]

    @property
    def daemon_sets(self) -> Store:
        """DaemonSets."""
        return self.stores[kinds.DAEMON_SET]

    @property
    def pods(self) -> Store:
        """Pods."""
        return self.stores[kinds.POD]

    @property
    def slices(self) -> Store:
        """EndpointSlices."""
        return self.stores[kinds.ENDPOINT_SLICE]

    @property
    def endpoints(self) -> Store:
        """Endpoints of core/v1."""
        return self.stores[kinds.ENDPOINTS]
