"""AuthorizationPolicy: what is broken fails closed."""

from typing import Any

import pytest

from isthmus.base.errors import ObjectRef
from isthmus.ingest.authorization_policy import closed
from isthmus.model.policy import EVERYTHING, AuthorizationPolicy, Condition, PolicyAction, PolicyRule
from tests.ingest.check import check, complaints

SELECTOR = {"matchLabels": {"app": "x"}}
ALLOW, DENY, AUDIT, CUSTOM = PolicyAction


def row(**fields: Any) -> AuthorizationPolicy:
    """The expected row."""
    return AuthorizationPolicy(cluster="east", namespace="a", name="x", **fields)


def rule(part: str, **fields: Any) -> dict[str, Any]:
    """A spec with one rule that has one entry."""
    return {"rules": [{part: [fields]}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, row()),
        ({"selector": SELECTOR, "action": "DENY", "rules": [{}]},
         row(selector=(("app", "x"),), action=DENY, rules=EVERYTHING)),
        ({"action": "AUDIT", "rules": []}, row(action=AUDIT)),
        (rule("from", source={"principals": ["p"], "notIpBlocks": ["10.0.0.0/8"]}),
         row(rules=(PolicyRule(sources=((Condition("source.principal", ("p",)),
                                         Condition("source.ip", (), ("10.0.0.0/8",))),)),))),
        (rule("from", source={"serviceAccounts": ["s", "b/s"]}),
         row(rules=(PolicyRule(sources=((Condition("source.serviceAccount", ("a/s", "b/s")),),)),))),
        (rule("to", operation={"ports": ["80"], "notPaths": ["/x/{*}/{**}"]}),
         row(rules=(PolicyRule(operations=((Condition("destination.port", ("80",)),
                                            Condition("request.path", (), ("/x/{*}/{**}",))),)),))),
        (rule("when", key="request.auth.claims[a][b]", values=["c"]),
         row(rules=(PolicyRule(when=(Condition("request.auth.claims[a][b]", ("c",)),)),))),
    ],
)  # fmt: skip
def test_rows(spec: Any, expected: AuthorizationPolicy) -> None:
    found = check("AuthorizationPolicy", {"spec": spec})
    assert (found.rows, found.problems) == ((expected,), ())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"action": "allow"}, "spec.action"),
        ({"rule": []}, "spec.rule"),
        ({"rules": {}}, "spec.rules"),
        ({"rules": [None]}, "spec.rules[0]"),
        ({"rules": [{"form": []}]}, "spec.rules[0].form"),
        ({"rules": [{"from": []}]}, "spec.rules[0].from"),
        ({"rules": [{"to": [{}]}]}, "spec.rules[0].to[0].operation"),
        (rule("from", source={}), "spec.rules[0].from[0].source"),
        (rule("from", source={"principal": ["x"]}), "spec.rules[0].from[0].source.principal"),
        (rule("from", source={"principals": "x"}), "spec.rules[0].from[0].source.principals"),
        (rule("from", source={"principals": [""]}), "spec.rules[0].from[0].source.principals"),
        (rule("from", source={"ipBlocks": ["10.0.0"]}), "spec.rules[0].from[0].source.ipBlocks"),
        (rule("from", source={"serviceAccounts": ["a/b/c"]}), "spec.rules[0].from[0].source.serviceAccounts"),
        (rule("from", source={"serviceAccounts": ["a*"]}), "spec.rules[0].from[0].source.serviceAccounts"),
        (rule("from", source={"trustDomains": ["a/b"]}), "spec.rules[0].from[0].source.trustDomains"),
        (rule("from", source={"trustDomains": ["a*b"]}), "spec.rules[0].from[0].source.trustDomains"),
        (rule("to", operation={"ports": ["http"]}), "spec.rules[0].to[0].operation.ports"),
        (rule("to", operation={"ports": ["65536"]}), "spec.rules[0].to[0].operation.ports"),
        (rule("to", operation={"paths": ["/{**}/{*}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["/{id}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["/{*}/a*"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["a/{*}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["{**}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["//{*}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": ["/{*}//"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("to", operation={"paths": [f"/{'a' * 300}/{{*}}"]}), "spec.rules[0].to[0].operation.paths"),
        (rule("when", key="request.headers[a\nb]", values=["1"]), "spec.rules[0].when[0].key"),
        (rule("when", key="source.port", values=["1"]), "spec.rules[0].when[0].key"),
        (rule("when", key="request.headers", values=["1"]), "spec.rules[0].when[0].key"),
        (rule("when", key="request.headers[a][b]", values=["1"]), "spec.rules[0].when[0].key"),
        (rule("when", key="source.ip[a]", values=["1"]), "spec.rules[0].when[0].key"),
        (rule("when", key="source.ip"), "spec.rules[0].when[0]"),
        (rule("when", key="experimental.envoy.filters.a[b]", values=["1"]), "spec.rules[0].when[0].key"),
    ],
)
def test_broken_with_a_readable_selector_is_closed_for_the_selected(spec: dict[str, Any], field: str) -> None:
    selector = (("app", "x"),)
    found = check("AuthorizationPolicy", {"spec": spec | {"selector": SELECTOR}})
    assert field in [name for name, _ in complaints(found)]
    unknown = spec.get("action") == "allow"
    assert found.rows == (row(selector=selector, action=DENY, rules=EVERYTHING) if unknown else row(selector=selector),)
    if not unknown:
        found = check("AuthorizationPolicy", {"spec": spec | {"selector": SELECTOR, "action": "DENY"}})
        assert found.rows == (row(selector=selector, action=DENY, rules=EVERYTHING),)


def test_custom_is_reported_and_keeps_its_rules() -> None:
    spec = {"action": "CUSTOM", "provider": {"name": "p"}} | rule("to", operation={"paths": ["/x"]})
    found = check("AuthorizationPolicy", {"spec": spec})
    assert found.rows == (row(action=CUSTOM, rules=(PolicyRule(operations=((Condition("request.path", ("/x",)),),)),)),)
    assert [name for name, _ in complaints(found)] == ["spec.action"]


def test_a_deny_policy_without_rules_is_a_mistake() -> None:
    found = check("AuthorizationPolicy", {"spec": {"action": "DENY"}})
    assert found.rows == (row(action=DENY, rules=EVERYTHING),)
    assert [name for name, _ in complaints(found)] == ["spec.rules"]


@pytest.mark.parametrize(("word", "dry", "problems"), [("true", True, 0), ("False", False, 0), ("yes", False, 1)])
def test_dry_run(word: str, dry: bool, problems: int) -> None:
    found = check("AuthorizationPolicy", {"metadata": {"annotations": {"istio.io/dry-run": word}}})
    assert (found.rows, len(found.problems)) == ((row(dry_run=dry),), problems)


@pytest.mark.parametrize("field", ["targetRef", "targetRefs"])
def test_a_policy_may_be_attached_to_what_a_waypoint_takes(field: str) -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}
    found = check("AuthorizationPolicy", {"spec": {field: [target] if field.endswith("s") else target}})
    assert (found.rows, found.problems) == ((row(targets=(("Gateway", "g"),)),), ())


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"targetRefs": [{"kind": "Pod", "name": "p"}]}, "spec.targetRefs[0].kind"),
        ({"targetRefs": [{"kind": "Gateway", "name": "g"}]}, "spec.targetRefs[0].group"),
        ({"targetRef": {"kind": "Service"}}, "spec.targetRef"),
        ({"targetRef": {"kind": "Service", "name": "s", "namespace": "other"}}, "spec.targetRef.namespace"),
        (
            {"targetRef": {"kind": "Service", "name": "s"}, "selector": {"matchLabels": {"app": "x"}}},
            "spec.selector",
        ),
    ],
)
def test_who_is_meant_by_a_broken_target_is_not_known(spec: Any, field: str) -> None:
    found = check("AuthorizationPolicy", {"spec": spec})
    assert found.rows is None
    assert field in [name for name, _ in complaints(found)]


@pytest.mark.parametrize("spec", [[], {"selector": "x"}, {"selector": {"matchExpressions": []}}])
def test_whom_a_broken_selector_meant_is_for_the_rows_before_to_say(spec: Any) -> None:
    assert check("AuthorizationPolicy", {"spec": spec}).rows is None


def test_closed_for_what_was_selected_before_else_for_the_namespace() -> None:
    where = ObjectRef("east", "AuthorizationPolicy", "a", "x")
    before = row(selector=(("app", "x"),), rules=EVERYTHING)
    assert closed(where, (before,)) == (row(selector=(("app", "x"),)),)
    assert closed(where, ()) == (row(action=DENY, rules=EVERYTHING),)
