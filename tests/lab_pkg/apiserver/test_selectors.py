"""Label and field selectors."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver import selectors
from isthmus_lab.apiserver.errors import ApiError

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": "y"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app=web,tier=back", False),
        ("app in (web, api)", True),
        ("app notin (web,api)", False),
        ("missing notin (a)", True),
        ("missing in (a)", False),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("n>4", True),
        ("n>5", False),
        ("n<6", True),
        ("app>1", False),
        ("example.com/x=y", True),
        ("app=", False),
        ("app in (web),tier notin (back),!x", True),
    ],
)
def test_label_selectors(selector: str, matches: bool) -> None:
    predicate = selectors.parse_labels(selector)
    assert predicate is not None
    assert predicate(LABELS) is matches


def test_the_empty_selector_is_no_predicate() -> None:
    assert selectors.parse_labels("") is None
    assert selectors.parse_fields("", "pods") is None
    assert selectors.combine(None, None) is None


@pytest.mark.parametrize("selector", ["a=b=c", "a in b", "in (a)", "a==(", "=x", "a b"])
def test_broken_label_selectors(selector: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_labels(selector)
    assert caught.value.code == 400
    assert "unable to parse requirement" in caught.value.message


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "api"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, False),
    ],
)
def test_selector_objects(selector: dict[str, Any] | None, matches: bool) -> None:
    assert selectors.from_label_selector(selector)(LABELS) is matches


def test_a_selector_object_with_an_unknown_operator() -> None:
    with pytest.raises(ApiError, match="is not a valid label selector operator"):
        selectors.from_label_selector({"matchExpressions": [{"key": "a", "operator": "Like"}]})


POD = {
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {"nodeName": "n1", "hostNetwork": True},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("metadata.name=p", True),
        ("metadata.name==p", True),
        ("metadata.name!=p", False),
        ("metadata.namespace=ns,spec.nodeName=n1", True),
        ("status.phase!=Running", False),
        ("spec.nodeName=", False),
        ("spec.hostNetwork=true", True),
        ("status.podIP=", True),
    ],
)
def test_field_selectors_of_pods(selector: str, matches: bool) -> None:
    predicate = selectors.parse_fields(selector, "pods")
    assert predicate is not None
    assert predicate(POD) is matches


def test_a_flag_that_is_not_set_is_false() -> None:
    predicate = selectors.parse_fields("spec.unschedulable=false", "nodes")
    assert predicate is not None
    assert predicate({"spec": {}})


def test_field_selectors_know_the_kind() -> None:
    event = {"involvedObject": {"kind": "Pod"}, "source": {"component": "kubelet"}, "metadata": {}}
    predicate = selectors.parse_fields("involvedObject.kind=Pod,source=kubelet", "events")
    assert predicate is not None
    assert predicate(event)
    with pytest.raises(ApiError, match=r"field label not supported: spec\.nodeName"):
        selectors.parse_fields("spec.nodeName=x", "configmaps")
    custom = selectors.parse_fields("spec.colour=red", "widgets.example.com", ("spec.colour",))
    assert custom is not None
    assert custom({"spec": {"colour": "red"}})


def test_both_selectors_must_hold() -> None:
    labels = selectors.parse_labels("a=b")
    fields = selectors.parse_fields("metadata.name=p", "pods")
    wanted = selectors.combine(labels, fields)
    assert wanted is not None
    assert wanted({"metadata": {"name": "p", "labels": {"a": "b"}}})
    assert not wanted({"metadata": {"name": "p"}})
    assert not wanted({"metadata": {"name": "q", "labels": {"a": "b"}}})
