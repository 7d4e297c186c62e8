"""`isthmus cluster`: what is told, refused, declared and taken back, with clusters in memory."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.cli import drain as draining
from isthmus.cli import main as cli
from isthmus.cli import places
from isthmus.cli.reach import Answer
from isthmus.edge.kube_client import KubeError
from isthmus.kube.requests import PODS, Resource, Scope

MOVES = [
    {
        "namespace": "sample",
        "name": "helloworld",
        "here": 1,
        "elsewhere": 3,
        "before": [["east", 0.75], ["west", 0.25]],
        "after": [["east", 1.0]],
        "stays": False,
        "headless": False,
    }
]
ONLY = {
    **MOVES[0],
    "name": "ledger",
    "elsewhere": 0,
    "before": [["west", 1.0]],
    "after": [["west", 1.0]],
    "stays": True,
}


class Cluster:
    """One context: its MeshClusters, and a control plane that does at once what they say."""

    def __init__(self, context: str) -> None:
        self.context = context
        self.objects: dict[str, dict[str, Any]] = {}
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.moves: list[dict[str, Any]] = list(MOVES)
        self.installed = True
        self.broken = False
        self.stopped = ""
        self.required = False

    async def list(self, resource: Resource, scope: Scope) -> list[dict[str, Any]]:
        if resource == PODS:
            return [{"metadata": {"name": "gateway-1"}, "status": {"phase": "Running"}}]
        if not self.installed:
            raise KubeError(404, "NotFound", "the server could not find the requested resource")
        return list(self.objects.values())

    async def patch(self, resource: Resource, body: dict[str, Any], *, namespace: str, name: str) -> dict[str, Any]:
        self._write(name, body["spec"])
        self.objects[name]["spec"] |= body["spec"]
        return self.objects[name]

    async def create(self, resource: Resource, body: dict[str, Any], *, namespace: str) -> dict[str, Any]:
        self._write(body["metadata"]["name"], body["spec"])
        self.objects[body["metadata"]["name"]] = body
        return body

    def _write(self, name: str, spec: dict[str, Any]) -> None:
        if self.broken:
            raise KubeError(403, "Forbidden", "meshclusters is forbidden")
        self.written.append((name, dict(spec)))

    async def __aenter__(self) -> "Cluster":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    @property
    def server(self) -> str:
        return f"https://{self.context}"

    def state(self, cluster: str) -> str:
        about = (o["spec"] for o in self.objects.values() if o["spec"].get("cluster", o["metadata"]["name"]) == cluster)
        return str(next((spec.get("state", "active") for spec in about), "active"))

    def page(self, path: str) -> dict[str, Any]:
        if path.startswith("/debug/drain"):
            return {"config": self.context, "moves": self.moves}
        if path == "/debug/syncz":
            return {"proxies": [{"types": [{"type": "EDS", "state": "SYNCED"}, {"type": "CDS", "state": "STALE"}]}]}
        assert path == "/debug/liveness"
        return {"clusters": [self._entry(name) for name in ("east", "west")]}

    def _entry(self, cluster: str) -> dict[str, Any]:
        drained = self.state(cluster) == "drained" and not self.stopped
        signals = {name: {"health": "good"} for name in ("apiServer", "gateway", "dataPlane")}
        return {
            "cluster": cluster,
            "config": cluster == self.context,
            "standing": "drained" if drained else "drain stopped" if self.stopped else self.state(cluster),
            "weight": 0 if drained else 100,
            "stopped": self.stopped if self.state(cluster) == "drained" else "",
            "reason": self.stopped,
            "state": self.state(cluster),
            "declared": bool(self.objects),
            "required": self.required,
            "reached": not self.required,
            "signals": signals,
        }


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, Cluster]:
    made = {name: Cluster(name) for name in ("east", "west")}

    async def connect(_: str, context: str) -> Cluster:
        return made[context or "east"]

    async def answers(client: Cluster, namespace: str, path: str) -> list[Answer]:
        assert namespace == "istio-system"
        away = Answer("istiod-2", error=UnreachableError("istiod-2 did not answer"))
        return [Answer("istiod-1", client.page(path)), *([away] if client.context == "west" else [])]

    async def connections(client: Cluster, pod: Any, path: str) -> bytes:
        return b'{"stats": [{"name": "listener.0.0.0.0_15443.downstream_cx_active", "value": 0}]}'

    monkeypatch.setattr(places, "connect", connect)
    monkeypatch.setattr(places, "ask_all_istiods", answers)
    monkeypatch.setattr(draining, "ask_proxy", connections)
    monkeypatch.setattr(draining, "LOOK_EVERY", 0.01)
    return made


@pytest.fixture
def run(world: dict[str, Cluster], capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(["cluster", *words])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return command


def test_list_shows_what_each_control_plane_says(run: Run, world: dict[str, Cluster]) -> None:
    code, out, err = run("list", "--contexts", "east,west")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["east", "-", "no", "east/istiod-1", "active", "good", "good", "good"]
    assert [line[3] for line in lines[1:]] == ["east/istiod-1", "west/istiod-1"] * 2
    assert "istiod-2 did not answer" in err
    world["east"].required = True
    assert run("list", "--contexts", "east")[0] == 1


def test_list_as_json(run: Run) -> None:
    found = json.loads(run("list", "--context", "east", "-o", "json")[1])
    assert [(one["context"], one["istiod"], one["cluster"]) for one in found] == [
        ("east", "istiod-1", "east"),
        ("east", "istiod-1", "west"),
    ]


def test_a_preview_changes_nothing(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run("drain", "west", "--contexts", "east,west", "--dry-run")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("sample/helloworld"))
    assert " ".join(line.split()) == "sample/helloworld 1 3 east east 75%, west 25% east 100%"
    assert not world["east"].written


def test_a_drain_is_declared_everywhere_and_waited_for(run: Run, world: dict[str, Cluster]) -> None:
    code, out, _ = run(
        "drain", "west", "--contexts", "east,west", "--over", "1m", "--steps", "10", "--max-failing", "0"
    )
    assert code == 0
    plan = {"over": "1m", "steps": 10, "maxFailingPercent": 0}
    for cluster in world.values():
        assert cluster.written == [("west", {"drain": plan, "state": "drained"})]
    progress = [line.split()[1:] for line in out.splitlines() if "istiod-1" in line]
    assert progress == [["east/istiod-1", "drained", "1/1", "0"], ["west/istiod-1", "drained", "1/1", "0"]]
    assert out.splitlines()[-1].startswith("cluster west is drained")


def test_without_options_the_declared_plan_stays(run: Run, world: dict[str, Cluster]) -> None:
    run("drain", "west", "--context", "east")
    assert world["east"].written == [("west", {"state": "drained"})]


def test_a_service_without_another_home_is_a_reason_to_refuse(run: Run, world: dict[str, Cluster]) -> None:
    world["west"].moves = [*MOVES, ONLY]
    code, out, err = run("drain", "west", "--contexts", "east,west")
    assert code == 1
    assert "1 services have no other home: sample/ledger" in err
    assert "stays: it has no other home" in out
    assert not world["east"].written
    assert run("drain", "west", "--contexts", "east,west", "--force")[0] == 0


def test_a_drain_that_is_stopped_is_taken_back_everywhere(run: Run, world: dict[str, Cluster]) -> None:
    world["east"].stopped = "3 of 9 proxies have trouble"
    world["west"].objects["west"] = {"metadata": {"name": "west"}, "spec": {"state": "cordoned"}}
    code, _, err = run("drain", "west", "--contexts", "east,west")
    assert code == 1
    assert "the drain was stopped: 3 of 9 proxies have trouble" in err
    assert [cluster.state("west") for cluster in world.values()] == ["active", "cordoned"]


def test_what_cannot_be_declared_everywhere_is_declared_nowhere(run: Run, world: dict[str, Cluster]) -> None:
    async def refuse(*_: Any, **__: Any) -> dict[str, Any]:
        raise KubeError(403, "Forbidden", "meshclusters is forbidden")

    world["west"].create = refuse  # type: ignore[method-assign]
    code, _, err = run("drain", "west", "--contexts", "east,west")
    assert code == 3
    assert "forbidden" in err
    assert world["east"].state("west") == "active"


def test_undrain_waits_until_all_traffic_is_back(run: Run, world: dict[str, Cluster]) -> None:
    run("drain", "west", "--contexts", "east,west")
    code, out, _ = run("undrain", "west", "--contexts", "east,west")
    assert (code, out.splitlines()[-1]) == (0, "cluster west is active")
    assert world["east"].state("west") == world["west"].state("west") == "active"


@pytest.mark.parametrize(("verb", "state"), [("cordon", "cordoned"), ("uncordon", "active")])
def test_cordon_only_declares(run: Run, world: dict[str, Cluster], verb: str, state: str) -> None:
    code, out, _ = run(verb, "west", "--contexts", "east,west")
    assert (code, out) == (0, f"cluster west is declared {state}\n")
    assert [cluster.state("west") for cluster in world.values()] == [state, state]


def test_the_object_may_have_another_name_than_the_cluster(run: Run, world: dict[str, Cluster]) -> None:
    world["east"].objects["old-west"] = {"metadata": {"name": "old-west"}, "spec": {"cluster": "west"}}
    run("cordon", "west", "--context", "east")
    assert world["east"].written == [("old-west", {"state": "cordoned"})]


@pytest.mark.parametrize("verb", ["drain", "undrain", "cordon", "uncordon"])
def test_a_cluster_that_nobody_knows_is_wrong_usage(run: Run, verb: str) -> None:
    code, _, err = run(verb, "south", "--contexts", "east")
    assert code == 2
    assert "no control plane knows a cluster 'south'. Known are: east, west" in err


def test_a_cluster_without_the_kind_is_told_what_to_do(run: Run, world: dict[str, Cluster]) -> None:
    world["east"].installed = False
    code, _, err = run("cordon", "west", "--context", "east")
    assert code == 2
    assert "Run isthmus install there again" in err


def test_time_that_is_over_is_said(run: Run, world: dict[str, Cluster], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_is", lambda entry, *, drained: False)
    code, _, err = run("drain", "west", "--context", "east", "--timeout", "1")
    assert code == 3
    assert "not drained after 1 s" in err
