"""Label and field selectors, parsed once into a predicate over objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from isthmus_lab.apiserver.errors import ApiError, bad_request
from isthmus_lab.apiserver.objects import JsonObject, labels_of, lookup

Predicate = Callable[[JsonObject], bool]
LabelPredicate = Callable[[Mapping[str, str]], bool]

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s+\(([^()]*)\)$")
_COMPARE = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*([-A-Za-z0-9_.]*)$")
_NUMBER = re.compile(rf"^({_KEY})\s*([<>])\s*(-?[0-9]+)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")

# What may be selected on besides metadata.name and metadata.namespace, by storage name.
FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicasets.apps": ("status.replicas",),
}  # fmt: skip

_FLAGS = frozenset({"spec.unschedulable", "spec.hostNetwork"})
_FIELD_PATHS = {"source": ("source", "component")}


def split_terms(text: str) -> list[str]:
    """Splits at commas that are not inside parentheses."""
    terms, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            terms.append(current)
            current = ""
        else:
            current += char
    terms.append(current)
    return [term.strip() for term in terms if term.strip()]


def parse_labels(text: str) -> LabelPredicate | None:
    """`a=b,c!=d,e in (x,y),!f,n>3`; None for the empty selector, which matches everything."""
    tests = [_label_term(term) for term in split_terms(text)]
    return _all_of(tests)


def _all_of(tests: list[LabelPredicate]) -> LabelPredicate | None:
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda labels: all(test(labels) for test in tests)


def _label_term(term: str) -> LabelPredicate:
    if found := _SET.match(term):
        key, op, listed = found.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if op == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _COMPARE.match(term):
        key, op, value = found.groups()
        if op == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _NUMBER.match(term):
        key, op, limit = found.group(1), found.group(2), int(found.group(3))
        return lambda labels: _compare(labels.get(key), op, limit)
    if found := _EXISTS.match(term):
        absent, key = found.groups()
        return (lambda labels: key not in labels) if absent else (lambda labels: key in labels)
    raise bad_request(f"unable to parse requirement: {term!r} is not a label selector")


def _compare(value: str | None, op: str, limit: int) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > limit if op == ">" else number < limit


def from_label_selector(selector: JsonObject | None) -> LabelPredicate:
    """A metav1.LabelSelector object. None matches nothing, the empty one everything. Raises ApiError when malformed."""
    if selector is None:
        return lambda _labels: False
    tests: list[LabelPredicate] = []
    tests += [_equals(key, value) for key, value in (selector.get("matchLabels") or {}).items()]
    tests += [_expression(item) for item in selector.get("matchExpressions") or []]
    return _all_of(tests) or (lambda _labels: True)


def _equals(key: str, value: str) -> LabelPredicate:
    return lambda labels: labels.get(key) == value


def _expression(item: JsonObject) -> LabelPredicate:
    key, op, values = item.get("key", ""), item.get("operator"), frozenset(item.get("values") or ())
    if op == "In":
        return lambda labels: labels.get(key) in values
    if op == "NotIn":
        return lambda labels: labels.get(key) not in values
    if op == "Exists":
        return lambda labels: key in labels
    if op == "DoesNotExist":
        return lambda labels: key not in labels
    raise bad_request(f'"{op}" is not a valid label selector operator')


def parse_fields(text: str, resource: str, extra: tuple[str, ...] = ()) -> Predicate | None:
    """`metadata.name=x,status.phase!=Running`; `extra` are a custom resource's selectable fields."""
    allowed = {"metadata.name", "metadata.namespace", *FIELDS.get(resource, ()), *extra}
    tests: list[Predicate] = []
    for term in split_terms(text):
        negate = "!=" in term
        field, _, value = term.partition("!=" if negate else "=")
        field, value = field.strip(), value.lstrip("=").strip()
        if field not in allowed:
            raise ApiError(
                400, "BadRequest", f'"{field}" is not a known field selector: field label not supported: {field}'
            )
        tests.append(_field_test(field, value, negate=negate))
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


def _field_test(field: str, value: str, *, negate: bool) -> Predicate:
    path = _FIELD_PATHS.get(field, tuple(field.split(".")))
    absent = "false" if field in _FLAGS else ""

    def test(obj: JsonObject) -> bool:
        return ((_field_text(lookup(obj, *path)) or absent) == value) is not negate

    return test


def _field_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def combine(labels: LabelPredicate | None, fields: Predicate | None) -> Predicate | None:
    """One predicate of both; None when both match everything."""
    if labels is None:
        return fields
    chosen = labels
    if fields is None:
        return lambda obj: chosen(labels_of(obj))
    wanted = fields
    return lambda obj: chosen(labels_of(obj)) and wanted(obj)


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """Both must hold; None matches everything."""
    if first is None or second is None:
        return first or second
    left, right = first, second
    return lambda obj: left(obj) and right(obj)
