"""`isthmus events`: what is printed of the journals of several control planes."""

import json
import time
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.cli import events
from isthmus.cli import main as cli
from isthmus.cli.reach import Answer

NOW = time.time()


def event(number: int, at: float, cluster: str = "west", **fields: str) -> dict[str, Any]:
    values = {"what": "standing", "before": "active", "after": "demoted", "reason": "gateway bad"} | fields
    return {"number": number, "time": NOW + at, "cluster": cluster, **values}


class Client:
    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


class World:
    def __init__(self) -> None:
        self.answers: list[list[Answer]] = []
        self.paths: list[str] = []

    async def connect(self, *_: str) -> Client:
        return Client()

    async def ask(self, client: Client, namespace: str, path: str) -> list[Answer]:
        self.paths.append(path)
        if not self.answers:
            raise KeyboardInterrupt
        return self.answers.pop(0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(events, "connect", made.connect)
    monkeypatch.setattr(events, "ask_all_istiods", made.ask)
    monkeypatch.setattr(events, "WATCH_SECONDS", 0.0)
    return made


def answer(name: str, *found: dict[str, Any]) -> Answer:
    return Answer(name, {"istiod": name, "events": list(found)})


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["events", *words])
    return int(left.value.code or 0)


def test_columns_are_aligned_and_times_local(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.answers = [[answer("istiod-1", event(1, -9, before=""), event(2, -5, "north", after="active"))]]
    assert run() == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["TIME", "CLUSTER", "WHAT", "FROM", "TO", "REASON"]
    assert first.split()[2:] == ["west", "standing", "-", "demoted", "gateway", "bad"]
    assert first.split()[:2] == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - 9)).split()
    assert [line.index("standing") for line in (first, second)] == [head.index("WHAT")] * 2


def test_of_several_control_planes_it_is_told_who_decided(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.answers = [[answer("istiod-2", event(1, -5)), answer("istiod-1", event(1, -9), event(2, -4))]]
    assert run() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines[1:]] == ["istiod-1", "istiod-2", "istiod-1"]


def test_only_one_cluster_and_since_a_while(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.answers = [[answer("istiod-1", event(1, -9), event(2, -5, "north"))]]
    assert run("--cluster", "north", "--since", "10m", "-o", "json") == 0
    assert [one["cluster"] for one in json.loads(capsys.readouterr().out)] == ["north"]
    assert float(world.paths[0].partition("since=")[2]) == pytest.approx(time.time() - 600, abs=60)


def test_watching_prints_each_event_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = event(1, -9), event(2, -5, after="active")
    away = [Answer("istiod-1", error=UnreachableError("away"))]
    world.answers = [[answer("istiod-1", first)], away, [answer("istiod-1", first, second)]]
    assert run("-w") == 130
    out, err = capsys.readouterr()
    assert [line.split()[5] for line in out.splitlines()[1:]] == ["demoted", "active"]
    assert "away" in err


@pytest.mark.parametrize(
    ("words", "complaint"), [(("--since", "yesterday"), "is no duration"), (("-w", "-o", "json"), "a table only")]
)
def test_wrong_usage(world: World, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str) -> None:
    assert run(*words) == 2
    assert complaint in capsys.readouterr().err


def test_nobody_answers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.answers = [[Answer("istiod-1", error=UnreachableError("istiod-1 did not answer"))]]
    assert run() == 3
