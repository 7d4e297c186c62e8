"""The end of a log."""

import pytest

from isthmus_lab.kubelet.server import tail_offset


@pytest.mark.parametrize(
    ("text", "lines", "rest"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\n", 5, b"a\nb\n"),
        (b"a\nb\n", 0, b""),
        (b"", 3, b""),
        (b"\n\n\n", 1, b"\n"),
    ],
)
def test_tail(text: bytes, lines: int, rest: bytes) -> None:
    assert text[tail_offset(text, lines) :] == rest
