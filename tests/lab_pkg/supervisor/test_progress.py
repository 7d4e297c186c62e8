"""Lines of progress reach everybody, whenever they begin to listen."""

import asyncio

from isthmus_lab.supervisor.progress import Progress


async def _listen(progress: Progress) -> list[str]:
    return [step.text async for step in progress.follow()]


def test_early_and_late_listeners_hear_the_same() -> None:
    async def run() -> list[list[str]]:
        progress = Progress()
        early = asyncio.create_task(_listen(progress))
        await progress.say("one")
        middle = asyncio.create_task(_listen(progress))
        await progress.say("two", failed=True)
        await progress.finish()
        assert progress.failed
        async with asyncio.timeout(5):
            return [await early, await middle, await _listen(progress)]

    assert asyncio.run(run()) == [["one", "two"]] * 3
