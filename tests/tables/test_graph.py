"""The engine: what is recomputed, what stops a wave, what lives and what is dropped."""

from collections.abc import Iterable

import pytest

from isthmus.tables.changes import Change, Drop, Key, Put, Replace
from isthmus.tables.graph import Derived, Get, Graph, OrderError, Source


class Shop:
    """A little world: orders of customers; a total for each, a grade of the total, and a board of all grades."""

    def __init__(self) -> None:
        self.graph = graph = Graph(strict=True)
        self.orders: Source[int] = graph.source("orders", int)
        self.by_parity = graph.index("orders.by_parity", self.orders, lambda amount: [amount % 2])
        self.totals: Derived[str, int] = graph.derived("totals", self._total)
        self.grades: Derived[str, str] = graph.derived("grades", self._grade)
        self.board: Derived[str, tuple[str, ...]] = graph.derived("board", self._board)

    def _total(self, get: Get, customer: str) -> int:
        return sum(get(self.orders, (customer, place)) or 0 for place in ("first", "second"))

    def _grade(self, get: Get, customer: str) -> str:
        return "big" if get(self.totals, customer) >= 10 else "small"

    def _board(self, get: Get, key: str) -> tuple[str, ...]:
        return tuple(get(self.grades, customer) for customer in key)

    def order(self, customer: str, place: str, amount: int) -> list[tuple[str, object]]:
        """Put one order; returns what was recomputed."""
        self.graph.apply([Put("orders", (customer, place), amount)])
        return self.graph.recomputed


def names(log: Iterable[tuple[str, object]]) -> list[str]:
    """The log as text."""
    return [f"{table}:{key}" for table, key in log]


def test_a_change_reruns_its_readers_and_no_others() -> None:
    shop = Shop()
    shop.graph.pin(shop.board, "ab")
    assert names(shop.order("a", "first", 3)) == ["totals:a", "grades:a"]
    assert names(shop.order("c", "first", 3)) == []


def test_equal_output_stops_the_wave() -> None:
    shop = Shop()
    shop.graph.pin(shop.board, "ab")
    assert names(shop.order("a", "first", 12)) == ["totals:a", "grades:a", "board:ab"]
    assert names(shop.order("a", "second", 1)) == ["totals:a", "grades:a"]
    assert names(shop.order("a", "second", 1)) == []


def test_demanded_rows_that_differ_are_returned_with_their_past() -> None:
    shop = Shop()
    shop.graph.pin(shop.board, "ab")
    changed = shop.graph.apply([Put("orders", ("b", "first"), 99)])
    assert {(table.name, key): value for (table, key), value in changed.items()} == {
        ("board", "ab"): (("small", "small"), ("small", "big"))
    }


def test_a_revision_shows_only_its_end() -> None:
    shop = Shop()
    shop.graph.pin(shop.board, "a")
    changes: list[Change] = [Put("orders", ("a", "first"), 99), Drop("orders", ("a", "first"))]
    assert shop.graph.apply(changes) == {}
    assert shop.graph.revision == 1


def test_rows_live_while_somebody_needs_them() -> None:
    shop = Shop()
    shop.graph.pin(shop.board, "ab")
    shop.graph.pin(shop.grades, "a")
    assert (len(shop.totals), len(shop.grades), len(shop.board)) == (2, 2, 1)
    shop.graph.unpin(shop.board, "ab")
    shop.graph.collect()
    assert (len(shop.totals), len(shop.grades), len(shop.board)) == (1, 1, 0)
    shop.graph.unpin(shop.grades, "a")
    shop.graph.collect()
    assert (len(shop.totals), len(shop.grades), len(shop.board)) == (0, 0, 0)
    assert names(shop.order("a", "first", 3)) == []


def test_demand_is_counted() -> None:
    shop = Shop()
    shop.graph.pin(shop.grades, "a")
    shop.graph.pin(shop.grades, "a")
    shop.graph.unpin(shop.grades, "a")
    shop.graph.collect()
    assert len(shop.grades) == 1
    shop.graph.unpin(shop.grades, "a")
    with pytest.raises(ValueError, match="not pinned"):
        shop.graph.unpin(shop.grades, "a")


def test_peek_leaves_nothing_behind() -> None:
    shop = Shop()
    assert shop.graph.peek(shop.board, "ab") == ("small", "small")
    shop.graph.collect()
    assert (len(shop.totals), len(shop.grades), len(shop.board)) == (0, 0, 0)


def test_a_row_that_stops_reading_is_not_run_again() -> None:
    graph = Graph(strict=True)
    source = graph.source("numbers", int)

    @graph.derived("chosen")
    def chosen(get: Get, key: str) -> int | None:
        which = get(source, ("which", ""))
        return get(source, ("number", "a")) if which == 0 else get(source, ("number", "b"))

    graph.apply([Put("numbers", ("which", ""), 0), Put("numbers", ("number", "a"), 5)])
    assert graph.pin(chosen, "x") == 5
    graph.apply([Put("numbers", ("which", ""), 1)])
    graph.apply([Put("numbers", ("number", "a"), 6)])
    assert graph.recomputed == []
    graph.apply([Put("numbers", ("number", "b"), 7)])
    assert graph.peek(chosen, "x") == 7


def test_index_tells_of_membership_only() -> None:
    graph = Graph(strict=True)
    source = graph.source("numbers", int)
    odd = graph.index("odd", source, lambda number: ["odd"] if number % 2 else [])

    @graph.derived("count")
    def count(get: Get, key: str) -> int:
        return len(get(odd, "odd"))

    graph.pin(count, "x")
    graph.apply([Put("numbers", ("a", "1"), 1), Put("numbers", ("a", "2"), 3), Put("numbers", ("a", "3"), 4)])
    assert graph.peek(count, "x") == 2
    graph.apply([Put("numbers", ("a", "1"), 5)])
    assert graph.recomputed == []
    graph.apply([Put("numbers", ("a", "1"), 6)])
    assert graph.recomputed == [("count", "x")]
    assert odd.get("odd") == (("a", "2"),)


def test_index_over_rows_that_are_there_already() -> None:
    graph = Graph()
    source = graph.source("numbers", int)
    graph.apply([Put("numbers", ("a", "1"), 1)])
    assert graph.index("odd", source, lambda number: [number % 2]).get(1) == (("a", "1"),)


def test_replace_is_a_difference_within_its_prefix() -> None:
    shop = Shop()
    rows: tuple[tuple[Key, object], ...] = ((("a", "first"), 1), (("a", "second"), 2))
    shop.graph.apply([Replace("orders", ("a",), rows), Put("orders", ("b", "first"), 7)])
    shop.graph.pin(shop.totals, "a")
    shop.graph.pin(shop.totals, "b")
    shop.graph.apply([Replace("orders", ("a",), rows)])
    assert shop.graph.recomputed == []
    shop.graph.apply([Replace("orders", ("a",), rows[:1])])
    assert names(shop.graph.recomputed) == ["totals:a"]
    assert dict(shop.graph.dump("orders")) == {("a", "first"): 1, ("b", "first"): 7}
    shop.graph.apply([Replace("orders", ("a", "second"), ((("a", "second"), 4),))])
    assert shop.graph.peek(shop.totals, "a") == 5
    shop.graph.apply([Replace("orders", (), ())])
    assert len(shop.orders) == 0


def test_reading_what_is_declared_later_is_a_mistake_in_the_wiring() -> None:
    graph = Graph()
    later: list[Derived[str, int]] = []
    earlier: Derived[str, int] = graph.derived("earlier", lambda get, key: get(later[0], key))
    later.append(graph.derived("later", lambda get, key: 1))
    with pytest.raises(OrderError, match="later is declared after"):
        graph.pin(earlier, "x")


@pytest.mark.parametrize("name", ["orders", "totals"])
def test_a_name_is_declared_once(name: str) -> None:
    shop = Shop()
    with pytest.raises(ValueError, match="twice"):
        shop.graph.source(name, int)


def test_only_sources_take_changes() -> None:
    shop = Shop()
    with pytest.raises(TypeError, match="totals is not a source"):
        shop.graph.apply([Put("totals", ("a",), 1)])


def test_a_function_that_fails_keeps_its_last_good_row_and_the_others_go_on() -> None:
    graph = Graph()
    source = graph.source("numbers", int)
    inverse: Derived[str, float] = graph.derived("inverse", lambda get, key: 10 / (get(source, (key,)) or 0))
    graph.apply([Put("numbers", ("a",), 2), Put("numbers", ("b",), 5)])
    graph.pin(inverse, "a")
    graph.pin(inverse, "b")
    graph.apply([Put("numbers", ("a",), 0), Put("numbers", ("b",), 10)])
    assert (graph.peek(inverse, "a"), graph.peek(inverse, "b")) == (5, 1)
    assert graph.failures == {("inverse", "a"): "ZeroDivisionError: division by zero"}
    graph.apply([Put("numbers", ("a",), 1)])
    assert graph.peek(inverse, "a") == 10
    assert graph.failures == {}


def test_a_function_that_never_succeeded_has_its_default() -> None:
    graph = Graph()
    source = graph.source("numbers", int)
    inverse: Derived[str, float] = graph.derived("inverse", lambda get, key: 10 / (get(source, (key,)) or 0), -1.0)
    plus: Derived[str, float] = graph.derived("plus", lambda get, key: get(inverse, key) + 1)
    assert graph.pin(plus, "a") == 0
    assert list(graph.failures) == [("inverse", "a")]
    graph.apply([Put("numbers", ("a",), 5)])
    assert graph.peek(plus, "a") == 3


def test_dump_is_sorted() -> None:
    shop = Shop()
    shop.order("b", "first", 1)
    shop.order("a", "first", 2)
    assert shop.graph.dump("orders") == [(("a", "first"), 2), (("b", "first"), 1)]
    assert shop.graph.dump("orders.by_parity") == [(0, (("a", "first"),)), (1, (("b", "first"),))]
    shop.graph.pin(shop.totals, "a")
    assert shop.graph.dump("totals") == [("a", 2)]
