"""PeerAuthentication: what is broken fails closed."""

from typing import Any

import pytest

from isthmus.base.errors import ObjectRef
from isthmus.ingest.peer_authentication import strict
from isthmus.model.rows import MtlsMode, PeerAuthentication
from tests.ingest.check import check, complaints

SELECTOR = {"matchLabels": {"app": "x"}}


def row(**fields: Any) -> PeerAuthentication:
    """The expected row."""
    return PeerAuthentication(cluster="east", namespace="a", name="x", **fields)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, row()),
        ({"mtls": {"mode": "STRICT"}}, row(mode=MtlsMode.STRICT)),
        (
            {"selector": SELECTOR, "mtls": {}, "portLevelMtls": {"8080": {"mode": "DISABLE"}, "80": {}}},
            row(selector=(("app", "x"),), port_modes=((80, MtlsMode.UNSET), (8080, MtlsMode.DISABLE))),
        ),
    ],
)
def test_rows(spec: Any, expected: PeerAuthentication) -> None:
    found = check("PeerAuthentication", {"spec": spec})
    assert (found.rows, found.problems) == ((expected,), ())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"mtls": {"mode": "strict"}}, "spec.mtls.mode"),
        ({"mtls": "STRICT"}, "spec.mtls"),
        ({"mtls": {"mode": 1}}, "spec.mtls.mode"),
        ({"mtlss": {"mode": "DISABLE"}}, "spec.mtlss"),
        ({"mtls": {"mode": "DISABLE", "until": "now"}}, "spec.mtls.until"),
        ({"portLevelMtls": {"eighty": {"mode": "DISABLE"}}}, "spec.portLevelMtls[eighty]"),
        ({"portLevelMtls": {"80": {"mode": "OFF"}}}, "spec.portLevelMtls[80].mode"),
    ],
)
def test_broken_with_a_readable_selector_is_strict_for_the_selected(spec: dict[str, Any], field: str) -> None:
    found = check("PeerAuthentication", {"spec": spec | {"selector": SELECTOR}})
    assert found.rows == (row(selector=(("app", "x"),), mode=MtlsMode.STRICT),)
    assert [name for name, _ in complaints(found)] == [field]


def test_port_modes_need_a_selector() -> None:
    found = check("PeerAuthentication", {"spec": {"portLevelMtls": {"80": {"mode": "DISABLE"}}}})
    assert found.rows == (row(mode=MtlsMode.STRICT),)
    assert [name for name, _ in complaints(found)] == ["spec.portLevelMtls"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ([], "spec"),
        ({"selector": "x"}, "spec.selector"),
        ({"selector": {"matchLabels": {"a": 1}}}, "spec.selector.matchLabels.a"),
        ({"selector": {"matchExpressions": []}}, "spec.selector.matchExpressions"),
    ],
)
def test_whom_a_broken_selector_meant_is_for_the_rows_before_to_say(spec: Any, field: str) -> None:
    found = check("PeerAuthentication", {"spec": spec})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]


def test_strict_for_what_was_selected_before_else_for_the_namespace() -> None:
    where = ObjectRef("east", "PeerAuthentication", "a", "x")
    before = row(selector=(("app", "x"),), mode=MtlsMode.PERMISSIVE, port_modes=((80, MtlsMode.DISABLE),))
    assert strict(where, (before,)) == (row(selector=(("app", "x"),), mode=MtlsMode.STRICT),)
    assert strict(where, ()) == (row(mode=MtlsMode.STRICT),)
