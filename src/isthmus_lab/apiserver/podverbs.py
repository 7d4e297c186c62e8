"""What can be done to a pod or a namespace besides reading and writing it: binding, eviction, finalize."""

from __future__ import annotations

from isthmus_lab.apiserver import decoding, errors
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.deleting import DeleteOptions, Deleter
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject, copy, encode, items, lookup, section, timestamp
from isthmus_lab.apiserver.reading import Reader, respond
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.strategy import finished


class PodVerbs:
    def __init__(self, state: State, reader: Reader, deleter: Deleter) -> None:
        self._state = state
        self._reader = reader
        self._deleter = deleter

    def install(self, front: Front) -> None:
        front.subresources["pods", "binding", "create"] = self.bind
        front.subresources["pods", "eviction", "create"] = self.evict
        front.subresources["namespaces", "finalize", "update"] = self.finalize

    async def bind(self, call: Call) -> Response:
        """Gives the pod to a node; once."""
        target = decoding.decode_as(call, "Binding", "v1")["target"]
        entry = self._reader.entry(call)
        if lookup(entry.obj, "spec", "nodeName"):
            why = f"pod {entry.name} is already assigned to node {entry.obj['spec']['nodeName']!r}"
            raise errors.conflict("", "pods/binding", entry.name, why)
        if call.dry_run:
            return _created(call)
        obj = copy(entry.obj)
        obj["spec"]["nodeName"] = target.get("name")
        kept = [c for c in items(section(obj, "status"), "conditions") if c.get("type") != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        scheduled["lastTransitionTime"] = timestamp(self._state.clock())
        obj.setdefault("status", {})["conditions"] = [*kept, scheduled]
        self._state.store.update("pods", obj, entry)
        return _created(call)

    async def evict(self, call: Call) -> Response:
        """Deletes the pod; disruption budgets are stored but not enforced here."""
        body = decoding.decode_as(call, "Eviction", "policy/v1")
        entry = self._reader.entry(call)
        grace = section(body, "deleteOptions").get("gracePeriodSeconds")
        if not call.dry_run:
            options = DeleteOptions(grace=grace if isinstance(grace, int) else None)
            self._deleter.remove(call.resource, entry, options)
        return _created(call)

    async def finalize(self, call: Call) -> Response:
        """Replaces a namespace's spec.finalizers."""
        wanted = decoding.decode_object(call)
        entry = self._reader.entry(call)
        obj = copy(entry.obj)
        obj.setdefault("spec", {})["finalizers"] = items(section(wanted, "spec"), "finalizers")
        if finished(obj):
            return self._reader.render(call, self._state.store.delete("namespaces", entry, last=obj))
        return self._reader.render(call, self._state.store.update("namespaces", obj, entry))


def _created(call: Call) -> Response:
    status: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return respond(call, 201, encode(status))
