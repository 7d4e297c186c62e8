"""Server side websockets on a connection whose request was already read, by the sans-io part of `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.frames import Frame
    from websockets.server import ServerProtocol

    from isthmus_lab.apiserver.httpd import Request

_CLOSE_WAIT = 2.0  # seconds for the client to answer a close frame


class WebSocket:
    """Whole messages in both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ServerProtocol) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self._frames: list[Frame] = []
        self._ended = False

    @property
    def subprotocol(self) -> str:
        return self._protocol.subprotocol or ""

    def feed(self, data: bytes) -> None:
        if data:
            self._protocol.receive_data(data)
            self._collect()

    def _collect(self) -> None:
        from websockets.frames import Frame

        self._frames.extend(event for event in self._protocol.events_received() if isinstance(event, Frame))
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)

    async def receive(self) -> bytes | None:
        """The next message; None once the client has closed or gone."""
        from websockets.frames import Opcode

        parts: list[bytes] = []
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.opcode is Opcode.CLOSE:
                    self._ended = True
                    return None
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    parts.append(bytes(frame.data))
                    if frame.fin:
                        return b"".join(parts)
            if self._ended:
                return None
            await self._read()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
            self._ended = True
        self._collect()

    async def send(self, data: bytes) -> None:
        """Sends one binary message. Raises ConnectionError when the client is gone."""
        from websockets.exceptions import InvalidState

        try:
            self._protocol.send_binary(data)
        except InvalidState as error:
            raise ConnectionError("the websocket is closed") from error
        self._flush()
        await self._writer.drain()

    async def close(self, code: int = 1000) -> None:
        """Says goodbye and waits a moment for the answer."""
        from websockets.protocol import State

        with contextlib.suppress(ConnectionError, TimeoutError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code)
                self._flush()
                await self._writer.drain()
            async with asyncio.timeout(_CLOSE_WAIT):
                while not self._ended and not self._protocol.close_expected():
                    await self._read()
                    self._frames.clear()


def handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, protocols: Sequence[str]
) -> WebSocket | None:
    """Answers the upgrade; None when the client's request does not fit (it has been told then)."""
    from websockets.http11 import Request as Handshake
    from websockets.protocol import State
    from websockets.server import ServerProtocol
    from websockets.typing import Subprotocol

    protocol = ServerProtocol(subprotocols=[Subprotocol(name) for name in protocols] or None, max_size=16 * 1024 * 1024)
    lines = [f"GET {request.raw_target.decode('latin-1')} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    protocol.receive_data("\r\n".join([*lines, "", ""]).encode("latin-1"))
    found = next((event for event in protocol.events_received() if isinstance(event, Handshake)), None)
    if found is None:
        return None
    protocol.send_response(protocol.accept(found))
    for data in protocol.data_to_send():
        if data:
            writer.write(data)
    return WebSocket(reader, writer, protocol) if protocol.state is State.OPEN else None
