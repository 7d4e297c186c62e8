"""Discovery responses as joined bytes: no message object is built on the way to a stream.

Field numbers are those of envoy/service/discovery/v3/discovery.proto. Concatenated fields are a valid message, so a
response is the resources' own bytes between a few small ones.
"""

from collections.abc import Iterable
from functools import lru_cache


def varint(number: int) -> bytes:
    """A non-negative number in base 128."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def length_delimited(field: int, data: bytes) -> bytes:
    """One string, bytes or message field with its tag; `field` is below 16."""
    return bytes((field << 3 | 2,)) + varint(len(data)) + data


@lru_cache(maxsize=64)
def _type_field(field: int, type_url: str) -> bytes:
    return length_delimited(field, type_url.encode())


def delta_response(
    type_url: str, framed: Iterable[bytes], removed: Iterable[str] = (), *, nonce: str, version: str = ""
) -> bytes:
    """A DeltaDiscoveryResponse of resources already framed (`XdsResource.framed`) and of removed names."""
    parts = list(framed)
    parts.extend(length_delimited(6, name.encode()) for name in removed)
    if version:
        parts.append(length_delimited(1, version.encode()))
    parts.append(_type_field(4, type_url))
    parts.append(length_delimited(5, nonce.encode()))
    return b"".join(parts)


def sotw_response(type_url: str, framed: Iterable[bytes], *, nonce: str, version: str) -> bytes:
    """A DiscoveryResponse of resources already framed (`XdsResource.framed_any()`)."""
    parts = list(framed)
    parts.append(length_delimited(1, version.encode()))
    parts.append(_type_field(4, type_url))
    parts.append(length_delimited(5, nonce.encode()))
    return b"".join(parts)
