"""An API server without sockets (`api`) and one on the loopback (`loopback`) for kubectl and real clients."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus_lab.apiserver.inprocess import InProcess, Loopback

Kubectl = Callable[..., str]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests in an event loop of their own, 30 seconds at most."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.fixture
def api(tmp_path: Path) -> Iterator[InProcess]:
    server = InProcess(tmp_path)
    yield server
    server.close()


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    directory = tmp_path_factory.mktemp("cluster")
    with Loopback(directory, kubelet_dir=directory / "nodes") as server:
        yield server


@pytest.fixture(scope="module")
def kubectl(loopback: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Runs kubectl; its output, with errors after it. `code` is the exit code expected, `stdin` its input."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "KUBECONFIG": str(loopback.kubeconfig), "HOME": str(home)}

    def run(*words: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            ["kubectl", *words], input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"kubectl {' '.join(words)} -> {done.returncode}\n{said}"
        return said

    return run
