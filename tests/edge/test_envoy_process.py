"""Processes that outlive their agent: started, watched, found again, never confused with another."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from isthmus.base.errors import IsthmusError
from isthmus.edge.envoy_process import PID_FILE, EnvoyProcess, Launch, adopt, envoy_binary, start
from isthmus.edge.netns import NetworkNamespace


async def shell(directory: Path, script: str) -> EnvoyProcess:
    """A shell in place of Envoy."""
    argv = ["/bin/sh", "-c", script]
    log = directory / "log"
    return await start(Launch(argv=argv, directory=directory, log=log, namespace=NetworkNamespace()))


def test_output_directory_and_exit_code(tmp_path: Path) -> None:
    async def scenario() -> int:
        process = await shell(tmp_path, "pwd; echo wrong >&2; exit 7")
        return await process.wait()

    assert asyncio.run(scenario()) == 7
    assert (tmp_path / "log").read_text() == f"{tmp_path}\nwrong\n"


def test_it_has_a_session_of_its_own(tmp_path: Path) -> None:
    """Signals to the agent's group do not reach it."""

    async def scenario() -> None:
        process = await shell(tmp_path, "exec sleep 60")
        assert os.getsid(process.pid) == process.pid
        process.signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
        assert not process.running
        process.signal(signal.SIGTERM)

    asyncio.run(scenario())


def test_adopted_after_release(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = await shell(tmp_path, "exec sleep 60")
        first.release()
        second = adopt(tmp_path)
        assert second is not None
        assert (second.pid, second.adopted, second.running) == (first.pid, True, True)
        second.signal(signal.SIGKILL)
        assert await second.wait() == -signal.SIGKILL
        assert adopt(tmp_path) is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"pid": 999999999, "started": 1}',
        '{"pid": "x", "started": 1}',
        '{"pid": 1, "started": null}',
    ],
)
def test_nothing_to_adopt(tmp_path: Path, content: str) -> None:
    async def scenario() -> EnvoyProcess | None:
        return adopt(tmp_path)

    assert asyncio.run(scenario()) is None
    (tmp_path / PID_FILE).write_text(content)
    assert asyncio.run(scenario()) is None


def test_another_process_with_the_pid_is_not_adopted(tmp_path: Path) -> None:
    async def scenario() -> EnvoyProcess | None:
        return adopt(tmp_path)

    (tmp_path / PID_FILE).write_text(json.dumps({"pid": os.getpid(), "started": 1}))
    assert asyncio.run(scenario()) is None


def test_what_cannot_be_executed(tmp_path: Path) -> None:
    async def scenario() -> None:
        await start(Launch(argv=["/none"], directory=tmp_path, log=None, namespace=NetworkNamespace()))

    with pytest.raises(IsthmusError, match="Envoy was not started"):
        asyncio.run(scenario())


def test_binary_is_envoy_itself() -> None:
    with envoy_binary().open("rb") as file:
        assert file.read(4) == b"\x7fELF"
