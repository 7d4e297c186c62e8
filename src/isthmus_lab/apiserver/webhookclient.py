"""Calls a webhook: one POST over TLS, with a deadline."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import h11

from isthmus_lab.apiserver.objects import decode
from isthmus_lab.apiserver.webhooks import WebhookError

_ANSWER_LIMIT = 16 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`address` is dialled, `host` is the name on the certificate; `authority` is base64 PEM, empty: system's."""

    address: str
    port: int
    host: str
    path: str
    authority: str = ""

    @classmethod
    def of_url(cls, url: str, authority: str, seconds: int) -> Target:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https" or not host:
            raise WebhookError(f"{url!r} is not an https URL")
        query = f"{parts.query}&" if parts.query else ""
        path = f"{parts.path or '/'}?{query}timeout={seconds}s"
        return cls(address=host, port=parts.port or 443, host=host, path=path, authority=authority)

    def __str__(self) -> str:
        return f"https://{self.host}:{self.port}{self.path}"


@lru_cache(maxsize=64)
def _context(authority: str) -> ssl.SSLContext:
    try:
        pem = base64.b64decode(authority).decode() if authority else None
        return ssl.create_default_context(cadata=pem)
    except (ValueError, ssl.SSLError) as error:
        raise WebhookError(f"unable to load root certificates: {error}") from None


async def post(target: Target, body: bytes, *, seconds: float) -> Any:
    """The JSON that the webhook answers. Raises WebhookError."""
    try:
        async with asyncio.timeout(seconds):
            status, answer = await _exchange(target, body)
    except TimeoutError:
        raise WebhookError(f'Post "{target}": context deadline exceeded') from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise WebhookError(f'Post "{target}": {_reason(error)}') from None
    if status != 200:
        raise WebhookError(f'Post "{target}": the server answered {status}: {answer[:200].decode(errors="replace")}')
    try:
        return decode(answer)
    except ValueError as error:
        raise WebhookError(f"its answer is not JSON: {error}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return str(error) or type(error).__name__


async def _exchange(target: Target, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(
        target.address, target.port, ssl=_context(target.authority), server_hostname=target.host
    )
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [
            ("host", f"{target.host}:{target.port}"),
            ("user-agent", "kube-apiserver-admission"),
            ("accept", "application/json"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        request = h11.Request(method="POST", target=target.path, headers=headers)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _answer(connection, reader)
    finally:
        writer.close()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, parts, size = 0, [], 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > _ANSWER_LIMIT:
                raise WebhookError("its answer is too large")
            parts.append(bytes(event.data))
        else:
            return status, b"".join(parts)
