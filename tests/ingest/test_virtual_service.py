"""networking.istio.io VirtualServices: what is understood, and that every wrong field is named."""

from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.ingest.patterns import format_fault, regex_fault
from isthmus.model.routing import (
    Client,
    Destination,
    HttpMatch,
    HttpRoute,
    MatchKind,
    StreamMatch,
    StreamRoute,
    StringMatch,
    VirtualService,
    Weighted,
)
from tests.ingest.check import check, complaints

TO = {"route": [{"destination": {"host": "reviews"}}]}
REVIEWS = "reviews.a.svc.cluster.local"


def test_names_without_dots_are_of_the_own_namespace() -> None:
    match = [{"uri": {"prefix": "/x"}, "port": 80, "gateways": ["mesh", "gw", "other/gw"]}]
    spec = {
        "hosts": ["reviews", "Reviews.Example", "*.b"],
        "gateways": ["mesh", "gw", "b/gw", "old.c.svc.cluster.local"],
        "http": [{"match": match, **TO}],
        "tls": [{"match": [{"sniHosts": ["a.b"]}], **TO}],
        "exportTo": [".", "team"],
    }
    found = check("VirtualService", {"spec": spec})
    assert found.problems == ()
    to = (Weighted(Destination(REVIEWS), 1),)
    client = Client(port=80, gateways=("mesh", "a/gw", "other/gw"))
    uri = StringMatch(MatchKind.PREFIX, "/x")
    assert found.rows == (
        VirtualService(
            cluster="east",
            namespace="a",
            name="x",
            hosts=(REVIEWS, "reviews.example", "*.b"),
            gateways=("mesh", "a/gw", "b/gw", "c/old"),
            http=(HttpRoute(matches=(HttpMatch(client=client, uri=uri),), destinations=to),),
            tls=(StreamRoute(matches=(StreamMatch(sni_hosts=("a.b",)),), destinations=to),),
            export_to=(".", "team"),
        ),
    )


def http(**route: Any) -> dict[str, Any]:
    """A spec with one HTTP route."""
    return {"hosts": ["a"], "http": [{**TO, **route}]}


def of(match: Any) -> dict[str, Any]:
    """A spec whose HTTP route has one match."""
    return http(match=[match])


WRONG: list[tuple[Any, str]] = [
    ("x", "spec"),
    ({"http": [TO]}, "spec.hosts"),
    ({"hosts": ["a b"], "http": [TO]}, "spec.hosts[0]"),
    ({"hosts": ["*"], "http": [TO]}, "spec.hosts[0]"),
    ({"hosts": ["a"]}, "spec"),
    ({"hosts": ["a"], "http": [TO], "gateways": ["/x"]}, "spec.gateways[0]"),
    ({"hosts": ["a"], "http": [TO], "exportTo": ["a.b"]}, "spec.exportTo[0]"),
    ({"hosts": ["a"], "http": {}}, "spec.http"),
    ({"hosts": ["a"], "http": ["x"]}, "spec.http[0]"),
    ({"hosts": ["a"], "http": [{}]}, "spec.http[0]"),
    (http(redirect={"uri": "/"}), "spec.http[0]"),
    (http(delegate={"name": "x"}), "spec.http[0].delegate"),
    (http(route=[{}]), "spec.http[0].route[0].destination.host"),
    (http(route=[{"destination": {"host": "*.b"}}]), "spec.http[0].route[0].destination.host"),
    (http(route=[{"destination": {"host": "b", "port": {}}, "weight": -1}]), "spec.http[0].route[0].weight"),
    (
        http(route=[{"destination": {"host": "b", "port": {"number": 0}}}]),
        "spec.http[0].route[0].destination.port.number",
    ),
    (http(route=[{"destination": {"host": "b"}}, {"destination": {"host": "c"}}]), "spec.http[0].route"),
    (http(timeout="soon"), "spec.http[0].timeout"),
    (http(retries={"attempts": "x"}), "spec.http[0].retries.attempts"),
    (http(retries={"attempts": 1, "retryOn": "5xx,often"}), "spec.http[0].retries.retryOn"),
    (http(rewrite={"uri": "/", "uriRegexRewrite": {"match": "a"}}), "spec.http[0].rewrite.uri"),
    (http(rewrite={"uriRegexRewrite": {"match": "("}}), "spec.http[0].rewrite.uriRegexRewrite.match"),
    (http(rewrite={"uri": "/a\nb"}), "spec.http[0].rewrite.uri"),
    (
        http(rewrite={"uriRegexRewrite": {"match": "a", "rewrite": "\r"}}),
        "spec.http[0].rewrite.uriRegexRewrite.rewrite",
    ),
    (http(rewrite={"authority": "a b"}), "spec.http[0].rewrite.authority"),
    (http(fault={"delay": {}, "abort": {"httpStatus": 700}}), "spec.http[0].fault.abort"),
    (http(fault={"delay": {"percentage": {"value": 1}}}), "spec.http[0].fault.delay.fixedDelay"),
    (
        http(fault={"abort": {"httpStatus": 500, "percentage": {"value": 200}}}),
        "spec.http[0].fault.abort.percentage.value",
    ),
    (http(fault={"abort": {"grpcStatus": "BAD"}}), "spec.http[0].fault.abort.grpcStatus"),
    (http(mirror={"subset": "x"}), "spec.http[0].mirror.host"),
    (http(mirrors=[{"destination": {}}]), "spec.http[0].mirrors[0].destination.host"),
    (http(headers={"request": {"set": {"a b": "c"}}}), "spec.http[0].headers.request.set.a b"),
    (http(headers={"request": {"add": {"host": "c"}}}), "spec.http[0].headers.request.add.host"),
    (http(headers={"response": {"set": {"a": "100%"}}}), "spec.http[0].headers.response.set.a"),
    (http(headers={"response": {"set": {"a": "%WHAT%"}}}), "spec.http[0].headers.response.set.a"),
    (http(headers={"response": {"remove": [":status"]}}), "spec.http[0].headers.response.remove.:status"),
    (http(corsPolicy={"allowOrigins": [{"exact": "x", "prefix": "y"}]}), "spec.http[0].corsPolicy.allowOrigins[0]"),
    (http(corsPolicy={"maxAge": 5}), "spec.http[0].corsPolicy.maxAge"),
    (of({"uri": {"exact": "/", "prefix": "/"}}), "spec.http[0].match[0].uri"),
    (of({"uri": {"prefix": ""}}), "spec.http[0].match[0].uri.prefix"),
    (of({"uri": {"regex": "a(?=b)"}}), "spec.http[0].match[0].uri.regex"),
    (
        of({"headers": {"@request.auth.claims.sub": {"exact": "x"}}}),
        "spec.http[0].match[0].headers.@request.auth.claims.sub",
    ),
    (of({"headers": {"a": {"regex": "["}}}), "spec.http[0].match[0].headers.a.regex"),
    (of({"port": 70000}), "spec.http[0].match[0].port"),
    (of({"sourceLabels": {"a": 1}}), "spec.http[0].match[0].sourceLabels.a"),
    ({"hosts": ["a"], "http": [{"redirect": {"redirectCode": 200}}]}, "spec.http[0].redirect.redirectCode"),
    ({"hosts": ["a"], "http": [{"redirect": {"uri": "/a\nb"}}]}, "spec.http[0].redirect.uri"),
    (of({"queryParams": {"q" * 1025: {"exact": "x"}}}), "spec.http[0].match[0].queryParams"),
    ({"hosts": ["a"], "http": [{"directResponse": {"status": 99}}]}, "spec.http[0].directResponse.status"),
    (
        {"hosts": ["a"], "http": [{"directResponse": {"status": 200, "body": {"bytes": "?"}}}]},
        "spec.http[0].directResponse.body.bytes",
    ),
    ({"hosts": ["a"], "tls": [TO]}, "spec.tls[0].match"),
    ({"hosts": ["a"], "tls": [{"match": [{}], **TO}]}, "spec.tls[0].match[0].sniHosts"),
    ({"hosts": ["a"], "tls": [{"match": [{"sniHosts": ["a b"]}], **TO}]}, "spec.tls[0].match[0].sniHosts[0]"),
    ({"hosts": ["a"], "tcp": [{}]}, "spec.tcp[0].route"),
    (
        {"hosts": ["a"], "tcp": [{"match": [{"destinationSubnets": ["x"]}], **TO}]},
        "spec.tcp[0].match[0].destinationSubnets[0]",
    ),
    ({"hosts": ["a"], "tcp": [{"match": [{"sourceSubnet": "10.0.0.0/8"}], **TO}]}, "spec.tcp[0].match[0].sourceSubnet"),
]


@pytest.mark.parametrize(("spec", "field"), WRONG, ids=[field for _, field in WRONG])
def test_a_wrong_field_is_named_and_the_object_refused(spec: Any, field: str) -> None:
    found = check("VirtualService", {"spec": spec})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]
    assert all(problem.remedy for problem in found.problems)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({**http(), "other": 1}, "spec.other"),
        (http(websocketUpgrade=True), "spec.http[0].websocketUpgrade"),
        (of({"statPrefix": "x"}), "spec.http[0].match[0].statPrefix"),
        ({"hosts": ["a"], "http": [{"redirect": {"uri": "/"}, "timeout": "1s"}]}, "spec.http[0].timeout"),
    ],
)
def test_what_has_no_effect_is_told(spec: Any, field: str) -> None:
    found = check("VirtualService", {"spec": spec})
    assert found.rows
    assert [(problem.field, problem.severity) for problem in found.problems] == [(field, Severity.WARNING)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+?",
        r"\d{1,1000}",
        "[[:alpha:]]+",
        r"\p{Greek}\pL",
        "(?i)a",
        "a(?i:b)",
        r"^/v\d+(/.*)?$",
        r"a\.b\z",
        "(?P<n>a)",
        "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        ".{1000}",
        "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
    ],
)
def test_what_re2_takes(text: str) -> None:
    assert regex_fault(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "*",
        "a(?=b)",
        "(?<!a)b",
        r"(a)\1",
        "(?P=n)",
        "(?>a)",
        "a++",
        "x{1001}",
        "(?(1)a|b)",
        "[a",
        "a{2}+",
        "(a{100}){100}",
        r"\Z",
        "(?a)x",
        "(?x) a",
        r"\u0041",
        r"\N{DIGIT ONE}",
        "[[:foo:]]",
        r"\pX",
        r"\p{Foo}",
        r"\pL{1000}\pL{1000}\pL{1000}\pL{1000}\pL{1000}",
        "a" * 40_000,
    ],
)
def test_what_re2_does_not_take(text: str) -> None:
    assert regex_fault(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("", 1),
        ("100%%", 1),
        ("%REQ(x-a?x-b):5%", 1),
        ("a%START_TIME(%%s)%", 0),
        ("%", 0),
        ("a%b", 0),
        ("%req(a)%", 0),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", 1),
        ("a\nb", 0),
        ("%REQ%", 0),
        ("%REQ(:path)%", 1),
        ("%REQ(a?b?c)%", 0),
        ("%REQ(a b)%", 0),
        ("%PROTOCOL(x)%", 0),
        ("%RESPONSE_CODE:3%", 0),
        ("%START_TIME(abc):3%", 0),
        ("%DYNAMIC_METADATA()%", 0),
        ("%DYNAMIC_METADATA(a.b:c):9%", 1),
        ("%FILTER_STATE(a:PLAIN)%", 1),
        ("%FILTER_STATE(a:b)%", 0),
        ("%ENVIRONMENT(HOME)%", 0),
        ("x" * 16384, 1),
        ("x" * 16385, 0),
    ],
)
def test_values_of_headers(text: str, right: int) -> None:
    assert (format_fault(text) == "") is bool(right)
