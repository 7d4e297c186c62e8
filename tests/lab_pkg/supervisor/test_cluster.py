"""When a cluster counts as ready."""

from typing import Any

from isthmus_lab.supervisor.cluster import unready_words


def pod(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"u-{name}", **fields.pop("metadata", {})}, **fields}


def local(name: str, *, ready: bool, troubles: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    return {f"u-{name}": {"ready": ready, "troubles": list(troubles)}}


def test_what_the_kubelets_say_counts_not_what_was_reported_long_ago() -> None:
    stale = {"conditions": [{"type": "Ready", "status": "True"}]}
    words = unready_words("east", [pod("a", status=stale)], {}, local("a", ready=False, troubles=("c: Held",)))
    assert words == ["east: pod ns/a is not ready (c: Held)"]
    assert unready_words("east", [pod("a")], {}, local("a", ready=True)) == []
    assert unready_words("east", [pod("a")], {}, {}) == ["east: pod ns/a is not ready (not started by a kubelet yet)"]


def test_pods_that_end_or_ended_are_not_waited_for() -> None:
    pods = [pod("a", metadata={"deletionTimestamp": "t"}), pod("b", status={"phase": "Succeeded"})]
    assert unready_words("east", pods, {}, {}) == []


def test_deployments_must_have_been_seen_and_be_complete() -> None:
    def deployment(**status: int) -> dict[str, Any]:
        meta = {"name": "d", "namespace": "ns", "generation": 2}
        return {"metadata": meta, "spec": {"replicas": 2}, "status": status}

    assert unready_words("east", [], {"deployment": [deployment(observedGeneration=2, readyReplicas=2)]}, {}) == []
    said = ["east: deployment ns/d has 1 of 2 ready"]
    assert unready_words("east", [], {"deployment": [deployment(observedGeneration=2, readyReplicas=1)]}, {}) == said
    assert unready_words("east", [], {"deployment": [deployment(observedGeneration=1, readyReplicas=2)]}, {}) != []
    assert unready_words("east", [], {"deployment": [deployment()]}, {}) == ["east: deployment ns/d has 0 of 2 ready"]
