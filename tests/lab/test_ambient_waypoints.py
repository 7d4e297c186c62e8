"""The scenario `ambient` with a waypoint: what is said in requests counts, and who calls is known all the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.harness import Lab, eventually
from tests.lab.test_ambient import CLUSTERS, SLEEP, identity

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
EAST = CLUSTERS[0]
HELLO = "http://hello-world.app:5000/hello"
ELSEWHERE = "http://hello-world.app:5000/elsewhere"

WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: app}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""

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

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: teapot, namespace: app}
spec:
  parentRefs: [{kind: Service, group: "", name: hello-world, port: 5000}]
  rules:
    - matches: [{path: {value: /elsewhere}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /hello}}}]
      backendRefs: [{name: hello-world, port: 5000}]
    - backendRefs: [{name: hello-world, port: 5000}]
"""


def programmed(lab: Lab) -> bool:
    """True if the waypoint serves."""
    found = lab.get(EAST, "gateways.gateway.networking.k8s.io", "waypoint", "-n", "app").get("status") or {}
    return any(one["type"] == "Programmed" and one["status"] == "True" for one in found.get("conditions") or [])


@contextmanager
def enrolled(lab: Lab) -> Iterator[None]:
    """The namespace goes through a waypoint while the body runs."""
    lab.kubectl(EAST, "apply", "-f", "-", stdin=WAYPOINT)
    try:
        eventually(lambda: programmed(lab), within=60, what="the waypoint serves")
        lab.kubectl(EAST, "label", "namespace", "app", "istio.io/use-waypoint=waypoint")
        yield
    finally:
        lab.kubectl(EAST, "label", "namespace", "app", "istio.io/use-waypoint-")
        lab.kubectl(EAST, "delete", "-f", "-", stdin=WAYPOINT)


@contextmanager
def applied(lab: Lab, manifest: str) -> Iterator[None]:
    """An object is there while the body runs."""
    lab.kubectl(EAST, "apply", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        lab.kubectl(EAST, "delete", "-f", "-", stdin=manifest)


def statuses(lab: Lab, caller: str, url: str) -> set[int]:
    """What a few calls are answered."""
    return {call.status for call in lab.call(f"{EAST}/{caller}", url, "--count", "6").calls}


def test_a_waypoint_looks_into_requests(model: Lab) -> None:
    with enrolled(model):
        calls = model.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})
        assert calls.identities == {identity(EAST, "sleep")}
        with applied(model, POLICY):
            refused = {403}
            eventually(lambda: statuses(model, "app/batch", HELLO) == refused, within=20, what="others are refused")
            assert statuses(model, SLEEP, HELLO) == {200}
            assert statuses(model, SLEEP, ELSEWHERE) == refused
        with applied(model, ROUTE):
            eventually(lambda: statuses(model, SLEEP, ELSEWHERE) == {200}, within=20, what="the route counts")
    model.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})
    assert statuses(model, SLEEP, ELSEWHERE) == {404}
