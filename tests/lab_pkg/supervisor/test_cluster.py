"""When a cluster counts as ready."""

from typing import Any

from isthmus_lab.supervisor.cluster import uncaptured_words, unready_words


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


def test_daemon_sets_must_be_everywhere() -> None:
    def daemon_set(**status: int) -> dict[str, Any]:
        return {"metadata": {"name": "d", "namespace": "ns", "generation": 1}, "spec": {}, "status": status}

    complete = daemon_set(observedGeneration=1, desiredNumberScheduled=2, numberReady=2)
    assert unready_words("east", [], {"daemonset": [complete]}, {}) == []
    lacking = daemon_set(observedGeneration=1, desiredNumberScheduled=2, numberReady=1)
    assert unready_words("east", [], {"daemonset": [lacking]}, {}) == ["east: daemonset ns/d has 1 of 2 ready"]


MODE = "istio.io/dataplane-mode"


def test_pods_that_are_to_be_captured_are_waited_for() -> None:
    def asked(label: str = "", mark: str = "", container: str = "app") -> dict[str, Any]:
        labels, marks = {MODE: label} if label else {}, {"ambient.istio.io/redirection": mark} if mark else {}
        return pod(
            "a",
            metadata={"name": "a", "namespace": "ns", "labels": labels, "annotations": marks},
            spec={"containers": [{"name": container}]},
        )

    def missing(item: dict[str, Any], namespace_mode: str = "ambient") -> bool:
        namespace = {"metadata": {"name": "ns", "labels": {MODE: namespace_mode}}}
        return bool(uncaptured_words("east", [item], [namespace]))

    assert missing(asked())
    assert missing(asked(mark="pending"))
    assert missing(asked("ambient"), namespace_mode="none")
    assert not missing(asked(mark="enabled"))
    assert not missing(asked("none"))
    assert not missing(asked(), namespace_mode="")
    assert not missing(asked(container="istio-proxy"))
    assert not missing({**asked(), "spec": {"containers": [], "hostNetwork": True}})
    assert not missing({**asked(), "status": {"phase": "Succeeded"}})


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
