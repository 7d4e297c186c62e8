"""Strategic merge patch: lists of objects merge by their key; directives delete, replace, order.

Kubernetes' sig-api-machinery/strategic-merge-patch.md, the part that clients send: `$patch`,
`$deleteFromPrimitiveList/`, `$setElementOrder/` and `$retainKeys`.
"""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.apiserver.schema import ANY, Schema

_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


def strategic_patch(target: JsonObject, patch: JsonObject, schema: Schema) -> JsonObject:
    """The patched object; the arguments stay as they are. Raises 400 for a patch that does not fit the schema."""
    return _merge_object(target, patch, schema)


def _merge_object(target: JsonObject, patch: JsonObject, schema: Schema) -> JsonObject:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type {directive!r}")
    result = dict(target)
    if _RETAIN in patch:
        keep = set(patch[_RETAIN])
        result = {key: value for key, value in result.items() if key in keep}
    for key, value in patch.items():
        if key.startswith(_DELETE_PRIMITIVES):
            field = key.removeprefix(_DELETE_PRIMITIVES)
            if isinstance(result.get(field), list):
                result[field] = [item for item in result[field] if item not in value]
        elif not key.startswith("$"):
            _merge_field(result, key, value, schema)
    for key, value in patch.items():
        if key.startswith(_ORDER):
            field = key.removeprefix(_ORDER)
            if isinstance(result.get(field), list):
                result[field] = _ordered(result[field], value, _child(schema, field).merge_key)
    return result


def _child(schema: Schema, key: str) -> Schema:
    return schema.properties.get(key) or schema.values or ANY


def _merge_field(result: JsonObject, key: str, value: Any, schema: Schema) -> None:
    sub = _child(schema, key)
    current = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        if value.get(_DIRECTIVE) == "delete":
            result.pop(key, None)
        elif sub.atomic and not sub.properties:
            result[key] = _merge_object(current if isinstance(current, dict) else {}, value, ANY)
        else:
            result[key] = _merge_object(current if isinstance(current, dict) else {}, value, sub)
    elif isinstance(value, list):
        result[key] = _merge_list(current if isinstance(current, list) else [], value, sub)
    else:
        result[key] = value


def _merge_list(target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if schema.list_type == "set":
        return target + [item for item in patch if item not in target]
    key = schema.merge_key
    if not key:
        return [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and _DIRECTIVE in item)]
    result = list(target)
    element = schema.items or ANY
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"expected an object in a list merged by {key!r}")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        _merge_element(result, item, key, element)
    return result


def _merge_element(result: list[Any], item: JsonObject, key: str, schema: Schema) -> None:
    found = [index for index, old in enumerate(result) if isinstance(old, dict) and old.get(key) == item[key]]
    if item.get(_DIRECTIVE) == "delete":
        for index in reversed(found):
            del result[index]
    elif found:
        result[found[0]] = _merge_object(result[found[0]], item, schema)
    else:
        result.append(_merge_object({}, item, schema))


def _ordered(current: list[Any], order: list[Any], key: str) -> list[Any]:
    """The elements that `order` names in its order; each other one stays behind the element it followed."""
    wanted = [item.get(key) if isinstance(item, dict) and key else item for item in order]
    position = {value: index for index, value in enumerate(map(str, wanted))}

    def rank(item: Any) -> int | None:
        identity = item.get(key) if isinstance(item, dict) and key else item
        return position.get(str(identity))

    named = sorted((item for item in current if rank(item) is not None), key=lambda item: rank(item) or 0)
    pending = iter(named)
    return [item if rank(item) is None else next(pending) for item in current]
