"""A node whose proxy is a ztunnel, beside nodes with our own: pods of both call each other as whom they are.

It runs with a client that speaks as ztunnel does, and, where ISTHMUS_ZTUNNEL names ztunnel's own program, with that.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.lab.ambient import BATCH, GATEWAYS, GLOBAL, HELLO, OUTSIDER, SLEEP, mark, nobody_at_home, pods
from tests.lab.harness import Lab, eventually
from tests.lab.test_ambient_waypoints import applied, enrolled, statuses
from tests.lab.ztunnel_node import SYSTEM, ZTUNNEL, Place, hand_over

pytestmark = pytest.mark.lab

EXAMPLE = "ambient/ztunnel.yaml"
EAST, WEST, NODE, OTHER = "east", "west", "east-2", "east-1"
CLUSTERS = (EAST, WEST)
PROGRAM = os.environ.get("ISTHMUS_ZTUNNEL", "")
REASON = "ISTHMUS_ZTUNNEL does not name a ztunnel program"
NEEDED = pytest.mark.skipif(not PROGRAM, reason=REASON)
KINDS = ["client", pytest.param("ztunnel", marks=NEEDED), pytest.param("on-demand", marks=NEEDED)]
PLACES = {"sleep": NODE, "batch": OTHER}
"""Who calls from the ztunnel's node, and who from ours."""


class Node(NamedTuple):
    """A lab in which a ztunnel is the proxy of a node."""

    lab: Lab
    kind: str


def account(name: str, namespace: str = "app") -> str:
    """A SPIFFE ID in the one trust domain that there is."""
    return f"spiffe://cluster.local/ns/{namespace}/sa/{name}"


def placed(lab: Lab, app: str, node: str) -> None:
    """The pods of an application are on that node from now on."""
    spec = '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"' + node + '"}}}}}'
    lab.kubectl(EAST, "patch", "deployment", app, "-n", "app", "--type=merge", "-p", spec)
    lab.kubectl(EAST, "rollout", "status", "-n", "app", f"deployment/{app}", "--timeout=40s")


@pytest.fixture(scope="module", params=KINDS)
def node(model: Lab, request: pytest.FixtureRequest) -> Node:
    """One of two nodes of east has a ztunnel."""
    kind = str(request.param)
    program = [sys.executable, "-m", "tests.lab.ztunnel_client"] if kind == "client" else [PROGRAM, "proxy", "ztunnel"]
    hand_over(model, Place(EAST, "east-net", NODE), program, on_demand=kind == "on-demand")
    for daemon_set in ("isthmus-node", "isthmus-node-ztunnel", ZTUNNEL):
        model.kubectl(EAST, "rollout", "status", "-n", SYSTEM, f"daemonset/{daemon_set}", "--timeout=60s")
    for app, place in PLACES.items():
        placed(model, app, place)
    return Node(model, kind)


@contextmanager
def answering_on(lab: Lab, place: str) -> Iterator[None]:
    """The service of east is on one node while the body runs."""
    placed(lab, "hello-world", place)
    lab.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})
    yield


def allowed(caller: str) -> str:
    """Only one account may call the service."""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: only-one, namespace: app}}
spec:
  selector: {{matchLabels: {{app: hello-world}}}}
  rules: [{{from: [{{source: {{principals: [cluster.local/ns/app/sa/{caller}]}}}}]}}]
"""


def all_captured(lab: Lab) -> bool:
    """True if the agents say so of all pods of the service."""
    found = pods(lab, EAST, "app", "hello-world")
    return bool(found) and {mark(pod) for pod in found} == {"enabled"}


def test_pods_of_a_ztunnel_call_pods_of_our_node_proxy_as_whom_they_are(node: Node) -> None:
    with answering_on(node.lab, OTHER):
        ways = node.lab.ways(f"{EAST}/{SLEEP}", HELLO)
        assert {(way.cluster, way.gateway, way.identity) for way in ways} == {(EAST, "", account("sleep"))}
        for caller, other in ((SLEEP, BATCH), (BATCH, SLEEP)):
            with applied(node.lab, allowed(caller.removeprefix("app/"))):
                node.lab.refused(f"{EAST}/{other}", HELLO)
                node.lab.answered_by(f"{EAST}/{caller}", HELLO, {EAST})


def test_a_ztunnel_lets_in_whom_policies_allow(node: Node) -> None:
    with answering_on(node.lab, NODE):
        node.lab.answered_by(f"{EAST}/{BATCH}", HELLO, {EAST})
        node.lab.refused(f"{EAST}/{OUTSIDER}", HELLO)
        for caller, other in ((SLEEP, BATCH), (BATCH, SLEEP)):
            with applied(node.lab, allowed(caller.removeprefix("app/"))):
                node.lab.refused(f"{EAST}/{other}", HELLO)
                node.lab.answered_by(f"{EAST}/{caller}", HELLO, {EAST})
        node.lab.answered_by(f"{EAST}/{BATCH}", HELLO, {EAST})


def test_pods_come_and_go_without_a_failed_call(node: Node) -> None:
    lab = node.lab
    with answering_on(lab, NODE), lab.under_load(f"{EAST}/{BATCH}", HELLO, 8) as calls:
        for replicas in (4, 2):
            lab.kubectl(EAST, "scale", "-n", "app", "deployment/hello-world", f"--replicas={replicas}")
            lab.kubectl(EAST, "rollout", "status", "-n", "app", "deployment/hello-world", "--timeout=40s")
        eventually(lambda: all_captured(lab), within=20, what="those that stay are captured")
    assert not calls.failures


def test_a_ztunnel_goes_on_without_the_control_plane_and_follows_it_again(node: Node) -> None:
    lab = node.lab
    with answering_on(lab, OTHER), lab.under_load(f"{EAST}/{SLEEP}", HELLO, 6) as calls, lab.killed(f"{EAST}/istiod"):
        assert not lab.call(f"{EAST}/{SLEEP}", HELLO, "--count", "20").failures
    assert not calls.failures
    with answering_on(lab, NODE):
        lab.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})


def test_what_a_ztunnel_left_is_taken_up_by_the_next(node: Node) -> None:
    (found,) = node.lab.get(EAST, "pods", "-n", SYSTEM, "-l", f"app={ZTUNNEL}")["items"]
    with node.lab.killed(f"{EAST}/{SYSTEM}/{found['metadata']['name']}"):
        node.lab.refused(f"{EAST}/{SLEEP}", HELLO)
    node.lab.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})


def test_a_pod_that_leaves_is_plain_and_comes_back(node: Node) -> None:
    lab = node.lab
    (pod,) = [one for one in pods(lab, EAST, "app", "sleep") if not one["metadata"].get("deletionTimestamp")]
    name = f"pod/{pod['metadata']['name']}"
    lab.kubectl(EAST, "label", "-n", "app", name, "istio.io/dataplane-mode=none")
    lab.refused(f"{EAST}/{SLEEP}", HELLO)
    lab.kubectl(EAST, "label", "-n", "app", name, "istio.io/dataplane-mode-")
    lab.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST})


# -- what only ztunnel's own program does -----------------------------------------------------------------------------

REQUESTS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-hello, namespace: app}
spec:
  targetRefs: [{kind: Service, group: "", name: hello-world}]
  rules:
    - from: [{source: {principals: [cluster.local/ns/app/sa/sleep]}}]
      to: [{operation: {methods: [GET], paths: [/hello]}}]
"""


@pytest.fixture
def real(node: Node) -> Lab:
    """Tests that ask for more than the client does."""
    if node.kind == "client":
        pytest.skip("the client opens simple tunnels to pods only")
    return node.lab


@pytest.fixture
def linked(real: Lab, node: Node) -> Iterator[Lab]:
    """Both clusters are linked, and the service is global in both."""
    if node.kind == "on-demand":
        pytest.skip("a ztunnel that asks for what it needs answers no names")
    every = ("--contexts", ",".join(CLUSTERS), "--namespace", GATEWAYS)
    for cluster in CLUSTERS:
        real.run("multicluster", "expose", "--context", cluster, "--namespace", GATEWAYS)
        real.kubectl(cluster, "label", "service", "hello-world", "-n", "app", "solo.io/service-scope=global")
    real.run("multicluster", "link", *every)
    yield real
    for cluster in CLUSTERS:
        real.kubectl(cluster, "label", "service", "hello-world", "-n", "app", "solo.io/service-scope-")
    real.run("multicluster", "unlink", *every, check=False)


def test_a_waypoint_stands_between_pods_of_a_ztunnel_and_others(real: Lab) -> None:
    for place in (NODE, OTHER):
        with answering_on(real, place), enrolled(real):
            identities = real.answered_by(f"{EAST}/{SLEEP}", HELLO, {EAST}).identities
            assert identities == {account("sleep")}
            with applied(real, REQUESTS):
                eventually(lambda: statuses(real, BATCH, HELLO) == {403}, within=20, what="others are refused")
                assert statuses(real, SLEEP, HELLO) == {200}


def test_another_network_is_reached_through_its_gateway_both_ways(linked: Lab) -> None:
    caller = f"{EAST}/{SLEEP}"
    with answering_on(linked, NODE):
        linked.answered_by(caller, GLOBAL, {EAST})
        with nobody_at_home(linked, EAST):
            linked.answered_by(caller, GLOBAL, {WEST})
            ways = linked.ways(caller, GLOBAL)
        assert {(way.cluster, way.identity) for way in ways} == {(WEST, account("sleep"))}
        assert all(way.gateway.startswith(f"{WEST}/istio-eastwest-") for way in ways)
        with nobody_at_home(linked, WEST):
            linked.answered_by(f"{WEST}/{SLEEP}", GLOBAL, {EAST})
            with applied(linked, allowed("batch")):
                linked.answered_by(f"{WEST}/{BATCH}", GLOBAL, {EAST})
                linked.refused(f"{WEST}/{SLEEP}", GLOBAL)
