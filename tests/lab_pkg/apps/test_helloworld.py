"""The HTTP application over a real connection of the loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from isthmus_lab.apps.helloworld import App, Connection, client_identity
from isthmus_lab.apps.whoami import Whoami

T = TypeVar("T")
ME = Whoami(cluster="east", instance="pod-1", version="v2")
Answer = tuple[int, dict[str, str], bytes]


def with_app(body: Callable[[App, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[T]]) -> T:
    async def run() -> T:
        app = App(ME)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await Connection(app, reader, writer).serve()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(5):
                return await body(app, reader, writer)
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    headers: str = "",
    body: str = "",
) -> Answer:
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), fields, await reader.readexactly(int(fields["content-length"]))


def test_text_and_json_over_one_connection() -> None:
    async def body(_app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[Answer]:
        shown = "X-Forwarded-Client-Cert: By=spiffe://a;URI=spiffe://cluster.local/ns/s/sa/c\r\n"
        return [
            await ask(reader, writer, "GET", "/hello"),
            await ask(reader, writer, "POST", "/hello?x=1", shown + "Accept: application/json\r\n", "body"),
        ]

    (status, _, text), (_, fields, document) = with_app(body)
    assert status == 200
    assert text == b"Hello version: v2, instance: pod-1, cluster: east\n"
    assert fields["content-type"] == "application/json"
    said = json.loads(document)
    assert (said["cluster"], said["instance"], said["version"]) == ("east", "pod-1", "v2")
    assert said["identity"] == "spiffe://cluster.local/ns/s/sa/c"
    assert said["headers"]["host"] == "h"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/status/503", 503),
        ("GET", "/status/abc", 404),
        ("GET", "/delay/1", 200),
        ("GET", "/", 404),
        ("GET", "/readiness/off", 404),
        ("HEAD", "/none", 404),
    ],
)
def test_paths(method: str, path: str, status: int) -> None:
    async def body(_app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        return int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])

    assert with_app(body) == status


def test_the_readiness_switch() -> None:
    async def body(_app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> list[int]:
        steps = [
            ("POST", "/readiness/off"),
            ("GET", "/readyz"),
            ("GET", "/healthz"),
            ("PUT", "/readiness/on"),
            ("GET", "/readyz"),
        ]
        return [(await ask(reader, writer, *step))[0] for step in steps]

    assert with_app(body) == [200, 503, 200, 200, 200]


def test_while_it_drains_it_answers_and_asks_to_close() -> None:
    async def body(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Answer, bytes]:
        app.draining = True
        return await ask(reader, writer, "GET", "/hello"), await reader.read()

    (status, fields, _), rest = with_app(body)
    assert (status, fields["connection"], rest) == (200, "close", b"")


def test_nonsense_ends_the_connection_only() -> None:
    async def body(_app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"\x16\x03\x01 no http\r\n\r\n")
        return await reader.read()

    assert with_app(body) == b""


@pytest.mark.parametrize(
    ("header", "identity"),
    [
        ("", ""),
        ("By=spiffe://x;Hash=ab;URI=spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b"),
        ('URI=spiffe://far,By=y;Subject="CN=a";URI=spiffe://near', "spiffe://near"),
    ],
)
def test_identity_of_the_nearest_hop(header: str, identity: str) -> None:
    assert client_identity(header) == identity
