"""How a stored object is shown: its bytes in the version asked for, as metadata only, or as rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from isthmus_lab.apiserver.errors import not_acceptable
from isthmus_lab.apiserver.objects import JsonObject, encode, section
from isthmus_lab.apiserver.resources import Resource
from isthmus_lab.apiserver.store import Entry

Shape = Literal["object", "table", "metadata"]

_JSON_TYPES = ("application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True)
class View:
    """The shape that the client accepts."""

    shape: Shape = "object"
    yaml: bool = False


def negotiate(accept: str) -> View:
    """The first media type of `accept` that the server can make. Raises 406 when there is none."""
    for part in accept.split(",") if accept else ["application/json"]:
        media, *raw = [piece.strip() for piece in part.split(";")]
        params = dict(piece.split("=", 1) for piece in raw if "=" in piece)
        kind = params.get("as", "")
        if media == "application/yaml" and not kind:
            return View(yaml=True)
        if media not in _JSON_TYPES:
            continue
        if not kind:
            return View()
        if params.get("g") == "meta.k8s.io" and params.get("v") in ("v1", "v1beta1"):
            if kind == "Table":
                return View("table")
            if kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return View("metadata")
    raise not_acceptable(["application/json", "application/yaml"])


# --- events are stored as core/v1 and shown by events.k8s.io/v1 with other names

_EVENT_NAMES = (
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def _rename(obj: JsonObject, pairs: dict[str, str], api_version: str) -> JsonObject:
    shown = {pairs.get(key, key): value for key, value in obj.items()}
    shown["apiVersion"] = api_version
    return shown


def _to_new_event(obj: JsonObject) -> JsonObject:
    return _rename(obj, dict(_EVENT_NAMES), "events.k8s.io/v1")


def _from_new_event(obj: JsonObject) -> JsonObject:
    return _rename(obj, {new: old for old, new in _EVENT_NAMES}, "v1")


_SHOW: dict[tuple[str, str], Callable[[JsonObject], JsonObject]] = {("events.k8s.io", "events"): _to_new_event}
_STORE: dict[tuple[str, str], Callable[[JsonObject], JsonObject]] = {("events.k8s.io", "events"): _from_new_event}


def storage_api_version(resource: Resource) -> str:
    if (resource.group, resource.plural) in _STORE:
        return "v1"
    return resource.api_version(resource.storage_version)


def shown(obj: JsonObject, resource: Resource, version: str) -> JsonObject:
    """The object in `version`; the same object where it is stored so."""
    convert = _SHOW.get((resource.group, resource.plural))
    if convert is not None:
        return convert(obj)
    api_version = resource.api_version(version)
    if obj.get("apiVersion") == api_version:
        return obj
    return {**obj, "apiVersion": api_version}


def stored(obj: JsonObject, resource: Resource) -> JsonObject:
    """The object as it is stored."""
    convert = _STORE.get((resource.group, resource.plural))
    if convert is not None:
        return convert(obj)
    obj["apiVersion"] = storage_api_version(resource)
    return obj


def body(entry: Entry, resource: Resource, version: str) -> bytes:
    """The object's bytes in `version`; those already made where it is stored so."""
    found = shown(entry.obj, resource, version)
    return entry.body if found is entry.obj else encode(found)


def metadata_only(obj: JsonObject) -> JsonObject:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": section(obj, "metadata"),
    }


def list_body(bodies: list[bytes], *, kind: str, api_version: str, metadata: JsonObject) -> bytes:
    """A list made by joining bytes that exist already."""
    head = encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    return head[:-1] + b',"items":[' + b",".join(bodies) + b"]}"
