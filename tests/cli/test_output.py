"""Columns, JSON, ages."""

import io

import pytest

from isthmus.cli.output import Cell, Colour, age, json, table


class Terminal(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


ROWS = [("a", Cell("ok", Colour.GOOD), "x"), ("longer", Cell("broken", Colour.BAD), "")]


def test_columns_are_aligned_and_lines_end_with_their_text() -> None:
    out = io.StringIO()
    table(("NAME", "STATUS", "LAST"), ROWS, out=out)
    assert out.getvalue() == (
        "NAME       STATUS     LAST\n"
        "a          ok         x\n"
        "longer     broken\n"
    )  # fmt: skip


def test_colour_is_for_terminals_and_does_not_move_columns() -> None:
    out = Terminal()
    table(("NAME", "STATUS", "LAST"), ROWS, out=out)
    assert "a          \x1b[32mok\x1b[0m         x\n" in out.getvalue()
    assert "longer     \x1b[31mbroken\x1b[0m" in out.getvalue()


def test_headers_alone() -> None:
    out = io.StringIO()
    table(("A", "B"), [], out=out)
    assert out.getvalue() == "A     B\n"


def test_json_is_indented() -> None:
    out = io.StringIO()
    json({"a": [1]}, out=out)
    assert out.getvalue() == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (-1, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (200000, "2d"),
    ],
)
def test_age(seconds: float | None, text: str) -> None:
    assert age(seconds) == text
