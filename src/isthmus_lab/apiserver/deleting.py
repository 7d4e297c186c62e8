"""DELETE: finalizers, graceful pods, preconditions, orphans."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus_lab.apiserver import crds, errors, views
from isthmus_lab.apiserver.admission import Admission
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject, copy, decode, encode, lookup, meta, name_of, section, timestamp
from isthmus_lab.apiserver.reading import Reader, respond
from isthmus_lab.apiserver.resources import Resource
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry, StaleError
from isthmus_lab.apiserver.webhooks import Admitted

_TRIES = 5
_PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """`grace` is in seconds, None for the kind's default."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    revision: str = ""
    dry_run: bool = False


def parse_options(call: Call) -> DeleteOptions:
    """From the body (DeleteOptions) or the query. Raises 400."""
    body: JsonObject = {}
    if call.request.body.strip():
        try:
            decoded = decode(call.request.body)
        except ValueError as error:
            raise bad_request(f"couldn't read DeleteOptions: {error}") from None
        if not isinstance(decoded, dict):
            raise bad_request("DeleteOptions must be an object")
        body = decoded
    grace = body.get("gracePeriodSeconds")
    if grace is None and call.request.param("gracePeriodSeconds"):
        text = call.request.param("gracePeriodSeconds")
        if not text.lstrip("-").isdigit():
            raise bad_request(f'gracePeriodSeconds: "{text}" is not a number')
        grace = int(text)
    orphan = body.get("orphanDependents")
    propagation = body.get("propagationPolicy") or call.request.param("propagationPolicy")
    preconditions = section(body, "preconditions")
    return DeleteOptions(
        grace=max(0, grace) if isinstance(grace, int) else None,
        propagation="Orphan" if orphan else str(propagation or ""),
        uid=str(preconditions.get("uid") or ""),
        revision=str(preconditions.get("resourceVersion") or ""),
        dry_run=call.dry_run or bool(body.get("dryRun")),
    )


class Deleter:
    """Marks or removes objects. Also used by the server itself (garbage collection, namespaces)."""

    def __init__(self, state: State, reader: Reader, admission: Admission) -> None:
        self._state = state
        self._reader = reader
        self._admission = admission

    async def delete(self, call: Call) -> Response:
        options = parse_options(call)
        for _ in range(_TRIES):
            entry = self._reader.entry(call)
            self._check(call.resource, entry, options)
            await self._admit(call, entry)
            try:
                left = self.remove(call.resource, entry, options)
            except StaleError:
                continue
            if left is not None:
                return self._reader.render(call, left)
            return respond(call, 200, encode(_success(call.resource, entry)))
        raise errors.conflict(call.resource.group, call.resource.plural, call.info.name)

    async def _admit(self, call: Call, entry: Entry) -> None:
        await self._admission.validate(call, Admitted(operation="DELETE", new=None, old=entry.obj))

    async def delete_collection(self, call: Call) -> Response:
        options = parse_options(call)
        gone = []
        for entry in self._reader.entries(call):
            self._check(call.resource, entry, options)
            await self._admit(call, entry)
            try:
                self.remove(call.resource, entry, options)
            except StaleError:
                continue
            gone.append(views.body(entry, call.resource, call.version.name))
        api_version = call.resource.api_version(call.version.name)
        metadata = {"resourceVersion": str(self._state.store.revision)}
        body = views.list_body(gone, kind=call.resource.list_kind, api_version=api_version, metadata=metadata)
        return respond(call, 200, body)

    def _check(self, resource: Resource, entry: Entry, options: DeleteOptions) -> None:
        if options.uid and options.uid != entry.uid:
            why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {entry.uid}"
            raise errors.conflict(resource.group, resource.plural, entry.name, why)
        if options.revision and options.revision != str(entry.revision):
            why = (
                f"Precondition failed: ResourceVersion in precondition: {options.revision}, "
                f"ResourceVersion in object meta: {entry.revision}"
            )
            raise errors.conflict(resource.group, resource.plural, entry.name, why)
        if resource.storage == "namespaces" and entry.name in _PROTECTED_NAMESPACES:
            raise errors.forbidden("", "namespaces", entry.name, "this namespace may not be deleted")

    def remove(self, resource: Resource, entry: Entry, options: DeleteOptions) -> Entry | None:
        """Removes the object (None), or marks it as being deleted (the marked entry). Raises StaleError."""
        obj = copy(entry.obj)
        metadata = meta(obj)
        grace = self._grace(resource, obj, options)
        if options.propagation == "Orphan":
            metadata["finalizers"] = [f for f in metadata.get("finalizers") or [] if f != "foregroundDeletion"]
        waits = bool(metadata.get("finalizers")) or self._waits(resource, obj)
        if not waits and grace == 0:
            if options.dry_run:
                return None
            self._release(resource, entry, options)
            self._state.store.delete(resource.storage, entry)
            return None
        if not self._mark(metadata, grace):
            return entry
        if resource.storage == "namespaces":
            obj.setdefault("status", {})["phase"] = "Terminating"
        if options.dry_run:
            return Entry(obj, entry.revision, b"")
        self._release(resource, entry, options)
        return self._state.store.update(resource.storage, obj, entry)

    def _mark(self, metadata: JsonObject, grace: int) -> bool:
        """Sets the deletion time; False when a deletion as soon as this one is on its way already."""
        now = self._state.clock()
        if metadata.get("deletionTimestamp"):
            running = metadata.get("deletionGracePeriodSeconds")
            if running is None or grace >= running:
                return False
        elif "generation" in metadata:
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = timestamp(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        return True

    def _waits(self, resource: Resource, obj: JsonObject) -> bool:
        """Whether the server itself still has work before the object may go."""
        if resource.storage == "namespaces":
            return bool(section(obj, "spec").get("finalizers"))
        return resource.storage == crds.STORAGE and self._state.store.count(name_of(obj)) > 0

    def _grace(self, resource: Resource, obj: JsonObject, options: DeleteOptions) -> int:
        """Seconds a pod gets to stop; 0 for what runs nowhere."""
        if resource.storage != "pods":
            return 0
        if not lookup(obj, "spec", "nodeName") or lookup(obj, "status", "phase") in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return options.grace
        return int(lookup(obj, "spec", "terminationGracePeriodSeconds", default=30))

    def _release(self, resource: Resource, entry: Entry, options: DeleteOptions) -> None:
        """With propagation policy Orphan the dependents forget their owner before it goes."""
        if options.propagation != "Orphan":
            return
        for storage, dependent in self._state.dependents.of(entry.uid):
            obj = copy(dependent.obj)
            owners = [owner for owner in meta(obj).get("ownerReferences") or [] if owner.get("uid") != entry.uid]
            meta(obj)["ownerReferences"] = owners
            if not owners:
                del obj["metadata"]["ownerReferences"]
            self._state.store.update(storage, obj, dependent)


def _success(resource: Resource, entry: Entry) -> JsonObject:
    details: JsonObject = {"name": entry.name}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.plural, "uid": entry.uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
