"""Which of the connections that the kernel tells are to be forgotten, byte by byte."""

import struct

import pytest

from isthmus.install import conntrack

UDP, TCP = 17, 6
CONFIRMED, SEEN_REPLY, TRANSLATED = 0x8, 0x2, 0x20


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def direction(protocol: int, port: int) -> bytes:
    addresses = attribute(1, bytes([10, 0, 0, 7])) + attribute(2, bytes([10, 96, 0, 10]))
    ports = (
        attribute(1, bytes([protocol])) + attribute(2, struct.pack(">H", 40000)) + attribute(3, struct.pack(">H", port))
    )
    return attribute(0x8001, addresses) + attribute(0x8002, ports)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def told(protocol: int, port: int, status: int) -> bytes:
    fields = attribute(0x8001, direction(protocol, port)) + attribute(3, struct.pack(">I", status | CONFIRMED))
    return message(0x100, b"\2\0\0\0" + fields)


END = message(3, b"\0\0\0\0")


@pytest.mark.parametrize(
    ("protocol", "port", "status", "answered", "forgotten"),
    [
        (UDP, 53, SEEN_REPLY, True, True),
        (UDP, 53, SEEN_REPLY | TRANSLATED, True, True),
        (UDP, 53, 0, True, True),
        (UDP, 53, TRANSLATED, True, False),
        (UDP, 53, TRANSLATED, False, True),
        (TCP, 53, SEEN_REPLY, True, False),
        (UDP, 5353, SEEN_REPLY, False, False),
    ],
)
def test_what_is_forgotten(protocol: int, port: int, status: int, answered: bool, forgotten: bool) -> None:
    others = told(TCP, 80, SEEN_REPLY)
    data = others + told(protocol, port, status) + others + END
    made = conntrack.forget(data, 53, answered=answered)
    wanted = attribute(0x8001, direction(protocol, port))
    assert [one[20:] for one in made] == ([wanted] if forgotten else [])
    for one in made:
        length, kind, flags, *_ = struct.unpack_from("=IHHII", one)
        assert (length, kind, flags) == (len(one), 0x102, 0x5)


def test_where_an_answer_ends() -> None:
    assert not conntrack.is_last(told(UDP, 53, 0))
    assert conntrack.is_last(told(UDP, 53, 0) + END)
    with pytest.raises(OSError, match="does not tell"):
        conntrack.is_last(message(2, struct.pack("=i", -1)))
