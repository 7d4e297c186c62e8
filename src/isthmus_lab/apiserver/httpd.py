"""HTTP/1.1 over asyncio streams and h11: whole answers, streams that end when the client goes, websocket upgrades.

Chosen over uvicorn because it starts 150 ms sooner, never wakes up when idle (uvicorn ticks ten times a second for each
socket) and serves TLS and plain sockets with one object.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote

import h11

from isthmus_lab.apiserver.unixpath import addressable
from isthmus_lab.apiserver.websocket import WebSocket, handshake

BODY_LIMIT = 3 * 1024 * 1024  # bytes, as Kubernetes
_READ = 65536


@dataclass(slots=True)
class Request:
    """One request; header names are lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    raw_target: bytes = b""

    def param(self, name: str, default: str = "") -> str:
        found = self.query.get(name)
        return found[0] if found else default

    def flag(self, name: str) -> bool:
        return self.param(name).lower() in ("1", "true", "t")


@dataclass(slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Streaming:
    """A chunked answer. `chunks` is closed when the client goes away."""

    status: int
    chunks: AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Upgrade:
    """Becomes a websocket speaking the first of `protocols` that the client offers."""

    protocols: Sequence[str]
    run: Callable[[WebSocket], Awaitable[None]]


Answer = Response | Streaming | Upgrade
Handler = Callable[[Request], Awaitable[Answer]]


class BodyTooLargeError(Exception):
    pass


class HttpServer:
    """Listens on any number of sockets with one handler."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        server = await asyncio.start_server(self._connected, sock=sock, ssl=tls, backlog=512)
        self._servers.append(server)

    async def listen_unix(self, path: Path) -> None:
        """A socket for the owner only; one left over by a killed process is replaced."""
        server = await asyncio.start_unix_server(self._connected, sock=unix_socket(path), backlog=512)
        self._servers.append(server)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Connection(reader, writer, self._handler).run()
        except (ConnectionError, ssl.SSLError, h11.RemoteProtocolError, TimeoutError):
            pass  # the client's end of it
        except asyncio.CancelledError:
            pass  # close() does this; nothing above waits for a connection's result
        finally:
            self._tasks.discard(task)
            writer.close()


def _headers(head: h11.Request) -> dict[str, str]:
    """By lower case name; repeated ones joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw, value in head.headers:
        name = raw.decode("latin-1")
        text = value.decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def unix_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with addressable(path) as name:
            sock.bind(name)
    finally:
        os.umask(before)
    return sock


class _Connection:
    """One connection, one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)

    async def run(self) -> None:
        while True:
            try:
                request = await self._request()
            except BodyTooLargeError:
                await self._respond(Response(413, b'{"kind":"Status","apiVersion":"v1","status":"Failure","code":413}'))
                return
            if request is None:
                return
            answer = await self._handler(request)
            if isinstance(answer, Upgrade):
                await self._upgrade(request, answer)
                return
            if isinstance(answer, Streaming):
                if not await self._stream(answer):
                    return
            else:
                await self._respond(answer, head=request.method == "HEAD")
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._h11.receive_data(await self._reader.read(_READ))
                continue
            return event  # type: ignore[return-value]

    async def _request(self) -> Request | None:
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        parts: list[bytes] = []
        size = 0
        while isinstance(event := await self._event(), h11.Data):
            size += len(event.data)
            if size > BODY_LIMIT:
                raise BodyTooLargeError
            parts.append(bytes(event.data))
        path, _, query = head.target.partition(b"?")
        return Request(
            method=head.method.decode(),
            path=unquote(path.decode("latin-1")),
            query=parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {},
            headers=_headers(head),
            body=b"".join(parts),
            raw_target=bytes(head.target),
        )

    def _write(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            self._writer.write(data)

    async def _respond(self, answer: Response, *, head: bool = False) -> None:
        headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body))), *answer.headers]
        headers.append(("date", formatdate(usegmt=True)))
        self._write(h11.Response(status_code=answer.status, headers=headers))
        if not head:
            self._write(h11.Data(data=answer.body))
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    async def _stream(self, answer: Streaming) -> bool:
        """Sends until the answer ends (True) or the client goes away (False)."""
        headers = [("content-type", answer.content_type), ("transfer-encoding", "chunked"), *answer.headers]
        self._write(h11.Response(status_code=answer.status, headers=headers))
        pump = asyncio.create_task(self._pump(answer))
        gone = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
            if not pump.done():
                return False
            pump.result()
            self._write(h11.EndOfMessage())
            await self._writer.drain()
            return not gone.done()
        finally:
            for task in (pump, gone):
                task.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)

    async def _pump(self, answer: Streaming) -> None:
        chunks = answer.chunks
        try:
            async for chunk in chunks:
                if chunk:
                    self._write(h11.Data(data=chunk))
                await self._writer.drain()
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _upgrade(self, request: Request, answer: Upgrade) -> None:
        left_over = self._h11.trailing_data[0]
        websocket = handshake(self._reader, self._writer, request, answer.protocols)
        if websocket is None:
            await self._writer.drain()
            return
        websocket.feed(left_over)
        try:
            await answer.run(websocket)
        finally:
            await websocket.close()
