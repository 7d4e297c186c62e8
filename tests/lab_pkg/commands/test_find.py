"""Which pod a target means."""

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError, UsageError
from isthmus_lab.commands import find, talk
from isthmus_lab.supervisor.state import StateDirectory


def pod(name: str, namespace: str = "sample", *, ready: bool = True, app: str = "") -> dict[str, Any]:
    labels = {"app": app} if app else {}
    return {"name": name, "namespace": namespace, "node": "n1", "ready": ready, "labels": labels}


@pytest.mark.parametrize(
    ("name", "matched"),
    [
        ("web-5f7d8c9b6-x2x4z", True),
        ("web", True),
        ("shown", True),
        ("we", False),
        ("web-5f7d8c9b6", True),
        ("web-5f7d8c9b6-x2x4", False),
    ],
)
def test_pod_deployment_and_label(name: str, matched: bool) -> None:
    assert find.matches(pod("web-5f7d8c9b6-x2x4z", app="shown"), name) is matched


def test_similar_deployments_are_told_apart() -> None:
    assert not find.matches(pod("sleep-plain-5f7d8c9b6-x2x4z"), "sleep")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """A lab of two clusters with three pods in the first."""
    pods = [pod("b", app="x", ready=False), pod("c", app="x"), pod("d", "other", app="y"), pod("e", app="y")]
    monkeypatch.setattr(talk, "pods_of", lambda _state, cluster: pods if cluster == "east" else [])
    made = StateDirectory(tmp_path)
    made.lab_file.write_text(json.dumps({"clusters": ["east", "west"]}))
    return made


def test_ready_pods_are_preferred(state: StateDirectory) -> None:
    assert find.find_workload(state, "east/x") == find.Workload("east", "n1", "sample", "c")
    assert find.find_workload(state, "east/sample/b").pod == "b"
    assert find.find_workload(state, "east/other/y").namespace == "other"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("north/x", "names no workload. Write <cluster>/<pod or Deployment>; clusters are east, west"),
        ("east", "names no workload"),
        ("west/x", "no pod of 'x' in cluster west. There are: none"),
        ("east/z", "There are: other/d, sample/b, sample/c, sample/e"),
        ("east/y", "is in namespaces other, sample. Write east/<namespace>/y"),
    ],
)
def test_what_is_unclear_is_said(state: StateDirectory, target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find.find_workload(state, target)


def test_the_only_lab_needs_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv(find.STATE_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="there is no lab"):
        find.find_state(None, None)
    for name in ("one", "two"):
        directory = tmp_path / "isthmus" / "lab" / name
        directory.mkdir(parents=True)
        (directory / "lab.json").write_text("{}")
        if name == "one":
            assert find.find_state(None, None).path == directory
    with pytest.raises(UsageError, match="there are several labs: one, two"):
        find.find_state(None, None)
    with pytest.raises(UnreachableError, match="no lab runs"):
        find.running_state(None, tmp_path / "isthmus" / "lab" / "one")
