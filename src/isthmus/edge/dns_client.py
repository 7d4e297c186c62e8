"""Asks name servers: over UDP, and over TCP for queries that came by TCP, from inside a network namespace."""

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Callable, Sequence

from dnslib import QTYPE, DNSError, DNSRecord

from isthmus.dns.answer import same_question
from isthmus.dns.lookup import Lookup, combined, parse
from isthmus.dns.resolv import ResolvConf
from isthmus.edge.netns import NetworkNamespace

PORT = 53
PATIENCE = 5.0
"""Seconds in which a query must be answered, all name servers together (DN8)."""

CAPTURE_MARK = 1337
"""Packets with this mark pass the capture rules: otherwise the agent would ask itself."""

MAX_MESSAGE = 65_535

_FLAGS, _TRUNCATED = 2, 0x02
"""Byte of a message that holds the TC bit (RFC 1035 §4.1.1)."""


class DnsClient:
    """Asks the name servers of a pod, in their order."""

    def __init__(self, namespace: NetworkNamespace, resolv_conf: Callable[[], ResolvConf], *, port: int = PORT) -> None:
        """`resolv_conf` is read at each query, because files change."""
        self._namespace = namespace
        self._resolv_conf = resolv_conf
        self._port = port

    async def ask(self, query: bytes, *, udp: bool) -> bytes | None:
        """The first answer, None if no server gave one in time."""
        servers = self._resolv_conf().servers
        if not servers:
            return None
        attempts = servers if len(servers) > 1 else servers * 2
        for server in attempts:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE / len(attempts)):
                    return await (self._ask_udp(server, query) if udp else self._ask_tcp(server, query))
        return None

    async def resolve(self, name: str) -> list[str]:
        """Addresses of a name as the pod would find them, IPv4 first; empty if there are none."""
        with contextlib.suppress(ValueError):
            return [literal(name)]
        for candidate in self._resolv_conf().candidates(name):
            found = await self._addresses(candidate)
            if found:
                return found
        return []

    async def lookup(self, name: str) -> Lookup | None:
        """What a complete name means, in both address families; None if nobody answered."""
        return combined([parse(await self._question(name, kind)) for kind in ("A", "AAAA")])

    async def _question(self, name: str, kind: str) -> bytes | None:
        query = DNSRecord.question(name, kind)
        query.header.id = secrets.randbelow(1 << 16)
        reply = await self.ask(bytes(query.pack()), udp=True)
        if reply is not None and len(reply) > _FLAGS and reply[_FLAGS] & _TRUNCATED:
            return await self.ask(bytes(query.pack()), udp=False)
        return reply

    async def _addresses(self, name: str) -> list[str]:
        for kind in ("A", "AAAA"):
            reply = await self._question(name, kind)
            found = _records(reply, kind) if reply else []
            if found:
                return found
        return []

    async def _ask_udp(self, server: str, query: bytes) -> bytes:
        """A socket of its own, so a random source port, for each query (RFC 5452 §4.5)."""
        loop = asyncio.get_running_loop()
        with await self._namespace.unbound(_family(server), socket.SOCK_DGRAM, mark=CAPTURE_MARK) as made:
            await loop.sock_connect(made, (server, self._port))
            await loop.sock_sendall(made, query)
            while True:
                response = await loop.sock_recv(made, MAX_MESSAGE)
                if same_question(query, response):
                    return response

    async def _ask_tcp(self, server: str, query: bytes) -> bytes:
        reader, writer = await self._namespace.connect((server, self._port), mark=CAPTURE_MARK)
        try:
            writer.write(struct.pack(">H", len(query)) + query)
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            return await reader.readexactly(length)
        finally:
            writer.close()


def literal(name: str) -> str:
    """The name itself if it is an address. Raises ValueError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name)
            return name
    raise ValueError(f"{name} is no address")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _records(reply: bytes, kind: str) -> list[str]:
    try:
        records: Sequence[object] = DNSRecord.parse(reply).rr
    except (DNSError, ValueError, struct.error, IndexError):
        return []
    wanted = getattr(QTYPE, kind)
    return [str(record.rdata) for record in records if record.rtype == wanted]  # type: ignore[attr-defined]
