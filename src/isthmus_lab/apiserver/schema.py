"""What the server knows of an object's shape: one `Schema` tree for built-in types and for custom resources.

Everything that depends on shape reads it: unknown fields, defaults, required fields and types, strategic merge,
server-side apply, and the OpenAPI documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus_lab.apiserver.objects import JsonObject, decode, encode

# type of a scalar in the notation -> (JSON type, format, int-or-string)
_SCALARS: dict[str, tuple[str, str, bool]] = {
    "string": ("string", "", False),
    "int": ("integer", "int64", False),
    "bool": ("boolean", "", False),
    "number": ("number", "double", False),
    "quantity": ("string", "quantity", True),
    "intstr": ("string", "int-or-string", True),
    "time": ("string", "date-time", False),
    "bytes": ("string", "byte", False),
    "any": ("", "", False),
    "object": ("object", "", False),
}


@dataclass(slots=True, eq=False)
class Schema:
    """One node. `type` is a JSON schema type or empty for anything; `ref` names a built-in type."""

    type: str = ""
    ref: str = ""
    description: str = ""
    format: str = ""
    properties: dict[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    items: Schema | None = None
    values: Schema | None = None  # of a map
    preserve: bool = False  # unknown fields are kept
    embedded: bool = False  # a whole object with apiVersion, kind and metadata
    nullable: bool = False
    int_or_string: bool = False
    list_type: str = ""  # atomic, set or map; empty is atomic
    keys: tuple[str, ...] = ()  # of a list of type map
    atomic: bool = False  # an object or map that apply replaces whole
    retain_keys: bool = False
    default: Any = None
    enum: tuple[str, ...] = ()
    minimum: int | None = None
    numbers: tuple[int, ...] = ()  # the path of field numbers in protobuf
    source: JsonObject | None = None  # the OpenAPI schema a custom resource gave

    @property
    def merge_key(self) -> str:
        """The key by which strategic merge finds list elements; empty when lists are replaced."""
        return self.keys[0] if self.list_type == "map" else ""

    @property
    def opaque(self) -> bool:
        """Nothing is known about what is inside."""
        return not (self.properties or self.items or self.values)


ANY = Schema(preserve=True)


# --- the notation of `types`

_FIELD = re.compile(r"^  (?P<name>[A-Za-z0-9]+)(?P<req>!?) (?P<type>\S+)(?P<options>.*?)\| (?P<text>.*)$")
_TYPE = re.compile(r"^(?P<name>[A-Z][A-Za-z]+): (?P<text>.*)$")


def parse_types(sources: Sequence[str]) -> dict[str, Schema]:
    """Reads the notation. Raises ValueError naming a line that does not fit; types may refer to each other freely."""
    types: dict[str, Schema] = {}
    pending: list[tuple[Schema, str, re.Match[str]]] = []
    current: Schema | None = None
    for line in "\n".join(sources).split("\n"):
        if not line.strip():
            continue
        if found := _TYPE.match(line):
            current = types[found["name"]] = Schema(type="object", ref=found["name"], description=found["text"])
        elif current is not None and (found := _FIELD.match(line)):
            pending.append((current, found["name"], found))
            if found["req"]:
                current.required = (*current.required, found["name"])
        else:
            raise ValueError(f"not the notation of types: {line!r}")
    for owner, name, found in pending:
        owner.properties[name] = _field(found, types)
    return types


def _field(found: re.Match[str], types: dict[str, Schema]) -> Schema:
    node = _type(found["type"], types)
    node.description = found["text"]
    for option in found["options"].split():
        _option(node, option)
    return node


def _type(text: str, types: dict[str, Schema]) -> Schema:
    if text[0] == "[":
        return Schema(type="array", items=_type(text[1:-1], types))
    if text[0] == "{":
        return Schema(type="object", values=_type(text[1:-1], types))
    if text in _SCALARS:
        kind, form, either = _SCALARS[text]
        return Schema(type=kind, format=form, int_or_string=either, preserve=text in ("any", "object"))
    target = types[text]
    # Shares the properties with the type itself: only what a field adds differs.
    return Schema(type="object", ref=text, properties=target.properties, required=target.required)


def _option(node: Schema, option: str) -> None:
    if option.startswith("key="):
        node.list_type, node.keys = "map", tuple(option[4:].split(","))
    elif option == "set":
        node.list_type = "set"
    elif option == "atomic":
        node.atomic = True
    elif option == "retain":
        node.retain_keys = True
    elif option.startswith("="):
        node.default = _literal(option[1:], node)
    elif option.startswith("@"):
        node.numbers = tuple(int(part) for part in option[1:].split("."))
    elif option.startswith(">="):
        node.minimum = int(option[2:])
    elif option.startswith("("):
        node.enum = tuple(option[1:-1].split("|"))
    else:
        raise ValueError(f"unknown option {option!r}")


def _literal(text: str, node: Schema) -> Any:
    return decode(text.encode()) if node.type in ("integer", "boolean", "number") else text


# --- custom resources


def from_openapi(source: JsonObject) -> Schema:
    """The node of an openAPIV3Schema of a CustomResourceDefinition."""
    node = Schema(
        type=str(source.get("type", "")),
        description=str(source.get("description", "")),
        format=str(source.get("format", "")),
        preserve=bool(source.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(source.get("x-kubernetes-embedded-resource")),
        nullable=bool(source.get("nullable")),
        int_or_string=bool(source.get("x-kubernetes-int-or-string")),
        list_type=str(source.get("x-kubernetes-list-type", "")),
        keys=tuple(source.get("x-kubernetes-list-map-keys") or ()),
        atomic=source.get("x-kubernetes-map-type") == "atomic",
        default=source.get("default"),
        required=tuple(source.get("required") or ()),
        source=source,
    )
    node.properties = {name: from_openapi(sub) for name, sub in (source.get("properties") or {}).items()}
    if isinstance(source.get("items"), dict):
        node.items = from_openapi(source["items"])
    extra = source.get("additionalProperties")
    if isinstance(extra, dict):
        node.values = from_openapi(extra)
    elif extra is True:
        node.preserve = True
    if not node.type and not node.properties and node.items is None and node.values is None and not node.int_or_string:
        node.preserve = True
    return node


def custom_root(source: JsonObject | None, object_meta: Schema) -> Schema:
    """The root of a custom resource: its own schema with the metadata every object has."""
    node = from_openapi(source) if source else Schema(type="object", preserve=True)
    node.properties = dict(node.properties)
    node.properties["metadata"] = object_meta
    return node


# --- walking


def prune(obj: Any, schema: Schema, path: str = "") -> list[str]:
    """Removes unknown fields in place; the paths of what was removed."""
    removed: list[str] = []
    _prune(obj, schema, path, removed)
    return removed


def _prune(obj: Any, schema: Schema, path: str, removed: list[str]) -> None:
    if isinstance(obj, dict):
        _prune_dict(obj, schema, path, removed)
    elif isinstance(obj, list) and schema.items is not None:
        for index, element in enumerate(obj):
            _prune(element, schema.items, f"{path}[{index}]", removed)


def _prune_dict(obj: JsonObject, schema: Schema, path: str, removed: list[str]) -> None:
    for key in list(obj):
        sub = schema.properties.get(key) or schema.values
        here = f"{path}.{key}" if path else key
        if sub is not None:
            _prune(obj[key], sub, here, removed)
        elif not schema.preserve and not (key in ("apiVersion", "kind", "metadata") and (not path or schema.embedded)):
            del obj[key]
            removed.append(here)


def apply_defaults(obj: Any, schema: Schema) -> None:
    """Fills in defaults in place, inside objects that are there. Nulls that may not be are dropped first."""
    if isinstance(obj, dict):
        for key, sub in schema.properties.items():
            value = obj.get(key)
            if value is None:
                if key in obj and not sub.nullable:
                    del obj[key]
                if sub.default is not None and key not in obj:
                    value = obj[key] = _fresh(sub.default)
            if value is not None and (sub.properties or sub.items or sub.values):
                apply_defaults(value, sub)
        if schema.values is not None:
            for value in obj.values():
                apply_defaults(value, schema.values)
    elif isinstance(obj, list) and schema.items is not None and not schema.items.opaque:
        for element in obj:
            apply_defaults(element, schema.items)


def _fresh(value: Any) -> Any:
    return decode(encode(value)) if isinstance(value, dict | list) else value


def reachable(types: dict[str, Schema], root: str) -> Iterator[str]:
    """The names of the types that `root` needs, itself first."""
    seen, queue = {root}, [root]
    while queue:
        name = queue.pop()
        yield name
        for ref in sorted(_refs(types[name])):
            if ref not in seen:
                seen.add(ref)
                queue.append(ref)


def _refs(schema: Schema) -> set[str]:
    found = set()
    for sub in schema.properties.values():
        node: Schema | None = sub
        while node is not None:
            if node.ref:
                found.add(node.ref)
            node = node.items or node.values
    return found
