"""EndpointSlices: addresses, conditions, ports, and that endpoints stay in their slice."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from isthmus_lab.controllers import endpoints
from isthmus_lab.controllers.client import ENDPOINT_SLICE, POD, SERVICE
from isthmus_lab.controllers.plan import Create, Delete, Replace
from tests.lab_pkg.controllers.world import NOW, START, Json, Simulation, node, of_type, pod, service, view

APP = {"app": "web"}


def decide(*, svc: Json | None, pods: list[Json], slices: Sequence[Json] = ()) -> Any:
    nodes = [node("n1", "zone-a")]
    found = view(services=[svc] if svc else [], pods=pods, endpointslices=slices, nodes=nodes)
    return endpoints.desired(found, ("ns", "web"), NOW).actions


def one_slice(svc: Json, pods: list[Json]) -> Json:
    (action,) = decide(svc=svc, pods=pods)
    assert isinstance(action, Create)
    return action.obj


def deleting(obj: Json) -> Json:
    obj["metadata"]["deletionTimestamp"] = START
    return obj


def finished(obj: Json) -> Json:
    obj["status"]["phase"] = "Failed"
    return obj


def test_a_slice_says_who_where_and_whose() -> None:
    target = pod("a", labels=APP, on="n1", ip="10.0.0.1", ready=True)
    target["spec"] |= {"hostname": "a-0", "subdomain": "web"}
    made = one_slice(service("web", APP), [target])
    assert made["addressType"] == "IPv4"
    assert made["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": "a", "uid": "pod-a"},
            "nodeName": "n1",
            "zone": "zone-a",
            "hostname": "a-0",
        }
    ]
    meta = made["metadata"]
    assert meta["labels"] == {
        "app": "web",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert [owner["uid"] for owner in meta["ownerReferences"]] == ["svc-web"]


@pytest.mark.parametrize(
    ("state", "always", "conditions"),
    [
        ("ready", False, (True, True, False)),
        ("unready", False, (False, False, False)),
        ("ready deleting", False, (False, True, True)),
        ("unready deleting", False, (False, False, True)),
        ("unready", True, (True, False, False)),
        ("ready deleting", True, (True, True, True)),
    ],
)
def test_conditions(state: str, always: bool, conditions: tuple[bool, bool, bool]) -> None:
    target = pod("a", labels=APP, ip="10.0.0.1", ready=not state.startswith("unready"))
    if "deleting" in state:
        deleting(target)
    made = one_slice(service("web", APP, publishNotReadyAddresses=always), [target])
    found = made["endpoints"][0]["conditions"]
    assert (found["ready"], found["serving"], found["terminating"]) == conditions


@pytest.mark.parametrize(
    "other",
    [
        pod("a", labels={"app": "other"}, ip="10.0.0.1", ready=True),
        pod("a", labels=APP),
        finished(pod("a", labels=APP, ip="10.0.0.1")),
    ],
    ids=["not selected", "no address", "finished"],
)
def test_pods_that_are_no_endpoints(other: Json) -> None:
    assert one_slice(service("web", APP), [other])["endpoints"] == []


NAMED = [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "raw", "port": 9000, "protocol": "UDP"}]


def with_port(name: str, address: str, number: int, *, sidecar: bool = False) -> Json:
    made = pod(name, labels=APP, ip=address, ready=True)
    container = {"name": "c", "ports": [{"name": "web", "containerPort": number}]}
    if sidecar:
        made["spec"]["initContainers"] = [{**container, "restartPolicy": "Always"}]
    else:
        made["spec"]["containers"] = [container]
    return made


@pytest.mark.parametrize("sidecar", [False, True])
def test_named_ports_are_those_of_each_pod(sidecar: bool) -> None:
    pods = [with_port("a", "10.0.0.1", 8080, sidecar=sidecar), with_port("b", "10.0.0.2", 9090)]
    made = [action.obj for action in decide(svc=service("web", APP, NAMED), pods=pods)]
    found = {tuple(port["port"] for port in item["ports"]): len(item["endpoints"]) for item in made}
    assert found == {(8080, 9000): 1, (9090, 9000): 1}
    assert len({item["metadata"]["name"] for item in made}) == 2


def test_a_pod_without_the_named_port_offers_the_others() -> None:
    made = one_slice(service("web", APP, NAMED), [pod("a", labels=APP, ip="10.0.0.1", ready=True)])
    assert [port["name"] for port in made["ports"]] == ["raw"]


@pytest.mark.parametrize(
    "svc",
    [service("web", None), service("web", {}), service("web", APP, type="ExternalName")],
    ids=["none", "empty", "external"],
)
def test_services_without_selector_are_left_alone(svc: Json) -> None:
    labels = {endpoints.SERVICE_NAME: "web"}
    foreign = {"metadata": {"name": "mine", "namespace": "ns", "labels": labels}, "endpoints": []}
    pods = [pod("a", labels=APP, ip="10.0.0.1", ready=True)]
    assert decide(svc=svc, pods=pods, slices=[foreign]) == ()


def test_slices_go_with_their_service_and_its_selector() -> None:
    made = one_slice(service("web", APP), [])
    assert [type(action) for action in decide(svc=None, pods=[], slices=[made])] == [Delete]
    assert [type(action) for action in decide(svc=service("web", None), pods=[], slices=[made])] == [Delete]
    again = service("web", APP)
    again["metadata"]["uid"] = "another"
    actions = decide(svc=again, pods=[], slices=[made])
    assert [type(action) for action in actions] == [Create, Delete]
    assert actions[0].obj["metadata"]["name"] != made["metadata"]["name"]


def test_what_is_right_is_not_written_again() -> None:
    pods = [pod("a", labels=APP, on="n1", ip="10.0.0.1", ready=True)]
    made = one_slice(service("web", APP), pods)
    assert decide(svc=service("web", APP), pods=pods, slices=[made]) == ()


def test_readiness_is_one_replacement_bound_to_the_version_seen() -> None:
    target = pod("a", labels=APP, on="n1", ip="10.0.0.1", ready=True)
    made = one_slice(service("web", APP), [target])
    made["metadata"]["resourceVersion"] = "17"
    unready = pod("a", labels=APP, on="n1", ip="10.0.0.1", ready=False)
    (action,) = decide(svc=service("web", APP), pods=[unready], slices=[made])
    assert isinstance(action, Replace)
    assert action.obj["metadata"]["resourceVersion"] == "17"
    assert action.obj["endpoints"][0]["conditions"]["ready"] is False


def test_the_last_pod_leaves_an_empty_slice_with_the_same_ports() -> None:
    svc = service("web", APP, NAMED)
    made = one_slice(svc, [with_port("a", "10.0.0.1", 8080)])
    (action,) = decide(svc=svc, pods=[], slices=[made])
    assert isinstance(action, Replace)
    assert action.obj["endpoints"] == []
    assert [port["port"] for port in action.obj["ports"]] == [8080, 9000]


def test_headless_slices_say_so() -> None:
    made = one_slice(service("web", APP, clusterIP="None"), [])
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_many_endpoints_are_split_and_stay_where_they_are() -> None:
    world = Simulation([endpoints.CONTROLLER])
    world.put(SERVICE, service("web", APP))
    pods = [pod(f"p{i:03d}", labels=APP, ip=f"10.0.{i // 200}.{i % 200}", ready=True) for i in range(230)]
    for item in pods:
        world.put(POD, item)
    world.settle()
    assert sorted(len(item["endpoints"]) for item in world.view.slices) == [30, 100, 100]
    before = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in world.view.slices}
    world.gone(POD, pods[0])
    world.settle()
    after = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in world.view.slices}
    assert sum(before[name] != after[name] for name in before) == 1


def test_a_pod_that_loses_its_label_leaves_the_slice() -> None:
    world = Simulation([endpoints.CONTROLLER])
    world.put(SERVICE, service("web", APP))
    target = world.put(POD, pod("a", labels=APP, ip="10.0.0.1", ready=True))
    world.settle()
    other = copy.deepcopy(target)
    other["metadata"]["labels"] = {}
    world.put(POD, other)
    world.settle()
    (item,) = world.view.slices
    assert item["endpoints"] == []


def test_slices_that_somebody_changed_are_put_right() -> None:
    world = Simulation([endpoints.CONTROLLER])
    world.put(SERVICE, service("web", APP))
    world.put(POD, pod("a", labels=APP, ip="10.0.0.1", ready=True))
    world.settle()
    (item,) = world.view.slices
    world.put(ENDPOINT_SLICE, {**item, "endpoints": []})
    world.settle()
    (item,) = world.view.slices
    assert len(item["endpoints"]) == 1
    assert of_type(world.written, Delete) == []
