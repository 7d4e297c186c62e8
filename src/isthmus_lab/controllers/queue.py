"""A work queue of keys: no key is worked on twice at the same time, nor queued twice."""

from __future__ import annotations

import asyncio
from collections import deque

from isthmus_lab.controllers.view import Key

FIRST_RETRY = 0.1
LAST_RETRY = 1.0


class WorkQueue:
    """Keys to decide. A key that is added while it is being worked on comes again afterwards."""

    def __init__(self) -> None:
        self._ready: deque[Key] = deque()
        self._queued: set[Key] = set()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Queues it, unless it is queued already."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Queues it later; a later call for the same key takes the place of an earlier one."""
        self._cancel(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def retry(self, key: Key) -> float:
        """Queues it after a pause that doubles with each failure in a row; returns the pause in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        pause = min(FIRST_RETRY * (1 << min(count, 10)), LAST_RETRY)
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """It went well: the next failure is the first one."""
        self._failures.pop(key, None)

    def cancel_timer(self, key: Key) -> None:
        """Drops what `add_after` queued."""
        self._cancel(key)

    async def take(self) -> Key:
        """The next key; `done` must follow."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        key = self._ready.popleft()
        self._queued.discard(key)
        self._working.add(key)
        return key

    def done(self, key: Key) -> None:
        """The key's work is finished, well or not."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Stops all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
