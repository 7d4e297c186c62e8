"""The scale subresource of Deployments, ReplicaSets and custom resources."""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver import decoding, errors, views
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject, encode, lookup, section
from isthmus_lab.apiserver.patching import MERGE, apply_dialect
from isthmus_lab.apiserver.printers import label_selector
from isthmus_lab.apiserver.reading import Reader, respond
from isthmus_lab.apiserver.store import Entry
from isthmus_lab.apiserver.writing import Writer

_BUILTIN_PATHS: JsonObject = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".spec.selector",
}


class Scales:
    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    def install(self, front: Front) -> None:
        for verb, handler in (("get", self.get), ("update", self.update), ("patch", self.patch)):
            front.subresources["*", "scale", verb] = handler

    def _paths(self, call: Call) -> JsonObject:
        if not call.resource.custom:
            if "scale" not in call.resource.subresources:
                raise errors.path_not_found()
            return _BUILTIN_PATHS
        if call.version.scale is None:
            raise errors.path_not_found()
        return call.version.scale

    def _scale(self, call: Call, entry: Entry) -> JsonObject:
        return scale_of(views.shown(entry.obj, call.resource, call.version.name), self._paths(call))

    async def get(self, call: Call) -> Response:
        return respond(call, 200, encode(self._scale(call, self._reader.entry(call))))

    async def update(self, call: Call) -> Response:
        wanted = decoding.decode_as(call, "Scale", "autoscaling/v1")
        return await self._store(call, lambda _current: wanted)

    async def patch(self, call: Call) -> Response:
        media = decoding.media_type(call)
        patch = decoding.parse_body(call.request.body, "application/json")
        dialect = media if media.startswith("application/json-patch") else MERGE

        def patched(current: JsonObject) -> JsonObject:
            return decoding.check_as(apply_dialect(current, patch, dialect, call), "Scale", "autoscaling/v1")

        return await self._store(call, patched)

    async def _store(self, call: Call, wanted: Any) -> Response:
        paths = self._paths(call)

        def edit(obj: JsonObject) -> JsonObject:
            scale = wanted(scale_of(obj, paths))
            revision = section(scale, "metadata").get("resourceVersion")
            if revision and revision != obj["metadata"]["resourceVersion"]:
                raise errors.conflict(call.resource.group, call.resource.plural, call.info.name)
            replicas = int(section(scale, "spec").get("replicas") or 0)
            if replicas < 0:
                cause = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
                raise errors.invalid("autoscaling", "Scale", call.info.name, [cause])
            _assign(obj, paths["specReplicasPath"], replicas)
            return obj

        entry = await self._writer.modify(call, edit)
        return respond(call, 200, encode(self._scale(call, entry)))


def _steps(path: str) -> list[str]:
    return [step for step in path.split(".") if step]


def _assign(obj: JsonObject, path: str, value: Any) -> None:
    *parents, last = _steps(path)
    for step in parents:
        obj = obj.setdefault(step, {})
    obj[last] = value


def scale_of(obj: JsonObject, paths: JsonObject) -> JsonObject:
    """An autoscaling/v1 Scale of the object; `paths` as in a custom resource's scale subresource."""
    metadata = section(obj, "metadata")
    status: JsonObject = {"replicas": lookup(obj, *_steps(paths["statusReplicasPath"]), default=0)}
    selector = lookup(obj, *_steps(paths["labelSelectorPath"])) if paths.get("labelSelectorPath") else None
    if isinstance(selector, dict):
        status["selector"] = label_selector(selector)
    elif selector:
        status["selector"] = str(selector)
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": lookup(obj, *_steps(paths["specReplicasPath"]), default=0)},
        "status": status,
    }
