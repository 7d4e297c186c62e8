"""Changes wait only while a pass runs; what is overtaken is not applied."""

import asyncio
from collections.abc import Callable

import pytest

from isthmus.app.inbox import Inbox
from isthmus.tables.changes import Change, Drop, Put, Replace

A, B = ("east", "ns", "a"), ("east", "ns", "b")
WEST = ("west", "ns", "a")


def batches(steps: Callable[[Inbox], None], *, turns: int = 3) -> list[list[Change]]:
    """What is applied when `steps` run in one turn of the loop."""
    applied: list[list[Change]] = []

    async def run() -> None:
        steps(Inbox(applied.append))
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(run())
    return applied


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([Put("t", A, 1)], [Put("t", A, 1)]),
        ([Put("t", A, 1), Put("t", A, 2)], [Put("t", A, 2)]),
        ([Put("t", A, 1), Drop("t", A)], [Drop("t", A)]),
        ([Put("t", A, 1), Put("t", B, 1), Put("t", A, 2)], [Put("t", B, 1), Put("t", A, 2)]),
        ([Put("t", A, 1), Put("u", A, 1)], [Put("t", A, 1), Put("u", A, 1)]),
        (
            [Put("t", A, 1), Put("t", WEST, 1), Replace("t", ("east",), ((B, 1),))],
            [Put("t", WEST, 1), Replace("t", ("east",), ((B, 1),))],
        ),
        (
            [Replace("t", ("east",), ()), Put("t", A, 1), Replace("t", ("east",), ((B, 1),)), Put("t", A, 2)],
            [Replace("t", ("east",), ((B, 1),)), Put("t", A, 2)],
        ),
        ([Put("u", A, 1), Replace("t", ("east",), ())], [Put("u", A, 1), Replace("t", ("east",), ())]),
        ([], []),
    ],
)
def test_one_batch_holds_the_last_word_on_each_row(changes: list[Change], expected: list[Change]) -> None:
    assert batches(lambda inbox: inbox.put(changes)) == ([expected] if expected else [])


def test_what_arrives_in_one_turn_is_one_batch() -> None:
    def steps(inbox: Inbox) -> None:
        inbox.put([Put("t", A, 1)])
        inbox.put([Put("t", B, 1)])

    assert batches(steps) == [[Put("t", A, 1), Put("t", B, 1)]]


def test_what_arrives_while_a_batch_is_applied_is_the_next_batch() -> None:
    applied: list[list[Change]] = []

    async def run() -> None:
        def apply(batch: list[Change]) -> None:
            applied.append(batch)
            if len(applied) == 1:
                inbox.put([Put("t", B, 2)])

        inbox = Inbox(apply)
        inbox.put([Put("t", A, 1)])
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert applied == [[Put("t", A, 1)], [Put("t", B, 2)]]


def test_flushing_applies_now_and_only_once() -> None:
    applied: list[list[Change]] = []

    async def run() -> None:
        inbox = Inbox(applied.append)
        inbox.put([Put("t", A, 1)])
        inbox.flush()
        assert applied == [[Put("t", A, 1)]]
        await asyncio.sleep(0)

    asyncio.run(run())
    assert len(applied) == 1
