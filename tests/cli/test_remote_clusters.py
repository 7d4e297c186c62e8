"""`isthmus remote-clusters`: what it prints, and when it fails."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.cli import main as cli
from isthmus.cli import reach, remote_clusters
from isthmus.cli.reach import Answer
from isthmus.cli.remote_clusters import as_json, as_row, disagreements
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.kube_exec import ExecResult, Target
from tests.fake_kube import FakeKube

EAST: dict[str, Any] = {
    "id": "east",
    "secret": "",
    "server": "https://e",
    "status": "synced",
    "last_contact": 1000.0,
    "last_error": "",
    "rows": 10,
    "stale": False,
    "config": True,
    "digests": {"Pod": "01", "Service": "02"},
    "liveness": {"standing": "active", "signals": {}},
}
WEST = EAST | {
    "id": "west",
    "secret": "istio-system/istio-remote-secret-west",
    "status": "error",
    "last_contact": None,
    "last_error": "https://w: connection refused",
    "stale": True,
    "config": False,
    "liveness": {"standing": "demoted", "signals": {"gateway": {"health": "bad"}, "dataPlane": {"health": "good"}}},
}


def page(*clusters: dict[str, Any], revision: str = "default") -> dict[str, Any]:
    """What a control plane answers."""
    return {"revision": revision, "clusters": list(clusters)}


OTHER_WEST = WEST | {"digests": {"Pod": "09", "Service": "02"}}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([page(EAST, WEST), page(WEST, EAST)], []),
        ([page(EAST, WEST)], []),
        ([page(EAST, WEST), page(EAST, OTHER_WEST)], ["a, b do not agree about cluster west: Pod differ"]),
        (
            [page(EAST, WEST), page(EAST), page(EAST, WEST)],
            ["cluster west is not known to b; others of its replicas know it"],
        ),
        ([page(EAST, WEST), page(EAST, OTHER_WEST, revision="canary")], []),
    ],
)
def test_replicas_that_see_a_cluster_differently_are_told_of(answers: list[dict[str, Any]], said: list[str]) -> None:
    assert disagreements([Answer(name, body) for name, body in zip("abc", answers, strict=False)]) == said


def test_rows_tell_age_error_and_what_is_stale() -> None:
    seen = ("default", "active", "unknown", "unknown")
    answer = Answer("istiod-1", page(EAST, WEST))
    assert as_row(answer, EAST, 1003.0) == ("east", "", "synced", "istiod-1", *seen, "3s ago", "")
    assert as_row(answer, WEST, 1003.0) == (
        "west",
        "istio-system/istio-remote-secret-west",
        "error (stale)",
        "istiod-1",
        "default",
        "demoted",
        "bad",
        "good",
        "never",
        "https://w: connection refused",
    )


def test_json_has_istioctls_names_and_more() -> None:
    east, west = as_json(Answer("istiod-1", page(EAST, WEST)))
    assert (east["id"], east["secretName"], east["syncStatus"]) == ("east", "", "synced")
    assert west["liveness"]["standing"] == "demoted"
    assert east["lastContact"] == "1970-01-01T00:16:40.000+00:00"
    assert (west["lastContact"], west["stale"], west["lastError"]) == (None, True, WEST["last_error"])


@contextmanager
def api_server(directory: Path, pods: list[dict[str, Any]]) -> Iterator[str]:
    """A server with these pods in a thread of its own; gives a kubeconfig's path."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    server = FakeKube()

    async def start() -> None:
        await server.start()
        for pod in pods:
            await server.put("pods", pod)
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()))
    thread.start()
    try:
        assert started.wait(5)
        path = directory / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {"server": server.url}}],
                    "users": [{"name": "u", "user": {"token": "good"}}],
                    "contexts": [{"name": "east", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "east",
                }
            )
        )
        yield str(path)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def istiod(name: str, phase: str = "Running") -> dict[str, Any]:
    """A control plane's pod."""
    labels = {"app": "istiod"}
    return {"metadata": {"name": name, "namespace": "istio-system", "labels": labels}, "status": {"phase": phase}}


def run(*arguments: str) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(["remote-clusters", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def answering(monkeypatch: pytest.MonkeyPatch, broken: str = "", **seen: dict[str, Any]) -> None:
    """Control planes answer, but for the broken one; `seen` is what some see of west, by pod with _ for -."""
    later = {name.replace("_", "-"): cluster for name, cluster in seen.items()}

    async def execute(client: KubeClient, target: Target, command: list[str], *, within: float) -> ExecResult:
        assert command == ["isthmus", "debug", "request", "GET", "/debug/clusterz"]
        assert target.container == "discovery"
        if target.pod == broken:
            return ExecResult(b"", b"Error: not ready yet\n", 3)
        return ExecResult(json.dumps(page(EAST, later.get(target.pod, WEST))).encode(), b"", 0)

    monkeypatch.setattr(reach, "execute", execute)


def test_every_running_control_plane_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch)
    with api_server(tmp_path, [istiod("istiod-2"), istiod("istiod-1"), istiod("old", "Succeeded")]) as kubeconfig:
        assert run("--kubeconfig", kubeconfig, "--context", "east") == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == (
        "NAME SECRET STATUS ISTIOD REVISION STANDING GATEWAY DATA PLANE LAST CONTACT LAST ERROR"
    )
    assert [line.split()[0] for line in lines[1:]] == ["east", "west", "east", "west"]
    assert [("istiod-1" in line, "istiod-2" in line) for line in lines[1:]] == [(True, False)] * 2 + [(False, True)] * 2


def test_replicas_that_go_on_to_disagree_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote_clusters, "SETTLE_SECONDS", 0.0)
    answering(monkeypatch, istiod_2=OTHER_WEST)
    with api_server(tmp_path, [istiod("istiod-1"), istiod("istiod-2")]) as kubeconfig:
        assert run("-c", kubeconfig) == 1
    assert "istiod-1, istiod-2 do not agree about cluster west: Pod differ" in capsys.readouterr().err


def test_one_that_does_not_answer_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, broken="istiod-1")
    with api_server(tmp_path, [istiod("istiod-1"), istiod("istiod-2")]) as kubeconfig:
        assert run("-c", kubeconfig, "-o", "json") == 0
    out = capsys.readouterr()
    assert {entry["istiod"] for entry in json.loads(out.out)} == {"istiod-2"}
    assert "istiod-1 did not answer /debug/clusterz: not ready yet" in out.err


def test_none_that_answers_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, broken="istiod-1")
    with api_server(tmp_path, [istiod("istiod-1")]) as kubeconfig:
        assert run("-c", kubeconfig) == UnreachableError.exit_code
    assert "kubectl logs -n istio-system istiod-1" in capsys.readouterr().err


def test_no_control_plane_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with api_server(tmp_path, []) as kubeconfig:
        assert run("-c", kubeconfig) == UnreachableError.exit_code
    assert "no control plane runs in namespace istio-system" in capsys.readouterr().err


def test_an_unknown_context_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with api_server(tmp_path, []) as kubeconfig:
        assert run("-c", kubeconfig, "--context", "west") == 2
    assert "there is no context 'west'. Choose one of: east." in capsys.readouterr().err
