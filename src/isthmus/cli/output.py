"""How commands print: aligned columns, JSON, colour on a terminal only."""

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, TextIO

import msgspec

GAP = 5
"""Spaces between columns, as istioctl prints them."""


class Format(StrEnum):
    """Values of `-o`."""

    TABLE = "table"
    JSON = "json"


class Colour(StrEnum):
    """ANSI codes of the few colours that mean something."""

    GOOD = "32"
    BAD = "31"
    UNSURE = "33"


class Cell(str):
    """A text of a table with a colour; its width is the text's."""

    colour: Colour | None

    def __new__(cls, text: str, colour: Colour | None = None) -> "Cell":
        """The text, coloured where it is printed to a terminal."""
        cell = super().__new__(cls, text)
        cell.colour = colour
        return cell


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    out: TextIO | None = None,
    widths: Sequence[int] = (),
    head: bool = True,
) -> tuple[int, ...]:
    """Print columns, each as wide as its widest cell; the last one is not padded.

    Returns the widths; given again as `widths`, without `head`, the table goes on below.
    """
    out = out or sys.stdout
    lines = [tuple(headers), *(tuple(row) for row in rows)]
    least = widths or [0] * len(headers)
    made = tuple(max(least[i], *(len(line[i]) for line in lines)) for i in range(len(headers)))
    coloured = out.isatty()
    for line in lines if head else lines[1:]:
        cells = [_painted(cell, width, coloured) for cell, width in zip(line, made, strict=True)]
        print((" " * GAP).join(cells).rstrip(), file=out, flush=not head)
    return made


def _painted(cell: str, width: int, coloured: bool) -> str:
    padding = " " * (width - len(cell))
    colour = cell.colour if isinstance(cell, Cell) else None
    return f"\x1b[{colour}m{cell}\x1b[0m{padding}" if coloured and colour else cell + padding


def json(value: Any, *, out: TextIO | None = None) -> None:
    """Print a value as indented JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), file=out or sys.stdout)


def warn(text: str) -> None:
    """Say something that is no result, on stderr."""
    print(f"Warning: {text}", file=sys.stderr)


def age(seconds: float | None) -> str:
    """How long ago, in one unit: `3s`, `5m`, `2h`, `4d`; `never` for None."""
    if seconds is None:
        return "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"
