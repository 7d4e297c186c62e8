"""The subset of JSONPath that printer columns use."""

from __future__ import annotations

import re
from typing import Any

from isthmus_lab.apiserver.objects import lookup

_DOT = "\x00"  # stands for an escaped dot inside a key
_STEP = re.compile(
    r"\.([A-Za-z0-9_$/\x00-]+)|\['([^']+)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.]+)\s*==\s*[\"']([^\"']*)[\"']\)\]"
)


def json_path(obj: Any, text: str) -> Any:
    """The subset of JSONPath that printer columns use: fields, indexes, `*` and equality filters. None when absent."""
    values = [obj]
    for field, quoted, index, key, wanted in _STEP.findall(text.replace("\\.", _DOT)):
        step = (field or quoted).replace(_DOT, ".")
        values = [found for value in values for found in _step(value, step, index=index, key=key, wanted=wanted)]
    values = [value for value in values if value is not None]
    if not values:
        return None
    return values[0] if len(values) == 1 else ",".join(str(value) for value in values)


def _step(value: Any, field: str, *, index: str, key: str, wanted: str) -> list[Any]:
    if field:
        return [value.get(field)] if isinstance(value, dict) else []
    if not isinstance(value, list):
        return []
    if index == "*":
        return list(value)
    if index:
        return [value[int(index)]] if int(index) < len(value) else []
    return [item for item in value if str(lookup(item, *key.split("."))) == wanted]
