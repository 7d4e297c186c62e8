"""Carries out the actions of plans through the API, and puts the answers into the view at once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from isthmus.base.errors import UnreachableError
from isthmus_lab.apiserver.objects import JsonObject, timestamp
from isthmus_lab.controllers.client import EVENT, POD, Client, Kind, is_conflict, is_missing
from isthmus_lab.controllers.facts import uid_of
from isthmus_lab.controllers.plan import Action, Bind, Create, Delete, Patch, Record, Replace
from isthmus_lab.controllers.view import Key, Moment, View, key_of
from isthmus_lab.kubelet.client import ApiError

_COMPONENTS = {
    "Pod": "default-scheduler",
    "ReplicaSet": "replicaset-controller",
    "StatefulSet": "statefulset-controller",
    "DaemonSet": "daemonset-controller",
    "Node": "node-controller",
}
_EVENT_GAP = 10.0  # seconds between two writes of the same event
_EVENTS_KNOWN = 512


class Executor:
    """One for all controllers. Raises what the client raises, except where the goal is reached anyhow."""

    def __init__(
        self, client: Client, view: View, *, now: Callable[[], Moment], learn: Callable[[Kind, JsonObject], None]
    ) -> None:
        """`learn` is given each answer that is an object: what was written is known before the watch tells."""
        self._client = client
        self._view = view
        self._now = now
        self._told = learn
        self._events: OrderedDict[str, tuple[int, float, str]] = OrderedDict()

    async def execute(self, action: Action) -> None:
        """Does it. An object that is already gone needs neither patch nor deletion."""
        match action:
            case Create():
                await self._create(action)
            case Replace(kind, obj):
                self._learn(kind, await self._client.update(kind, obj))
            case Patch():
                await self._patch(action)
            case Bind(pod, node):
                await self._bind(pod, node)
            case Delete():
                await self._delete(action)
            case Record():
                await self._record(action)

    def _learn(self, kind: Kind, answer: JsonObject) -> None:
        if kind in self._view.stores and answer.get("kind") == kind.kind:
            self._told(kind, answer)

    async def _create(self, action: Create) -> None:
        owner = action.owner
        mark = _mark(owner)
        try:
            made = await self._client.create(action.kind, action.obj)
        except (ApiError, UnreachableError) as failure:
            if owner is not None and not is_conflict(failure):
                self._view.failures[mark] = failure.message
            if owner is not None:
                await self._record(Record(owner, "FailedCreate", f"Error creating: {failure}", "Warning"))
            raise
        self._view.failures.pop(mark, None)
        self._learn(action.kind, made)
        if owner is not None and action.kind is POD:
            await self._record(Record(owner, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}"))

    async def _patch(self, action: Patch) -> None:
        namespace, name = key_of(action.obj)
        patch = dict(action.patch)
        if not action.loose:
            version = action.obj["metadata"].get("resourceVersion")
            patch["metadata"] = {**(patch.get("metadata") or {}), "resourceVersion": version}
        try:
            made = await self._client.patch(action.kind, namespace, name, patch, subresource=action.subresource)
        except ApiError as failure:
            if not is_missing(failure):
                raise
        else:
            self._learn(action.kind, made)

    async def _bind(self, pod: JsonObject, node: str) -> None:
        namespace, name = key_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(POD, binding, subresource="binding", name=name)
            self._learn(POD, await self._client.get(POD, namespace, name))
        except ApiError as failure:
            if not is_missing(failure):
                raise
        else:
            await self._record(Record(pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}"))

    async def _delete(self, action: Delete) -> None:
        namespace, name = key_of(action.obj)
        try:
            answer = await self._client.delete(
                action.kind, namespace, name, uid=uid_of(action.obj), grace_seconds=action.grace_seconds
            )
        except ApiError as failure:
            if not (is_missing(failure) or is_conflict(failure)):  # a conflict: another object has the name by now
                raise
        else:
            if (answer.get("metadata") or {}).get("deletionTimestamp"):
                self._learn(action.kind, answer)

    async def _record(self, event: Record) -> None:
        """An event about the same thing is counted up, at most every ten seconds; failing to write one is no matter."""
        now = self._now()
        namespace, about = key_of(event.about)
        digest = hashlib.sha256(f"{uid_of(event.about)}/{event.reason}/{event.message}".encode()).hexdigest()[:16]
        name = f"{about}.{digest}"
        count, last, first = self._events.get(name, (0, 0.0, timestamp(now.wall)))
        if count and now.mono - last < _EVENT_GAP:
            return
        self._events[name] = (count + 1, now.mono, first)
        self._events.move_to_end(name)
        while len(self._events) > _EVENTS_KNOWN:
            self._events.popitem(last=False)
        obj = _event(event, name=name, count=count + 1, first=first, last=timestamp(now.wall))
        with suppress(ApiError, UnreachableError):
            if count:
                patch = {"count": count + 1, "lastTimestamp": obj["lastTimestamp"]}
                await self._client.patch(EVENT, namespace or "default", name, patch)
            else:
                await self._client.create(EVENT, obj)


def _mark(owner: JsonObject | None) -> tuple[str, Key]:
    return (str(owner.get("kind", "")), key_of(owner)) if owner is not None else ("", ("", ""))


def _event(event: Record, *, name: str, count: int, first: str, last: str) -> JsonObject:
    about = event.about
    namespace, about_name = key_of(about)
    kind = str(about.get("kind", ""))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace or "default"},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": kind,
            "namespace": namespace,
            "name": about_name,
            "uid": uid_of(about),
        },
        "reason": event.reason,
        "message": event.message[:1024],
        "type": event.type,
        "count": count,
        "firstTimestamp": first,
        "lastTimestamp": last,
        "source": {"component": _COMPONENTS.get(kind, "deployment-controller")},
    }
