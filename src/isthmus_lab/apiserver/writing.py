"""create, update, patch and delete: one pipeline from a body to a stored object.

    decode -> merge with what is stored -> metadata -> defaults -> admission -> validation -> allocation -> ownership
    -> store

Admission may call webhooks, so the stored object can change meanwhile: the store refuses then, and a patch is tried
again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from isthmus_lab.apiserver import crds, decoding, errors, names, ownership, strategy, validation, views
from isthmus_lab.apiserver.admission import Admission
from isthmus_lab.apiserver.allocation import Allocator
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject, copy, encode, meta, name_of, section, timestamp
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.schema import apply_defaults
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry, StaleError
from isthmus_lab.apiserver.webhooks import Admitted

_PATCH_TRIES = 5
_NAME_TRIES = 8
_SERVER_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


@dataclass(slots=True, kw_only=True)
class Change:
    """A write on its way: the object as it will be, and as it is stored now (None for a create)."""

    new: JsonObject
    old: Entry | None
    managed: list[JsonObject] | None = None  # the ownership where server-side apply has settled it

    @property
    def operation(self) -> str:
        return "CREATE" if self.old is None else "UPDATE"

    @property
    def before(self) -> JsonObject | None:
        return self.old.obj if self.old is not None else None

    def admitted(self) -> Admitted:
        return Admitted(operation=self.operation, new=self.new, old=self.before)


class Writer:
    """`stored` is called with every object just stored, before anything else can happen."""

    def __init__(
        self, state: State, reader: Reader, *, admission: Admission, allocator: Allocator,
        stored: Callable[[str, Entry], None],
    ) -> None:  # fmt: skip
        self._state = state
        self._reader = reader
        self._admission = admission
        self._allocator = allocator
        self._stored = stored

    # --- create

    async def create(self, call: Call) -> Response:
        obj = decoding.decode_object(call)
        self._set_namespace(call, obj)
        generated = not name_of(obj) and bool(meta(obj).get("generateName"))
        for attempt in range(_NAME_TRIES):
            try:
                entry = await self.insert(call, copy(obj))
            except ApiError as error:
                if error.reason == "AlreadyExists" and generated and attempt + 1 < _NAME_TRIES:
                    continue
                raise
            return self._reader.render(call, entry, 201)
        raise errors.internal("no free name found")

    async def insert(self, call: Call, obj: JsonObject, managed: list[JsonObject] | None = None) -> Entry:
        """Stores a new object; the entry is not stored in a dry run."""
        resource = call.resource
        metadata = meta(obj)
        if metadata.pop("resourceVersion", None):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + self._state.suffix()
        self._check_namespace(call)
        for field in _SERVER_METADATA:
            metadata.pop(field, None)
        metadata["uid"] = self._state.new_uid()
        metadata["creationTimestamp"] = timestamp(self._state.clock())
        strategy.prepare_create(resource, call.version, obj)
        change = Change(new=views.stored(obj, resource), old=None, managed=managed)
        try:
            return await self._commit(call, change)
        except StaleError:
            raise errors.already_exists(resource.group, resource.plural, name_of(obj)) from None

    def _set_namespace(self, call: Call, obj: JsonObject) -> None:
        metadata = meta(obj)
        given = metadata.get("namespace") or ""
        if not call.resource.namespaced:
            metadata.pop("namespace", None)
            return
        if given and given != call.info.namespace:
            raise errors.bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request: {given}"
            )
        metadata["namespace"] = call.info.namespace

    def _check_namespace(self, call: Call) -> None:
        if not call.resource.namespaced:
            return
        if not call.info.namespace:
            raise errors.bad_request("an empty namespace may not be set during creation")
        entry = self._state.store.get("namespaces", "", call.info.namespace)
        if entry is None:
            raise errors.not_found("", "namespaces", call.info.namespace)
        if section(entry.obj, "metadata").get("deletionTimestamp"):
            why = f"unable to create new content in namespace {entry.name} because it is being terminated"
            error = errors.forbidden(call.resource.group, call.resource.plural, call.info.name, why)
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {entry.name} is being terminated"}
            error.details = {**(error.details or {}), "causes": [{**cause, "field": "metadata.namespace"}]}
            raise error

    # --- update and patch

    async def update(self, call: Call) -> Response:
        obj = decoding.decode_object(call)
        self._set_namespace(call, obj)
        if name_of(obj) != call.info.name:
            raise errors.bad_request(
                f"the name of the object ({name_of(obj)}) does not match the name on the URL ({call.info.name})"
            )
        old = self._reader.entry(call)
        strategy.require_revision(call.resource, obj)
        try:
            entry = await self.replace(call, obj, old)
        except StaleError:
            raise self._conflict(call) from None
        return self._reader.render(call, entry)

    async def modify(self, call: Call, edit: Callable[[JsonObject], JsonObject]) -> Entry:
        """Applies `edit` to the object as the client sees it; again when it changed meanwhile."""
        return await self._retry(call, lambda old: self._edited(call, edit, old))

    async def _edited(self, call: Call, edit: Callable[[JsonObject], JsonObject], old: Entry) -> Entry:
        seen = views.shown(copy(old.obj), call.resource, call.version.name)
        obj = edit(seen)
        decoding.check_patched(call, obj)
        return await self.replace(call, obj, old)

    async def _retry(self, call: Call, attempt: Callable[[Entry], Awaitable[Entry]]) -> Entry:
        for _ in range(_PATCH_TRIES):
            try:
                return await attempt(self._reader.entry(call))
            except StaleError:
                continue
        raise self._conflict(call)

    def _conflict(self, call: Call) -> ApiError:
        return errors.conflict(call.resource.group, call.resource.plural, call.info.name)

    async def replace(self, call: Call, obj: JsonObject, old: Entry, managed: list[JsonObject] | None = None) -> Entry:
        """Makes `obj` the new state of `old`, through the subresource the call names. Raises StaleError."""
        self._check_preconditions(call, obj, old)
        new = views.stored(obj, call.resource)
        strategy.prepare_update(call.resource, call.version, new, old=old.obj, subresource=call.info.subresource)
        return await self._commit(call, Change(new=new, old=old, managed=managed))

    def _check_preconditions(self, call: Call, obj: JsonObject, old: Entry) -> None:
        metadata = meta(obj)
        revision = metadata.get("resourceVersion")
        if revision and revision != str(old.revision):
            raise self._conflict(call)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            raise errors.conflict(call.resource.group, call.resource.plural, call.info.name, why)

    # --- server-side apply

    async def apply(self, call: Call, wanted: Any) -> tuple[Entry, bool]:
        """Merges what a manager wants; creates the object where there is none (then True)."""
        if not isinstance(wanted, dict):
            raise errors.bad_request("an apply configuration is an object")
        self._check_apply(call, wanted)
        for _ in range(_PATCH_TRIES):
            old = self._state.store.get(call.resource.storage, call.namespace, call.info.name)
            try:
                if old is None:
                    return await self._apply_new(call, wanted), True
                return await self._apply_over(call, wanted, old), False
            except StaleError:
                continue
        raise self._conflict(call)

    def _check_apply(self, call: Call, wanted: JsonObject) -> None:
        if not call.request.param("fieldManager"):
            why = "is required for apply patch"
            cause = errors.Cause("fieldManager", "FieldValueRequired", f"Required value: {why}")
            raise errors.invalid("meta.k8s.io", "PatchOptions", "", [cause])
        decoding.fill_type(call, wanted)
        metadata = meta(wanted)
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        if metadata.setdefault("name", call.info.name) != call.info.name:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({call.info.name})"
            )
        self._set_namespace(call, wanted)
        decoding.check(call, wanted)
        if call.info.subresource == "status":
            for key in [key for key in wanted if key not in ("apiVersion", "kind", "metadata", "status")]:
                del wanted[key]
        elif call.version.status:
            wanted.pop("status", None)

    def _merged(self, call: Call, live: JsonObject, wanted: JsonObject) -> ownership.Applied:
        intent = ownership.Intent(
            manager=self._manager(call, "Apply"),
            at=timestamp(self._state.clock()),
            force=call.request.flag("force"),
        )
        return ownership.apply(live, copy(wanted), call.version.schema, intent)

    async def _apply_new(self, call: Call, wanted: JsonObject) -> Entry:
        if call.info.subresource:
            raise errors.not_found(call.resource.group, call.resource.plural, call.info.name)
        if meta(wanted).get("uid"):
            why = "uid mismatch: the provided object specified uid and no existing object was found"
            raise errors.conflict(call.resource.group, call.resource.plural, call.info.name, why)
        merged = self._merged(call, {}, wanted)
        return await self.insert(call, merged.obj, merged.managed)

    async def _apply_over(self, call: Call, wanted: JsonObject, old: Entry) -> Entry:
        live = views.shown(copy(old.obj), call.resource, call.version.name)
        merged = self._merged(call, live, wanted)
        return await self.replace(call, merged.obj, old, merged.managed)

    def _manager(self, call: Call, operation: str) -> ownership.Manager:
        return ownership.Manager(
            name=call.manager,
            operation=operation,
            api_version=call.resource.api_version(call.version.name),
            subresource=call.info.subresource,
        )

    # --- the common end

    async def _commit(self, call: Call, change: Change) -> Entry:
        await self._admit(call, change)
        new, resource, before = change.new, call.resource, change.before
        causes = names.metadata_causes(new, resource.storage)
        causes += validation.validate(resource, call.version, self._shown(call, new), before)
        if causes:
            raise errors.invalid(resource.group, resource.kind, name_of(new), causes)
        await self._admission.validate(call, change.admitted())
        # From here to the store nothing is awaited: what was checked still holds.
        if resource.storage == "services":
            self._allocator.assign(new, before)
        if resource.storage == crds.STORAGE:
            crds.accept(new, self._state.registry.all(), self._state.clock())
        self._own(call, change)
        if before is not None and strategy.unchanged(new, before):
            assert change.old is not None
            return change.old
        strategy.bump_generation(resource, call.version, new, before)
        return self._store(call, change)

    def _shown(self, call: Call, obj: JsonObject) -> JsonObject:
        return views.shown(obj, call.resource, call.version.name)

    def _fill(self, call: Call, new: JsonObject) -> None:
        apply_defaults(new, call.version.schema)
        strategy.defaults(call.resource, new)

    async def _admit(self, call: Call, change: Change) -> None:
        """Defaults, the server's own admission, mutating webhooks."""
        self._fill(call, change.new)
        self._admission.fill(call, change.new, change.operation)
        mutated = await self._admission.mutate(call, change.admitted())
        if mutated is change.new:
            return
        metadata, kept = meta(mutated), meta(change.new)
        for field in ("name", "namespace", "uid", "creationTimestamp", "resourceVersion"):
            if field in kept:
                metadata[field] = kept[field]
        decoding.check(call, mutated)
        change.new = views.stored(mutated, call.resource)
        self._admission.fill(call, change.new, change.operation)
        self._fill(call, change.new)

    def _own(self, call: Call, change: Change) -> None:
        """Settles metadata.managedFields."""
        managed = change.managed
        if managed is None:
            at = timestamp(self._state.clock())
            manager = self._manager(call, "Update")
            managed = ownership.track_update(change.before, change.new, call.version.schema, manager=manager, at=at)
        if managed:
            meta(change.new)["managedFields"] = managed
        else:
            meta(change.new).pop("managedFields", None)

    def _store(self, call: Call, change: Change) -> Entry:
        storage, new, store = call.resource.storage, change.new, self._state.store
        if call.dry_run:
            meta(new).pop("resourceVersion", None)
            return Entry(new, change.old.revision if change.old else 0, encode(new))
        if change.old is None:
            entry = store.create(storage, new)
        elif strategy.finished(new):
            return store.delete(storage, change.old, last=new)
        else:
            entry = store.update(storage, new, change.old)
        self._stored(storage, entry)
        return entry
