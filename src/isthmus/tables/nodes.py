"""What a derived row can depend on: a node knows who read it."""

from collections.abc import Hashable, Iterator
from typing import Any


class Node:
    """One key of one table that somebody read. Exists only while it has readers (or holds a value of its own).

    Most nodes have one reader, so a set is made only for the second: at 40,000 pods that is 8 MB.
    """

    __slots__ = ("_readers", "key", "table")

    def __init__(self, table: Any, key: Hashable) -> None:
        self.table = table
        self.key = key
        self._readers: Cell | set[Cell] | None = None

    def add_reader(self, cell: "Cell") -> None:
        """From now on `cell` is recomputed when this changes."""
        readers = self._readers
        if readers is None:
            self._readers = cell
        elif isinstance(readers, set):
            readers.add(cell)
        elif readers is not cell:
            self._readers = {readers, cell}

    def remove_reader(self, cell: "Cell") -> bool:
        """`cell` no longer depends on this; True if nobody does any more."""
        readers = self._readers
        if isinstance(readers, set):
            readers.discard(cell)
            if len(readers) == 1:
                self._readers = next(iter(readers))
        elif readers is cell:
            self._readers = None
        return self._readers is None

    def readers(self) -> Iterator["Cell"]:
        """Those who depend on this."""
        readers = self._readers
        if isinstance(readers, set):
            yield from readers
        elif readers is not None:
            yield readers

    @property
    def idle(self) -> bool:
        """True if nothing keeps this node."""
        return self._readers is None


class Cell(Node):
    """A memoised row of a derived table: its value, what it was made of, and how often it is demanded."""

    __slots__ = ("deps", "pins", "queued", "value")

    def __init__(self, table: Any, key: Hashable) -> None:
        super().__init__(table, key)
        self.deps: dict[Node, None] = {}
        self.pins = 0
        self.queued = False
        self.value: Any = None

    @property
    def idle(self) -> bool:
        """True if nobody reads it and nobody demands it."""
        return self._readers is None and self.pins == 0
