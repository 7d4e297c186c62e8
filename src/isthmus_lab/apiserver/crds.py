"""CustomResourceDefinitions: what is acceptable, when they are served, and how their objects are validated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from isthmus_lab.apiserver import names
from isthmus_lab.apiserver.errors import Cause, duplicate, invalid_value, not_supported, required
from isthmus_lab.apiserver.objects import JsonObject, copy, encode, items, section, timestamp

if TYPE_CHECKING:
    from isthmus_lab.apiserver.resources import Resource, Version
    from isthmus_lab.apiserver.schema import Schema

STORAGE = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"

_VERSION_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def definition_causes(new: JsonObject, old: JsonObject | None) -> list[Cause]:
    """What is wrong with a definition."""
    spec = section(new, "spec")
    group, given = str(spec.get("group") or ""), section(spec, "names")
    found: list[Cause] = []
    expected = f"{given.get('plural', '')}.{group}"
    name = section(new, "metadata").get("name")
    if group and given.get("plural") and name != expected:
        found.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if group and (problem := names.subdomain_problem(group)):
        found.append(invalid_value("spec.group", group, problem))
    for field in ("plural", "singular"):
        value = str(given.get(field) or "")
        if value and (problem := names.label_problem(value)):
            found.append(invalid_value(f"spec.names.{field}", value, problem))
    found += _version_causes(items(spec, "versions"))
    if section(spec, "conversion").get("strategy", "None") != "None":
        found.append(not_supported("spec.conversion.strategy", spec["conversion"]["strategy"], ["None"]))
    if spec.get("preserveUnknownFields"):
        found.append(invalid_value("spec.preserveUnknownFields", True, "must be false"))
    if old is not None:
        for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
            if _dig(spec, path) != _dig(section(old, "spec"), path):
                found.append(invalid_value("spec." + ".".join(path), _dig(spec, path), "field is immutable"))
    return found


def _dig(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _version_causes(versions: list[JsonObject]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = str(version.get("name") or "")
        if name and not _VERSION_NAME.fullmatch(name):
            found.append(invalid_value(f"{path}.name", name, "must be a DNS-1035 label"))
        if name in seen:
            found.append(duplicate(f"{path}.name", name))
        seen.add(name)
        shape = section(version, "schema").get("openAPIV3Schema")
        if not isinstance(shape, dict):
            found.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        elif problem := _schema_problem(shape):
            found.append(invalid_value(f"{path}.schema.openAPIV3Schema", "", problem))
    if versions and sum(bool(version.get("storage")) for version in versions) != 1:
        found.append(invalid_value("spec.versions", "", "must have exactly one version marked as storage version"))
    return found


def _schema_problem(shape: JsonObject) -> str:
    """Why a schema cannot be served; empty when it can."""
    if shape.get("type") != "object":
        return "must be an object at the root"
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(to_json_schema(shape))
    except jsonschema.SchemaError as error:
        where = ".".join(str(step) for step in error.absolute_path)
        return f"{where}: {error.message}" if where else str(error.message)
    return ""


# --- status


def accept(crd: JsonObject, others: Iterable[Resource], now: float) -> None:
    """Fills in names and conditions: served at once unless another resource has the names."""
    spec = crd["spec"]
    given = spec["names"]
    given.setdefault("singular", str(given.get("kind", "")).lower())
    given.setdefault("listKind", f"{given.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})
    status = crd.setdefault("status", {})
    clash = _clash(crd, others)
    at = timestamp(now)
    message = clash or "no conflicts found"
    reason = "NameConflict" if clash else "NoConflicts"
    conditions = [
        _condition("NamesAccepted", not clash, reason, message, at),
        _condition(
            "Established", not clash, "NotAccepted" if clash else "InitialNamesAccepted",
            "not all names are accepted" if clash else "the initial names have been accepted", at,
        ),
    ]  # fmt: skip
    status["conditions"] = [_keep_time(condition, items(status, "conditions")) for condition in conditions]
    if not clash:
        status["acceptedNames"] = copy(given)
    else:
        status.setdefault("acceptedNames", {"kind": "", "plural": ""})
    stored = [version["name"] for version in items(spec, "versions") if version.get("storage")]
    status["storedVersions"] = list(dict.fromkeys([*items(status, "storedVersions"), *stored]))


def _condition(kind: str, good: bool, reason: str, message: str, at: str) -> JsonObject:
    return {
        "type": kind,
        "status": "True" if good else "False",
        "lastTransitionTime": at,
        "reason": reason,
        "message": message,
    }


def _keep_time(condition: JsonObject, before: list[JsonObject]) -> JsonObject:
    for old in before:
        if old.get("type") == condition["type"] and old.get("status") == condition["status"]:
            condition["lastTransitionTime"] = old.get("lastTransitionTime", condition["lastTransitionTime"])
    return condition


def _clash(crd: JsonObject, others: Iterable[Resource]) -> str:
    spec, given = crd["spec"], crd["spec"]["names"]
    for other in others:
        if other.group != spec["group"] or other.plural == given["plural"]:
            continue
        if other.kind == given["kind"]:
            return f'"{given["kind"]}" is already in use'
        taken = set(other.short_names) | {other.singular}
        for name in [given.get("singular"), *(given.get("shortNames") or [])]:
            if name in taken:
                return f'"{name}" is already in use'
    return ""


def established(crd: JsonObject) -> bool:
    conditions = items(section(crd, "status"), "conditions")
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


# --- objects


def to_json_schema(shape: JsonObject) -> JsonObject:
    """A structural OpenAPI v3 schema as JSON schema, which says nullable, int-or-string and bounds otherwise."""
    found: JsonObject = {}
    for key, value in shape.items():
        if key in ("properties", "patternProperties", "definitions") and isinstance(value, dict):
            found[key] = {name: to_json_schema(sub) if isinstance(sub, dict) else sub for name, sub in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            found[key] = to_json_schema(value)
        elif key in ("allOf", "anyOf", "oneOf") and isinstance(value, list):
            found[key] = [to_json_schema(sub) for sub in value]
        elif key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            continue
        elif key not in _NOT_JSON_SCHEMA and not key.startswith("x-kubernetes-"):
            found[key] = value
    for bound in ("Minimum", "Maximum"):
        if shape.get(f"exclusive{bound}") is True and bound.lower() in shape:
            found[f"exclusive{bound}"] = found.pop(bound.lower())
    if shape.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if shape.get("nullable") and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return found


_NOT_JSON_SCHEMA = frozenset({"description", "default", "example", "nullable", "externalDocs", "format", "title"})

_Validator = Callable[[JsonObject], Iterable[Any]]
_VALIDATORS: WeakKeyDictionary[Version, _Validator] = WeakKeyDictionary()


def _validator(version: Version) -> _Validator:
    """Compiled once for each version of a definition."""
    found = _VALIDATORS.get(version)
    if found is None:
        import jsonschema

        schema = to_json_schema(version.schema.source or {})
        schema["required"] = [key for key in schema.get("required", []) if key not in _OUTSIDE]
        found = _VALIDATORS[version] = jsonschema.Draft202012Validator(schema).iter_errors
    return found


_OUTSIDE = ("apiVersion", "kind", "metadata")


def object_causes(version: Version, obj: JsonObject) -> list[Cause]:
    """What is wrong with a custom object by its schema."""
    if version.schema.source is None:
        return []
    checked = {key: value for key, value in obj.items() if key not in _OUTSIDE}
    found = [_cause(error) for error in _validator(version)(checked)]
    found += list_causes(checked, version.schema, "")
    return sorted(found, key=lambda cause: cause.field)


def list_causes(value: Any, schema: Schema, path: str) -> list[Cause]:
    """Lists of type set or map hold no element twice."""
    found: list[Cause] = []
    if isinstance(value, dict):
        for key, element in value.items():
            sub = schema.properties.get(key) or schema.values
            if sub is not None:
                found += list_causes(element, sub, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and schema.items is not None:
        seen: set[bytes] = set()
        for index, element in enumerate(value):
            identity = _identity(element, schema)
            if identity is not None and identity in seen:
                found.append(duplicate(f"{path}[{index}]", _shown(element, schema)))
            elif identity is not None:
                seen.add(identity)
            found += list_causes(element, schema.items, f"{path}[{index}]")
    return found


def _shown(element: Any, schema: Schema) -> Any:
    return {key: element.get(key) for key in schema.keys} if schema.list_type == "map" else element


def _identity(element: Any, schema: Schema) -> bytes | None:
    if schema.list_type == "set":
        return encode(element)
    if schema.list_type == "map" and isinstance(element, dict):
        return encode([element.get(key) for key in schema.keys])
    return None


def _path(steps: Iterable[str | int]) -> str:
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _cause(error: Any) -> Cause:
    """One error of `jsonschema` in the words of the API server."""
    path, rule, limit, value = _path(error.absolute_path), error.validator, error.validator_value, error.instance
    if rule == "required":
        missing = next((key for key in limit if key not in value), "")
        return required(f"{path}.{missing}" if path else missing)
    if rule == "enum":
        return not_supported(path, value, [str(item) for item in limit if item is not None])
    if rule == "type":
        kind = limit if isinstance(limit, str) else next((item for item in limit if item != "null"), "")
        given = _type_name(value)
        return Cause(
            path, "FieldValueTypeInvalid", f'Invalid value: "{given}": {path} in body must be of type {kind}: "{given}"'
        )
    if rule in ("oneOf", "anyOf", "allOf", "not"):
        return Cause(path, "FieldValueInvalid", f'Invalid value: "": {_combined(rule, path)}')
    text = _RULES.get(rule)
    if rule in ("minItems", "maxItems", "minProperties", "maxProperties"):
        value = len(value)
    return invalid_value(path, value, f"{path} in body {text.format(limit) if text else error.message}")


_RULES = {
    "pattern": "should match '{}'",
    "minimum": "should be greater than or equal to {}",
    "maximum": "should be less than or equal to {}",
    "exclusiveMinimum": "should be greater than {}",
    "exclusiveMaximum": "should be less than {}",
    "multipleOf": "should be a multiple of {}",
    "minLength": "should be at least {} chars long",
    "maxLength": "should be at most {} chars long",
    "minItems": "should have at least {} items",
    "maxItems": "should have at most {} items",
    "minProperties": "should have at least {} properties",
    "maxProperties": "should have at most {} properties",
    "uniqueItems": "shouldn't contain duplicates",
}


def _combined(rule: str, path: str) -> str:
    if rule == "oneOf":
        return f'"{path}" must validate one and only one schema (oneOf)'
    if rule == "anyOf":
        return f'"{path}" must validate at least one schema (anyOf)'
    if rule == "not":
        return f'"{path}" must not validate the schema (not)'
    return f'"{path}" must validate all the schemas (allOf)'


def _type_name(value: Any) -> str:
    names_of_types = (
        (bool, "boolean"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names_of_types if isinstance(value, kind)), "null")
