"""One container over its attempts, with a scripted engine in place of processes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.kubelet import probes
from isthmus_lab.kubelet.env import ConfigError
from isthmus_lab.kubelet.images import UnknownImageError
from isthmus_lab.kubelet.runner import Runner, Surroundings, backoff, last_line, restarts
from isthmus_lab.kubelet.sandbox import Sandbox
from isthmus_lab.kubelet.status import ContainerState, Ended, Role


class ScriptedEngine:
    """Each attempt ends with the next code; without one it runs until it is stopped."""

    def __init__(self, *codes: int | Exception) -> None:
        self.codes = list(codes)
        self.attempts: list[int] = []
        self.stopped = asyncio.Event()

    async def start(self, attempt: int) -> int:
        if self.codes and isinstance(self.codes[0], Exception):
            error = self.codes.pop(0)
            assert isinstance(error, Exception)
            raise error
        self.attempts.append(attempt)
        return 100 + attempt

    async def wait(self) -> Ended:
        if self.codes:
            code = self.codes.pop(0)
            assert isinstance(code, int)
            return Ended(code, 1.0, 2.0)
        await self.stopped.wait()
        return Ended(143, 1.0, 2.0)

    async def stop(self, grace: float) -> None:
        self.stopped.set()

    def kill(self) -> None:
        self.stopped.set()

    def log(self, attempt: int) -> Path:
        return Path(f"{attempt}.log")

    def latest(self) -> int | None:
        return None

    def process_id(self) -> str | None:
        return None


def runner(engine: ScriptedEngine, role: Role = Role.MAIN, policy: str = "Always", **fields: Any) -> Runner:
    async def nothing() -> None: ...

    async def never(_command: list[str]) -> int:
        return 1

    allowed = asyncio.Event()
    allowed.set()
    box = Sandbox("ns", "10.0.0.1", None, "t", False, 0.0)
    around = Surroundings(
        changed=lambda: None,
        event=lambda *_: None,
        box=box,
        may_run=allowed,
        restart_policy=policy,
        grace=1.0,
        prepare=nothing,
    )
    state = ContainerState("c", "isthmus/sleep", role)
    return Runner({"name": "c"}, state, engine, around, probes.Target("ns", "", {}, never), "u/c", **fields)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def test_backoff_begins_with_the_second_failure_and_is_bounded() -> None:
    assert [backoff(n) for n in range(1, 8)] == [0, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("policy", "role", "code", "again"),
    [
        ("Always", Role.MAIN, 0, True),
        ("OnFailure", Role.MAIN, 0, False),
        ("OnFailure", Role.MAIN, 1, True),
        ("Never", Role.MAIN, 1, False),
        ("Never", Role.SIDECAR, 0, True),
        ("Always", Role.INIT, 0, False),
        ("Always", Role.INIT, 1, True),
        ("Never", Role.INIT, 1, False),
    ],
)
def test_who_is_started_again(policy: str, role: Role, code: int, again: bool) -> None:
    assert restarts(policy, role, code) is again


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    assert last_line(log) == "it said nothing"
    log.write_text("first\n" + "x" * 5000 + "\nError: no such file\n\n")
    assert last_line(log) == "Error: no such file"
    log.write_text("y" * 500)
    assert last_line(log) == "y" * 200


async def _restarted_once() -> tuple[list[int], ContainerState]:
    engine = ScriptedEngine(1)
    one = runner(engine)
    task = asyncio.create_task(one.run())
    await until(lambda: engine.attempts == [0, 1] and one.state.ready)
    seen = one.state.last
    await one.stop(1)
    await task
    one.state.last = seen
    return engine.attempts, one.state


def test_a_failed_container_is_started_again_at_once_and_counted() -> None:
    attempts, state = asyncio.run(_restarted_once())
    assert attempts == [0, 1]
    assert state.restarts == 1
    assert state.last is not None
    assert state.last.exit_code == 1
    assert state.ended is not None
    assert state.ended.exit_code == 143


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnknownImageError("nginx"), "ErrImagePull"),
        (ConfigError("no such key"), "CreateContainerConfigError"),
        (OSError("no room"), "CreateContainerError"),
    ],
)
def test_what_cannot_start_waits_with_a_reason_and_is_tried_again(error: Exception, reason: str) -> None:
    async def run() -> tuple[str, list[int]]:
        engine = ScriptedEngine(error)
        one = runner(engine)
        task = asyncio.create_task(one.run())
        await until(lambda: one.state.waiting == reason)
        await until(lambda: engine.attempts)
        await one.stop(1)
        await task
        return one.state.name, engine.attempts

    assert asyncio.run(run()) == ("c", [0])


def test_an_init_container_that_succeeded_is_done_and_counts_as_ready() -> None:
    async def run() -> ContainerState:
        one = runner(ScriptedEngine(0), Role.INIT)
        await one.run()
        return one.state

    state = asyncio.run(run())
    assert state.succeeded
    assert state.ready


def test_a_held_container_waits_for_its_release() -> None:
    async def run() -> list[str]:
        engine = ScriptedEngine()
        one = runner(engine)
        task = asyncio.create_task(one.run())
        await until(lambda: one.state.ready)
        one.around.may_run.clear()
        one.kill()
        await until(lambda: one.state.waiting == "Held")
        shown = [one.state.message]
        engine.stopped.clear()
        one.around.may_run.set()
        await until(lambda: engine.attempts == [0, 1])
        await one.stop(1)
        await task
        return shown

    assert asyncio.run(run()) == ["stopped by `isthmus lab kill`; `isthmus lab restore` starts it again"]


def test_after_the_death_of_its_node_a_container_goes_on_counting() -> None:
    async def run() -> list[int]:
        engine = ScriptedEngine()
        one = runner(engine, before=4)
        task = asyncio.create_task(one.run())
        await until(lambda: one.state.ready)
        await one.stop(1)
        await task
        return engine.attempts

    assert asyncio.run(run()) == [4]
