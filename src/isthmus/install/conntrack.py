"""The connections that the kernel follows, as netlink tells them (linux/netfilter/nfnetlink_conntrack.h).

For UDP a connection is whatever came from the same port to the same place within two minutes: it goes where its first
packet went, whatever rules say by now.
"""

import struct
from collections.abc import Iterator

_SUBSYS = 1 << 8
_NEW, _GET, _DELETE = 0, 1, 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_ORIGINAL, _STATUS = 1, 3
_PROTO, _NUMBER, _TARGET_PORT = 2, 1, 3
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.pack(">BBH", 2, 0, 0)  # IPv4
_SEEN_REPLY, _TRANSLATED = 0x2, 0x20
_UDP = 17

LIST = _HEADER.pack(20, _SUBSYS | _GET, _REQUEST | _DUMP, 1, 0) + _GENERIC
"""Asks for all of them over IPv4."""


def is_last(data: bytes) -> bool:
    """Whether an answer to `LIST` ends here. Raises OSError for a refusal."""
    for kind, body in _messages(data):
        if kind == _ERROR and (number := -struct.unpack_from("=i", body)[0]):
            raise OSError(number, "the kernel does not tell its connections")
        if kind in (_DONE, _ERROR):
            return True
    return False


def forget(data: bytes, port: int, *, answered: bool) -> list[bytes]:
    """Messages that make the kernel forget those in `data` that are of UDP and to that port.

    `answered`: but for those that are translated and wait for an answer, which would not be translated back.
    """
    made = []
    for kind, body in _messages(data):
        if kind != _SUBSYS | _NEW:
            continue
        fields = dict(_attributes(body[len(_GENERIC) :]))
        tuple_, status = fields.get(_ORIGINAL, b""), struct.unpack(">I", fields.get(_STATUS, b"\0\0\0\0"))[0]
        waits = status & (_SEEN_REPLY | _TRANSLATED) == _TRANSLATED
        if _goes_to(tuple_, port) and not (answered and waits):
            attribute = struct.pack("=HH", 4 + len(tuple_), _ORIGINAL | 0x8000) + tuple_ + b"\0" * (-len(tuple_) % 4)
            whole = _GENERIC + attribute
            made.append(_HEADER.pack(16 + len(whole), _SUBSYS | _DELETE, _REQUEST | _ACK, 1, 0) + whole)
    return made


def _goes_to(original: bytes, port: int) -> bool:
    proto = dict(_attributes(dict(_attributes(original)).get(_PROTO, b"")))
    return proto.get(_NUMBER) == bytes([_UDP]) and proto.get(_TARGET_PORT) == struct.pack(">H", port)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of each message."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
