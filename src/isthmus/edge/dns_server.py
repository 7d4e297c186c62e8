"""The DNS proxy of one pod: UDP and TCP on its loopback, answered from the name table or by the pod's name servers."""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable
from typing import cast

from isthmus.base.errors import IsthmusError
from isthmus.dns.answer import Forward, QueryError, Reply, answer, failure
from isthmus.dns.names import NameTable, View
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.netns import NetworkNamespace

MOST_FORWARDED = 500
"""Queries that may wait for other name servers at once; more are dropped, and resolvers ask again."""

IDLE_SECONDS = 30.0
"""After this long without a query a TCP connection is closed (RFC 7766 §6.2.3)."""


class DnsServer:
    """Answers a pod's queries between `start` and `close`."""

    def __init__(self, namespace: NetworkNamespace, *, view: View, client: DnsClient, port: int) -> None:
        self._namespace = namespace
        self._view = view
        self._client = client
        self._port = port
        self._turns = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = contextlib.AsyncExitStack()
        self.table: NameTable | None = None
        """None until the control plane sent one."""

    async def start(self) -> None:
        """Listen in the pod's namespace. Raises IsthmusError if the port is taken."""
        address = ("127.0.0.1", self._port)
        try:
            datagrams = await self._namespace.listen(address, socket.SOCK_DGRAM)
            self._stack.callback(datagrams.close)
            streams = await self._namespace.listen(address, socket.SOCK_STREAM)
            self._stack.callback(streams.close)
        except OSError as error:
            await self._stack.aclose()
            raise IsthmusError(
                f"DNS proxy: 127.0.0.1:{self._port}: {error.strerror}", "Is another agent running in this pod?"
            ) from error
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(self._on_datagram), sock=datagrams)
        self._stack.push_async_callback(protocol.close)
        server = await asyncio.start_server(self._on_connection, sock=streams)
        self._stack.push_async_callback(server.wait_closed)
        self._stack.callback(server.close)

    async def close(self) -> None:
        """Stop listening and forget what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _decide(self, query: bytes, *, udp: bool) -> Reply | Forward:
        return answer(query, self.table, self._view, turn=next(self._turns), udp=udp)

    def _on_datagram(self, query: bytes, reply: Callable[[bytes], None]) -> None:
        try:
            decision = self._decide(query, udp=True)
        except QueryError:
            return
        if isinstance(decision, Reply):
            reply(decision.data)
        elif len(self._tasks) < MOST_FORWARDED:
            self._keep(asyncio.get_running_loop().create_task(self._forward(query, reply)))

    async def _forward(self, query: bytes, reply: Callable[[bytes], None]) -> None:
        reply(await self._client.ask(query, udp=True) or failure(query))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._keep(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, QueryError):
            pass
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Messages with a length in front (RFC 1035 §4.2.2), one after the other."""
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                query = await reader.readexactly(length)
            decision = self._decide(query, udp=False)
            if isinstance(decision, Reply):
                data = decision.data
            else:
                data = await self._client.ask(query, udp=False) or failure(query)
            writer.write(struct.pack(">H", len(data)) + data)
            await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        self._on_datagram = on_datagram
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()

    async def close(self) -> None:
        """Until the socket is closed."""
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._on_datagram(data, lambda reply: self._send(reply, addr))

    def _send(self, reply: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, addr)
