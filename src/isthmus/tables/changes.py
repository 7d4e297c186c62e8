"""What enters the engine: single rows put or dropped, and a range of a table replaced as one swap."""

from collections.abc import Hashable
from dataclasses import dataclass

Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """The row at `key` is now `row`."""

    table: str
    key: Key
    row: object


@dataclass(frozen=True, slots=True)
class Drop:
    """There is no row at `key` any more."""

    table: str
    key: Key


@dataclass(frozen=True, slots=True)
class Replace:
    """All rows whose key starts with `prefix` are now exactly `rows`; what is equal stays, what is missing goes."""

    table: str
    prefix: Key
    rows: tuple[tuple[Key, object], ...]


Change = Put | Drop | Replace
