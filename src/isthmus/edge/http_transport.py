"""Connections for httpx on the event loop's own streams.

httpx's default connections go through another library, which loses a socket when a connect is cancelled as it
succeeds, and runs TLS in Python byte by byte; the event loop (uvloop most of all) does neither.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, cast

import httpcore
import httpx

ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
)
"""What a request may raise when it got no answer."""

TIMEOUTS = (httpx.TimeoutException, httpcore.TimeoutException)

_BUFFER = 1024 * 1024
"""Bytes that may wait to be read before the sender is slowed down."""


class LoopTransport(httpx.AsyncBaseTransport):
    """Carries httpx's requests over HTTP/1.1, keeping idle connections."""

    def __init__(self, context: ssl.SSLContext | None, *, idle: float, proxy_url: str = "") -> None:
        options: dict[str, Any] = {
            "ssl_context": context,
            "max_connections": None,
            "max_keepalive_connections": 8,
            "keepalive_expiry": idle,
            "network_backend": LoopBackend(),
        }
        self._pool: httpcore.AsyncConnectionPool = (
            httpcore.AsyncHTTPProxy(proxy_url, **options) if proxy_url else httpcore.AsyncConnectionPool(**options)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body of the response is read by whoever asked."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(answer.stream, AsyncIterable)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


class LoopBackend(httpcore.AsyncNetworkBackend):
    """Opens connections with the running event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> "LoopStream":
        """Connect to the first address that answers."""
        try:
            async with asyncio.timeout(timeout):
                _, protocol = await asyncio.get_running_loop().create_connection(_Protocol, host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, OverflowError) as error:
            raise httpcore.ConnectError(str(error)) from error
        return LoopStream(protocol)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class LoopStream(httpcore.AsyncNetworkStream):
    """One connection. Cancelling any of its calls leaves nothing behind."""

    def __init__(self, protocol: "_Protocol") -> None:
        self._protocol = protocol

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """The next bytes; none at the end."""
        try:
            async with asyncio.timeout(timeout):
                return await self._protocol.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes, waiting while too many are on their way."""
        try:
            async with asyncio.timeout(timeout):
                await self._protocol.write(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close at once: nobody waits for the other side."""
        self._protocol.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> "LoopStream":
        """Speak TLS from now on."""
        protocol = self._protocol
        plain = protocol.transport
        try:
            async with asyncio.timeout(timeout):
                secure = await asyncio.get_running_loop().start_tls(
                    plain, protocol, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            plain.abort()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            plain.abort()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            plain.abort()
            raise
        protocol.transport = cast("asyncio.Transport", secure)
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks a connection for."""
        if info == "is_readable":
            return self._protocol.is_readable()
        return self._protocol.transport.get_extra_info(info)


class _Protocol(asyncio.Protocol):
    """Bytes that came and were not read yet, and whether more may be sent."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: uvloop's transports are of no class of asyncio.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size > _BUFFER and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        self._arrived.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def is_readable(self) -> bool:
        """True if an idle connection has bytes or its end to tell: it is of no more use."""
        return self._ended or bool(self._parts) or self.transport.is_closing()

    async def read(self, most: int) -> bytes:
        """The next bytes; none at the end. Raises OSError for a broken connection."""
        while not self._parts:
            if self._ended:
                if self._error is not None:
                    raise ConnectionResetError(*self._error.args) from self._error
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        part = self._parts.popleft()
        if len(part) > most:
            self._parts.appendleft(part[most:])
            part = part[:most]
        self._size -= len(part)
        if self._paused and self._size < _BUFFER // 2:
            self._paused = False
            self.transport.resume_reading()
        return part

    async def write(self, data: bytes) -> None:
        """Send; wait while the connection is clogged. Raises OSError for a broken connection."""
        if self._ended or self.transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.transport.write(data)
        await self._writable.wait()
