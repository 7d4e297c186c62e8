"""Single attempts of readiness probes."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import pytest

from isthmus.base.probe import Action, Exec, HttpGet, TcpSocket
from isthmus.edge.probes import attempt


@contextlib.asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    heads: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.transport.abort()

    listening = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heads
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 No\r\n\r\n", "HTTP status 503"),
        (b"nonsense\r\n", "the answer is no HTTP"),
        (b"", "the answer is no HTTP"),
    ],
)
def test_http(answer: bytes, error: str) -> None:
    async def work() -> None:
        async with server(answer) as (port, heads):
            action = HttpGet(port, "/ready", headers=(("x-a", "b"),))
            assert await attempt(action, patience=5) == error
            assert heads[0].startswith(b"GET /ready HTTP/1.1\r\n")
            assert b"x-a: b\r\n" in heads[0]

    asyncio.run(work())


def tried(action: Action, patience: float = 5.0) -> str:
    return asyncio.run(attempt(action, patience=patience))


def test_tcp() -> None:
    async def work() -> int:
        async with server(b"") as (port, _):
            assert await attempt(TcpSocket(port), patience=5) == ""
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - until the server has noticed that its client left
                await asyncio.sleep(0)
            return port

    port = asyncio.run(work())
    assert "refused" in tried(TcpSocket(port)) or "Connect call failed" in tried(TcpSocket(port))


def test_commands() -> None:
    python = sys.executable
    assert tried(Exec((python, "-c", ""))) == ""
    assert tried(Exec((python, "-c", "print('no'); raise SystemExit(3)"))) == f"{python} ended with 3: no"
    assert tried(Exec(("/nowhere/at/all",))) != ""
    assert tried(Exec((python, "-c", "import time; time.sleep(60)")), 0.3) == "no answer within 0.3 s"
