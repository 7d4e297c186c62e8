"""The real Envoy takes every kind of route that a VirtualService can ask for."""

from pathlib import Path
from typing import Any

import pytest
from envoy.config.route.v3 import route_pb2

from isthmus.xds.resource import RDS
from tests.envoy.acceptance import everything, validate
from tests.graph.test_routing import subsets, to, virtual_service, world
from tests.graph.world import sleep

OTHER = [{"destination": {"host": "other"}, "weight": 1}]
TWO = [{"destination": {"host": "helloworld", "subset": "v1"}, "weight": 99}, *OTHER]
CHANGES = {
    "request": {"set": {"x-a": "%REQ(x-b)%", "Host": "h.example"}, "add": {"x-c": "100%%"}, "remove": ["x-d"]},
    "response": {"set": {"x-a": ""}, "add": {"x-e": "%RESPONSE_FLAGS%"}, "remove": ["server"]},
}
ROUTES: list[dict[str, Any]] = [
    {"match": [{"uri": {"exact": "/e"}, "ignoreUriCase": True}], **to("other")},
    {"match": [{"uri": {"regex": "/r[0-9]+"}, "ignoreUriCase": True}, {"uri": {"regex": r"/\pL+"}}], **to("other")},
    {"match": [{"scheme": {"exact": "http"}, "method": {"regex": "P.*"}, "authority": {"prefix": "a"}}], **to("other")},
    {"match": [{"headers": {"a": {}}, "withoutHeaders": {"b": {}, "c": {"prefix": "x"}}}], **to("other")},
    {"match": [{"queryParams": {"a": {}, "b": {"regex": "x+"}}}], **to("other")},
    {"route": TWO, "headers": CHANGES},
    {"route": [{**TWO[0], "headers": CHANGES}, OTHER[0]]},
    {"route": [{**OTHER[0], "headers": CHANGES}]},
    {
        "timeout": "1.5s",
        "retries": {"attempts": 3, "perTryTimeout": "200ms", "retryOn": "5xx,429,reset"},
        "route": OTHER,
    },
    {"retries": {"attempts": 0}, "route": OTHER},
    {"retries": {"attempts": 1, "retryRemoteLocalities": True, "retryOn": "503"}, "route": OTHER},
    {"rewrite": {"uri": "/new", "authority": "b.example"}, "route": OTHER},
    {"rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": r"/b/\1"}}, "route": OTHER},
    {"redirect": {"uri": "/x", "authority": "a.example", "scheme": "https", "port": 8443, "redirectCode": 308}},
    {"redirect": {"scheme": "https", "derivePort": "FROM_PROTOCOL_DEFAULT"}},
    {"directResponse": {"status": 503, "body": {"string": "closed"}}},
    {"directResponse": {"status": 200, "body": {"bytes": "AAE="}}},
    {
        "fault": {"delay": {"fixedDelay": "2s", "percentage": {"value": 0.1}}, "abort": {"httpStatus": 500}},
        "route": OTHER,
    },
    {"fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 50}}}, "route": OTHER},
    {"mirror": {"host": "helloworld", "subset": "v1"}, "mirrorPercentage": {"value": 12.5}, "route": OTHER},
    {
        "mirrors": [
            {"destination": {"host": "helloworld"}},
            {"destination": {"host": "other"}, "percentage": {"value": 1}},
        ],
        "route": OTHER,
    },
    {
        "corsPolicy": {
            "allowOrigins": [{"exact": "https://a"}, {"regex": ".*"}],
            "allowMethods": ["GET", "PUT"],
            "allowHeaders": ["x"],
            "exposeHeaders": ["y"],
            "maxAge": "24h",
            "allowCredentials": True,
        },
        "route": OTHER,
    },
    {"name": "last", **to("nowhere", subset="none", port={"number": 1})},
]


def test_envoy_takes_every_route(tmp_path: Path) -> None:
    made = world(virtual_service({"http": ROUTES}), subsets())
    proxy = sleep().sidecar()
    made.connect(proxy)
    found = everything(made, proxy.id)
    (config,) = [route_pb2.RouteConfiguration.FromString(one.body) for one in found[RDS] if one.name == "5000"]
    (host,) = [one for one in config.virtual_hosts if one.name.startswith("helloworld")]
    assert len(host.routes) == len(ROUTES) + 1
    assert validate(tmp_path, found) == ""


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"timeout": "1.5s"}, "timeout {\n    seconds: 1\n    nanos: 500000000"),
        ({"retries": {"attempts": 3, "retryOn": "429"}}, 'retry_on: "retriable-status-codes"'),
        ({"rewrite": {"uri": "/new"}}, 'prefix_rewrite: "/new"'),
        ({"rewrite": {"authority": "b"}}, 'host_rewrite_literal: "b"'),
        ({"headers": {"request": {"set": {"Host": "b"}}}}, 'host_rewrite_literal: "b"'),
        ({"mirror": {"host": "other"}}, 'request_mirror_policies {\n    cluster: "outbound|5000||other'),
        ({"fault": {"abort": {"httpStatus": 500}}}, "envoy.filters.http.fault"),
        ({"corsPolicy": {"allowOrigins": [{"exact": "a"}]}}, "envoy.filters.http.cors"),
    ],
)
def test_what_a_route_says(route: dict[str, Any], says: str) -> None:
    made = world(virtual_service({"http": [{**route, **to("helloworld")}]}))
    proxy = sleep().sidecar()
    made.connect(proxy)
    config = route_pb2.RouteConfiguration.FromString(made.resources(proxy.id, RDS)["5000"].body)
    (host,) = [one for one in config.virtual_hosts if one.name.startswith("helloworld")]
    assert says in str(host.routes[0])
