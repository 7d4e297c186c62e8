"""What the server does of its own accord: garbage collection, emptying namespaces, custom resource clean-up.

The store tells of every change; what follows from it is queued and done right after, in the same event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from isthmus_lab.apiserver import bootstrap, crds, dependents, serviceaccounts
from isthmus_lab.apiserver.deleting import DeleteOptions, Deleter
from isthmus_lab.apiserver.objects import JsonObject, copy, items, lookup, meta, parse_time, section
from isthmus_lab.apiserver.resources import Resource, from_definition
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry, Event, StaleError

_LOG = structlog.get_logger()
_BACKGROUND = DeleteOptions(propagation="Background")
_EVENT_SECONDS = 3600.0
_EXPIRY_SECONDS = 600.0  # between looks at the events
_SLICE = 200  # items worked on before other tasks get their turn

Task = tuple[str, str, str]  # what, and the key it is about


class Lifecycle:
    """`furnish` is called by the writer too, so that a namespace is never seen without its account."""

    def __init__(self, state: State, deleter: Deleter, root_certificate: bytes) -> None:
        self._state = state
        self._deleter = deleter
        self._root = root_certificate.decode()
        self._queue: dict[Task, None] = {}
        self._wake = asyncio.Event()
        self._terminating = self._deleted("namespaces")
        self._definitions = self._deleted(crds.STORAGE)
        state.store.listen(self._changed)
        for storage in state.store.resources():
            self._watch_definitions(storage)
        self._resume()

    def _deleted(self, storage: str) -> set[str]:
        return {e.name for e in self._state.store.list(storage) if e.obj["metadata"].get("deletionTimestamp")}

    def _watch_definitions(self, storage: str) -> None:
        if storage == crds.STORAGE:
            for entry in self._state.store.list(storage):
                self._define(entry)

    def _resume(self) -> None:
        """After a restart: what was under way, and what lost its owner meanwhile."""
        for name in self._terminating:
            self._add("namespace", "", name)
        for name in self._definitions:
            self._add("definition", "", name)
        for storage, namespace, name in self._state.dependents.owned():
            self._add("dependent", storage, f"{namespace}/{name}")

    # --- what a change asks for

    def _add(self, what: str, storage: str, name: str) -> None:
        self._queue[(what, storage, name)] = None
        self._wake.set()

    def _changed(self, event: Event) -> None:
        entry = event.entry
        deleting = bool(entry.obj["metadata"].get("deletionTimestamp"))
        if event.resource == "namespaces":
            self._namespace_changed(event, deleting=deleting)
        elif event.resource == crds.STORAGE:
            self._definition_changed(event, deleting=deleting)
        if event.change == "DELETED":
            self._object_gone(event)
        elif event.change == "ADDED" and items(entry.obj["metadata"], "ownerReferences"):
            self._add("dependent", event.resource, f"{entry.namespace}/{entry.name}")

    def _namespace_changed(self, event: Event, *, deleting: bool) -> None:
        name = event.entry.name
        if event.change == "DELETED":
            self._terminating.discard(name)
        elif deleting:
            self._terminating.add(name)
            self._add("namespace", "", name)

    def _definition_changed(self, event: Event, *, deleting: bool) -> None:
        entry = event.entry
        if event.change == "DELETED":
            self._definitions.discard(entry.name)
            self._state.registry.remove_custom(entry.name)
            return
        self._define(entry)
        if deleting:
            self._definitions.add(entry.name)
            self._add("definition", "", entry.name)

    def _define(self, entry: Entry) -> None:
        if crds.established(entry.obj):
            self._state.registry.add_custom(from_definition(entry.obj))

    def _object_gone(self, event: Event) -> None:
        entry = event.entry
        if self._state.dependents.of(entry.uid):
            self._add("owner", "", entry.uid)
        if entry.namespace in self._terminating:
            self._add("namespace", "", entry.namespace)
        elif (event.resource, entry.name) in (
            ("serviceaccounts", "default"),
            ("configmaps", serviceaccounts.ROOT_CA_MAP),
        ):
            self._add("furnish", "", entry.namespace)
        if event.resource in self._definitions:
            self._add("definition", "", event.resource)
        if event.resource == "serviceaccounts":
            listed = self._state.store.list("secrets", entry.namespace)
            for secret in serviceaccounts.secrets_of(entry, listed):
                self._add("remove", "secrets", f"{secret.namespace}/{secret.name}")

    # --- doing it

    async def run(self) -> None:
        """Works until cancelled."""
        loop = asyncio.get_running_loop()
        expiry = loop.time() + _EXPIRY_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(expiry):
                    await self._wake.wait()
            except TimeoutError:
                self.expire_events()
                expiry += _EXPIRY_SECONDS
            self._wake.clear()
            await self.settle()

    def expire_events(self) -> None:
        """Removes events that nobody has repeated for an hour, as Kubernetes does."""
        now = self._state.clock()
        for entry in self._state.store.list("events"):
            said = (entry.obj.get("lastTimestamp"), lookup(entry.obj, "series", "lastObservedTime"))
            told = [*said, entry.obj.get("eventTime"), entry.obj["metadata"].get("creationTimestamp")]
            if now - max(parse_time(str(text)) for text in told) > _EVENT_SECONDS:
                self._state.store.delete("events", entry)

    async def settle(self) -> None:
        """Works off everything that is queued."""
        while self._queue:
            task = next(iter(self._queue))
            del self._queue[task]
            try:
                await self._do(task)
            except StaleError:
                self._queue[task] = None  # it changed meanwhile
            except Exception:
                _LOG.exception("background work failed", task=task)

    async def _do(self, task: Task) -> None:
        what, storage, name = task
        if what == "namespace":
            await self._empty_namespace(name)
        elif what == "definition":
            await self._empty_definition(name)
        elif what == "owner":
            for kind, entry in self._state.dependents.of(name):
                self._collect(kind, entry)
        elif what == "furnish":
            self.furnish(name)
        else:
            namespace, _, short = name.partition("/")
            found = self._state.store.get(storage, namespace, short)
            if found is not None and what == "dependent":
                self._collect(storage, found)
            elif found is not None:
                self._remove(storage, found)

    def _collect(self, storage: str, entry: Entry) -> None:
        """Removes an object all of whose owners are gone; forgets those that are gone otherwise."""
        named = dependents.owners(entry)
        alive = [uid for uid in named if self._state.dependents.exists(uid)]
        if not named or len(alive) == len(named):
            return
        if not alive:
            self._remove(storage, entry)
            return
        obj = copy(entry.obj)
        meta(obj)["ownerReferences"] = [o for o in meta(obj)["ownerReferences"] if o.get("uid") in alive]
        self._state.store.update(storage, obj, entry)

    def _remove(self, storage: str, entry: Entry) -> None:
        resource = self._state.registry.by_storage(storage)
        if resource is not None and not entry.obj["metadata"].get("deletionTimestamp"):
            self._deleter.remove(resource, entry, _BACKGROUND)

    def _contents(self, namespace: str) -> Iterator[tuple[Resource, Entry]]:
        for resource in list(self._state.registry.all()):
            if resource.namespaced and resource.group != "events.k8s.io":
                for entry in self._state.store.list(resource.storage, namespace):
                    yield resource, entry

    async def _empty_namespace(self, name: str) -> None:
        entry = self._state.store.get("namespaces", "", name)
        if entry is None or not entry.obj["metadata"].get("deletionTimestamp"):
            return
        left = 0
        for index, (resource, content) in enumerate(list(self._contents(name))):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            left += self._try_remove(resource, content)
        if left:
            return  # the removal of the last one brings us back
        entry = self._state.store.get("namespaces", "", name)
        if entry is None or any(True for _ in self._contents(name)):
            return
        self._finish(entry)

    def _finish(self, entry: Entry) -> None:
        obj = copy(entry.obj)
        section(obj, "spec").pop("finalizers", None)
        if meta(obj).get("finalizers"):
            if obj != entry.obj:
                self._state.store.update("namespaces", obj, entry)
            return
        self._state.store.delete("namespaces", entry)

    def _try_remove(self, resource: Resource, entry: Entry) -> int:
        """1 when the object is still there afterwards."""
        current = self._state.store.get(resource.storage, entry.namespace, entry.name)
        if current is None:
            return 0
        if current.obj["metadata"].get("deletionTimestamp"):
            return 1
        return int(self._deleter.remove(resource, current, _BACKGROUND) is not None)

    async def _empty_definition(self, name: str) -> None:
        definition = self._state.store.get(crds.STORAGE, "", name)
        if definition is None or not definition.obj["metadata"].get("deletionTimestamp"):
            return
        resource = self._state.registry.by_storage(name)
        left = 0
        for index, entry in enumerate(self._state.store.list(name)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if resource is not None:
                left += self._try_remove(resource, entry)
        if left:
            return
        obj = copy(definition.obj)
        kept = [f for f in meta(obj).get("finalizers") or [] if f != crds.CLEANUP]
        meta(obj)["finalizers"] = kept
        if kept:
            self._state.store.update(crds.STORAGE, obj, definition)
        else:
            self._state.store.delete(crds.STORAGE, definition)

    # --- namespaces

    def furnish(self, namespace: str) -> None:
        """The default account and the root certificate that every namespace has."""
        entry = self._state.store.get("namespaces", "", namespace)
        if entry is None or entry.obj["metadata"].get("deletionTimestamp"):
            return
        account = {"name": "default", "namespace": namespace}
        bootstrap.put(self._state, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        metadata: JsonObject = {
            "name": serviceaccounts.ROOT_CA_MAP,
            "namespace": namespace,
            "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver."
            },
        }
        data = {"ca.crt": self._root}
        bootstrap.put(
            self._state, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, overwrite=True
        )
