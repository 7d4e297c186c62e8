"""The API server's side of a node's kubelet socket: one JSON line, then frames or raw bytes."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from pathlib import Path

from isthmus_lab.apiserver.errors import ApiError, internal
from isthmus_lab.apiserver.objects import JsonObject, encode
from isthmus_lab.apiserver.unixpath import addressable

STDIN, STDOUT, STDERR, RESULT = range(4)
_HEAD = struct.Struct(">BI")  # channel, length
_FRAME_LIMIT = 16 * 1024 * 1024  # bytes


@dataclass(slots=True)
class Link:
    """An open request to a kubelet."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.close()

    async def send(self, channel: int, data: bytes) -> None:
        self.writer.write(_HEAD.pack(channel, len(data)) + data)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame; None when the kubelet has hung up."""
        try:
            channel, size = _HEAD.unpack(await self.reader.readexactly(_HEAD.size))
            if size > _FRAME_LIMIT:
                raise ConnectionError("the kubelet sent a frame that is too long")
            return channel, await self.reader.readexactly(size)
        except asyncio.IncompleteReadError:
            return None


async def ask(directory: Path | None, node: str, request: JsonObject) -> Link:
    """Opens a request to the kubelet of `node`. Raises 500 when it cannot be reached."""
    if directory is None:
        raise internal("error dialing backend: this API server was started without --kubelet-dir")
    path = directory / node / "kubelet.sock"
    try:
        with addressable(path) as name:
            reader, writer = await asyncio.open_unix_connection(name)
    except OSError as error:
        raise _unreachable(path, error) from None
    writer.write(encode(request) + b"\n")
    await writer.drain()
    return Link(reader, writer)


def _unreachable(path: Path, error: OSError) -> ApiError:
    return internal(f"error dialing backend: dial unix {path}: {error.strerror or error}")
