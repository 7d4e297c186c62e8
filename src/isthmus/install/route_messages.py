"""Netlink messages that lead packets with a mark to this machine itself, whatever address they are for.

A ztunnel calls an application from the address of its caller; what the application answers must not leave the pod.
"""

import struct

from isthmus.install.capture_rules import ANSWER_MARK

NETLINK_ROUTE = 0
"""Protocol of the socket that takes them."""

TABLE = 100
PRIORITY = 32764
"""Of the table and the rule that leads there: the same as Istio's, so that both may set them."""

_NEWROUTE, _NEWRULE = 24, 32
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_IPV4 = 2
_LOCAL_ROUTE, _HOST_SCOPE, _BY_ADMINISTRATOR = 2, 254, 4
_TO_TABLE = 1
_LOOPBACK = 1


def answers_stay_here() -> list[bytes]:
    """The messages for one network namespace, each to be acknowledged; what is there already may be refused."""
    route = struct.pack("=BBBBBBBBI", _IPV4, 0, 0, 0, TABLE, _BY_ADMINISTRATOR, _HOST_SCOPE, _LOCAL_ROUTE, 0)
    rule = struct.pack("=BBBBBBBBI", _IPV4, 0, 0, 0, TABLE, 0, 0, _TO_TABLE, 0)
    by_mark = (_u32(6, PRIORITY), _u32(10, ANSWER_MARK), _u32(16, 0xFFF), _u32(15, TABLE))
    return [
        _message(_NEWROUTE, 1, route, _u32(4, _LOOPBACK)),
        _message(_NEWRULE, 2, rule, *by_mark),
    ]


def refusal(answer: bytes) -> int:
    """The error number in an acknowledgement; 0 if the message was taken."""
    return -int(struct.unpack_from("=i", answer, 16)[0])


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HHI", 8, kind, value)


def _message(kind: int, sequence: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, sequence, 0) + body
