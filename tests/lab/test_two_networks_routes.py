"""Routes and visibility with real Envoys, over the lab `two-networks`: weights, matches, faults, gateways, Sidecars."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.harness import CLIENT, HELLO, PLAIN, Lab, eventually

pytestmark = pytest.mark.lab

BASE = HELLO.removesuffix("/hello")
V1, V2 = ({"destination": {"host": "helloworld", "subset": version}} for version in ("v1", "v2"))
SUBSETS = {"host": "helloworld", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]}


@contextmanager
def applied(lab: Lab, *objects: tuple[str, str, dict[str, Any]], cluster: str = "east") -> Iterator[None]:
    """These (kind, name, spec) are in namespace `sample` of a cluster while the body runs."""
    items = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "sample"},
            "spec": spec,
        }
        for kind, name, spec in objects
    ]
    try:
        for item in items:
            lab.kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(item))
        yield
    finally:
        for item in items:
            lab.kubectl(cluster, "delete", "-f", "-", "--ignore-not-found", stdin=json.dumps(item))


def test_shares_are_those_of_the_weights_and_headers_come_first(lab: Lab) -> None:
    first = {"match": [{"headers": {"x-user": {"exact": "tester"}}}], "route": [V2]}
    rules = {"hosts": ["helloworld"], "http": [first, {"route": [{**V1, "weight": 10}, {**V2, "weight": 90}]}]}
    subsets, routes = ("DestinationRule", "routes", SUBSETS), ("VirtualService", "routes", rules)
    # West's gateway passes on what west's control plane knows: the subset is needed there, too.
    with applied(lab, subsets, cluster="west"), applied(lab, subsets, routes):

        def good() -> bool:
            calls = lab.call(CLIENT, HELLO, "--count", "200")
            return not calls.failures and abs(calls.share("west") - 90) < 8

        eventually(good, within=20, what="9 of 10 calls are answered by west")
        assert lab.call(CLIENT, HELLO, "--count", "20", "--header", "x-user: tester").clusters == {"west": 20}


def test_faults_answers_and_rewrites(lab: Lab) -> None:
    to = [{"destination": {"host": "helloworld"}}]
    rules = [
        {"match": [{"uri": {"exact": "/closed"}}], "directResponse": {"status": 418}},
        {"match": [{"uri": {"prefix": "/old"}}], "rewrite": {"uri": "/hello"}, "route": to},
        {"match": [{"uri": {"exact": "/nowhere"}}], "route": [{"destination": {"host": "helloworld", "subset": "v9"}}]},
        {"fault": {"abort": {"httpStatus": 555, "percentage": {"value": 50}}}, "route": to},
    ]
    with applied(lab, ("VirtualService", "routes", {"hosts": ["helloworld"], "http": rules})):
        closed = f"{BASE}/closed"
        eventually(lambda: {one.status for one in lab.call(CLIENT, closed).calls} == {418}, within=20, what="418")
        assert not lab.call(CLIENT, f"{BASE}/old", "--count", "10").failures
        assert {one.status for one in lab.call(CLIENT, f"{BASE}/nowhere").calls} == {503}
        calls = lab.call(CLIENT, HELLO, "--count", "200")
        assert {one.status for one in calls.failures} == {555}
        assert 60 < len(calls.failures) < 140
        assert "routes" in lab.ask("east", "/debug/problems")


def test_a_gateway_takes_plain_requests_into_the_mesh(lab: Lab) -> None:
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["hello.example.com"]}
    entry = {"selector": {"istio": "eastwestgateway"}, "servers": [server]}
    rules = {
        "hosts": ["hello.example.com"],
        "gateways": ["entry"],
        "http": [
            {
                "match": [{"uri": {"prefix": "/hi"}}],
                "rewrite": {"uri": "/hello"},
                "route": [{"destination": {"host": "helloworld"}}],
            }
        ],
    }
    pods = lab.get("east", "pods", "-n", "istio-system", "-l", "istio=eastwestgateway")["items"]
    base = f"http://{pods[0]['status']['podIP']}:8080"
    host = ("--header", "host: hello.example.com")
    with applied(lab, ("Gateway", "entry", entry), ("VirtualService", "entry", rules)):
        eventually(lambda: not lab.call(PLAIN, f"{base}/hi", *host).failures, within=20, what="the gateway answers")
        calls = lab.call(PLAIN, f"{base}/hi", "--count", "20", *host)
        assert not calls.failures
        assert {identity.rpartition("/")[2] for identity in calls.identities} == {
            "istio-eastwestgateway-service-account"
        }
        assert {one.status for one in lab.call(PLAIN, f"{base}/other", *host).calls} == {404}
        assert {one.status for one in lab.call(PLAIN, f"{base}/hi").calls} == {404}


def test_a_sidecar_bounds_what_is_known(lab: Lab) -> None:
    spec = {"egress": [{"hosts": ["~/*"]}], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
    with applied(lab, ("Sidecar", "default", spec)):
        eventually(lambda: lab.call(CLIENT, HELLO).failures, within=20, what="helloworld is not known")
    eventually(lambda: not lab.call(CLIENT, HELLO).failures, within=20, what="helloworld is known again")
