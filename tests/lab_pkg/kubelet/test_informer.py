"""The kubelet's copy of the API server's lists, against a scripted server on a Unix socket."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.client import ApiClient, ApiError
from isthmus_lab.kubelet.informer import Informer, key_of

Object = dict[str, Any]


def pod(name: str, version: int, **extra: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), **extra}}


class ScriptedServer:
    """Answers lists from `items`, watches from `events`; None in `events` breaks the connection off."""

    def __init__(self) -> None:
        self.items: list[Object] = []
        self.version = 1
        self.events: asyncio.Queue[Object | None] = asyncio.Queue()
        self.requests: list[str] = []

    async def serve(self, path: str) -> asyncio.Server:
        return await asyncio.start_unix_server(self._connection, path)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = head.split(" ")[1]
            self.requests.append(target)
            if "watch=1" in target:
                await self._watch(writer)
            else:
                self._list(writer, head)
            await writer.drain()
        finally:
            writer.close()

    def _list(self, writer: asyncio.StreamWriter, head: str) -> None:
        body = {"kind": "PodList", "metadata": {"resourceVersion": str(self.version)}, "items": self.items}
        status = "200 OK"
        if "Bearer good" not in head:
            status, body = "403 Forbidden", {"reason": "Forbidden", "message": "no"}
        data = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (event := await self.events.get()) is not None:
            data = json.dumps(event).encode() + b"\n"
            for part in (data[:7], data[7:]):  # an event may come in pieces
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def with_server(path: Path, body: Callable[[ScriptedServer, Informer, list[str]], Awaitable[None]]) -> list[str]:
    """Run `body` beside a server and an informer; returns what the informer told."""
    told: list[str] = []

    async def run() -> None:
        scripted = ScriptedServer()
        scripted.items = [pod("a", 1), pod("b", 1)]
        server = await scripted.serve(str(path))
        client = ApiClient(str(path), "good")
        informer = Informer(
            client,
            "/api/v1/pods",
            lambda kind, item: told.append(f"{kind} {item['metadata']['name']}"),
            fieldSelector="x=y",
        )
        task = asyncio.create_task(informer.run())
        try:
            await informer.synced.wait()
            await body(scripted, informer, told)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            scripted.events.put_nowait(None)
            server.close()

    asyncio.run(run())
    return told


def test_list_then_watch(tmp_path: Path) -> None:
    async def body(server: ScriptedServer, informer: Informer, told: list[str]) -> None:
        for kind, item in (("ADDED", pod("c", 2)), ("MODIFIED", pod("a", 3)), ("DELETED", pod("b", 4))):
            server.events.put_nowait({"type": kind, "object": item})
        server.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
        await until(lambda: len(told) == 5)
        assert sorted(informer.objects) == ["ns/a", "ns/c"]
        assert server.requests == [
            "/api/v1/pods?fieldSelector=x%3Dy",
            "/api/v1/pods?fieldSelector=x%3Dy&resourceVersion=1&allowWatchBookmarks=true&watch=1",
        ]

    told = with_server(tmp_path / "s", body)
    assert told == ["ADDED a", "ADDED b", "ADDED c", "MODIFIED a", "DELETED b"]


def test_an_outage_is_made_up_for_by_the_next_list(tmp_path: Path) -> None:
    async def body(server: ScriptedServer, informer: Informer, told: list[str]) -> None:
        await until(lambda: len(server.requests) == 2)
        server.items, server.version = [pod("a", 1), pod("b", 7), pod("d", 8)], 8
        server.events.put_nowait({"type": "ERROR", "object": {"code": 410, "metadata": {}}})
        await until(lambda: "ADDED d" in told)
        assert sorted(informer.objects) == ["ns/a", "ns/b", "ns/d"]

    assert with_server(tmp_path / "s", body) == ["ADDED a", "ADDED b", "MODIFIED b", "ADDED d"]


def test_deletes_that_nobody_saw_are_told(tmp_path: Path) -> None:
    async def body(server: ScriptedServer, _informer: Informer, told: list[str]) -> None:
        await until(lambda: len(server.requests) == 2)
        server.items = [pod("a", 1)]
        server.events.put_nowait(None)
        server.events.put_nowait({"type": "ERROR", "object": {"metadata": {}}})
        await until(lambda: "DELETED b" in told)

    assert with_server(tmp_path / "s", body)[-1] == "DELETED b"


def test_refusals_and_absence_are_two_things(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(UnreachableError, match="no API server at"):
            await ApiClient(str(tmp_path / "none"), "x").get("/api")
        server = await ScriptedServer().serve(str(tmp_path / "s"))
        with pytest.raises(ApiError, match="403 Forbidden: no") as caught:
            await ApiClient(str(tmp_path / "s"), "bad").get("/api")
        assert caught.value.code == 403
        server.close()

    asyncio.run(run())


def test_keys() -> None:
    assert key_of(pod("a", 1)) == "ns/a"
    assert key_of({"metadata": {"name": "node"}}) == "node"
