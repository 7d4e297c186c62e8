"""The way into a control plane's admin pages, against a real admin server on loopback."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from isthmus.base.errors import ExitCode
from isthmus.cli import main as cli
from isthmus.edge.admin_server import AdminPages, Answer, admin_app
from isthmus.edge.http_server import HttpServer


@pytest.fixture
def port() -> Iterator[int]:
    """An admin server in another thread, for the command has an event loop of its own."""
    ready, stop = threading.Event(), threading.Event()
    ports = []

    def defect(_: object) -> None:
        raise ValueError("boom")

    async def serve() -> None:
        debug: dict[str, Answer] = {"syncz": lambda _: {"proxies": []}, "defect": defect}
        server = HttpServer(admin_app(AdminPages(lambda: "", lambda: b"", debug)), "127.0.0.1", 0)
        task = asyncio.create_task(server.run())
        ports.append(server.port)
        ready.set()
        await asyncio.to_thread(stop.wait)
        task.cancel()
        await asyncio.wait({task})

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    yield ports[0]
    stop.set()
    thread.join()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["debug", "request", *arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code


def test_the_answer_is_printed_as_it_is(port: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run("GET", "/debug/syncz", "--port", str(port)) == ExitCode.GOOD
    assert capfdbinary.readouterr().out == b'{\n  "proxies": []\n}\n'


def test_a_path_that_does_not_exist_is_wrong_usage(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("GET", "/debug/nope", "--port", str(port)) == ExitCode.USAGE
    assert "there is no /debug/nope" in capsys.readouterr().err


def test_a_failure_there_is_told(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("GET", "/debug/defect", "--port", str(port)) == ExitCode.PROBLEMS
    assert "GET /debug/defect: 500" in capsys.readouterr().err


def test_nobody_there_is_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("GET", "/debug/syncz", "--port", "1") == ExitCode.UNREACHABLE
    assert "no control plane answers here" in capsys.readouterr().err
