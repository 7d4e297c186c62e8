"""Durations, hosts and addresses as users write them."""

import pytest

from isthmus.ingest.finding import duration, is_address, is_host


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        ("0s", 0.0),
        ("", None),
        ("5", None),
        ("s", None),
        ("5x", None),
    ],
)
def test_duration(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("*", True),
        ("*.a.b", True),
        ("a-1.b_c", True),
        ("", False),
        ("a..b", False),
        ("-a", False),
        ("a.*", False),
        ("a" * 256, False),
    ],
)
def test_host(text: str, good: bool) -> None:
    assert is_host(text) == good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("10.0.0.1", True),
        ("::1", True),
        ("10.0.0", False),
        ("10.0.0.256", False),
        ("01.0.0.1", False),
        ("255.249.199.99", True),
        ("10.0.0.1\n", False),
        ("", False),
        ("x", False),
    ],
)
def test_address(text: str, good: bool) -> None:
    assert is_address(text) == good
