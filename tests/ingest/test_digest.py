"""Digests of what was observed: equal for equal rows, in whatever order they came."""

import pytest

from isthmus.ingest.digest import digest
from isthmus.model.rows import Namespace, Node, Row, labels

ROWS: list[Row] = [
    Namespace(cluster="c", name="a", labels=labels({"x": "1", "y": "2"})),
    Namespace(cluster="c", name="b"),
    Node(cluster="c", name="n"),
]


def test_order_does_not_matter() -> None:
    assert digest(ROWS) == digest(reversed(ROWS))
    assert len(digest(ROWS)) == 16
    assert digest([]) == "0" * 16


@pytest.mark.parametrize(
    "others",
    [
        ROWS[:2],
        [*ROWS, ROWS[0]],
        [*ROWS[1:], Namespace(cluster="c", name="a", labels=labels({"x": "1"}))],
        [*ROWS[:2], Namespace(cluster="c", name="n")],
    ],
)
def test_every_difference_shows(others: list[Row]) -> None:
    assert digest(others) != digest(ROWS)
