"""Unix sockets of the agent: requests as JSON lines, and gRPC at paths of any length."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio

from isthmus.base.errors import IsthmusError

LONGEST_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""

LINE_LIMIT = 1 << 22

Handler = Callable[[bytes], Awaitable[bytes]]


def bind_unix(server: grpc.aio.Server, path: Path) -> None:
    """Listen at a path, for this user only: private keys pass here. Raises IsthmusError.

    A path that is too long for the kernel is reached through its directory.
    """
    address = os.fspath(path)
    if len(os.fsencode(address)) > LONGEST_PATH:
        # Never closed: gRPC removes the socket some time after it stopped, by then perhaps through a number that
        # means another directory.
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        address = f"/proc/self/fd/{directory}/{path.name}"
    try:
        server.add_insecure_port(f"unix:{address}")
    except RuntimeError as error:
        raise IsthmusError(f"cannot listen at {path}", "Is the directory writable?") from error
    path.chmod(0o600)


@contextlib.asynccontextmanager
async def serve_lines(path: Path, handle: Handler) -> AsyncIterator[None]:
    """Answer each line with a line while the context is open; only this user may connect."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                writer.write(await handle(line) + b"\n")
                await writer.drain()
        writer.close()

    try:
        listening = _listen(path)
    except OSError as error:
        raise IsthmusError(
            f"cannot listen at {path}: {error}", "Choose a shorter path, or end the other agent"
        ) from error
    server = await asyncio.start_unix_server(converse, sock=listening, limit=LINE_LIMIT)
    async with server:
        yield


def _listen(path: Path) -> socket.socket:
    """Replaces the socket that an agent before this one left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        made.bind(os.fspath(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(old)
    return made
