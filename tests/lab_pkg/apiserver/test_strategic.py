"""Strategic merge patch over the built-in types."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.resources import builtin_types
from isthmus_lab.apiserver.strategic import strategic_patch

A, B, C = ({"name": name, "value": name.upper()} for name in "abc")


def env(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "image": "x", "env": list(entries)}]}}


def patched(target: dict[str, Any], patch: dict[str, Any], kind: str = "Pod") -> Any:
    return strategic_patch(target, patch, builtin_types()[kind])


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ([{"name": "b", "value": "new"}], [A, {"name": "b", "value": "new"}]),
        ([C], [A, B, C]),
        ([{"name": "a", "$patch": "delete"}], [B]),
        ([{"name": "none", "$patch": "delete"}], [A, B]),
        ([{"$patch": "replace"}, C], [C]),
        ([{"name": "a", "value": None}], [{"name": "a"}, B]),
    ],
)
def test_lists_merge_by_their_key(patch: list[dict[str, Any]], result: list[dict[str, Any]]) -> None:
    change = {"spec": {"containers": [{"name": "main", "env": patch}]}}
    assert patched(env(A, B), change) == env(*result)


def test_the_order_that_a_client_wants() -> None:
    container = {"name": "main", "env": [C], "$setElementOrder/env": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}
    assert patched(env(A, B), {"spec": {"containers": [container]}}) == env(C, A, B)


def test_lists_without_a_key_are_replaced() -> None:
    target = {"spec": {"containers": [{"name": "main", "args": ["a", "b"]}]}}
    patch = {"spec": {"containers": [{"name": "main", "args": ["c"]}]}}
    assert patched(target, patch)["spec"]["containers"][0]["args"] == ["c"]


def test_sets_unite_and_lose_what_is_named() -> None:
    target = {"metadata": {"finalizers": ["a", "b"]}}
    assert patched(target, {"metadata": {"finalizers": ["b", "c"]}})["metadata"]["finalizers"] == ["a", "b", "c"]
    gone = patched(target, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})
    assert gone["metadata"]["finalizers"] == ["b"]


def test_retained_keys_clear_the_others_of_a_union() -> None:
    target = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patched(target, patch, "Deployment") == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"data": None}, {"metadata": {"name": "x"}}),
        ({"data": {"a": None, "b": "2"}}, {"metadata": {"name": "x"}, "data": {"b": "2"}}),
        ({"data": {"$patch": "replace", "c": "3"}}, {"metadata": {"name": "x"}, "data": {"c": "3"}}),
        ({"data": {"$patch": "delete"}}, {"metadata": {"name": "x"}}),
        ({"$patch": "replace", "data": {"c": "3"}}, {"data": {"c": "3"}}),
    ],
)
def test_maps(patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert patched({"metadata": {"name": "x"}, "data": {"a": "1"}}, patch, "ConfigMap") == result


def test_ports_merge_by_number() -> None:
    target = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    found = patched(target, {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}]}}, "Service")
    assert found["spec"]["ports"] == [{"port": 80, "name": "http", "nodePort": 30080}, {"port": 443}]


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"image": "y"}]}},
        {"spec": {"containers": ["main"]}},
        {"metadata": {"$patch": "invent"}},
    ],
)
def test_patches_that_do_not_fit(patch: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        patched(env(A), patch)
    assert caught.value.code == 400


def test_the_arguments_stay_as_they_are() -> None:
    target, patch = env(A, B), {"spec": {"containers": [{"name": "main", "env": [C]}]}}
    patched(target, patch)
    assert target == env(A, B)
    assert patch == {"spec": {"containers": [{"name": "main", "env": [C]}]}}
