"""HTTPRoutes of Services: the words of the Gateway API as the rules of a VirtualService."""

from typing import Any

import pytest

from isthmus.model.routing import (
    Client,
    Destination,
    Headers,
    HttpMatch,
    HttpRoute,
    MatchKind,
    Mirror,
    Redirect,
    Retries,
    Rewrite,
    StringMatch,
    VirtualService,
    Weighted,
)
from tests.ingest.check import check, complaints

PARENT = {"group": "", "kind": "Service", "name": "web", "port": 80}
BACKEND = {"name": "web", "port": 80}
HOST = "web.a.svc.cluster.local"
TO_WEB = (Weighted(Destination(HOST, port=80), 1),)


def rows(*rules: dict[str, Any], **spec: Any) -> tuple[VirtualService, ...]:
    """The rows of a correct route."""
    found = check("HTTPRoute", {"spec": {"parentRefs": [PARENT], "rules": list(rules), **spec}})
    assert found.problems == ()
    return tuple(row for row in found.rows or () if isinstance(row, VirtualService))


def routes(*rules: dict[str, Any]) -> tuple[HttpRoute, ...]:
    """The rules of its only row."""
    (row,) = rows(*rules)
    return row.http


def path(kind: MatchKind, value: str, **fields: Any) -> HttpMatch:
    """A match of a path at the parent's port."""
    return HttpMatch(client=Client(port=80), uri=StringMatch(kind, value), **fields)


def test_a_route_is_for_the_services_that_are_its_parents() -> None:
    other = {"kind": "Service", "group": "core", "name": "other", "namespace": "b"}
    gateway = {"kind": "Gateway", "name": "ingress"}
    found = rows({"backendRefs": [BACKEND]}, parentRefs=[PARENT, gateway, other])
    assert [(row.name, row.hosts, row.export_to, row.gateways) for row in found] == [
        ("x~http-route~0", (HOST,), (), ("mesh",)),
        ("x~http-route~1", ("other.b.svc.cluster.local",), ("a",), ("mesh",)),
    ]


def test_a_route_of_gateways_only_is_for_others_to_read() -> None:
    found = check("HTTPRoute", {"spec": {"parentRefs": [{"kind": "Gateway", "name": "g"}], "rules": [{}]}})
    assert (found.rows, found.problems) == ((), ())


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param({}, [path(MatchKind.PREFIX, "/")], id="everything"),
        pytest.param({"path": {"type": "Exact", "value": "/x"}}, [path(MatchKind.EXACT, "/x")], id="exact"),
        pytest.param(
            {"path": {"value": "/x"}},
            [path(MatchKind.EXACT, "/x"), path(MatchKind.PREFIX, "/x/")],
            id="a prefix ends at a slash",
        ),
        pytest.param(
            {"path": {"type": "RegularExpression", "value": "/x.*"}}, [path(MatchKind.REGEX, "/x.*")], id="expression"
        ),
        pytest.param(
            {
                "method": "POST",
                "headers": [{"name": "X-A", "value": "1"}],
                "queryParams": [{"type": "RegularExpression", "name": "q", "value": ".+"}],
            },
            [
                path(
                    MatchKind.PREFIX,
                    "/",
                    method=StringMatch(MatchKind.EXACT, "POST"),
                    headers=(("x-a", StringMatch(MatchKind.EXACT, "1")),),
                    query_params=(("q", StringMatch(MatchKind.REGEX, ".+")),),
                )
            ],
            id="the rest of a request",
        ),
    ],
)
def test_matches(match: dict[str, Any], expected: list[HttpMatch]) -> None:
    found = routes({"matches": [match], "backendRefs": [BACKEND]})
    assert found == tuple(HttpRoute(matches=(one,), destinations=TO_WEB) for one in expected)


def test_the_most_specific_match_goes_first_whatever_the_order() -> None:
    def rule(name: str, **match: Any) -> dict[str, Any]:
        return {"name": name, "matches": [match], "backendRefs": [BACKEND]}

    found = routes(
        rule("any"),
        rule("short", path={"value": "/a"}),
        rule("header", headers=[{"name": "h", "value": "1"}]),
        rule("long", path={"value": "/a/b"}),
        rule("exact", path={"type": "Exact", "value": "/a"}),
        rule("method", method="GET"),
    )
    assert list(dict.fromkeys(one.name for one in found)) == ["exact", "long", "short", "method", "header", "any"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(
            {"backendRefs": [{**BACKEND, "weight": 9}, {"name": "canary", "port": 80}]},
            {"destinations": (Weighted(Destination(HOST, port=80), 9),
                              Weighted(Destination("canary.a.svc.cluster.local", port=80), 1))},
            id="shares",
        ),
        pytest.param(
            {"backendRefs": [BACKEND], "timeouts": {"request": "10s", "backendRequest": "2s"},
             "retry": {"attempts": 3, "codes": [500, 503]}},
            {"destinations": TO_WEB, "timeout": 10.0,
             "retries": Retries(attempts=3, per_try_timeout=2.0, retry_on="500,503")},
            id="timeouts and retries",
        ),
        pytest.param(
            {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "b.example", "statusCode": 301}}]},
            {"redirect": Redirect(authority="b.example", code=301)},
            id="redirect",
        ),
        pytest.param(
            {"backendRefs": [BACKEND], "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                    "set": [{"name": "a", "value": "1"}], "remove": ["b"]}},
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "c", "value": "2"}]}}]},
            {"destinations": TO_WEB,
             "headers": Headers(request_set=(("a", "1"),), request_remove=("b",), response_add=(("c", "2"),))},
            id="headers",
        ),
        pytest.param(
            {"backendRefs": [BACKEND], "filters": [{"type": "RequestMirror", "requestMirror": {
                "backendRef": {"name": "copy", "port": 80}, "percent": 5}}]},
            {"destinations": TO_WEB, "mirrors": (Mirror(Destination("copy.a.svc.cluster.local", port=80), 5.0),)},
            id="mirror",
        ),
    ],
)  # fmt: skip
def test_outcomes(rule: dict[str, Any], expected: dict[str, Any]) -> None:
    (found,) = routes(rule)
    assert found == HttpRoute(matches=(path(MatchKind.PREFIX, "/"),), **expected)


@pytest.mark.parametrize(
    ("prefix", "replacement", "rewrite"),
    [("/a", "/b", Rewrite(regex="^/a", substitution="/b")), ("/a", "/", Rewrite(regex="^/a/?", substitution="/"))],
)
def test_a_prefix_is_replaced(prefix: str, replacement: str, rewrite: Rewrite) -> None:
    change = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}}
    rule = {
        "matches": [{"path": {"value": prefix}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": change}],
        "backendRefs": [BACKEND],
    }
    assert [one.rewrite for one in routes(rule)] == [rewrite, rewrite]


def test_a_rule_that_leads_nowhere_is_an_error_to_callers() -> None:
    (found,) = routes({"backendRefs": [{**BACKEND, "weight": 0}]})
    assert found.direct_response is not None
    assert found.direct_response.status == 500


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"backendRefs": [{**BACKEND, "namespace": "b"}]}, "spec.rules[0].backendRefs[0].namespace"),
        ({"backendRefs": [{**BACKEND, "kind": "Bucket"}]}, "spec.rules[0].backendRefs[0].kind"),
        ({"filters": [{"type": "ExtensionRef"}], "backendRefs": [BACKEND]}, "spec.rules[0].filters[0].type"),
        ({"matches": [{"path": {"type": "Glob", "value": "/"}}]}, "spec.rules[0].matches[0].path.type"),
    ],
)
def test_what_is_not_understood_keeps_what_was_before(rule: dict[str, Any], field: str) -> None:
    found = check("HTTPRoute", {"spec": {"parentRefs": [PARENT], "rules": [rule]}})
    assert found.rows is None
    assert field in [name for name, _ in complaints(found)]
