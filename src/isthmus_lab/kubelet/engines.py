"""Two ways to run a container: as a process of the runtime, or as an Envoy that the node's agent looks after."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.agent import AgentRefusedError, NodeAgent
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.runtime_client import RuntimeClient
from isthmus_lab.kubelet.status import Ended

_POLL = 0.25
_GONE = 137


class Engine(Protocol):
    """Runs one container, attempt after attempt."""

    async def start(self, attempt: int) -> int:
        """Start it, or find it running; its pid."""

    async def wait(self) -> Ended:
        """Until the attempt that was started last has ended."""

    async def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds."""

    def kill(self) -> None:
        """SIGKILL now."""

    def log(self, attempt: int) -> Path:
        """Where that attempt writes."""

    def process_id(self) -> str | None:
        """Its id in the runtime; None if the agent runs it."""

    def latest(self) -> int | None:
        """The attempt that an earlier kubelet started last; None if there was none."""


class ProcessEngine:
    """A process of the node's runtime; each attempt is one container there, so the runtime is the memory."""

    def __init__(self, runtime: RuntimeClient, prefix: str, make_spec: Callable[[int], ContainerSpec]) -> None:
        self._runtime = runtime
        self._prefix = prefix
        self._make_spec = make_spec
        self._id = ""

    def log(self, attempt: int) -> Path:
        """One file per attempt."""
        return Path(str(self._make_spec(attempt).log))

    def process_id(self) -> str | None:
        """Of the attempt that was started last."""
        return self._id

    def latest(self) -> int | None:
        """The highest attempt the runtime knows."""
        ids = [p["id"] for p in self._runtime.processes()]
        attempts = [int(i.rpartition("/")[2]) for i in ids if i.startswith(self._prefix + "/")]
        return max(attempts, default=None)

    async def start(self, attempt: int) -> int:
        """Start this attempt unless it already ran; older ones are forgotten."""
        spec = self._make_spec(attempt)
        self._id = spec.id
        known = {p["id"]: p for p in self._runtime.processes()}
        for old in range(max(0, attempt - 3), attempt):
            if f"{self._prefix}/{old}" in known:
                self._runtime.remove(f"{self._prefix}/{old}")
        if spec.id in known:
            return int(known[spec.id]["pid"])
        return int(self._runtime.start(spec)["pid"])

    async def wait(self) -> Ended:
        """Until the runtime reports the end."""
        ending = await self._runtime.wait(self._id)
        return Ended(int(ending["exitCode"]), float(ending["startedAt"]), float(ending["finishedAt"]))

    async def stop(self, grace: float) -> None:
        """SIGTERM, wait, SIGKILL."""
        if not self._id or self._id in self._runtime.ended:
            return
        self._runtime.signal(self._id, signal.SIGTERM)
        try:
            async with asyncio.timeout(max(grace, 0.05)):
                await self._runtime.wait(self._id)
        except TimeoutError:
            self.kill()
            await self._runtime.wait(self._id)

    def kill(self) -> None:
        """SIGKILL."""
        if self._id and self._id not in self._runtime.ended:
            self._runtime.signal(self._id, signal.SIGKILL)


class ProxyEngine:
    """An Envoy of the node's agent, asked about four times a second."""

    def __init__(self, agent: NodeAgent, request: Callable[[], dict[str, Any]], state: Path, proxy_id: str) -> None:
        self._agent = agent
        self._request = request
        self._state = state
        self._id = proxy_id
        self._pid = 0
        self._started = 0.0

    def log(self, attempt: int) -> Path:
        """One file per attempt, beside the file that remembers the attempt."""
        return self._state.with_name(f"{attempt}.log")

    def process_id(self) -> str | None:
        """None: the agent runs it."""
        return None

    def latest(self) -> int | None:
        """As remembered on disk."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._state.read_text())
        return None

    async def start(self, attempt: int) -> int:
        """Have the agent start Envoy; it does nothing for one that runs."""
        self._state.parent.mkdir(parents=True, exist_ok=True)
        self._state.write_text(str(attempt))
        message = {**self._request(), "op": "start", "log": str(self.log(attempt))}
        answer = await self._agent.ask(message, patience=60)
        self._pid, self._started = int(answer.get("pid") or 0), time.time()
        return self._pid

    async def wait(self) -> Ended:
        """Until the agent says that it no longer runs, or no longer knows it. A silent agent says nothing."""
        while True:
            await asyncio.sleep(_POLL)
            try:
                answer = await self._agent.ask({"op": "status", "id": self._id})
            except UnreachableError:
                continue
            except AgentRefusedError:
                return self._ended(_GONE)
            self._pid = int(answer.get("pid") or self._pid)
            if not answer.get("running"):
                return self._ended(int(answer.get("exitCode") or 0))

    def _ended(self, code: int) -> Ended:
        return Ended(code if code >= 0 else 128 - code, self._started, time.time())

    async def stop(self, grace: float) -> None:
        """Have the agent drain and end it."""
        with contextlib.suppress(UnreachableError, AgentRefusedError):
            await self._agent.ask({"op": "stop", "id": self._id, "graceSeconds": grace}, patience=grace + 5)

    def kill(self) -> None:
        """SIGKILL to the Envoy itself."""
        if self._pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
