"""A small client of the API server over its Unix socket: JSON requests and watches, HTTP/1.1, asyncio."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

from isthmus.base.errors import UnreachableError

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
_LIMIT = 1 << 26


class ApiError(Exception):
    """The API server refused; `reason` is the Status object's (NotFound, Conflict, AlreadyExists, …)."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class ApiClient:
    """Requests to one API server; each opens its own connection, which on a Unix socket costs nothing."""

    def __init__(self, socket_path: str, token: str) -> None:
        self._path = socket_path
        self._token = token

    async def get(self, path: str, **query: str) -> Object:
        """GET an object or list. ApiError: refused; UnreachableError: nobody answers."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Object) -> Object:
        """Create an object."""
        return await self.request("POST", path, body=body)

    async def put(self, path: str, body: Object) -> Object:
        """Replace an object."""
        return await self.request("PUT", path, body=body)

    async def merge(self, path: str, body: Object) -> Object:
        """Patch an object by JSON merge."""
        return await self.request("PATCH", path, body=body, kind=MERGE)

    async def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Server-side apply, taking over fields that others own."""
        return await self.request(
            "PATCH", path, body=body, kind=APPLY, query={"fieldManager": manager, "force": "true"}
        )

    async def delete(self, path: str, body: Object | None = None) -> Object:
        """Delete an object; `body` is the DeleteOptions."""
        return await self.request("DELETE", path, body=body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request, one answer."""
        reader, writer = await self._open(method, path, body=body, kind=kind, query=query)
        try:
            status, headers = await _head(reader)
            data = b"".join([chunk async for chunk in _chunks(reader, headers)])
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise UnreachableError(f"API server at {self._path} broke off: {error!r}") from error
        finally:
            writer.close()
        return _answer(status, data)

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Object]:
        """The events of a watch, each as sent; ends when the server ends it."""
        reader, writer = await self._open("GET", path, query={**query, "watch": "1"})
        try:
            status, headers = await _head(reader)
            if status >= 300:
                _answer(status, b"".join([chunk async for chunk in _chunks(reader, headers)]))
            rest = b""
            async for chunk in _chunks(reader, headers):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise UnreachableError(f"watch of {path} broke off: {error!r}") from error
        finally:
            writer.close()

    async def _open(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=_LIMIT)
        except OSError as error:
            raise UnreachableError(f"no API server at {self._path}: {error.strerror}") from error
        data = b"" if body is None else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: kubernetes.default.svc",
            "Accept: application/json",
            "Connection: close",
            f"Authorization: Bearer {self._token}",
        ]
        if body is not None:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        return reader, writer


def _answer(status: int, data: bytes) -> Object:
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        body = {"message": data[:200].decode(errors="replace")}
    if status >= 300:
        raise ApiError(status, str(body.get("reason", "")), str(body.get("message", "")))
    return body if isinstance(body, dict) else {}


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return int(first.split(" ")[1]), headers


async def _chunks(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The body: by length, in chunks, or up to the end of the connection (RFC 9112 §6.3)."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                return
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while data := await reader.read(65536):
            yield data
