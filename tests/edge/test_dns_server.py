"""The DNS proxy over real sockets: its own answers, and those of the pod's name servers."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from isthmus.base.errors import IsthmusError
from isthmus.dns.lookup import Lookup
from isthmus.dns.names import NameTable, View, make_host
from isthmus.dns.resolv import ResolvConf
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.dns_server import DnsServer
from isthmus.edge.netns import NetworkNamespace
from tests.agent.envoy_config import free_ports

HERE = NetworkNamespace()
TABLE = NameTable(
    [
        make_host(
            "hello.sample.svc.cluster.local", ["10.1.0.1"], registry="Kubernetes", shortname="hello", namespace="sample"
        )
    ]
)

Zone = dict[str, str]


class FakeNameServer:
    """A name server with a zone, over UDP and TCP; deaf to names that it does not have if `silent`."""

    def __init__(self, zone: Zone, *, silent: bool = False) -> None:
        self.zone = zone
        self.silent = silent
        self.asked: list[str] = []

    def reply(self, query: bytes) -> bytes | None:
        request = DNSRecord.parse(query)
        name = str(request.q.qname).rstrip(".")
        self.asked.append(f"{name} {QTYPE[request.q.qtype]}")
        answer = request.reply()
        if name in self.zone and request.q.qtype == QTYPE.A:
            answer.add_answer(RR(name, QTYPE.A, rdata=A(self.zone[name]), ttl=1))
        elif self.silent:
            return None
        elif name not in self.zone:
            answer.header.rcode = RCODE.NXDOMAIN
        return bytes(answer.pack())

    @contextlib.asynccontextmanager
    async def running(self, address: str, port: int) -> AsyncIterator[None]:
        """Listen while the context is open."""

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            data = self.reply(await reader.readexactly(length)) or b""
            writer.write(struct.pack(">H", len(data)) + data)
            writer.close()

        outer = self

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = cast(asyncio.DatagramTransport, transport)

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                stray = DNSRecord.question("stray.example").reply()
                self.transport.sendto(bytes(stray.pack()), addr)  # must not pass for the answer
                reply = outer.reply(data)
                if reply:
                    self.transport.sendto(reply, addr)

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=(address, port))
        async with await asyncio.start_server(converse, address, port):
            yield
        transport.close()


Scenario = Callable[[DnsServer, DnsClient, FakeNameServer], Awaitable[None]]


def run(scenario: Scenario, *, zone: Zone | None = None, silent: bool = False) -> FakeNameServer:
    """A proxy that forwards to a fake name server, and a client that asks the proxy."""
    fake = FakeNameServer(zone or {}, silent=silent)

    async def whole() -> None:
        upstream, port = free_ports(2)
        forwarder = DnsClient(HERE, lambda: ResolvConf(("127.0.0.1",)), port=upstream)
        proxy = DnsServer(HERE, view=View("sample", "svc.cluster.local"), client=forwarder, port=port)
        await proxy.start()
        client = DnsClient(HERE, lambda: ResolvConf(("127.0.0.1",), ("sample.svc.cluster.local",), 5), port=port)
        async with asyncio.timeout(20), fake.running("127.0.0.1", upstream):
            await scenario(proxy, client, fake)
        await proxy.close()

    asyncio.run(whole())
    return fake


async def code(client: DnsClient, name: str, *, udp: bool) -> int:
    """The result code of a query for A."""
    reply = await client.ask(bytes(DNSRecord.question(name).pack()), udp=udp)
    assert reply is not None
    return int(DNSRecord.parse(reply).header.rcode)


@pytest.mark.parametrize("udp", [True, False])
def test_own_names_and_others(udp: bool) -> None:
    async def scenario(proxy: DnsServer, client: DnsClient, fake: FakeNameServer) -> None:
        assert await code(client, "hello.sample", udp=udp) == RCODE.SERVFAIL
        proxy.table = TABLE
        assert await code(client, "hello.sample", udp=udp) == RCODE.NOERROR
        assert fake.asked == []
        assert await code(client, "example.org", udp=udp) == RCODE.NOERROR
        assert await code(client, "missing.example.org", udp=udp) == RCODE.NXDOMAIN
        assert fake.asked == ["example.org A", "missing.example.org A"]

    run(scenario, zone={"example.org": "192.0.2.1"})


def test_resolving_walks_the_search_list() -> None:
    async def scenario(proxy: DnsServer, client: DnsClient, _: FakeNameServer) -> None:
        proxy.table = TABLE
        assert await client.resolve("hello.sample") == ["10.1.0.1"]
        assert await client.resolve("example.org") == ["192.0.2.1"]
        assert await client.resolve("missing.example.org") == []
        assert await client.resolve("192.0.2.7") == ["192.0.2.7"]
        assert await client.resolve("::1") == ["::1"]

    run(scenario, zone={"example.org": "192.0.2.1"})


def test_silent_name_server_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.edge.dns_client.PATIENCE", 0.2)

    async def scenario(proxy: DnsServer, _: DnsClient, fake: FakeNameServer) -> None:
        proxy.table = TABLE
        query = bytes(DNSRecord.question("example.org").pack())
        forwarded = asyncio.get_running_loop().create_future()
        proxy._on_datagram(query, forwarded.set_result)
        assert DNSRecord.parse(await forwarded).header.rcode == RCODE.SERVFAIL
        assert fake.asked == ["example.org A"] * 2

    run(scenario, silent=True)


def test_second_name_server_answers_for_a_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.edge.dns_client.PATIENCE", 1.0)
    fake = FakeNameServer({"example.org": "192.0.2.1"})

    async def scenario() -> None:
        (port,) = free_ports(1)
        client = DnsClient(HERE, lambda: ResolvConf(("127.0.0.1", "127.0.0.2")), port=port)
        async with fake.running("127.0.0.2", port):
            assert await client.resolve("example.org") == ["192.0.2.1"]

    asyncio.run(scenario())


def test_no_name_servers_no_answer() -> None:
    assert asyncio.run(DnsClient(HERE, ResolvConf).resolve("example.org")) == []


def test_junk_and_idle_connections_do_no_harm() -> None:
    async def scenario(proxy: DnsServer, client: DnsClient, _: FakeNameServer) -> None:
        proxy.table = TABLE
        reader, writer = await asyncio.open_connection("127.0.0.1", client._port)
        writer.write(b"\x00\x03abc")
        assert await reader.read() == b""
        writer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
            junk.sendto(b"\x01", ("127.0.0.1", client._port))
        assert await code(client, "hello", udp=True) == RCODE.NOERROR

    run(scenario)


def test_taken_port_is_told_and_nothing_is_left_open() -> None:
    async def scenario(_: DnsServer, client: DnsClient, __: FakeNameServer) -> None:
        second = DnsServer(HERE, view=View("a", "b"), client=client, port=client._port)
        with pytest.raises(IsthmusError, match="DNS proxy"):
            await second.start()

    run(scenario)


def test_a_lookup_tells_addresses_from_silence() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        server = FakeNameServer({"gw.example": "9.9.9.9"}, silent=False)
        client = DnsClient(HERE, lambda: ResolvConf(("127.0.0.1",)), port=port)
        assert await client.lookup("gw.example") is None
        async with server.running("127.0.0.1", port):
            assert await client.lookup("gw.example") == Lookup(("9.9.9.9",), 30.0)
            assert await client.lookup("other.example") == Lookup()
        assert server.asked[:2] == ["gw.example A", "gw.example AAAA"]

    asyncio.run(scenario())
