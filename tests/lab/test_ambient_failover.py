"""The variant `mixed` of the example `ambient`, under load: what dies while another way is open costs no request.

Three kinds of clients call at the same time: a pod of a node's proxy, one with a sidecar, and one whose calls go
through a waypoint. What may fail is what was on its way where something was killed (`IN_FLIGHT`), and nothing after.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from tests.lab.ambient import CLUSTERS, GATEWAY, GATEWAYS, SLEEP, identity, joined, pods
from tests.lab.harness import Calls, Lab, eventually
from tests.lab.test_ambient_gateways import gateway_pods, is_ready, reaches, scaled
from tests.lab.test_ambient_waypoints import WAYPOINT, programmed

pytestmark = pytest.mark.lab

EXAMPLE = "ambient/mixed.yaml"

DIRECT = "http://hello-direct.app.mesh.internal:5000/hello"
THROUGH = "http://hello-world.app.mesh.internal:5000/hello"
CLIENTS = {
    "node": (f"east/{SLEEP}", DIRECT),
    "sidecar": (f"west/{SLEEP}", DIRECT),
    "waypoint": ("east/app/batch", THROUGH),
}
"""Who calls, and what: hello-world has a waypoint in east, hello-direct is the same pods without one."""

HOME = {"node": "east", "sidecar": "west", "waypoint": "east"}
RATE = 20
IN_FLIGHT = 2
"""Requests of each client that a kill may meet on their way: those of a tenth of a second."""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: hello-direct, namespace: app, labels: {solo.io/service-scope: global}}
spec:
  selector: {app: hello-world}
  ports: [{name: http, port: 5000, targetPort: http}]
"""


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """All are linked, two services are global, one of them goes through a waypoint in east; north has two gateways."""
    for cluster in CLUSTERS:
        model.kubectl(cluster, "apply", "-f", "-", stdin=SERVICE)
    with joined(model):
        everything_serves(model)
        yield model


def everything_serves(model: Lab) -> None:
    """The waypoint and all gateways are there and known, and each client is answered at home."""
    model.kubectl("east", "apply", "-f", "-", stdin=WAYPOINT)
    scaled(model, "north", GATEWAY, 2, GATEWAYS)
    eventually(lambda: programmed(model), within=60, what="the waypoint serves")
    model.kubectl("east", "label", "service", "hello-world", "-n", "app", "istio.io/use-waypoint=waypoint")
    eventually(lambda: len(gateway_pods(model, "north")) == 2, within=40, what="north has two gateways")
    for cluster in ("east", "west"):
        knows(model, cluster, gateways=4)
    for kind, home in HOME.items():
        calls = model.answered_by(*CLIENTS[kind], {home})
        # Only a waypoint tells a pod without a sidecar who calls.
        assert kind != "waypoint" or calls.identities == {identity("east", "batch")}


def knows(lab: Lab, cluster: str, *, gateways: int) -> None:
    """Wait until a cluster's control plane knows so many gateways, its own among them."""
    eventually(lambda: len(reaches(lab, cluster)) == gateways, within=30, what=f"{cluster} knows {gateways} gateways")


@contextmanager
def everybody_calls(lab: Lab, seconds: float) -> Iterator[dict[str, Calls]]:
    """All kinds of clients call while the body runs, at least for `seconds`; complete after the body."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(lab.under_load(caller, url, seconds, rate=RATE))
            for kind, (caller, url) in CLIENTS.items()
        }


@contextmanager
def nobody_in(lab: Lab, *clusters: str, left: set[str]) -> Iterator[None]:
    """The services have no endpoints in some clusters while the body runs; who called there is answered by others."""
    for cluster in clusters:
        scaled(lab, cluster, "hello-world", 0)
    try:
        for kind in (kind for kind, home in HOME.items() if home in clusters):
            lab.answered_by(*CLIENTS[kind], left)
        # Those that end are endpoints until they are gone, and traffic is ranked anew then.
        gone = partial(pods, lab, namespace="app", app="hello-world")
        eventually(lambda: not any(gone(cluster=cluster) for cluster in clusters), within=30, what="no pod is left")
        yield
    finally:
        for cluster in clusters:
            scaled(lab, cluster, "hello-world", 2)
        for kind, home in HOME.items():
            lab.answered_by(*CLIENTS[kind], {home})


def lost(calls: dict[str, Calls]) -> dict[str, list[tuple[int, str]]]:
    """The requests of each kind of client that failed, with status and error."""
    return {kind: [(one.status, one.error) for one in found.failures] for kind, found in calls.items()}


def only_in_flight(calls: dict[str, Calls]) -> bool:
    """True if no more failed than what a kill may have met on its way."""
    return all(len(failures) <= IN_FLIGHT for failures in lost(calls).values())


def a_pod(lab: Lab, cluster: str) -> str:
    """One of the pods that answer in a cluster, as `isthmus lab kill` takes it."""
    return f"{cluster}/app/{pods(lab, cluster, 'app', 'hello-world')[0]['metadata']['name']}"


def ready(lab: Lab, cluster: str) -> int:
    """How many of a cluster's pods that answer are ready."""
    return sum(is_ready(pod) for pod in pods(lab, cluster, "app", "hello-world"))


def used(lab: Lab) -> set[str]:
    """The gateways of north that new calls of a node's pod take."""
    ways = lab.ways(*CLIENTS["node"], 12)
    return {way.gateway.rpartition("/")[2] for way in ways}


NOTHING: dict[str, list[tuple[int, str]]] = {kind: [] for kind in CLIENTS}


def test_one_of_two_pods_at_home_dies_hard(linked: Lab) -> None:
    with everybody_calls(linked, 8) as calls, linked.killed(a_pod(linked, "east"), a_pod(linked, "west")):
        eventually(lambda: (ready(linked, "east"), ready(linked, "west")) == (1, 1), within=20, what="they are known")
    assert only_in_flight(calls), lost(calls)


def test_others_answer_when_nobody_is_at_home_any_more_and_back(linked: Lab) -> None:
    with everybody_calls(linked, 12) as calls, nobody_in(linked, "east", "west", left={"north"}):
        pass
    assert lost(calls) == NOTHING
    for kind, found in calls.items():
        assert {HOME[kind], "north"} <= set(found.clusters)


def test_one_of_two_gateways_is_killed_and_comes_back(linked: Lab) -> None:
    first, second = gateway_pods(linked, "north")
    with nobody_in(linked, "east", "west", left={"north"}):
        with everybody_calls(linked, 12) as calls:
            with linked.killed(f"north/{GATEWAYS}/{first}"):
                for cluster in ("east", "west"):
                    knows(linked, cluster, gateways=3)
            eventually(lambda: used(linked) == {first, second}, within=30, what="both gateways carry calls")
        assert only_in_flight(calls), lost(calls)
        with everybody_calls(linked, 8) as calls, linked.killed(a_pod(linked, "north")):
            pass
        assert only_in_flight(calls), lost(calls)


def test_all_pods_of_a_node_elsewhere_are_lost_with_its_proxy(linked: Lab) -> None:
    with nobody_in(linked, "east", left={"west", "north"}):
        with everybody_calls(linked, 8) as calls, linked.killed("north/node/north-1/proxy"):
            for kind in ("node", "waypoint"):
                linked.answered_by(*CLIENTS[kind], {"west"})
        assert only_in_flight(calls), lost(calls)
