"""Pod status out of container states."""

from typing import Any

import pytest

from isthmus_lab.kubelet.status import ContainerState, Ended, PodFacts, Role, conditions, phase, pod_status

ENDED_WELL = Ended(0, 100.0, 110.0)
ENDED_BADLY = Ended(3, 100.0, 110.0)


def state(name: str, role: Role = Role.MAIN, **fields: Any) -> ContainerState:
    made = ContainerState(name, "isthmus/sleep", role)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


RUNNING: dict[str, Any] = {"running_since": 100.0, "started": True}


@pytest.mark.parametrize(
    ("states", "initialized", "policy", "expected"),
    [
        ([state("a")], True, "Always", "Pending"),
        ([state("a", **RUNNING)], True, "Always", "Running"),
        ([state("i", Role.INIT, ended=ENDED_BADLY)], False, "Always", "Pending"),
        ([state("i", Role.INIT, ended=ENDED_BADLY)], False, "Never", "Failed"),
        ([state("a", ended=ENDED_WELL)], True, "Never", "Succeeded"),
        ([state("a", ended=ENDED_BADLY)], True, "Never", "Failed"),
        ([state("a", ended=ENDED_WELL), state("s", Role.SIDECAR, **RUNNING)], True, "OnFailure", "Succeeded"),
        ([state("a", ended=ENDED_BADLY)], True, "Always", "Running"),
        ([state("a", last=ENDED_BADLY, waiting="CrashLoopBackOff")], True, "Always", "Running"),
    ],
)
def test_phase(states: list[ContainerState], initialized: bool, policy: str, expected: str) -> None:
    assert phase(states, initialized=initialized, restart_policy=policy) == expected


def facts(**changes: Any) -> PodFacts:
    values: dict[str, Any] = {
        "pod_ip": "10.0.0.5",
        "host_ip": "10.0.0.1",
        "start_time": 90.0,
        "initialized": True,
        "restart_policy": "Always",
    }
    return PodFacts(**(values | changes))


def ready_of(status: dict[str, Any]) -> str:
    return str(next(c["status"] for c in status["conditions"] if c["type"] == "Ready"))


def test_a_pod_is_ready_with_all_containers_and_sidecars() -> None:
    main = state("a", **RUNNING, ready=True)
    side = state("s", Role.SIDECAR, **RUNNING)
    init = state("i", Role.INIT, ended=ENDED_WELL)
    status = pod_status(facts(), [init, side, main], {}, 120.0)
    assert ready_of(status) == "False"
    side.ready = True
    status = pod_status(facts(), [init, side, main], status, 130.0)
    assert ready_of(status) == "True"
    assert [s["name"] for s in status["initContainerStatuses"]] == ["i", "s"]
    assert status["podIPs"] == [{"ip": "10.0.0.5"}]
    assert status["startTime"] == "1970-01-01T00:01:30Z"


def test_states_are_shown_as_kubernetes_does() -> None:
    waiting = state("a", waiting="ErrImagePull", message="no such").show()
    assert waiting["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such"}}
    ended = state("a", ended=ENDED_BADLY, last=ENDED_WELL, restarts=2, container_id="x").show()
    assert ended["state"]["terminated"]["exitCode"] == 3
    assert ended["state"]["terminated"]["reason"] == "Error"
    assert ended["lastState"]["terminated"]["reason"] == "Completed"
    assert ended["restartCount"] == 2


def test_conditions_keep_the_time_of_their_last_change_and_those_of_others() -> None:
    other = {"type": "Mine", "status": "True", "lastTransitionTime": "t"}
    first = conditions({"Ready": (False, "Why", "because")}, [other], 10.0)
    assert [c["type"] for c in first] == ["Ready", "Mine"]
    again = conditions({"Ready": (False, "Why", "because")}, first, 20.0)
    assert again[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    turned = conditions({"Ready": (True, "", "")}, again, 30.0)
    assert turned[0]["lastTransitionTime"] == "1970-01-01T00:00:30Z"
    assert "reason" not in turned[0]
