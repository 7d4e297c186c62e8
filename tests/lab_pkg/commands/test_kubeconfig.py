"""Kubeconfigs for people: one context per cluster, merged without harm."""

import json
from pathlib import Path

import pytest
import yaml

from isthmus.base.errors import UnreachableError, UsageError
from isthmus_lab.commands import kubeconfig
from isthmus_lab.supervisor.state import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Two clusters that ran once."""
    made = StateDirectory(tmp_path / "lab")
    for name in ("east", "west"):
        path = made.kubeconfig(name)
        path.parent.mkdir(parents=True)
        cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": name}
        document = {
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": name}}],
        }
        path.write_text(yaml.safe_dump(document))
    made.lab_file.write_text(json.dumps({"clusters": ["east", "west"]}))
    made.ports_file.write_text('{"east": 4001, "west": 4002}')
    return made


def test_contexts_bear_the_names_of_the_clusters(state: StateDirectory) -> None:
    document = kubeconfig.combined(state)
    assert [c["name"] for c in document["contexts"]] == ["east", "west"]
    assert [c["cluster"]["server"] for c in document["clusters"]] == [
        "https://127.0.0.1:4001",
        "https://127.0.0.1:4002",
    ]
    assert document["users"][1] == {"name": "west-admin", "user": {"token": "west"}}
    assert document["current-context"] == "east"


def test_without_a_lab_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no lab"):
        kubeconfig.combined(StateDirectory(tmp_path / "nothing"))


def test_merging_keeps_what_is_there(state: StateDirectory, tmp_path: Path) -> None:
    path = tmp_path / "home" / "config"
    path.parent.mkdir()
    mine = {
        "clusters": [{"name": "prod", "cluster": {}}, {"name": "east", "cluster": {"server": "old"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "prod", "context": {}}],
        "current-context": "prod",
        "extra": 1,
    }
    path.write_text(yaml.safe_dump(mine))
    kubeconfig.merge_file(path, kubeconfig.combined(state))
    merged = yaml.safe_load(path.read_text())
    assert [c["name"] for c in merged["clusters"]] == ["prod", "east", "west"]
    assert merged["clusters"][1]["cluster"]["server"] == "https://127.0.0.1:4001"
    assert [c["name"] for c in merged["contexts"]] == ["prod", "east", "west"]
    assert (merged["current-context"], merged["extra"]) == ("prod", 1)
    assert path.stat().st_mode & 0o077 == 0


def test_a_first_kubeconfig_is_made(state: StateDirectory, tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    kubeconfig.merge_file(path, kubeconfig.combined(state))
    assert yaml.safe_load(path.read_text())["current-context"] == "east"


def test_a_cluster_that_never_ran(state: StateDirectory) -> None:
    state.kubeconfig("west").unlink()
    with pytest.raises(UnreachableError, match="the API server of west never started"):
        kubeconfig.combined(state)


def test_the_users_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/a/b:/c")
    assert kubeconfig.user_file() == Path("/a/b")
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", "/home/me")
    assert kubeconfig.user_file() == Path("/home/me/.kube/config")
