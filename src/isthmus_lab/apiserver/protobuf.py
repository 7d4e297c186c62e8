"""Request bodies in Kubernetes' protobuf encoding, which kubectl's typed commands send; answers are always JSON.

Field numbers are in `types`. Go writes empty strings and zeros of fields that are not pointers: they mean absent here.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.objects import JsonObject, timestamp
from isthmus_lab.apiserver.resources import builtin_types, split_api_version
from isthmus_lab.apiserver.schema import Schema

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# Go pointers: their zero is a value that was set.
_ZERO_MEANS_ZERO = frozenset(
    {
        "replicas", "minReplicas", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "runAsUser", "runAsGroup",
        "fsGroup", "revisionHistoryLimit", "progressDeadlineSeconds", "gracePeriodSeconds", "tolerationSeconds",
        "deletionGracePeriodSeconds", "stabilizationWindowSeconds", "mode", "defaultMode", "priority",
    }
)  # fmt: skip
_FALSE_MEANS_ABSENT = frozenset(
    {
        "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly", "publishNotReadyAddresses",
        "paused", "unschedulable",
    }
)  # fmt: skip

Fields = dict[int, list[int | bytes]]


def decode(body: bytes) -> JsonObject:
    """The object in a `runtime.Unknown` envelope. Raises 400 when it is malformed or of a type without numbers."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not Kubernetes protobuf: its magic number is missing")
    try:
        envelope = _fields(body[len(_MAGIC) :])
        meta = _fields(_bytes(envelope, 1))
        api_version, kind = _bytes(meta, 1).decode(), _bytes(meta, 2).decode()
        shape = _shape(api_version, kind)
        obj = _message(_bytes(envelope, 2), shape)
    except (ValueError, IndexError, struct.error) as error:
        raise bad_request(f"malformed protobuf: {error}") from None
    return {"apiVersion": api_version, "kind": kind, **obj}


def _shape(api_version: str, kind: str) -> Schema:
    group, _version = split_api_version(api_version)
    name = "NewEvent" if (group, kind) == ("events.k8s.io", "Event") else kind
    shape = builtin_types().get(name)
    if shape is None or not any(sub.numbers for sub in shape.properties.values()):
        raise bad_request(f"{kind} ({api_version}) cannot be sent as protobuf to this server; send JSON")
    return shape


# --- wire format


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(data: bytes) -> Fields:
    """All fields of one message by number, in order."""
    found: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
            if len(value) != size:
                raise ValueError("it ends early")
        else:
            raise ValueError(f"unknown wire type {wire}")
        found.setdefault(number, []).append(value)
    return found


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is not a message")
    return value


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("expected a number")
    return value - (1 << 64) if value >= 1 << 63 else value


# --- by schema


def _message(data: bytes, schema: Schema) -> JsonObject:
    fields = _fields(data)
    found: JsonObject = {}
    inlined: dict[tuple[int, ...], Fields] = {(): fields}
    for name, sub in schema.properties.items():
        if not sub.numbers:
            continue
        *outer, number = sub.numbers
        given = _inline(inlined, tuple(outer)).get(number)
        if given:
            value = _field(given, sub)
            if not _absent(name, value):
                found[name] = value
    return found


def _inline(known: dict[tuple[int, ...], Fields], path: tuple[int, ...]) -> Fields:
    """The fields of a message that Go embeds and JSON flattens."""
    if path not in known:
        known[path] = _fields(_bytes(_inline(known, path[:-1]), path[-1]))
    return known[path]


def _absent(name: str, value: Any) -> bool:
    if value is None or value == "":
        return True
    if value is False:
        return name in _FALSE_MEANS_ABSENT
    return value == 0 and not isinstance(value, bool | dict | list) and name not in _ZERO_MEANS_ZERO


def _field(given: list[int | bytes], schema: Schema) -> Any:
    if schema.type == "array":
        return _repeated(given, schema.items or Schema())
    if schema.values is not None:
        pairs = [_fields(_data(item)) for item in given]
        return {_bytes(pair, 1).decode(): _value(pair.get(2, [b""])[-1], schema.values) for pair in pairs}
    return _value(given[-1], schema)


def _repeated(given: list[int | bytes], schema: Schema) -> list[Any]:
    found: list[Any] = []
    for item in given:
        if schema.type == "integer" and isinstance(item, bytes):  # packed
            at = 0
            while at < len(item):
                number, at = _varint(item, at)
                found.append(_signed(number))
        else:
            found.append(_value(item, schema))
    return found


def _data(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("expected bytes")
    return value


def _value(value: int | bytes, schema: Schema) -> Any:
    if schema.type == "boolean":
        return bool(value)
    if schema.type == "integer":
        return _signed(value)
    if schema.type == "number":
        return struct.unpack("<d", _data(value))[0]
    data = _data(value)
    if schema.format == "quantity":
        return _bytes(_fields(data), 1).decode()
    if schema.format == "int-or-string":
        return _int_or_string(_fields(data))
    if schema.format == "date-time":
        return _time(_fields(data))
    if schema.format == "byte":
        return base64.b64encode(data).decode()
    if schema.type == "string":
        return data.decode()
    if schema.properties:
        return _message(data, schema)
    if schema.values is not None or schema.type == "array":  # a list inside a map: {"items": [...]}
        return _field(_fields(data).get(1, []), schema)
    if data:
        raise ValueError("a field of a type that is not served was set")
    return {}


def _int_or_string(fields: Fields) -> int | str:
    if _signed(fields.get(1, [0])[-1]):
        return _bytes(fields, 3).decode()
    return _signed(fields.get(2, [0])[-1])


def _time(fields: Fields) -> str | None:
    seconds = _signed(fields.get(1, [0])[-1])
    return timestamp(seconds) if seconds else None
