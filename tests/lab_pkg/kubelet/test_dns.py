"""The cluster's name server: answers, and what it says of names it does not have."""

import asyncio
import struct

import pytest
from dnslib import RCODE, DNSRecord

from isthmus_lab.kubelet import dns

TABLE = {"web.ns.svc.cluster.local": ("10.96.0.2",), "empty.ns.svc.cluster.local": ()}


def ask(name: str, kind: str = "A") -> tuple[str, list[str]]:
    reply = dns.answer(bytes(DNSRecord.question(name, kind).pack()), TABLE)
    assert reply is not None
    record = DNSRecord.parse(reply)
    return str(RCODE[record.header.rcode]), [str(rr.rdata) for rr in record.rr]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.ns.svc.cluster.local", "A", ("NOERROR", ["10.96.0.2"])),
        ("WEB.ns.SVC.cluster.local.", "A", ("NOERROR", ["10.96.0.2"])),
        ("web.ns.svc.cluster.local", "AAAA", ("NOERROR", [])),
        ("empty.ns.svc.cluster.local", "A", ("NOERROR", [])),
        ("ns.svc.cluster.local", "A", ("NOERROR", [])),
        ("web.ns", "A", ("NXDOMAIN", [])),
        ("example.com", "A", ("NXDOMAIN", [])),
    ],
)
def test_answers(name: str, kind: str, expected: tuple[str, list[str]]) -> None:
    assert ask(name, kind) == expected


def test_what_is_no_query_gets_no_answer() -> None:
    assert dns.answer(b"", TABLE) is None
    assert dns.answer(b"\xff" * 40, TABLE) is None
    response = DNSRecord.question("a.b").reply()
    assert dns.answer(bytes(response.pack()), TABLE) is None


async def _over_tcp(port: int) -> DNSRecord:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    query = bytes(DNSRecord.question("web.ns.svc.cluster.local").pack())
    writer.write(struct.pack(">H", len(query)) + query)
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    reply = DNSRecord.parse(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return reply


def test_it_serves_tcp_beside_udp(unused_tcp_port: int) -> None:
    async def run() -> DNSRecord:
        server = asyncio.create_task(dns.serve("127.0.0.1", lambda: TABLE, unused_tcp_port))
        try:
            async with asyncio.timeout(5):
                return await _over_tcp(unused_tcp_port)
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)

    assert str(asyncio.run(run()).rr[0].rdata) == "10.96.0.2"
