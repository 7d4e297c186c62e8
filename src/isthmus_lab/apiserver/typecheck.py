"""JSON types of built-in objects: the error a typed decoder would give."""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver.schema import Schema

_GO = {"string": "string", "integer": "int32", "boolean": "bool", "number": "float64"}


def first_mismatch(value: Any, schema: Schema, owner: str, path: str = "") -> str:
    """The first value that is not of its type, as `json: cannot unmarshal ...`; empty when all fit."""
    if value is None or (not schema.type and not schema.int_or_string):
        return ""
    wrong = _mismatch(value, schema)
    if wrong:
        return f"json: cannot unmarshal {wrong} into Go struct field {owner}.{path} of type {_go_type(schema)}"
    if isinstance(value, dict):
        return _inside_object(value, schema, owner, path)
    if isinstance(value, list) and schema.items is not None:
        for element in value:
            if found := first_mismatch(element, schema.items, schema.items.ref or owner, path):
                return found
    return ""


def _inside_object(value: dict[str, Any], schema: Schema, owner: str, path: str) -> str:
    name = schema.ref or owner
    for key, element in value.items():
        sub = schema.properties.get(key) or schema.values
        if sub is not None and (found := first_mismatch(element, sub, name, f"{path}.{key}" if path else key)):
            return found
    return ""


def _mismatch(value: Any, schema: Schema) -> str:
    """The JSON type of a value that does not fit; empty when it fits."""
    kind = schema.type
    if isinstance(value, bool):
        return "" if kind == "boolean" else "bool"
    if isinstance(value, int | float):
        fits = kind == "number" or schema.int_or_string or (kind == "integer" and float(value).is_integer())
        return "" if fits else f"number {value}" if kind == "integer" else "number"
    if isinstance(value, str):
        return "" if kind == "string" else "string"
    if isinstance(value, list):
        return "" if kind == "array" else "array"
    return "" if kind == "object" else "object"


def _go_type(schema: Schema) -> str:
    if schema.type == "array" and schema.items is not None:
        return f"[]{_go_type(schema.items)}"
    if schema.ref:
        return f"v1.{schema.ref}"
    if schema.values is not None:
        return f"map[string]{_go_type(schema.values)}"
    return _GO.get(schema.type, schema.type or "interface{}")
