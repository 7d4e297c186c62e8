"""Connections on the event loop: nothing is lost when a call is cancelled, and slow readers slow the sender."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpcore
import httpx
import pytest
import uvloop

from isthmus.edge.http_transport import LoopBackend, LoopTransport

LOOPS: tuple[Callable[[], asyncio.AbstractEventLoop], ...] = (asyncio.new_event_loop, uvloop.new_event_loop)
"""Commands run on the one, the control plane on the other."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(handler: Handler, scenario: Callable[[int], Awaitable[None]]) -> None:
    """Run a scenario with a server on a port of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            await scenario(server.sockets[0].getsockname()[1])
            await asyncio.sleep(0.02)  # the server's side ends too

    for new_loop in LOOPS:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run())


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Two requests on one connection, then the end."""
    for _ in range(2):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()


def test_connections_are_kept_and_replaced_when_the_server_ends_them() -> None:
    async def scenario(port: int) -> None:
        async with httpx.AsyncClient(transport=LoopTransport(None, idle=60)) as client:
            for _ in range(5):
                response = await client.get(f"http://127.0.0.1:{port}/")
                assert (response.status_code, response.text) == (200, "hi")
                await asyncio.sleep(0.01)

    play(answer, scenario)


@pytest.mark.parametrize("turns", range(8))
def test_a_cancelled_call_leaves_no_socket_behind(turns: int) -> None:
    async def scenario(port: int) -> None:
        async with httpx.AsyncClient(transport=LoopTransport(None, idle=60)) as client:
            calls = [asyncio.create_task(client.get(f"http://127.0.0.1:{port}/")) for _ in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        play(answer, scenario)
        gc.collect()
    assert [str(warning.message) for warning in told] == []


def test_a_reader_that_waits_slows_the_sender() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        sent = 0
        for _ in range(1000):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def scenario(port: int) -> None:
        stream = await LoopBackend().connect_tcp("127.0.0.1", port, timeout=1.0)
        await asyncio.sleep(0.2)
        assert sent < 40_000_000
        got = 0
        while part := await stream.read(100_000, timeout=1.0):
            assert len(part) <= 100_000
            got += len(part)
        assert got == 65_536_000
        await stream.aclose()

    play(flood, scenario)


def test_broken_connections_and_silence_are_errors() -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async def scenario(port: int) -> None:
        stream = await LoopBackend().connect_tcp("127.0.0.1", port)
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(10, timeout=0.02)
        assert not stream.get_extra_info("is_readable")
        await stream.write(b"x" * 100_000, timeout=1.0)
        with suppress(httpcore.ReadError):
            assert await stream.read(10, timeout=1.0) == b""
        assert stream.get_extra_info("is_readable")
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"y")
        await stream.aclose()

    play(abort, scenario)


def test_nobody_listens() -> None:
    async def run() -> None:
        with pytest.raises(httpcore.ConnectError):
            await LoopBackend().connect_tcp("127.0.0.1", 1, timeout=1.0)
        with pytest.raises(httpcore.ConnectError):
            await LoopBackend().connect_tcp("127.0.0.1", 99999, timeout=1.0)

    asyncio.run(run())
