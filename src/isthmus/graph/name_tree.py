"""Sets of very many names that differ little from one revision to the next.

Names are spread over leaves by their hash, and leaves over branches. A change makes one leaf anew; what is told apart
from what was before is that leaf alone, as the others are the same objects.
"""

from collections.abc import Iterable, Iterator, Set
from typing import Any
from zlib import crc32

from isthmus.graph.places import NOTHING, Names

WIDTH = 32
"""Branches of a tree, and leaves of a branch."""

Branch = tuple[Names, ...]
EMPTY: Branch = (NOTHING,) * WIDTH


def place(name: str) -> tuple[int, int]:
    """The branch of a name, and its leaf there: the same in every process."""
    number = crc32(name.encode())
    return number % WIDTH, number // WIDTH % WIDTH


class NameTree(Set[str]):
    """`branches` hold each name at its place; `rest` are sets of other names, which need not be spread."""

    __slots__ = ("branches", "rest")

    def __init__(self, branches: tuple[Branch, ...], rest: tuple[Names, ...] = ()) -> None:
        self.branches = branches
        self.rest = rest

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Names:  # type: ignore[override]
        return frozenset(it)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        branch, leaf = place(name)
        return name in self.branches[branch][leaf] or any(name in part for part in self.rest)

    def __iter__(self) -> Iterator[str]:
        for branch in self.branches:
            for leaf in branch:
                yield from leaf
        for part in self.rest:
            yield from part

    def __len__(self) -> int:
        return sum(len(leaf) for branch in self.branches for leaf in branch) + sum(map(len, self.rest))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NameTree):
            # Tuples compare what is the same object as equal, without looking into it.
            return (self.branches, self.rest) == (other.branches, other.rest)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Set[Any]) -> "NameTree":
        """The names of both; those of `other` must not be among these."""
        return NameTree(self.branches, (*self.rest, frozenset(other)))

    def __sub__(self, other: Set[Any]) -> Names:
        if not isinstance(other, NameTree) or len(other.rest) != len(self.rest):
            return frozenset(self).difference(other)
        pairs = [
            pair
            for branch, theirs in zip(self.branches, other.branches, strict=True)
            if branch is not theirs
            for pair in zip(branch, theirs, strict=True)
        ]
        pairs += zip(self.rest, other.rest, strict=True)
        return NOTHING.union(*(mine - theirs for mine, theirs in pairs if mine is not theirs))
