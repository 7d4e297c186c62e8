"""Where changes wait while a pass runs: by key, the last write wins; no timer, the first change goes at once."""

import asyncio
from collections.abc import Callable, Iterable

from isthmus.tables.changes import Change, Key, Replace


class Inbox:
    """Collects changes and hands them over as one batch per turn of the event loop.

    What arrives while a batch is applied is the next batch. A busy source therefore makes batches larger, not later.
    """

    def __init__(self, apply: Callable[[list[Change]], None]) -> None:
        self._apply = apply
        self._waiting: dict[tuple[str, Key, bool], Change] = {}
        self._scheduled = False

    def put(self, changes: Iterable[Change]) -> None:
        """Take changes; they are applied in the next turn of the loop."""
        for change in changes:
            if isinstance(change, Replace):
                self._forget_below(change)
                key = (change.table, change.prefix, True)
            else:
                key = (change.table, change.key, False)
            # Taken out first, so that it comes after what it overrides.
            self._waiting.pop(key, None)
            self._waiting[key] = change
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Apply what waits now."""
        self._scheduled = False
        batch = list(self._waiting.values())
        self._waiting.clear()
        if batch:
            self._apply(batch)

    def _forget_below(self, swap: Replace) -> None:
        """A swap of a range makes everything that waits below it meaningless."""
        depth = len(swap.prefix)
        below = [key for key in self._waiting if key[0] == swap.table and key[1][:depth] == swap.prefix]
        for key in below:
            del self._waiting[key]
