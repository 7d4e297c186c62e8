"""A small API server in the test's own process: lists in pages, watches, tokens, and faults at will."""

import asyncio
import contextlib
import copy
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
ObjectId = tuple[str, str, str]


class FakeKube:
    """Objects by (plural, namespace, name). Everything runs in the test's event loop, on a loopback port."""

    def __init__(self, *, token: str = "good", page: int = 500) -> None:
        self.tokens = {token}
        self.objects: dict[ObjectId, Json] = {}
        self.log: list[tuple[int, str, str, Json]] = []
        self.version = 0
        self.oldest = 0
        self.port = 0
        self.requests: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.missing: set[str] = set()
        self.hanging = False
        self.page = page
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> "FakeKube":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection, as a killed process would."""
        if self._server is not None:
            self._server.close()
            await self._accepted()
            while self._connections:
                for task in list(self._connections):
                    task.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)
                await self._accepted()
            await self._server.wait_closed()
            self._server = None

    async def _accepted(self) -> None:
        """Let what was accepted already become a connection: the event loop takes three rounds for it."""
        for _ in range(3):
            await asyncio.sleep(0)

    # Objects.

    async def put(self, plural: str, obj: Json) -> None:
        """Create or change an object; every watch sees it."""
        meta = obj["metadata"]
        key = (plural, meta.get("namespace", ""), meta["name"])
        self.version += 1
        kind = "MODIFIED" if key in self.objects else "ADDED"
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = stored
        await self._tell(plural, kind, stored)

    async def delete(self, plural: str, name: str, namespace: str = "") -> None:
        """Delete an object; every watch sees it."""
        stored = self.objects.pop((plural, namespace, name))
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        await self._tell(plural, "DELETED", stored)

    async def compact(self) -> None:
        """Forget the past: older versions are answered with 410."""
        self.version += 1
        self.oldest = self.version
        self.log.clear()
        await self.drop_watches()

    async def drop_watches(self) -> None:
        """Close every connection but keep listening."""
        for task in list(self._connections):
            task.cancel()
        await asyncio.sleep(0)

    async def _tell(self, plural: str, kind: str, obj: Json) -> None:
        self.log.append((self.version, plural, kind, obj))
        async with self._changed:
            self._changed.notify_all()

    # HTTP.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(lambda done: self._connections.pop(done).transport.abort())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._serve_one(reader, writer):
                pass

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(f"{method} {target}")
        while self.hanging:  # noqa: ASYNC110 - tests set it from outside
            await asyncio.sleep(0.01)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            self._status(writer, 401, "Unauthorized")
            return True
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return await self._answer(writer, method, unquote(url.path), query, body)

    async def _answer(
        self, writer: asyncio.StreamWriter, method: str, path: str, query: dict[str, str], body: bytes
    ) -> bool:
        if path == "/version":
            self._json(writer, 200, {"gitVersion": "v1.34.0"})
            return True
        plural, namespace, name = _parse(path)
        if plural in self.refusals:
            code, reason = self.refusals[plural]
            self._status(writer, code, reason)
        elif plural in self.missing:
            self._status(writer, 404, "NotFound")
        elif method == "POST" and plural == "tokenreviews":
            token = json.loads(body)["spec"]["token"]
            self._json(writer, 201, {"status": {"authenticated": token in self.tokens}})
        elif method == "POST":
            await self.put(plural, json.loads(body))
            self._json(writer, 201, json.loads(body))
        elif method == "DELETE" and (plural, namespace, name) in self.objects:
            await self.delete(plural, name, namespace)
            self._json(writer, 200, {})
        elif name:
            found = self.objects.get((plural, namespace, name))
            self._json(writer, 200, found) if found else self._status(writer, 404, "NotFound")
        elif query.get("watch"):
            await self._watch(writer, plural, namespace, query)
            return False
        else:
            self._list(writer, plural, namespace, query)
        return True

    def _list(self, writer: asyncio.StreamWriter, plural: str, namespace: str, query: dict[str, str]) -> None:
        keys = sorted(key for key, obj in self.objects.items() if _selected(key, obj, plural, namespace, query))
        start = int(query.get("continue", "0"))
        size = min(int(query.get("limit", "0")) or len(keys) or 1, self.page)
        meta: Json = {"resourceVersion": str(self.version)}
        if start + size < len(keys):
            meta["continue"] = str(start + size)
        items = [self.objects[key] for key in keys[start : start + size]]
        self._json(writer, 200, {"kind": "List", "metadata": meta, "items": items})

    async def _watch(self, writer: asyncio.StreamWriter, plural: str, namespace: str, query: dict[str, str]) -> None:
        seen = int(query["resourceVersion"])
        if seen < self.oldest:
            self._status(writer, 410, "Expired")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            for version, of, kind, obj in [entry for entry in self.log if entry[0] > seen]:
                seen = version
                if _selected((of, obj["metadata"].get("namespace", ""), ""), obj, plural, namespace, query):
                    line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
                    writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            async with self._changed:
                if self.version <= seen or not any(entry[0] > seen for entry in self.log):
                    await self._changed.wait()

    def _status(self, writer: asyncio.StreamWriter, code: int, reason: str) -> None:
        self._json(writer, code, {"kind": "Status", "code": code, "reason": reason, "message": f"told: {reason}"})

    def _json(self, writer: asyncio.StreamWriter, code: int, body: Json) -> None:
        data = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (code, len(data), data))


def _parse(path: str) -> tuple[str, str, str]:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return parts[0], namespace, parts[1] if len(parts) > 1 else ""


def _selected(key: ObjectId, obj: Json, plural: str, namespace: str, query: dict[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return (
        key[0] == plural
        and namespace in ("", key[1])
        and name in ("", obj["metadata"]["name"])
        and all(labels.get(label) == value for label, value in wanted)
    )
