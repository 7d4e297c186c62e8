"""Random changes and demand: the incremental answer equals that of a graph built afresh."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from isthmus.tables.changes import Change, Drop, Key, Put, Replace
from isthmus.tables.graph import Derived, Get, Graph

CLUSTERS = ("x", "y")
ROWS = ("a", "b", "c")
KEYS = st.tuples(st.sampled_from(CLUSTERS), st.sampled_from(ROWS))
NUMBERS = st.integers(0, 4)
GROUPS = st.integers(0, 2)


class Numbers:
    """Sums over an index, maxima over sums, and a row whose dependencies follow the data."""

    def __init__(self) -> None:
        self.graph = graph = Graph(strict=True)
        self.source = graph.source("numbers", int)
        self.index = graph.index("by_group", self.source, lambda number: [number % 3, "all"])
        self.sums: Derived[int, int] = graph.derived("sums", self._sum)
        self.capped: Derived[int, int] = graph.derived("capped", lambda get, group: min(get(self.sums, group), 5))
        self.chained: Derived[int, tuple[int, ...]] = graph.derived("chained", self._chain)

    def _sum(self, get: Get, group: int) -> int:
        return sum(get(self.source, key) or 0 for key in get(self.index, group))

    def _chain(self, get: Get, start: int) -> tuple[int, ...]:
        seen = []
        while start not in seen:
            seen.append(start)
            start = get(self.capped, start) % 3
        return tuple(seen)

    def tables(self) -> list[Derived[int, object]]:
        """All derived tables."""
        return [self.sums, self.capped, self.chained]


class Incremental(RuleBasedStateMachine):
    """Changes and demand at random."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = Numbers()
        self.rows: dict[Key, int] = {}
        self.pins: list[tuple[int, int]] = []
        self.held: dict[tuple[int, int], object] = {}

    def _apply(self, changes: list[Change]) -> None:
        changed = self.numbers.graph.apply(changes)
        places = [table.name for table in self.numbers.tables()]
        for (table, key), (before, after) in changed.items():
            assert isinstance(key, int)
            place = (places.index(table.name), key)
            assert self.held[place] == before
            self.held[place] = after

    @rule(changes=st.lists(st.tuples(KEYS, st.none() | NUMBERS), max_size=4))
    def change(self, changes: list[tuple[Key, int | None]]) -> None:
        made: list[Change] = []
        for key, number in changes:
            if number is None:
                self.rows.pop(key, None)
                made.append(Drop("numbers", key))
            else:
                self.rows[key] = number
                made.append(Put("numbers", key, number))
        self._apply(made)

    @rule(cluster=st.sampled_from(CLUSTERS), rows=st.dictionaries(st.sampled_from(ROWS), NUMBERS))
    def replace(self, cluster: str, rows: dict[str, int]) -> None:
        fresh = {(cluster, name): number for name, number in rows.items()}
        self.rows = {key: number for key, number in self.rows.items() if key[0] != cluster} | fresh
        self._apply([Replace("numbers", (cluster,), tuple(fresh.items()))])

    @rule(table=st.integers(0, 2), group=GROUPS)
    def pin(self, table: int, group: int) -> None:
        self.held[table, group] = self.numbers.graph.pin(self.numbers.tables()[table], group)
        self.pins.append((table, group))

    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        if self.pins:
            place = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
            self.numbers.graph.unpin(self.numbers.tables()[place[0]], place[1])
            self.numbers.graph.collect()
            if place not in self.pins:
                del self.held[place]

    @invariant()
    def equals_a_fresh_build(self) -> None:
        fresh = Numbers()
        fresh.graph.apply([Put("numbers", key, number) for key, number in self.rows.items()])
        for (table, group), value in self.held.items():
            assert value == fresh.graph.peek(fresh.tables()[table], group)

    @invariant()
    def nothing_is_kept_in_vain(self) -> None:
        if not self.pins:
            assert all(len(table) == 0 for table in self.numbers.tables())


Incremental.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestIncremental = Incremental.TestCase
