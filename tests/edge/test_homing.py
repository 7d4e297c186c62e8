"""The way back to the best control plane: when it has answered for a while, more rarely if that did not last."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from isthmus.edge import homing
from isthmus.edge.control_plane import Target
from isthmus.edge.homing import Homing, HomingSettings
from isthmus.trust.authority import Authority
from tests.agent.fakes import FakeControlPlane, control_plane, make_authority, write_mounts
from tests.edge.test_agent_relay import upstream


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        self.time += 1
        return self.time


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


Scenario = Callable[[Homing, Clock, list[FakeControlPlane]], Awaitable[None]]


def play(directory: Path, authority: Authority, hold: float, scenario: Scenario) -> None:
    async def run() -> None:
        write_mounts(directory, authority)
        async with control_plane(authority) as first, control_plane(authority) as second, asyncio.timeout(20):
            planes, clock = [first, second], Clock()
            made = Homing(upstream(directory, *planes), HomingSettings(hold=hold, probe=0.01), clock)
            await scenario(made, clock, planes)

    asyncio.run(run())


def test_the_first_that_has_answered_long_enough_is_returned_to(tmp_path: Path, authority: Authority) -> None:
    async def scenario(home: Homing, clock: Clock, planes: list[FakeControlPlane]) -> None:
        assert (await home.better_than(1)).rank == 0
        assert clock.time >= 10

    play(tmp_path, authority, 10, scenario)


def test_an_answer_in_between_that_is_missing_begins_the_wait_anew(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False, True, True, True, True])

    async def answer(self: Homing, target: Target) -> bool:
        return next(answers)

    monkeypatch.setattr(homing.Homing, "_answers", answer)

    async def scenario(home: Homing, clock: Clock, planes: list[FakeControlPlane]) -> None:
        await home.better_than(1)
        assert clock.time == 7

    play(tmp_path, authority, 3, scenario)


def test_a_return_that_does_not_last_doubles_the_wait_and_one_that_lasts_ends_that(
    tmp_path: Path, authority: Authority
) -> None:
    async def scenario(home: Homing, clock: Clock, planes: list[FakeControlPlane]) -> None:
        waits = []
        for lasts in (0, 0, 500, 0):
            begin = clock.time
            await home.better_than(1)
            waits.append(clock.time - begin)
            clock.time += lasts
            home.lost()
        assert waits == pytest.approx([3, 5, 9, 3], abs=1.1)

    play(tmp_path, authority, 2, scenario)


def test_losing_a_control_plane_without_having_come_back_changes_nothing(tmp_path: Path, authority: Authority) -> None:
    async def scenario(home: Homing, clock: Clock, planes: list[FakeControlPlane]) -> None:
        home.lost()
        await home.better_than(1)
        assert clock.time <= 5

    play(tmp_path, authority, 3, scenario)
