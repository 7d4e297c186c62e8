"""From a request's body to an object of the right kind, type-checked, without unknown fields."""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus_lab.apiserver import errors, protobuf, typecheck, validation
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.objects import JsonObject, decode
from isthmus_lab.apiserver.resources import builtin_types, split_api_version
from isthmus_lab.apiserver.schema import apply_defaults, prune

_MEDIA = ["application/json", "application/yaml", protobuf.MEDIA]


def media_type(call: Call) -> str:
    return call.request.headers.get("content-type", "application/json").split(";")[0].strip().lower()


def parse_body(body: bytes, media: str) -> Any:
    """The body's value; raises 400 or 415."""
    if media == protobuf.MEDIA:
        return protobuf.decode(body)
    if media == "application/yaml" or media.endswith("+yaml"):
        import yaml

        try:
            return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise bad_request(f"yaml: {error}") from None
    if media not in ("", "application/json") and not media.endswith("+json"):
        raise errors.unsupported_media_type(_MEDIA)
    try:
        return decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None


def decode_object(call: Call) -> JsonObject:
    """The object in the body of a create or update."""
    obj = parse_body(call.request.body, media_type(call))
    if not isinstance(obj, dict):
        raise bad_request("the body is not an object")
    fill_type(call, obj)
    check(call, obj)
    return obj


def fill_type(call: Call, obj: JsonObject) -> None:
    """apiVersion and kind may be left out; when given they must be those of the URL."""
    resource = call.resource
    kind, api_version = resource.kind, resource.api_version(call.version.name)
    given_kind, given_version = obj.get("kind") or kind, obj.get("apiVersion") or api_version
    if given_version != api_version:
        raise bad_request(
            f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )
    if given_kind != kind:
        raise bad_request(
            f'{given_kind} in version "{call.version.name}" cannot be handled as a {kind}: '
            f"the object provided is unrecognized (must be of type {kind})"
        )
    obj["kind"], obj["apiVersion"] = kind, api_version


def check(call: Call, obj: JsonObject) -> None:
    """Types and unknown fields, as strictly as the request asks. Unknown fields are removed."""
    resource = call.resource
    if not resource.custom:
        problem = typecheck.first_mismatch(obj, call.version.schema, resource.kind)
        if problem:
            raise bad_request(
                f'{resource.kind} in version "{call.version.name}" cannot be handled as a {resource.kind}: {problem}'
            )
    elif obj.get("metadata") is not None:
        problem = typecheck.first_mismatch(obj["metadata"], call.version.schema.properties["metadata"], "ObjectMeta")
        if problem:
            raise bad_request(f"metadata of the object is malformed: {problem}")
    unknown = prune(obj, call.version.schema)
    if unknown:
        _report(call, unknown)


def _report(call: Call, unknown: list[str]) -> None:
    listed = [f'unknown field "{path}"' for path in unknown]
    if call.field_validation == "Strict":
        kind = call.resource.kind
        head = (
            "" if call.resource.custom else f'{kind} in version "{call.version.name}" cannot be handled as a {kind}: '
        )
        raise bad_request(f"{head}strict decoding error: {', '.join(listed)}")
    if call.field_validation == "Warn":
        call.warnings += [text.replace('"', '\\"') for text in listed]


def check_patched(call: Call, obj: JsonObject) -> None:
    """A patched object must still be one of its kind."""
    fill_type(call, obj)
    check(call, obj)


def decode_as(call: Call, kind: str, api_version: str) -> JsonObject:
    """The body of a subresource whose kind is another than the resource's: Scale, TokenRequest, Eviction, Binding."""
    obj = parse_body(call.request.body, media_type(call))
    if not isinstance(obj, dict):
        raise bad_request("the body is not an object")
    return check_as(obj, kind, api_version)


def check_as(obj: JsonObject, kind: str, api_version: str) -> JsonObject:
    """Of the right kind, typed and valid, or 400 and 422."""
    if (obj.get("kind") or kind) != kind:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind})")
    obj["kind"] = kind
    obj["apiVersion"] = obj.get("apiVersion") or api_version
    shape = builtin_types()[kind]
    if problem := typecheck.first_mismatch(obj, shape, kind):
        raise bad_request(f"{kind} cannot be handled as a {kind}: {problem}")
    prune(obj, shape)
    apply_defaults(obj, shape)
    causes = validation.schema_causes(obj, shape)
    if causes:
        raise errors.invalid(split_api_version(api_version)[0], kind, "", causes)
    return obj
