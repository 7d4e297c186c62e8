"""HTTP on the wire: keep-alive, bodies, streams that end with their client, websockets, bad requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus_lab.apiserver.httpd import BODY_LIMIT, Answer, HttpServer, Request, Response, Streaming, Upgrade
from isthmus_lab.apiserver.unixpath import addressable
from isthmus_lab.apiserver.websocket import WebSocket


class App:
    """Echoes; `/stream` sends until its client goes, `/socket` is a websocket that answers in capitals."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.stream_closed = asyncio.Event()

    async def handle(self, request: Request) -> Answer:
        self.seen.append(request)
        if request.path == "/stream":
            return Streaming(200, self._stream(int(request.param("count", "1000000"))))
        if request.path == "/socket":
            return Upgrade(("v2", "v1"), self._socket)
        return Response(200, request.body or request.path.encode(), "text/plain", [("x-extra", "1")])

    async def _stream(self, count: int) -> AsyncIterator[bytes]:
        try:
            for number in range(count):
                yield f"{number}\n".encode()
                await asyncio.sleep(0)
        finally:
            self.stream_closed.set()

    async def _socket(self, websocket: WebSocket) -> None:
        await websocket.send(websocket.subprotocol.encode())
        while (message := await websocket.receive()) is not None:
            await websocket.send(message.upper())


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[App, int]]:
    app = App()
    sock = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app.handle)
    await server.listen(sock)
    try:
        yield app, sock.getsockname()[1]
    finally:
        await server.close()


async def exchange(port: int, data: bytes) -> bytes:
    """Everything the server says to `data` until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said


async def test_requests_on_one_connection() -> None:
    async with serving() as (app, port):
        said = await exchange(
            port,
            b"GET /a%20b?x=1&x=2&y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n"
            b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
    assert said.count(b"HTTP/1.1 200") == 2
    assert b"x-extra: 1" in said
    first, second = app.seen
    assert (first.path, first.query, first.headers["x-a"]) == ("/a b", {"x": ["1", "2"], "y": [""]}, "1,2")
    assert (second.method, second.body) == ("POST", b"abc")
    assert said.endswith(b"abc")


async def test_head_has_no_body() -> None:
    async with serving() as (_, port):
        said = await exchange(port, b"HEAD /abc HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"content-length: 4" in said
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200"),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (BODY_LIMIT + 1) + b"x" * (BODY_LIMIT + 1),
            b"HTTP/1.1 413",
        ),
        (b"nonsense\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (b"", b""),
    ],
)
async def test_odd_requests(data: bytes, status: bytes) -> None:
    async with serving() as (_, port):
        said = await exchange(port, data)
        assert said.startswith(status)
        assert bool(said) is bool(status)
        assert b"200" in await exchange(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")  # and it lives on


async def test_a_stream_ends_and_the_connection_goes_on() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream?count=2 HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        assert await reader.readuntil(b"0\r\n\r\n") == b"2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n"
        writer.write(b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"/next")
        writer.close()
        await writer.wait_closed()


async def test_a_stream_ends_with_its_client() -> None:
    async with serving() as (app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"5\n")
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(app.stream_closed.wait(), 10)


async def test_closing_the_server_ends_its_streams() -> None:
    async with serving() as (app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"5\n")
    assert app.stream_closed.is_set()
    writer.close()


async def test_websockets() -> None:
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    async with serving() as (_, port):
        offered = [Subprotocol("v1"), Subprotocol("v3")]
        async with connect(f"ws://127.0.0.1:{port}/socket", subprotocols=offered) as websocket:
            assert await websocket.recv() == b"v1"
            await websocket.send([b"ab", b"cd"])  # in fragments
            assert await websocket.recv() == b"ABCD"
            await websocket.send("text")
            assert await websocket.recv() == b"TEXT"
            await websocket.ping()
        assert websocket.close_code == 1000


async def test_a_websocket_that_does_not_shake_hands() -> None:
    async with serving() as (_, port):
        said = await exchange(
            port, b"GET /socket HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
    assert said.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("folder", ["short", "a-very-long-name/" * 8])
async def test_unix_sockets_are_for_their_owner_and_replace_old_ones(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "api.sock"
    path.parent.mkdir(parents=True)
    for _ in range(2):
        app = App()
        server = HttpServer(app.handle)
        await server.listen_unix(path)
        assert path.stat().st_mode & 0o777 == 0o600
        with addressable(path) as name:
            reader, writer = await asyncio.open_unix_connection(name)
        writer.write(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"/x")
        writer.close()
        await writer.wait_closed()
        await server.close()
