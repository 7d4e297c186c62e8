"""StatefulSets: stable names, one after the other, and back again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from isthmus_lab.controllers import statefulsets
from isthmus_lab.controllers.client import POD, STATEFUL_SET
from isthmus_lab.controllers.facts import is_ready
from tests.lab_pkg.controllers.world import START, Json, Simulation


def stateful_set(replicas: int, *, image: str = "v1", **spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    meta = {"name": "db", "namespace": "ns", "uid": "set-db", "generation": 1}
    body = {"replicas": replicas, "serviceName": "peers", "selector": {"matchLabels": {"app": "db"}}, **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": meta,
        "spec": {**body, "template": template},
        "status": {},
    }


def simulation(obj: Json) -> Simulation:
    made = Simulation([statefulsets.CONTROLLER])
    made.put(STATEFUL_SET, obj)
    made.settle()
    return made


def names(world: Simulation) -> list[str]:
    return sorted(str(pod["metadata"]["name"]) for pod in world.view.pods)


def make_ready(world: Simulation, name: str) -> None:
    pod = world.view.pods.get("ns", name)
    assert pod is not None
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": START}
    world.put(POD, {**pod, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}})
    world.settle()


def all_ready(world: Simulation) -> list[str]:
    """Let every pod become ready as it comes; the names in the order in which they came."""
    order: list[str] = []
    for _ in range(50):
        waiting = sorted(str(pod["metadata"]["name"]) for pod in world.view.pods if not is_ready(pod))
        if not waiting:
            return order
        order.append(waiting[0])
        make_ready(world, waiting[0])
    raise AssertionError("pods keep coming")


def change(world: Simulation, **spec: Any) -> None:
    obj = copy.deepcopy(world.view.stateful_sets.get("ns", "db"))
    assert obj is not None
    obj["spec"].update(spec)
    world.put(STATEFUL_SET, obj)
    world.settle()


def status(world: Simulation) -> Json:
    obj = world.view.stateful_sets.get("ns", "db")
    assert obj is not None
    return dict(obj["status"])


def test_pods_come_one_after_the_other_under_names_that_stay() -> None:
    world = simulation(stateful_set(3))
    assert names(world) == ["db-0"]
    make_ready(world, "db-0")
    assert names(world) == ["db-0", "db-1"]
    assert all_ready(world) == ["db-1", "db-2"]
    pod = world.view.pods.get("ns", "db-1")
    assert pod is not None
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "peers")
    labels = pod["metadata"]["labels"]
    assert (labels["app"], labels["apps.kubernetes.io/pod-index"]) == ("db", "1")
    counts = {key: status(world)[key] for key in ("replicas", "readyReplicas", "updatedReplicas", "currentReplicas")}
    assert counts == dict.fromkeys(counts, 3)


def test_a_pod_that_is_gone_comes_back_under_its_name() -> None:
    world = simulation(stateful_set(2))
    all_ready(world)
    first = world.view.pods.get("ns", "db-0")
    assert first is not None
    world.gone(POD, first)
    world.settle()
    again = world.view.pods.get("ns", "db-0")
    assert again is not None
    assert not is_ready(again)


def test_the_last_ones_go_first() -> None:
    world = simulation(stateful_set(3))
    all_ready(world)
    change(world, replicas=1)
    assert names(world) == ["db-0"]
    assert status(world)["replicas"] == 1


def test_nothing_is_removed_or_replaced_while_one_is_not_ready() -> None:
    world = simulation(stateful_set(3))
    make_ready(world, "db-0")
    old = world.view.pods.get("ns", "db-0")
    change(world, template=stateful_set(1, image="v2")["spec"]["template"])
    assert names(world) == ["db-0", "db-1"]
    assert world.view.pods.get("ns", "db-0") == old


@pytest.mark.parametrize(("partition", "replaced"), [(0, ["db-2", "db-1", "db-0"]), (1, ["db-2", "db-1"])])
def test_a_new_template_replaces_from_the_last_to_the_partition(partition: int, replaced: list[str]) -> None:
    world = simulation(stateful_set(3))
    all_ready(world)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    change(world, updateStrategy=strategy, template=stateful_set(3, image="v2")["spec"]["template"])
    assert all_ready(world) == replaced
    images = {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in world.view.pods}
    assert {name for name, image in images.items() if image == "v2"} == set(replaced)
    assert status(world)["updatedReplicas"] == len(replaced)


def test_in_parallel_nobody_waits() -> None:
    world = simulation(stateful_set(3, podManagementPolicy="Parallel"))
    assert names(world) == ["db-0", "db-1", "db-2"]


def test_on_delete_only_the_owner_replaces() -> None:
    world = simulation(stateful_set(1, updateStrategy={"type": "OnDelete"}))
    all_ready(world)
    change(world, template=stateful_set(1, image="v2")["spec"]["template"])
    assert all_ready(world) == []
