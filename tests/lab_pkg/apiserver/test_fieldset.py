"""Sets of fields: what a value has, what changed, and set arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus_lab.apiserver import fieldset
from isthmus_lab.apiserver.resources import builtin_types

POD = builtin_types()["Pod"]
KEY_A, KEY_B = 'k:{"name":"a"}', 'k:{"name":"b"}'


def containers(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(items)}}


@pytest.mark.parametrize(
    ("value", "tree"),
    [
        ({"metadata": {"labels": {"x": "1"}}}, {"f:metadata": {"f:labels": {"f:x": {}}}}),
        ({"metadata": {"labels": {}}}, {"f:metadata": {"f:labels": {}}}),
        ({"metadata": {"finalizers": ["z"]}}, {"f:metadata": {"f:finalizers": {'v:"z"': {}}}}),
        ({"spec": {"nodeSelector": {"x": "1"}}}, {"f:spec": {"f:nodeSelector": {}}}),
        ({"spec": {"tolerations": [{"key": "k"}]}}, {"f:spec": {"f:tolerations": {}}}),
        (
            containers({"name": "a", "image": "i"}),
            {"f:spec": {"f:containers": {KEY_A: {".": {}, "f:name": {}, "f:image": {}}}}},
        ),
    ],
)
def test_fields_of_a_value(value: dict[str, Any], tree: fieldset.Tree) -> None:
    assert fieldset.fields_of(value, POD) == tree


def test_default_keys_count() -> None:
    ports = POD.properties["spec"].properties["containers"].items
    assert ports is not None
    key = fieldset.element_key({"containerPort": 80}, ports.properties["ports"])
    assert key == 'k:{"containerPort":80,"protocol":"TCP"}'


@pytest.mark.parametrize(
    ("old", "new", "changed", "vanished"),
    [
        ({"a": 1}, {"a": 1}, None, None),
        ({"a": 1}, {"a": 2}, {"f:a": {}}, None),
        ({"a": 1}, {"b": 1}, {"f:b": {}}, {"f:a": {}}),
        ({"a": {"b": 1, "c": 1}}, {"a": {"b": 1}}, None, {"f:a": {"f:c": {}}}),
        ({"a": [1]}, {"a": [2]}, {"f:a": {}}, None),
        ({}, {"a": {}}, {"f:a": {}}, None),
        (
            containers({"name": "a", "image": "i"}),
            containers({"name": "a", "image": "j"}, {"name": "b"}),
            {"f:spec": {"f:containers": {KEY_A: {"f:image": {}}, KEY_B: {".": {}, "f:name": {}}}}},
            None,
        ),
        (
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "b"}),
            None,
            {"f:spec": {"f:containers": {KEY_A: {}}}},
        ),
    ],
)
def test_differences(
    old: dict[str, Any], new: dict[str, Any], changed: fieldset.Tree | None, vanished: fieldset.Tree | None
) -> None:
    assert fieldset.changed(old, new, POD) == changed
    assert fieldset.vanished(old, new, POD) == vanished


@pytest.mark.parametrize(
    ("first", "second", "both", "minus", "union"),
    [
        ({"f:a": {}}, {"f:a": {}}, {"f:a": {}}, None, {"f:a": {}}),
        ({"f:a": {}}, {"f:b": {}}, None, {"f:a": {}}, {"f:a": {}, "f:b": {}}),
        ({"f:a": {"f:x": {}, "f:y": {}}}, {"f:a": {}}, None, None, {"f:a": {".": {}, "f:x": {}, "f:y": {}}}),
        (
            {KEY_A: {".": {}, "f:x": {}}},
            {KEY_A: {"f:x": {}}},
            {KEY_A: {"f:x": {}}},
            {KEY_A: {".": {}}},
            {KEY_A: {".": {}, "f:x": {}}},
        ),
    ],
)
def test_arithmetic(first: Any, second: Any, both: Any, minus: Any, union: Any) -> None:
    assert fieldset.both(first, second) == both
    assert fieldset.minus(first, second) == minus
    assert fieldset.union(first, second) == union


def test_member_by_member_a_leaf_takes_only_itself() -> None:
    assert fieldset.without({"f:a": {}}, {"f:a": {"f:x": {}}}) == {"f:a": {}}
    assert fieldset.without({"f:a": {"f:x": {}}}, {"f:a": {}}) == {"f:a": {"f:x": {}}}
    assert fieldset.without({"f:a": {".": {}, "f:x": {}}}, {"f:a": {"f:x": {}}}) == {"f:a": {}}
    assert fieldset.without({"f:a": {}}, {"f:a": {}}) is None


def test_paths_as_conflicts_show_them() -> None:
    tree = {
        "f:spec": {"f:containers": {KEY_A: {".": {}, "f:image": {}}}},
        "f:metadata": {"f:finalizers": {'v:"z"': {}}},
    }
    assert [fieldset.show(path) for path in fieldset.leaves(tree)] == [
        '.spec.containers[name="a"]',
        '.spec.containers[name="a"].image',
        '.metadata.finalizers[="z"]',
    ]
    assert fieldset.contains(tree, ("f:spec", "f:containers", KEY_A))
    assert not fieldset.contains(tree, ("f:spec", "f:volumes"))


values = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(objects, objects)
def test_applying_the_changes_is_complete(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Nothing changed and nothing vanished exactly when nothing differs."""
    same = fieldset.changed(old, new, POD) is None and fieldset.vanished(old, new, POD) is None
    assert same == (old == new)


@given(objects, objects)
def test_what_is_left_and_what_was_taken_are_the_whole(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, two = fieldset.fields_of(first, POD), fieldset.fields_of(second, POD)
    whole = set(fieldset.leaves(one)) if one else set()
    left = fieldset.without(one, two) if one and two else one
    kept = set(fieldset.leaves(left)) if left else set()
    common = fieldset.both(one, two) if one and two else None
    taken = set(fieldset.leaves(common)) if common else set()
    assert kept | taken == whole
    assert not kept & taken
