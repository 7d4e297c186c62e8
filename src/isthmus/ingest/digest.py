"""A short text for a set of rows: two control planes that observed the same have the same, whatever the order."""

import hashlib
from collections.abc import Iterable

import msgspec

from isthmus.model.rows import Row

_MODULUS = 1 << 64
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def digest(rows: Iterable[Row]) -> str:
    """16 hexadecimal digits. The sum of the rows' hashes, so that order does not matter and doubles count twice."""
    total = 0
    for row in rows:
        hashed = hashlib.blake2b(_encode(row), digest_size=8, person=row.TABLE.encode()[:16]).digest()
        total += int.from_bytes(hashed, "big")
    return f"{total % _MODULUS:016x}"
