"""create, update, patch and delete: one pipeline from a body to a stored object.

    decode -> merge with what is stored -> metadata -> defaults -> admission -> validation -> allocation -> ownership
    -> store

Admission may call webhooks, so the stored object can change meanwhile: the store refuses then, and a patch is tried
again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from isthmus_lab.apiserver import decoding, errors, names, strategy, validation, views
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject, copy, meta, name_of, section, timestamp
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.schema import apply_defaults
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry, StaleError

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
    applied: bool = False  # by server-side apply, which has settled the ownership already

    @property
    def operation(self) -> str:
        return "CREATE" if self.old is None else "UPDATE"


class Writer:
    def __init__(self, state: State, reader: Reader) -> None:
        self._state = state
        self._reader = reader

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

    async def insert(self, call: Call, obj: JsonObject) -> Entry:
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
        change = Change(new=views.stored(obj, resource), old=None)
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

    async def replace(self, call: Call, obj: JsonObject, old: Entry) -> Entry:
        """Makes `obj` the new state of `old`, through the subresource the call names. Raises StaleError."""
        self._check_preconditions(call, obj, old)
        new = views.stored(obj, call.resource)
        strategy.prepare_update(call.resource, call.version, new, old=old.obj, subresource=call.info.subresource)
        return await self._commit(call, Change(new=new, old=old))

    def _check_preconditions(self, call: Call, obj: JsonObject, old: Entry) -> None:
        metadata = meta(obj)
        revision = metadata.get("resourceVersion")
        if revision and revision != str(old.revision):
            raise self._conflict(call)
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
            raise errors.conflict(call.resource.group, call.resource.plural, call.info.name, why)

    # --- the common end

    async def _commit(self, call: Call, change: Change) -> Entry:
        resource = call.resource
        new = change.new
        apply_defaults(new, call.version.schema)
        strategy.defaults(resource, new)
        causes = names.metadata_causes(new, resource.storage) if change.old is None else []
        causes += validation.validate(resource, call.version, new, change.old.obj if change.old else None)
        if causes:
            raise errors.invalid(resource.group, resource.kind, name_of(new), causes)
        if change.old is not None and strategy.unchanged(new, change.old.obj):
            return change.old
        strategy.bump_generation(resource, call.version, new, change.old.obj if change.old else None)
        if call.dry_run:
            return Entry(new, change.old.revision if change.old else 0, b"")
        if change.old is None:
            return self._state.store.create(resource.storage, new)
        if strategy.finished(new):
            return self._state.store.delete(resource.storage, change.old, last=new)
        return self._state.store.update(resource.storage, new, change.old)
