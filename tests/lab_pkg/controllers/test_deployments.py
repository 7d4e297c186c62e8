"""Deployments: single decisions, and whole rollouts with their limits kept at every step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus_lab.controllers import deployments, replicasets
from isthmus_lab.controllers.client import DEPLOYMENT, POD, REPLICA_SET
from isthmus_lab.controllers.facts import condition, is_ready
from isthmus_lab.controllers.plan import Create, Delete, Patch, Record
from tests.lab_pkg.controllers.world import NOW, START, Json, Simulation, deployment, later, of_type


def simulation(*objects: Json) -> Simulation:
    made = Simulation([deployments.CONTROLLER, replicasets.CONTROLLER])
    for obj in objects:
        made.put(DEPLOYMENT, obj)
    return made


def make_ready(world: Simulation, pod: Json) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": START}
    world.put(POD, {**pod, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}})


def all_ready(world: Simulation) -> None:
    """Settle, with every pod ready at once."""
    for _ in range(50):
        world.settle()
        waiting = [pod for pod in world.view.pods if not is_ready(pod)]
        if not waiting:
            return
        for pod in waiting:
            make_ready(world, pod)
    raise AssertionError("pods keep coming")


def get(world: Simulation, name: str = "web") -> Json:
    found = world.view.deployments.get("ns", name)
    assert found is not None
    return found


def change(world: Simulation, **spec: Any) -> None:
    obj = copy.deepcopy(get(world))
    obj["spec"].update(spec)
    world.put(DEPLOYMENT, obj)


def template(image: str) -> Json:
    return dict(deployment("web", 1, image=image)["spec"]["template"])


def sizes(world: Simulation) -> dict[str, int]:
    """Wanted replicas by image."""
    return {
        item["spec"]["template"]["spec"]["containers"][0]["image"]: item["spec"]["replicas"]
        for item in world.view.replica_sets
    }


def test_first_rollout_makes_a_replica_set_with_the_hash_in_name_label_and_selector() -> None:
    world = simulation(deployment("web", 2))
    world.step()
    made = of_type(world.written, Create)
    assert [action.kind for action in made] == [REPLICA_SET]
    obj = made[0].obj
    digest = deployments.template_hash(get(world))
    assert obj["metadata"]["name"] == f"web-{digest}"
    assert obj["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert obj["spec"]["template"]["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest}
    assert obj["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}
    assert obj["metadata"]["ownerReferences"][0]["controller"] is True
    assert obj["spec"]["replicas"] == 2


def test_status_is_what_rollout_status_waits_for() -> None:
    world = simulation(deployment("web", 3))
    world.settle()
    waiting = get(world)["status"]
    assert (waiting["updatedReplicas"], waiting["availableReplicas"], waiting["unavailableReplicas"]) == (3, 0, 3)
    assert condition(get(world), "Available")["status"] == "False"
    assert condition(get(world), "Progressing")["reason"] == "ReplicaSetUpdated"
    all_ready(world)
    done = get(world)
    counts = {key: value for key, value in done["status"].items() if key != "conditions"}
    assert counts == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "unavailableReplicas": 0,
    }
    assert condition(done, "Available")["status"] == "True"
    assert condition(done, "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


def test_observed_generation_follows_a_change_without_effect_on_pods() -> None:
    world = simulation(deployment("web", 1))
    all_ready(world)
    change(world, revisionHistoryLimit=3)
    world.settle()
    assert get(world)["status"]["observedGeneration"] == get(world)["metadata"]["generation"] == 2


@pytest.mark.parametrize(("replicas", "pods"), [(5, 5), (1, 1), (0, 0)])
def test_scaling_without_a_new_template(replicas: int, pods: int) -> None:
    world = simulation(deployment("web", 3))
    all_ready(world)
    change(world, replicas=replicas)
    all_ready(world)
    assert len(world.view.pods) == pods
    assert len(world.view.replica_sets) == 1
    assert get(world)["status"]["availableReplicas"] == pods


@settings(max_examples=60, deadline=None)
@given(
    replicas=st.integers(0, 6),
    surge=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "100%"])),
    unavailable=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "50%"])),
    order=st.randoms(use_true_random=False),
)
def test_a_rollout_keeps_its_limits_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, order: Any
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    world = simulation(deployment("web", replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling}))
    all_ready(world)
    change(world, template=template("v2"))
    most, least = limits(replicas, surge, unavailable)
    for _ in range(400):
        if not world.step():
            waiting = [pod for pod in world.view.pods if not is_ready(pod)]
            if not waiting:
                break
            make_ready(world, order.choice(waiting))
        assert len(world.view.pods) <= most
        assert sum(is_ready(pod) for pod in world.view.pods) >= least
    assert {image: size for image, size in sizes(world).items() if size} == ({"v2": replicas} if replicas else {})
    assert condition(get(world), "Progressing")["reason"] == "NewReplicaSetAvailable"


def limits(replicas: int, surge: int | str, unavailable: int | str) -> tuple[int, int]:
    """(most pods, fewest ready pods) that the strategy allows, computed apart from the code under test."""

    def count(value: int | str, up: bool) -> int:
        if isinstance(value, int):
            return value
        whole, rest = divmod(int(value[:-1]) * replicas, 100)
        return whole + (1 if up and rest else 0)

    over, under = count(surge, True), count(unavailable, False)
    if over == under == 0:
        under = 1
    return replicas + over, max(0, replicas - under)


def test_a_stuck_rollout_keeps_the_old_pods_and_says_so() -> None:
    world = simulation(deployment("web", 4, progressDeadlineSeconds=60))
    all_ready(world)
    change(world, template=template("broken"))
    world.settle()
    assert sizes(world) == {"v1": 3, "broken": 2}  # 25 % over, 25 % under
    assert condition(get(world), "Available")["status"] == "True"
    world.now = later(61)
    plan = deployments.desired(world.view, ("ns", "web"), world.now)
    (patch,) = of_type(plan.actions, Patch)
    (progressing,) = [item for item in patch.patch["status"]["conditions"] if item["type"] == "Progressing"]
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_a_rollout_under_way_is_looked_at_again_when_its_time_is_up() -> None:
    world = simulation(deployment("web", 1, progressDeadlineSeconds=60))
    world.settle()
    plan = deployments.desired(world.view, ("ns", "web"), later(20))
    assert plan.actions == ()
    assert plan.again == pytest.approx(41)


def test_undo_reuses_the_old_replica_set_as_the_newest_revision() -> None:
    world = simulation(deployment("web", 1))
    all_ready(world)
    first = world.view.replica_sets.owned_by("deploy-web")[0]["metadata"]["name"]
    change(world, template=template("v2"))
    all_ready(world)
    change(world, template=template("v1"))
    all_ready(world)
    assert len(world.view.replica_sets) == 2
    again = world.view.replica_sets.get("ns", first)
    assert again is not None
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert get(world)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_old_replica_sets_are_kept_up_to_the_history_limit() -> None:
    world = simulation(deployment("web", 1, revisionHistoryLimit=2))
    all_ready(world)
    for image in ("v2", "v3", "v4", "v5"):
        change(world, template=template(image))
        all_ready(world)
    assert sorted(sizes(world)) == ["v3", "v4", "v5"]


def test_recreate_waits_until_all_old_pods_are_gone() -> None:
    world = simulation(deployment("web", 2, strategy={"type": "Recreate"}))
    all_ready(world)
    change(world, template=template("v2"))
    seen = set()
    while world.step():
        images = {pod["spec"]["containers"][0]["image"] for pod in world.view.pods}
        assert len(images) <= 1
        seen |= images
    assert seen == {"v1", "v2"}
    assert sizes(world) == {"v1": 0, "v2": 2}


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = simulation(deployment("web", 2))
    all_ready(world)
    change(world, paused=True, template=template("v2"))
    all_ready(world)
    assert sizes(world) == {"v1": 2}
    change(world, replicas=4)
    all_ready(world)
    assert sizes(world) == {"v1": 4}
    change(world, paused=False)
    all_ready(world)
    assert sizes(world) == {"v1": 0, "v2": 4}


def test_a_failure_to_make_pods_shows_in_the_status_until_it_works() -> None:
    world = simulation(deployment("web", 1))
    world.step()
    (replica_set,) = world.view.replica_sets
    key = ("ns", replica_set["metadata"]["name"])
    world.view.failures["ReplicaSet", key] = "webhook says no"
    world.settle()
    failure = condition(get(world), "ReplicaFailure")
    assert (failure["reason"], failure["message"]) == ("FailedCreate", "webhook says no")
    world.view.failures.clear()
    all_ready(world)
    assert condition(get(world), "ReplicaFailure") == {}


def test_what_is_at_rest_is_not_written_again() -> None:
    world = simulation(deployment("web", 2))
    all_ready(world)
    assert deployments.desired(world.view, ("ns", "web"), later(5)).actions == ()
    (replica_set,) = world.view.replica_sets
    assert replicasets.desired(world.view, ("ns", replica_set["metadata"]["name"]), later(5)).actions == ()


def test_a_deployment_that_goes_away_decides_nothing() -> None:
    world = simulation(deployment("web", 2))
    obj = copy.deepcopy(get(world))
    obj["metadata"]["deletionTimestamp"] = START
    world.put(DEPLOYMENT, obj)
    world.settle()
    assert world.written == []
    assert deployments.desired(world.view, ("ns", "none"), NOW).actions == ()


def test_the_first_pods_are_told_by_an_event() -> None:
    world = simulation(deployment("web", 2))
    world.step()
    (event,) = of_type(world.written, Record)
    assert event.message.startswith("Scaled up replica set web-")
    assert of_type(world.written, Delete) == []
