"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any, cast

from isthmus_lab.apiserver.errors import ApiError, bad_request
from isthmus_lab.apiserver.objects import JsonObject, copy

_OPERATIONS_LIMIT = 10_000


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, anything else replaces. Leaves both arguments as they are."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: JsonObject, operations: object) -> JsonObject:
    """RFC 6902. Raises 422 when an operation cannot be applied, 400 when it is not a patch."""
    import jsonpatch
    import jsonpointer

    if not isinstance(operations, list):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > _OPERATIONS_LIMIT:
        raise ApiError(413, "RequestEntityTooLarge", f"a JSON patch may have {_OPERATIONS_LIMIT} operations")
    try:
        result = jsonpatch.apply_patch(copy(target), operations)
    except jsonpatch.JsonPatchConflict as error:
        raise _refused(str(error)) from error
    except jsonpatch.JsonPatchTestFailed as error:
        raise _refused(f"testing value failed: {error}") from error
    except jsonpointer.JsonPointerException as error:
        raise _refused(str(error)) from error
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if not isinstance(result, dict):
        raise bad_request("the patched object is not an object")
    return cast(JsonObject, result)


def _refused(why: str) -> ApiError:
    return ApiError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {why}", details={}
    )
