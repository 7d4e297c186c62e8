"""The cluster's name server, on each node at the node's own address: what Kubernetes calls cluster DNS."""

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import cast

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

Table = Mapping[str, tuple[str, ...]]
_TTL = 5


def answer(query: bytes, table: Table) -> bytes | None:
    """The reply to a query; None for what is no DNS query at all. Names outside the table do not exist."""
    try:
        request = DNSRecord.parse(query)
    except (DNSError, ValueError, struct.error):
        return None
    reply = request.reply(ra=1, aa=1)
    if request.header.qr or not request.questions:
        return None
    name = str(request.q.qname).rstrip(".").lower()
    addresses = table.get(name)
    if addresses is None:
        if not any(known.endswith(f".{name}") for known in table):
            reply.header.rcode = RCODE.NXDOMAIN
    elif request.q.qtype in (QTYPE.A, QTYPE.ANY):
        for address in addresses:
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=_TTL))
    return bytes(reply.pack())


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, table: Callable[[], Table]) -> None:
        self._table = table
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._table())
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


async def serve(ip: str, table: Callable[[], Table], port: int = 53) -> None:
    """Answer over UDP and TCP at `ip` until cancelled."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                reply = answer(await reader.readexactly(length), table())
                if reply is None:
                    break
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(table), local_addr=(ip, port))
    try:
        server = await asyncio.start_server(stream, ip, port)
        async with server:
            await server.serve_forever()
    finally:
        transport.close()
