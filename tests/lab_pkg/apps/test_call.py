"""The load client, against small servers on the loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from isthmus_lab.apps import call
from isthmus_lab.apps.call import Options, Result

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serving(handler: Handler) -> asyncio.Server:
    return await asyncio.start_server(handler, "127.0.0.1", 0)


def url(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hello"


def answering(*, close: bool = False, delay: float = 0.0) -> Handler:
    body = json.dumps({"cluster": "east"}).encode()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(delay)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return handler


def results(handler: Handler, **options: Any) -> list[Result]:
    async def run() -> list[Result]:
        server = await serving(handler)
        try:
            return await call.call(Options(url(server), **options))
        finally:
            server.close()

    return asyncio.run(run())


def test_all_are_answered_and_counted() -> None:
    found = results(answering(), count=10, concurrency=3)
    assert [r.n for r in found] == list(range(10))
    assert {r.status for r in found} == {200}
    summary = call.summary(found)
    assert (summary["good"], summary["failed"], summary["clusters"]) == (10, 0, {"east": 10})
    assert 0 < summary["p50Ms"] <= summary["p99Ms"] <= summary["maxMs"]


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 5)])
def test_connections_are_kept_only_if_asked(keep_alive: bool, connections: int) -> None:
    opened = 0
    handler = answering()

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await handler(reader, writer)

    assert all(r.good for r in results(counting, count=5, keep_alive=keep_alive))
    assert opened == connections


def test_the_rate_is_kept() -> None:
    found = results(answering(), count=6, rate=50, concurrency=2)
    assert found[-1].start - found[0].start >= 0.09


def test_failures_are_told_apart() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    (slow,) = results(answering(delay=5), timeout=0.05)
    (closed,) = results(closing)
    (failed,) = results(failing)
    assert slow.error == "timeout"
    assert closed.error == "ConnectionResetError: closed before an answer"
    assert (failed.status, failed.error, failed.good) == (503, "", False)
    assert call.summary([slow, failed])["errors"] == {"status 503": 1, "timeout": 1}


def test_nobody_listens() -> None:
    async def run() -> list[Result]:
        server = await serving(answering())
        address = url(server)
        server.close()
        await server.wait_closed()
        return await call.call(Options(address, count=2))

    assert all("ConnectionRefusedError" in r.error for r in asyncio.run(run()))


def test_a_report_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert call.main(["http://127.0.0.1:1/x", "--count", "2", "-o", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["failed"] == 2
    assert [item["n"] for item in report["calls"]] == [0, 1]


def test_no_http_url_is_refused() -> None:
    with pytest.raises(ValueError, match="no http URL"):
        asyncio.run(call.call(Options("https://a")))


def test_a_given_host_replaces_the_one_of_the_url() -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    assert [one.status for one in results(handler, headers=(("Host", "a.example"),))] == [200]
    assert [line for line in seen[0].lower().split(b"\r\n") if line.startswith(b"host")] == [b"host: a.example"]
