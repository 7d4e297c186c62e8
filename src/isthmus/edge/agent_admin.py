"""Asks a proxy over plain HTTP on its loopback, from outside its namespace: Envoy's admin port and its readiness."""

import asyncio
from dataclasses import dataclass

import h11

from isthmus.base.errors import UnreachableError
from isthmus.edge.netns import NetworkNamespace

PATIENCE = 5.0
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of a response."""

    status: int
    body: bytes


class LoopbackClient:
    """HTTP/1.1 to ports on 127.0.0.1 of one network namespace, a connection for each request."""

    def __init__(self, namespace: NetworkNamespace, *, patience: float = PATIENCE) -> None:
        self._namespace = namespace
        self._patience = patience

    async def request(self, method: str, port: int, target: str) -> Answer:
        """One request without a body. Raises UnreachableError."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._exchange(method, port, target)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise UnreachableError(f"127.0.0.1:{port}{target}: {reason}", "Is the proxy running?") from error

    async def _exchange(self, method: str, port: int, target: str) -> Answer:
        reader, writer = await self._namespace.connect(("127.0.0.1", port))
        try:
            connection = h11.Connection(h11.CLIENT)
            headers = [("host", f"127.0.0.1:{port}"), ("content-length", "0"), ("connection", "close")]
            writer.write(connection.send(h11.Request(method=method, target=target, headers=headers)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            return await _read(connection, reader)
        finally:
            writer.close()


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status = 0
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return Answer(status, bytes(body))
