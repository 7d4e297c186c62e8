"""nftables without `nft`: rules as expressions, framed as one atomic netlink transaction.

pyroute2's `NFTables` sends each command as a transaction of its own and its `begin`/`commit` reads no errors, so a
table could be seen half changed. This module encodes the few expressions that capture and the lab need
(linux/netfilter/nf_tables.h) and reads every acknowledgement. Whoever has a netlink socket sends them.
"""

import ipaddress
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NETLINK_NETFILTER = 12
"""Protocol of the socket that takes transactions."""
_SUBSYS = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _DELRULE = 0, 2, 3, 6, 8
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NLMSG_ERROR = 2
_NESTED = 0x8000
_INET = 1  # NFPROTO_INET
_IPV4, _IPV6 = 2, 10

HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}

ACCEPT, DROP, RETURN = 1, 0, -5
EQ, NEQ = 0, 1

Expression = bytes
Rule = Sequence[Expression]


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain: its hook, its priority (lower runs first; for nat the first translation wins), its rules."""

    name: str
    kind: str
    hook: str
    priority: int
    rules: tuple[Rule, ...]
    policy: int = ACCEPT


def _attr(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _u32(kind: int, value: int) -> bytes:
    return _attr(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _text(kind: int, value: str) -> bytes:
    return _attr(kind, value.encode() + b"\0")


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attr(kind | _NESTED, b"".join(parts))


def _expr(name: str, *parts: bytes) -> Expression:
    return _nest(1, _text(1, name), _nest(2, *parts))


def _data(kind: int, value: bytes) -> bytes:
    return _nest(kind, _attr(1, value))


def _load(name: str, key: int) -> Expression:
    return _expr(name, _u32(1, 1), _u32(2, key))  # destination register 1, key


def _compare(value: bytes, op: int = EQ) -> Expression:
    return _expr("cmp", _u32(1, 1), _u32(2, op), _data(3, value))


def _payload(base: int, offset: int, length: int) -> Expression:
    return _expr("payload", _u32(1, 1), _u32(2, base), _u32(3, offset), _u32(4, length))


def _immediate(register: int, value: bytes) -> Expression:
    return _expr("immediate", _u32(1, register), _data(2, value))


def protocol(name: str, *, version: int = 4) -> Rule:
    """Match tcp or udp over IPv4, or over IPv6 with `version` 6."""
    number = {"tcp": 6, "udp": 17}[name]
    family = {4: _IPV4, 6: _IPV6}[version]
    return (_load("meta", 15), _compare(bytes([family])), _load("meta", 16), _compare(bytes([number])))


def opening() -> Rule:
    """Match the packet that opens a TCP connection: SYN, and neither ACK, RST nor FIN."""
    flags = _payload(2, 13, 1)
    mask = _expr("bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 1), _data(4, b"\x17"), _data(5, b"\0"))
    return (flags, mask, _compare(b"\x02"))


SEEN_REPLY, TRANSLATED = 0x2, 0x20
"""What the kernel notes of a connection: the other side has answered; its destination was translated."""


def connection(mask: int, value: int) -> Rule:
    """Match packets of a connection of which, of the bits in `mask`, just those of `value` hold."""
    kept = _expr(
        "bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 4), _data(4, struct.pack("=I", mask)), _data(5, b"\0\0\0\0")
    )
    return (_load("ct", 2), kept, _compare(struct.pack("=I", value)))


def mark(value: int) -> Rule:
    """Match packets of sockets with that SO_MARK."""
    return (_load("meta", 3), _compare(struct.pack("=I", value)))


def set_mark(value: int) -> Rule:
    """Give the packet a mark; in a chain of kind `route` it is routed again, by that mark."""
    return (_immediate(1, struct.pack("=I", value)), _expr("meta", _u32(2, 3), _u32(3, 1)))


def connection_mark(value: int) -> Rule:
    """Match packets of connections with that mark, in either direction."""
    return (_load("ct", 3), _compare(struct.pack("=I", value)))


def set_connection_mark(value: int) -> Rule:
    """Give the packet's connection a mark."""
    return (_immediate(1, struct.pack("=I", value)), _expr("ct", _u32(2, 3), _u32(4, 1)))


def owner(uid: int) -> Rule:
    """Match packets of sockets of that user."""
    return (_load("meta", 10), _compare(struct.pack("=I", uid)))


def local_socket() -> Rule:
    """Match packets that a process of this machine sends, not those that it passes on."""
    return (_load("meta", 10),)  # breaks off where there is no socket


def interface(direction: str, name: str, *, op: int = EQ) -> Rule:
    """Match the incoming (`in`) or outgoing (`out`) interface."""
    return (_load("meta", {"in": 6, "out": 7}[direction]), _compare(name.encode().ljust(16, b"\0"), op))


def established() -> Rule:
    """Match packets that belong to a connection seen before, or are related to one."""
    mask = _expr("bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 4), _data(4, struct.pack("=I", 0x6)), _data(5, b"\0\0\0\0"))
    return (_load("ct", 0), mask, _compare(b"\0\0\0\0", NEQ))


def address(direction: str, cidr: str, *, op: int = EQ) -> Rule:
    """Match the source (`src`) or destination (`dst`) IPv4 address against an address or range."""
    net = ipaddress.IPv4Network(cidr)
    load = _payload(1, {"src": 12, "dst": 16}[direction], 4)
    if net.prefixlen == 0 and op == EQ:
        return ()
    if net.prefixlen == 32:
        return (load, _compare(net.network_address.packed, op))
    mask = _expr("bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 4), _data(4, net.netmask.packed), _data(5, b"\0\0\0\0"))
    return (load, mask, _compare(net.network_address.packed, op))


def port(number: int, *, op: int = EQ) -> Rule:
    """Match the destination port."""
    return (_payload(2, 2, 2), _compare(struct.pack(">H", number), op))


def one_in(total: int) -> Rule:
    """Match one of `total` packets at random; in nat chains only a connection's first packet asks."""
    load = _expr("numgen", _u32(1, 1), _u32(2, total), _u32(3, 1))
    return (load, _compare(struct.pack("=I", 0)))


def verdict(code: int) -> Rule:
    """Accept, drop or return."""
    return (_expr("immediate", _u32(1, 0), _nest(2, _nest(2, _u32(1, code)))),)


def redirect(to_port: int) -> Rule:
    """Send the connection to that port of this machine; SO_ORIGINAL_DST keeps where it was going."""
    return (_immediate(1, struct.pack(">H", to_port)), _expr("redir", _u32(1, 1)))


def dnat(ip: str, to_port: int) -> Rule:
    """Send the connection to another address and port."""
    return (
        _immediate(1, ipaddress.IPv4Address(ip).packed),
        _immediate(2, struct.pack(">H", to_port)),
        _expr("nat", _u32(1, 1), _u32(2, _IPV4), _u32(3, 1), _u32(5, 2)),
    )


def snat(ip: str) -> Rule:
    """Give the connection that address on the way out."""
    return (_immediate(1, ipaddress.IPv4Address(ip).packed), _expr("nat", _u32(1, 0), _u32(2, _IPV4), _u32(3, 1)))


def masquerade() -> Rule:
    """Give the connection this machine's address on the way out."""
    return (_expr("masq"),)


def reject(*, tcp: bool) -> Rule:
    """Refuse at once: a reset for TCP, else ICMP port unreachable."""
    if tcp:
        return (_expr("reject", _u32(1, 1), _attr(2, b"\0")),)
    return (_expr("reject", _u32(1, 2), _attr(2, b"\1")),)


def rule(*parts: Rule) -> Rule:
    """One rule of several matches and an action."""
    return tuple(expression for part in parts for expression in part)


class NftError(OSError):
    """The kernel refused a transaction; nothing of it took effect."""


def table_messages(table: str, chains: Iterable[Chain]) -> list[bytes]:
    """The messages that make `table` hold exactly the rules of `chains`; other chains of the table stay as they are."""
    name = _text(1, table)
    messages = [_message(_NEWTABLE, _CREATE, name)]
    for chain in chains:
        hook = _nest(4, _u32(1, HOOKS[chain.hook]), _u32(2, chain.priority))
        parts = (name, _text(3, chain.name), hook, _u32(5, chain.policy), _text(7, chain.kind))
        messages.append(_message(_NEWCHAIN, _CREATE, *parts))
        messages.append(_message(_DELRULE, 0, name, _text(2, chain.name)))
        for expressions in chain.rules:
            body = _nest(4, *expressions)
            messages.append(_message(_NEWRULE, _CREATE | _APPEND, name, _text(2, chain.name), body))
    return messages


def delete_messages(table: str) -> list[bytes]:
    """The messages that remove `table`, if it is there."""
    return [_message(_NEWTABLE, _CREATE, _text(1, table)), _message(_DELTABLE, 0, _text(1, table))]


def _message(kind: int, flags: int, *parts: bytes) -> bytes:
    body = struct.pack(">BBH", _INET, 0, 0) + b"".join(parts)
    return struct.pack("=IHHII", 16 + len(body), _SUBSYS | kind, _REQUEST | _ACK | flags, 0, 0) + body


def transaction(messages: Sequence[bytes]) -> bytes:
    """Frame a transaction: begin, messages with sequence numbers 1…n, end."""
    edge = struct.pack(">BBH", 0, 0, 10)
    frame = [struct.pack("=IHHII", 20, _BATCH_BEGIN, _REQUEST, 0, 0) + edge]
    frame += [m[:8] + struct.pack("=I", i) + m[12:] for i, m in enumerate(messages, start=1)]
    frame.append(struct.pack("=IHHII", 20, _BATCH_END, _REQUEST, len(messages) + 1, 0) + edge)
    return b"".join(frame)


def acknowledged(answer: bytes, count: int) -> int:
    """How many acknowledgements a datagram of the kernel holds, of `count` messages. NftError: a refusal."""
    seen = offset = 0
    while offset < len(answer):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", answer, offset)
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", answer, offset + 16)[0]
            if number:
                raise NftError(number, f"nftables message {sequence} of {count}: {os.strerror(number)}")
            seen += 1
        offset += (length + 3) & ~3
    return seen
