"""HTTP to a port of the loopback."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import Answer, LoopbackClient
from isthmus.edge.netns import NetworkNamespace

Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def asked(reply: Reply, *, patience: float = 5.0) -> tuple[Answer, bytes]:
    """The answer of a server that replies so, and the head of what it was asked."""
    heads: list[bytes] = []
    done = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reply(reader, writer)
        writer.close()
        await writer.wait_closed()
        done.set()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = LoopbackClient(NetworkNamespace(), patience=patience)
        try:
            return await client.request("POST", port, "/drain?a&b"), heads[0]
        finally:
            await done.wait()


def sending(data: bytes) -> Reply:
    """A server that sends these bytes."""

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return reply


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK", Answer(200, b"OK")),
        (b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Answer(503, b"abc")),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * 200_000, Answer(200, b"x" * 200_000)),
    ],
)
def test_answers(data: bytes, answer: Answer) -> None:
    found, head = asyncio.run(asked(sending(data)))
    assert found == answer
    assert head.startswith(b"POST /drain?a&b HTTP/1.1\r\n")


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", b"junk\r\n\r\n"])
def test_broken_answers(data: bytes) -> None:
    with pytest.raises(UnreachableError):
        asyncio.run(asked(sending(data)))


def test_silence() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(UnreachableError, match="no answer in time"):
        asyncio.run(asked(silent, patience=0.05))


def test_nobody_there() -> None:
    with pytest.raises(UnreachableError, match=":1/ready"):
        asyncio.run(LoopbackClient(NetworkNamespace()).request("GET", 1, "/ready"))
