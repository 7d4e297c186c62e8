"""PATCH in its four dialects."""

from __future__ import annotations

from typing import Any

from isthmus_lab.apiserver import decoding, errors
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.apiserver.patch import json_patch, merge_patch
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.strategic import strategic_patch
from isthmus_lab.apiserver.writing import Writer

JSON, MERGE, STRATEGIC = (f"application/{kind}+json" for kind in ("json-patch", "merge-patch", "strategic-merge-patch"))
APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")


class Patcher:
    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    async def patch(self, call: Call) -> Response:
        media = decoding.media_type(call)
        if media in APPLY:
            entry, created = await self._writer.apply(call, decoding.parse_body(call.request.body, media))
            return self._reader.render(call, entry, 201 if created else 200)
        if media not in (JSON, MERGE, STRATEGIC) or (media == STRATEGIC and call.resource.custom):
            supported = [JSON, MERGE, *(() if call.resource.custom else (STRATEGIC,)), *APPLY]
            raise errors.unsupported_media_type(supported)
        patch = decoding.parse_body(call.request.body, "application/json")
        entry = await self._writer.modify(call, lambda obj: apply_dialect(obj, patch, media, call))
        return self._reader.render(call, entry)


def apply_dialect(obj: JsonObject, patch: Any, media: str, call: Call) -> JsonObject:
    """The object with a JSON, merge or strategic patch applied."""
    if media == JSON:
        return json_patch(obj, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch is an object")
    if media == MERGE:
        merged = merge_patch(obj, patch)
        assert isinstance(merged, dict)
        return merged
    return strategic_patch(obj, patch, call.version.schema)
