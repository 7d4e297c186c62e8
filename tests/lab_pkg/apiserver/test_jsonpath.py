"""Paths of printer columns."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver.jsonpath import json_path

OBJECT = {"a": {"b": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}, "m": {"k.8s/io": "dotted", "k": "v"}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".a.b[1].v", 2),
        (".a.b[*].v", "1,2"),
        ('.a.b[?(@.n=="y")].v', 2),
        (".a.b[9].v", None),
        (".m.k", "v"),
        (".m['k']", "v"),
        (".m.k\\.8s/io", "dotted"),
        (".nothing.here", None),
        (".a.b.c", None),
    ],
)
def test_json_paths(path: str, value: Any) -> None:
    assert json_path(OBJECT, path) == value
