"""Names are followed while they are wanted; what was known stays while nobody answers."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from isthmus.app import host_names
from isthmus.app.host_names import HostNames
from isthmus.dns.lookup import Lookup
from isthmus.model.networks import ResolvedName
from isthmus.tables.changes import Change, Drop, Put

DEADLINE = 20.0


class Names:
    """Answers as a test says, and what became of them."""

    def __init__(self, keep_in: Path | None = None) -> None:
        self.answers: dict[str, Lookup | None] = {}
        self.asked: list[str] = []
        self.rows: dict[str, tuple[str, ...]] = {}
        self.keeper = HostNames("east", lookup=self._lookup, emit=self._emit, keep_in=keep_in)

    async def _lookup(self, name: str) -> Lookup | None:
        self.asked.append(name)
        return self.answers.get(name)

    def _emit(self, changes: list[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                assert isinstance(change.row, ResolvedName)
                assert change.key == ("east", "", change.row.name)
                self.rows[change.row.name] = change.row.addresses
            elif isinstance(change, Drop):
                del self.rows[str(change.key[2])]


def play(scenario: Callable[[Names], Coroutine[Any, Any, None]], keep_in: Path | None = None) -> Names:
    """Run a scenario while the names are followed."""

    async def run() -> Names:
        names = Names(keep_in)
        task = asyncio.create_task(names.keeper.run())
        async with asyncio.timeout(DEADLINE):
            await scenario(names)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return names

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_names, "pause", lambda answer, *, known: 0.01)


def test_a_name_is_asked_for_again_and_dropped_when_nobody_wants_it() -> None:
    async def scenario(names: Names) -> None:
        names.answers["gw"] = Lookup(("1.1.1.1",))
        names.keeper.want(["gw"])
        await names.keeper.settled()
        assert names.rows == {"gw": ("1.1.1.1",)}
        names.answers["gw"] = Lookup(("2.2.2.2",))
        await until(lambda: names.rows == {"gw": ("2.2.2.2",)})
        names.keeper.want([])
        await until(lambda: names.rows == {})

    play(scenario)


def test_silence_keeps_what_is_known_and_a_missing_name_clears_it_sh26() -> None:
    async def scenario(names: Names) -> None:
        names.answers["gw"] = Lookup(("1.1.1.1",))
        names.keeper.want(["gw"])
        await until(lambda: names.rows == {"gw": ("1.1.1.1",)})
        names.answers["gw"] = None
        asked = len(names.asked)
        await until(lambda: len(names.asked) > asked + 3)
        assert names.rows == {"gw": ("1.1.1.1",)}
        names.answers["gw"] = Lookup()
        await until(lambda: names.rows == {"gw": ()})

    play(scenario)


def test_answers_outlive_a_restart_at_which_nobody_answers(tmp_path: Path) -> None:
    async def first(names: Names) -> None:
        names.answers["gw"] = Lookup(("1.1.1.1",))
        names.keeper.want(["gw"])
        await until((tmp_path / host_names.FILE).exists)

    async def second(names: Names) -> None:
        names.keeper.want(["gw"])
        await names.keeper.settled()
        await until(lambda: names.rows == {"gw": ("1.1.1.1",)})

    play(first, tmp_path)
    play(second, tmp_path)


def test_the_start_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_names, "FIRST_ANSWER", 0.05)

    async def scenario(names: Names) -> None:
        names.keeper = HostNames("east", lookup=lambda _: asyncio.sleep(3600), emit=names._emit)
        task = asyncio.create_task(names.keeper.run())
        names.keeper.want(["gw"])
        await names.keeper.settled()
        task.cancel()

    assert play(scenario).rows == {}
