"""The way to a peer's control plane: mutual TLS through its gateway, under the roots of its trust domain alone."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc
import grpc.aio

from isthmus.base.errors import UnreachableError
from isthmus.edge.control_plane import CHANNEL_OPTIONS, CONNECT_SECONDS
from isthmus.edge.peer_server import DELTA, SERVICE

Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What we show (PEM), and the roots under which the peer must show something (PEM)."""

    key: bytes
    chain: bytes
    roots: bytes


class PeerStream:
    """One open stream to a peer. Writes are one at a time."""

    def __init__(self, call: Call, address: str) -> None:
        self._call = call
        self._writing = asyncio.Lock()
        self.address = address

    async def send(self, frame: bytes) -> None:
        """Raises UnreachableError when the stream has ended."""
        try:
            async with self._writing:
                await self._call.write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise UnreachableError(_describe(error)) from error

    async def receive(self) -> bytes:
        """The next response. Raises UnreachableError when the stream ends."""
        try:
            frame = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise UnreachableError(_describe(error)) from error
        if frame is grpc.aio.EOF:
            raise UnreachableError(f"{(await self._call.code()).name}: {await self._call.details()}")
        assert isinstance(frame, bytes)
        return frame


@asynccontextmanager
async def open_stream(address: str, port: int, *, name: str, credentials: Credentials) -> AsyncIterator[PeerStream]:
    """A stream to the control plane called `name` behind this address. Raises UnreachableError."""
    tls = grpc.ssl_channel_credentials(credentials.roots, credentials.key, credentials.chain)
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name)]
    async with grpc.aio.secure_channel(_target(address, port), tls, options=options) as channel:
        call: Call = channel.stream_stream(f"/{SERVICE}/{DELTA}")()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await call.wait_for_connection()
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            call.cancel()
            raise UnreachableError(f"{address}:{port}: {_describe(error)}") from error
        try:
            yield PeerStream(call, f"{address}:{port}")
        finally:
            call.cancel()


def _target(address: str, port: int) -> str:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return f"dns:///{address}:{port}"
    return f"ipv6:[{address}]:{port}" if version == 6 else f"ipv4:{address}:{port}"


def _describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        text = f"{error.code().name}: {error.details()}"
        # A server that does not believe our certificate says so to nobody: it closes.
        return f"{text} (does it know our roots? Link it to this cluster)" if "Socket closed" in text else text
    return "no answer in time" if isinstance(error, TimeoutError) else str(error)
