"""The work queue: once in, never twice at work, retried ever slower."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from isthmus_lab.controllers.queue import LAST_RETRY, WorkQueue

A, B = ("ns", "a"), ("ns", "b")


def run(scenario: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 5))


def test_a_key_is_queued_once_and_in_order() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        for key in (A, B, A):
            queue.add(key)
        assert [await queue.take(), await queue.take()] == [A, B]

    run(scenario())


def test_a_key_that_changes_while_at_work_comes_again_when_it_is_done() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        queue.add(A)
        assert await queue.take() == A
        queue.add(A)
        queue.add(B)
        assert await queue.take() == B
        taker = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert not taker.done()
        queue.done(A)
        assert await taker == A

    run(scenario())


def test_retries_slow_down_and_begin_anew_after_success() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        pauses = [queue.retry(A) for _ in range(7)]
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, *[LAST_RETRY] * 3])
        queue.forget(A)
        assert queue.retry(A) == pytest.approx(0.1)
        queue.close()

    run(scenario())


def test_a_later_time_takes_the_place_of_an_earlier_one() -> None:
    async def scenario() -> None:
        queue = WorkQueue()
        queue.add_after(A, 0.01)
        queue.add_after(A, 60)
        queue.add_after(B, 0.01)
        assert await queue.take() == B
        queue.cancel_timer(A)
        queue.close()

    run(scenario())
