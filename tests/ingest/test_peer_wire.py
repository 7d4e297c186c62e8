"""What peers say, and what of it is believed."""

import pytest

from isthmus.ingest.peer_wire import Claim, Hello, entered_at, read_hello, write_hello

CLAIM = Claim("west", "net-west", "west.example")


@pytest.mark.parametrize(
    ("linked", "before", "told", "found"),
    [
        (["a"], [], [], []),
        (["a"], [], ["a"], ["a"]),
        (["a"], [], ["a", "b"], ["a", "b"]),
        (["a"], ["a", "b"], ["b"], ["b"]),
        (["a"], ["b"], ["c"], ["c"]),
        (["a"], ["b"], [], ["b"]),
        (["lb.example.com"], [], ["a"], []),
        (["a"], [], ["b"], []),
    ],
)
def test_where_a_peer_is_entered(linked: list[str], before: list[str], told: list[str], found: list[str]) -> None:
    assert entered_at(linked, before, told) == tuple(found)


def test_entrances_are_addresses_each_once() -> None:
    told = Hello("west", "net-west", "west.example", entrances=("198.18.0.1", "x.example", "198.18.0.1", "fd00::1"))
    hello, problems = read_hello(CLAIM, write_hello(told))
    assert hello is not None
    assert hello.entrances == ("198.18.0.1", "fd00::1")
    assert not problems
