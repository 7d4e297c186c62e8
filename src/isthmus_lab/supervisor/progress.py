"""What a start has come to: a growing list of lines that any number of command lines follow."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """A line of progress; `seconds` since the lab's supervisor started."""

    seconds: float
    text: str
    failed: bool = False

    def show(self) -> dict[str, Any]:
        """As sent to the command line."""
        return {"seconds": round(self.seconds, 2), "text": self.text, "failed": self.failed}


class Progress:
    """Steps so far, and whether the start is over."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self.steps: list[Step] = []
        self.over = False
        self._news = asyncio.Condition()

    async def say(self, text: str, *, failed: bool = False) -> None:
        """Add a line."""
        self.steps.append(Step(time.monotonic() - self._begun, text, failed))
        async with self._news:
            self._news.notify_all()

    async def finish(self) -> None:
        """The start is over, well or not."""
        self.over = True
        async with self._news:
            self._news.notify_all()

    @property
    def failed(self) -> bool:
        """True if something did not work."""
        return any(step.failed for step in self.steps)

    def _news_since(self, seen: int) -> bool:
        return self.over or seen < len(self.steps)

    async def follow(self) -> AsyncIterator[Step]:
        """All lines from the first to the last, as they come."""
        seen = 0
        while True:
            while seen < len(self.steps):
                yield self.steps[seen]
                seen += 1
            if self.over:
                return
            async with self._news:
                if not self._news_since(seen):
                    await self._news.wait()
