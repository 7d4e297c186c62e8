"""The rows of one cluster as last observed, per object, and the changes that an observation makes to the mesh."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.errors import Problem
from isthmus.ingest.kinds import Kind, ObjectKey, Observation
from isthmus.model.rows import Row
from isthmus.tables.changes import Change, Drop, Put, Replace


@dataclass(slots=True)
class _Seen:
    """One object: its rows in force, and what is wrong with it."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...] = ()


class Observed:
    """What is in force of one cluster. All changes to the cluster's rows are made here.

    A refused object keeps the rows accepted before (fail static), or gets those of `Kind.closed` (fail closed).
    """

    def __init__(self, cluster: str, kinds: Iterable[Kind[Any]]) -> None:
        self.cluster = cluster
        self.kinds = {kind.name: kind for kind in kinds}
        self._seen: dict[str, dict[ObjectKey, _Seen]] = {name: {} for name in self.kinds}

    def put(self, kind: str, found: Observation) -> list[Change]:
        """An object is now so; only what differs becomes a change."""
        before = self._seen[kind].get(found.key)
        after = self._accept(kind, found, before)
        if after is None:
            return []
        self._seen[kind][found.key] = after
        return _difference(before.rows if before else (), after.rows)

    def drop(self, kind: str, found: Observation) -> list[Change]:
        """An object is gone."""
        before = self._seen[kind].pop(found.key, None)
        return _difference(before.rows, ()) if before else []

    def replace(self, kind: str, found: Iterable[Observation]) -> list[Change]:
        """The objects of a kind are exactly these: one swap per table, so deletions that nobody told are found."""
        before = self._seen[kind]
        after: dict[ObjectKey, _Seen] = {}
        for one in found:
            seen = self._accept(kind, one, before.get(one.key))
            if seen is not None:
                after[one.key] = seen
        self._seen[kind] = after
        return self.swap(row.TABLE for row in self.kinds[kind].rows)

    def swap(self, tables: Iterable[str] | None = None) -> list[Change]:
        """Replace whole tables of the cluster (default: all that its kinds feed) by what is in force now."""
        chosen = dict.fromkeys(self.tables() if tables is None else tables)
        return [Replace(table, (self.cluster,), tuple((row.key, row) for row in self.rows(table))) for table in chosen]

    def tables(self) -> tuple[str, ...]:
        """The tables that the kinds feed."""
        return tuple(dict.fromkeys(row.TABLE for kind in self.kinds.values() for row in kind.rows))

    def rows(self, table: str = "") -> Iterator[Row]:
        """The rows in force, of one table or of all."""
        for name, objects in self._seen.items():
            if not table or any(table == row.TABLE for row in self.kinds[name].rows):
                for seen in objects.values():
                    yield from (row for row in seen.rows if not table or table == row.TABLE)

    def by_kind(self) -> dict[str, list[Row]]:
        """The rows in force by the kind of object they are of."""
        return {name: [row for seen in found.values() for row in seen.rows] for name, found in self._seen.items()}

    def count(self) -> int:
        """How many rows are in force."""
        return sum(len(seen.rows) for objects in self._seen.values() for seen in objects.values())

    def problems(self) -> list[Problem]:
        """What is wrong with the objects that exist now."""
        return [p for objects in self._seen.values() for seen in objects.values() for p in seen.problems]

    def inherit(self, kind: str, other: "Observed") -> None:
        """Take what another view of the same cluster (older credentials, a checkpoint) holds of a kind."""
        self._seen[kind] = dict(other._seen.get(kind, {}))

    def dump(self) -> dict[str, list[tuple[ObjectKey, tuple[Row, ...]]]]:
        """Objects and rows by kind, to be kept for a restart."""
        return {name: [(key, seen.rows) for key, seen in objects.items()] for name, objects in self._seen.items()}

    def load(self, kept: Mapping[str, Iterable[tuple[ObjectKey, tuple[Row, ...]]]]) -> None:
        """Take over what `dump` gave; kinds that are not known any more are left out."""
        for name, objects in kept.items():
            if name in self._seen:
                self._seen[name] = {key: _Seen(rows) for key, rows in objects}

    def _accept(self, kind: str, found: Observation, before: _Seen | None) -> _Seen | None:
        """What is in force after an observation; None if there is nothing to remember."""
        if found.rows is not None:
            # Equal rows keep their identity: the engine compares them faster, and memory is not doubled.
            same = before is not None and before.rows == found.rows
            return _Seen(before.rows if same and before else found.rows, found.problems)
        kept = before.rows if before else ()
        closed = self.kinds[kind].closed
        if closed is not None and found.where.name:
            kept = closed(found.where, kept)
        return _Seen(kept, found.problems)


def _difference(before: tuple[Row, ...], after: tuple[Row, ...]) -> list[Change]:
    if before == after:
        return []
    old = {(row.TABLE, row.key): row for row in before}
    new = {(row.TABLE, row.key): row for row in after}
    changes: list[Change] = [Put(table, key, row) for (table, key), row in new.items() if old.get((table, key)) != row]
    return changes + [Drop(table, key) for table, key in old if (table, key) not in new]
