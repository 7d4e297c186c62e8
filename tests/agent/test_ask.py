"""Questions to a pod's Envoy."""

import asyncio

import pytest

from isthmus.agent.ask import ask, wait_ready
from isthmus.base.errors import ExitCode, IsthmusError, UnreachableError


async def served(status: bytes, refusals: int = 0) -> tuple[bytes, int]:
    """What `ask` returns from a server with that status, after `wait_ready`; how many requests it took."""
    count = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await reader.readuntil(b"\r\n\r\n")
        count += 1
        line = b"503 No" if count <= refusals else status
        writer.write(b"HTTP/1.1 " + line + b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        if refusals:
            await wait_ready(port, 10)
        return await ask("GET", port, "/x"), count


def test_body() -> None:
    assert asyncio.run(served(b"200 OK")) == (b"hi", 1)


def test_waits_until_ready() -> None:
    assert asyncio.run(served(b"200 OK", refusals=2)) == (b"hi", 4)


def test_refusal_shows_its_text() -> None:
    with pytest.raises(IsthmusError, match="404 hi"):
        asyncio.run(served(b"404 Not Found"))


def test_never_ready() -> None:
    with pytest.raises(UnreachableError) as raised:
        asyncio.run(wait_ready(1, 0.05))
    assert raised.value.exit_code == ExitCode.UNREACHABLE
