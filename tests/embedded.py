"""The embedded API server as a program on loopback, for tests that want the real thing beside our client."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from isthmus.edge.kube_access import from_kubeconfig
from isthmus.edge.kube_client import KubeClient
from isthmus.kube.kubeconfig import Access

_START = 20.0


class EmbeddedCluster:
    """One cluster's API server: start, kill, start again on the same port with the same objects."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "admin.kubeconfig"

    @property
    def access(self) -> Access:
        """The administrator's access."""
        return from_kubeconfig(str(self.kubeconfig))

    async def start(self) -> None:
        """Start it and wait until it serves."""
        program = [sys.executable, "-m", "isthmus_lab.apiserver", "--cluster", self.name]
        program += ["--data-dir", str(self.directory), "--listen", f"127.0.0.1:{self.port}"]
        with open(os.devnull, "wb") as nowhere:  # noqa: ASYNC230 - a test's own loop
            self._process = await asyncio.create_subprocess_exec(*program, stdout=nowhere, stderr=nowhere)
        ready = self.directory / "ready.json"
        async with asyncio.timeout(_START):
            while not _is_ready(ready, self._process.pid):  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.02)
        self.port = int(json.loads(ready.read_text())["urls"][0].rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def client(self) -> KubeClient:
        """The administrator's client; to be closed."""
        return await KubeClient.connect(self.access)


def _is_ready(path: Path, pid: int) -> bool:
    try:
        return bool(json.loads(path.read_text())["pid"] == pid)
    except (OSError, ValueError):
        return False
