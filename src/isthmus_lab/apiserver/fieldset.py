"""Sets of fields, as managedFields writes them (FieldsV1): trees of `f:name`, `k:{...}` and `v:...` steps.

A node without children is a field in the set; `.` among the children means that the node itself is in it too. See
sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus_lab.apiserver.objects import decode, encode
from isthmus_lab.apiserver.schema import ANY, Schema

Tree = dict[str, Any]
Path = tuple[str, ...]
SELF = "."


def element_key(element: Any, schema: Schema) -> str:
    """The step of a list element: `k:{"name":"a"}` in a list of type map, `v:"a"` in a set."""
    if schema.list_type == "set":
        return "v:" + encode(element).decode()
    keys = {}
    shape = schema.items or ANY
    for key in sorted(schema.keys):
        value = element.get(key) if isinstance(element, dict) else None
        if value is None and key in shape.properties:
            value = shape.properties[key].default
        keys[key] = value
    return "k:" + encode(keys).decode()


def child(schema: Schema, key: str) -> Schema:
    return schema.properties.get(key) or schema.values or ANY


def is_granular(value: Any, schema: Schema) -> bool:
    """Whether apply looks inside a value: not scalars, atomic maps, plain lists, empty ones."""
    if isinstance(value, dict):
        return bool(value) and not schema.atomic
    if isinstance(value, list):
        return bool(value) and schema.list_type in ("map", "set")
    return False


def fields_of(value: Any, schema: Schema) -> Tree:
    """The set of all fields of a value."""
    if not is_granular(value, schema):
        return {}
    if isinstance(value, dict):
        return {f"f:{key}": fields_of(element, child(schema, key)) for key, element in value.items()}
    if schema.list_type == "set":
        return {element_key(element, schema): {} for element in value}
    shape = schema.items or ANY
    return {element_key(element, schema): {SELF: {}, **fields_of(element, shape)} for element in value}


def elements(value: list[Any], schema: Schema) -> dict[str, Any]:
    """The elements of a granular list by their step."""
    return {element_key(element, schema): element for element in value}


def _children(value: Any, schema: Schema) -> dict[str, tuple[Any, Schema]]:
    if isinstance(value, dict):
        return {f"f:{key}": (element, child(schema, key)) for key, element in value.items()}
    shape = schema.items or ANY
    return {step: (element, shape) for step, element in elements(value, schema).items()}


def changed(old: Any, new: Any, schema: Schema) -> Tree | None:
    """The fields that are new or have another value in `new`; None when there are none."""
    if old == new:
        return None
    if not is_granular(new, schema) or not isinstance(old, type(new)):
        return fields_of(new, schema)
    before = _children(old, schema)
    found: Tree = {}
    for step, (element, shape) in _children(new, schema).items():
        if step not in before:
            inside: Tree | None = fields_of(element, shape)
            if step.startswith("k:"):
                inside = {SELF: {}, **(inside or {})}
        else:
            inside = changed(before[step][0], element, shape)
        if inside is not None:
            found[step] = inside
    return found or None


def vanished(old: Any, new: Any, schema: Schema) -> Tree | None:
    """The fields of `old` that are not in `new`; None when there are none."""
    if not is_granular(old, schema):
        return None
    if not isinstance(new, type(old)):
        return fields_of(old, schema)
    after = _children(new, schema)
    found: Tree = {}
    for step, (element, shape) in _children(old, schema).items():
        if step not in after:
            found[step] = {}
        else:
            inside = vanished(element, after[step][0], shape)
            if inside is not None:
                found[step] = inside
    return found or None


def union(first: Tree, second: Tree) -> Tree:
    """Both sets together. A leaf stays a member when the other set has fields below it."""
    if not first or not second:
        inner = first or second
        return inner if (not first and not second) or SELF in inner else {SELF: {}, **inner}
    found = dict(first)
    for step, inside in second.items():
        if step == SELF:
            found[SELF] = {}
        elif step in found:
            found[step] = union(found[step], inside)
        else:
            found[step] = inside
    return found


def minus(first: Tree, second: Tree) -> Tree | None:
    """`first` without the fields of `second`, a leaf of which takes all below it. None when nothing is left."""
    if not second:
        return None
    if not first:
        return None if SELF in second else first
    found: Tree = {}
    for step, inside in first.items():
        if step not in second:
            found[step] = inside
            continue
        if step == SELF:
            continue
        left = minus(inside, second[step])
        if left is not None:
            found[step] = left
    return found or None


def without(first: Tree, second: Tree) -> Tree | None:
    """The members of `first` that are not in `second`, member by member: a leaf takes only itself."""
    first_self, second_self = not first or SELF in first, not second or SELF in second
    found: Tree = {}
    for step, inside in first.items():
        if step == SELF:
            continue
        left: Tree | None = inside if step not in second else without(inside, second[step])
        if left is not None:
            found[step] = left
    if first_self and not second_self:
        return {SELF: {}, **found} if found else {}
    return found or None


def both(first: Tree, second: Tree) -> Tree | None:
    """The fields in both sets; None when there are none."""
    if not first:
        return {} if not second or SELF in second else None
    if not second:
        return {} if SELF in first else None
    found: Tree = {}
    for step, inside in first.items():
        if step not in second:
            continue
        common = {} if step == SELF else both(inside, second[step])
        if common is not None:
            found[step] = common
    return found or None


def leaves(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """The paths of all fields in the set."""
    if not tree:
        yield path
    for step, inside in tree.items():
        if step == SELF:
            yield path
        else:
            yield from leaves(inside, (*path, step))


def show(path: Path) -> str:
    """`.spec.containers[name="a"].image`: as conflicts name fields."""
    text = ""
    for step in path:
        kind, rest = step[:2], step[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "v:":
            text += f"[={rest}]"
        else:
            keys = ",".join(f"{key}={encode(value).decode()}" for key, value in decode(rest.encode()).items())
            text += f"[{keys}]"
    return text


def contains(tree: Tree, path: Path) -> bool:
    """Whether any field at or below `path` is in the set."""
    for step in path:
        if step not in tree:
            return False
        tree = tree[step]
    return True
