"""The scenario `ambient` with waypoints: what is said in requests counts, across clusters too; who calls is known."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.ambient import BATCH, CLUSTERS, GLOBAL, SLEEP, identity, joined, nobody_at_home, pods
from tests.lab.harness import Lab, eventually

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
EAST, WEST = CLUSTERS[:2]
AT, AFAR = "http://hello-world.app:5000", GLOBAL.removesuffix("/hello")
HELLO, ELSEWHERE = f"{AT}/hello", f"{AT}/elsewhere"
GATEWAY = "gateways.gateway.networking.k8s.io"

WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: app}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""

FOR_ALL = WAYPOINT.replace("namespace: app}", "namespace: app, labels: {istio.io/waypoint-for: all}}")
"""One that takes calls of pods' own addresses, too."""

KNOWN = WAYPOINT + "  infrastructure: {labels: {solo.io/service-scope: global}}\n"
"""One that callers from other networks are led to."""

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-hello, namespace: app}
spec:
  targetRefs: [{kind: Service, group: "", name: hello-world}]
  rules:
    - from: [{source: {principals: [east.example/ns/app/sa/sleep]}}]
      to: [{operation: {methods: [GET], paths: [/hello]}}]
"""

BY_WAYPOINT = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-waypoint, namespace: app}
spec:
  selector: {matchLabels: {app: hello-world}}
  rules: [{from: [{source: {principals: [west.example/ns/app/sa/waypoint]}}]}]
"""

ROUTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: everything, namespace: app}
spec:
  parentRefs: [{kind: Service, group: "", name: hello-world, port: 5000}]
  rules: [{backendRefs: [{name: hello-world, port: 5000}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: elsewhere, namespace: app}
spec:
  parentRefs: [{kind: Service, group: "", name: hello-world, port: 5000}]
  rules:
    - matches: [{path: {value: /elsewhere}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /hello}}}]
      backendRefs: [{name: hello-world, port: 5000}]
    - matches: [{path: {value: /delay}}]
      timeouts: {request: 300ms}
      backendRefs: [{name: hello-world, port: 5000}]
"""

SPLIT = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: by-cluster, namespace: app}
spec:
  host: hello-world.app.mesh.internal
  subsets: [{name: west, labels: {topology.istio.io/cluster: west}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split, namespace: app}
spec:
  hosts: [hello-world]
  http:
    - match: [{headers: {x-abort: {exact: "1"}}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
      route: [{destination: {host: hello-world}}]
    - match: [{uri: {prefix: /status}}]
      retries: {attempts: 2, retryOn: 5xx}
      route: [{destination: {host: hello-world}}]
    - route:
        - {destination: {host: hello-world}, weight: 50}
        - {destination: {host: hello-world.app.mesh.internal, subset: west}, weight: 50}
"""


def programmed(lab: Lab, cluster: str = EAST) -> bool:
    """True if the waypoint serves."""
    found = lab.get(cluster, GATEWAY, "waypoint", "-n", "app").get("status") or {}
    return any(one["type"] == "Programmed" and one["status"] == "True" for one in found.get("conditions") or [])


@contextmanager
def enrolled(lab: Lab, cluster: str = EAST, manifest: str = WAYPOINT) -> Iterator[None]:
    """The namespace goes through a waypoint while the body runs."""
    lab.kubectl(cluster, "apply", "-f", "-", stdin=manifest)
    try:
        eventually(lambda: programmed(lab, cluster), within=60, what="the waypoint serves")
        lab.kubectl(cluster, "label", "namespace", "app", "istio.io/use-waypoint=waypoint")
        yield
    finally:
        lab.kubectl(cluster, "label", "namespace", "app", "istio.io/use-waypoint-")
        lab.kubectl(cluster, "delete", "-f", "-", stdin=manifest)


@contextmanager
def applied(lab: Lab, manifest: str, cluster: str = EAST) -> Iterator[None]:
    """Objects are there while the body runs."""
    lab.kubectl(cluster, "apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl(cluster, "delete", "-f", "-", stdin=manifest)


def statuses(lab: Lab, caller: str, url: str, *options: str) -> set[int]:
    """What a few calls are answered."""
    return {call.status for call in lab.call(f"{EAST}/{caller}", url, "--count", "6", *options).calls}


def waypoints(lab: Lab, cluster: str) -> list[str]:
    """The names of the waypoint's ready pods."""
    found = lab.get(cluster, "pods", "-n", "app", "-l", "gateway.networking.k8s.io/gateway-name=waypoint")["items"]
    ready = [pod for pod in found if any(one.get("ready") for one in pod["status"].get("containerStatuses") or [])]
    return sorted(pod["metadata"]["name"] for pod in ready if "deletionTimestamp" not in pod["metadata"])


def requests(lab: Lab, cluster: str, path: str) -> list[dict[str, Any]]:
    """What the waypoint's pods logged of requests for a path."""
    found = []
    for name in waypoints(lab, cluster):
        for line in lab.lab("logs", f"{cluster}/app/{name}", "-c", "istio-proxy").stdout.splitlines():
            entry = json.loads(line) if line.startswith("{") and '"direction"' in line else {}
            if entry.get("path") == path:
                found.append(entry)
    return found


def test_a_waypoint_looks_into_requests(model: Lab) -> None:
    with enrolled(model, manifest=FOR_ALL):
        calls = model.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})
        assert calls.identities == {identity(EAST, "sleep")}
        address = pods(model, EAST, "app", "hello-world")[0]["status"]["podIP"]
        calls = model.answered_by(f"{EAST}/{SLEEP}", f"http://{address}:5000/hello?pod", {EAST}, "--count", "6")
        assert calls.identities == {identity(EAST, "sleep")}
        logged = eventually(lambda: requests(model, EAST, "/hello?pod"), within=20, what="a log of them")
        assert {one["authority"] for one in logged} == {f"{address}:5000"}
        with applied(model, POLICY):
            refused = {403}
            eventually(lambda: statuses(model, BATCH, HELLO) == refused, within=20, what="others are refused")
            assert statuses(model, SLEEP, HELLO) == {200}
            assert statuses(model, SLEEP, ELSEWHERE) == refused
        with applied(model, ROUTES):
            eventually(lambda: statuses(model, SLEEP, ELSEWHERE) == {200}, within=20, what="both routes count")
            assert statuses(model, SLEEP, HELLO) == {200}
            assert statuses(model, SLEEP, f"{AT}/delay/900") == {504}
            assert statuses(model, SLEEP, f"{AT}/delay/1") == {200}
    model.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})
    assert statuses(model, SLEEP, ELSEWHERE) == {404}


def test_callers_outlive_one_of_two_waypoints_and_go_past_none(model: Lab) -> None:
    caller = f"{EAST}/{SLEEP}"
    with enrolled(model):
        model.kubectl(EAST, "scale", "-n", "app", "deployment/waypoint", "--replicas=2")
        eventually(lambda: len(waypoints(model, EAST)) == 2, within=60, what="two waypoints")
        model.answered_by(caller, HELLO, {EAST})
        with model.under_load(caller, HELLO, 8) as calls, model.killed(f"{EAST}/app/{waypoints(model, EAST)[0]}"):
            model.answered_by(caller, HELLO, {EAST})
        assert len(calls.failures) <= 20  # what may have been under way at once, of 400
        model.kubectl(EAST, "scale", "-n", "app", "deployment/waypoint", "--replicas=0")
        model.refused(caller, HELLO)
        eventually(
            lambda: "no pod of this waypoint is ready" in model.ask(EAST, "/debug/problems"),
            within=20,
            what="a problem is told",
        )
    model.answered_by(caller, HELLO, {EAST})


# -- across clusters ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """East and west are linked, and the service is global in both."""
    with joined(model, (EAST, WEST)):
        model.answered_by(f"{EAST}/{SLEEP}", GLOBAL, {EAST})
        yield model


def test_the_waypoint_over_there_judges_requests_of_clusters_that_have_none(linked: Lab) -> None:
    """East has no waypoint, west has one: its policy holds for who comes by the gateway, and nobody comes past it."""
    caller = f"{EAST}/{SLEEP}"
    with nobody_at_home(linked, EAST), enrolled(linked, WEST, KNOWN), applied(linked, BY_WAYPOINT, WEST):
        seen = f"{GLOBAL}?mark=over-there"
        assert linked.answered_by(caller, seen, {WEST}).identities == {identity(EAST, "sleep")}
        with applied(linked, POLICY, WEST):
            eventually(lambda: statuses(linked, BATCH, GLOBAL) == {403}, within=20, what="others are refused")
            assert statuses(linked, SLEEP, GLOBAL) == {200}
            assert statuses(linked, SLEEP, f"{AFAR}/elsewhere") == {403}
        logged = eventually(lambda: requests(linked, WEST, "/hello?mark=over-there"), within=20, what="a log of them")
        assert {one["downstream_peer_uri_san"] for one in logged} == {identity(EAST, "sleep")}
        local = '{"spec": {"infrastructure": null}}'
        linked.kubectl(WEST, "patch", GATEWAY, "waypoint", "-n", "app", "--type=merge", "-p", local)
        linked.refused(caller, GLOBAL)


def test_a_waypoint_divides_requests_between_clusters(linked: Lab) -> None:
    with enrolled(linked, EAST, KNOWN), applied(linked, SPLIT):
        caller = f"{EAST}/{SLEEP}"
        calls = linked.answered_by(caller, HELLO, {EAST, WEST}, "--count", "120")
        assert 30 < calls.share(WEST) < 70
        assert calls.identities == {identity(EAST, "sleep")}
        assert statuses(linked, SLEEP, HELLO, "-H", "x-abort: 1") == {418}
        assert statuses(linked, SLEEP, f"{AT}/status/503") == {503}
        logged = eventually(lambda: requests(linked, EAST, "/status/503"), within=20, what="a log of them")
        tried = Counter(str(one.get("upstream_request_attempt_count")) for one in logged)
        assert set(tried) == {"3"}
