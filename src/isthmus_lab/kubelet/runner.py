"""One container over its attempts: start, probe, notice the end, back off, start again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import probes
from isthmus_lab.kubelet.agent import AgentRefusedError
from isthmus_lab.kubelet.engines import Engine
from isthmus_lab.kubelet.env import ConfigError
from isthmus_lab.kubelet.images import UnknownImageError
from isthmus_lab.kubelet.runtime_client import RuntimeRefusedError
from isthmus_lab.kubelet.sandbox import Sandbox
from isthmus_lab.kubelet.status import ContainerState, Ended, Role

Object = dict[str, Any]
Event = Callable[[str, str, str], None]
"""(type, reason, message)"""

BACKOFF_MOST = 10.0
_BACKOFF_RESET = 60.0
_RETRY = 0.5
_LINE = 200


def backoff(failures: int) -> float:
    """Seconds to wait before a restart: none after the first end, then 1, 2, 4, … up to 10."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 2), BACKOFF_MOST)


def restarts(policy: str, role: Role, exit_code: int) -> bool:
    """Whether a container that ended with `exit_code` is started again."""
    if role is Role.SIDECAR:
        return True
    if role is Role.INIT:
        return exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def last_line(log: Path) -> str:
    """The last thing a container said, shortened."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4 * _LINE))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1][:_LINE]
    return "it said nothing"


@dataclass
class Surroundings:
    """What a runner needs of its pod."""

    changed: Callable[[], None]
    event: Event
    box: Sandbox
    may_run: asyncio.Event
    restart_policy: str
    grace: float
    prepare: Callable[[], Awaitable[None]]


@dataclass
class Runner:
    """Runs one container until its pod ends; `state` is what the pod's status shows.

    `name` is unique in the lab; `before` counts the attempts before the node died, None: it lived on.
    """

    container: Object
    state: ContainerState
    engine: Engine
    around: Surroundings
    target: probes.Target
    name: str
    started: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: int = 0
    stopping: bool = False
    before: int | None = None

    async def run(self) -> None:
        """Attempts until the policy is content or `stop` was called."""
        attempt = await self._first_attempt()
        while not self.stopping:
            await self._until_allowed()
            if not await self._start(attempt):
                await asyncio.sleep(_RETRY)
                continue
            if self.stopping:
                await self.engine.stop(1)
            ended = await self._live()
            self._note_end(ended)
            if not self._again(ended):
                break
            await self._back_off(ended)
            attempt += 1
            self.state.restarts = attempt
        self.finished.set()

    async def _first_attempt(self) -> int:
        """The attempt an earlier kubelet made last; after the node's death, one more than was reported."""
        while self.before is None:
            try:
                self.before = self.engine.latest() or 0
            except UnreachableError:
                await asyncio.sleep(_RETRY)
        return self.before

    def _again(self, ended: Ended) -> bool:
        return not self.stopping and restarts(self.around.restart_policy, self.state.role, ended.exit_code)

    async def _until_allowed(self) -> None:
        if not self.around.may_run.is_set():
            self._wait_state("Held", "stopped by `isthmus lab kill`; `isthmus lab restore` starts it again")
            await self.around.may_run.wait()

    def _wait_state(self, reason: str, message: str) -> None:
        if (self.state.waiting, self.state.message, self.state.ended) != (reason, message, None):
            self.state.last = self.state.ended or self.state.last
            self.state.ended, self.state.waiting, self.state.message = None, reason, message
            self.around.changed()

    async def _start(self, attempt: int) -> bool:
        try:
            await self.around.prepare()
            pid = await self.engine.start(attempt)
        except UnknownImageError as error:
            self._refused("ErrImagePull", error.message)
        except ConfigError as error:
            self._refused("CreateContainerConfigError", str(error))
        except (RuntimeRefusedError, AgentRefusedError, UnreachableError, OSError) as error:
            self._refused("CreateContainerError", str(error))
        else:
            self.state.restarts = attempt
            self.state.pid = pid
            self.state.container_id = f"isthmus-lab://{self.name}/{attempt}"
            self.state.last = self.state.ended or self.state.last
            self.state.ended, self.state.running_since = None, time.time()
            self.around.event("Normal", "Started", f"Started container {self.state.name}")
            return True
        return False

    def _refused(self, reason: str, message: str) -> None:
        if (self.state.waiting, self.state.message) != (reason, message):
            self.around.event("Warning", "Failed", f"container {self.state.name}: {message}")
        self._wait_state(reason, message)

    async def _live(self) -> Ended:
        """The time from start to end, with probes."""
        probing = asyncio.create_task(self._probe())
        self.around.changed()
        try:
            return await self.engine.wait()
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    async def _probe(self) -> None:
        startup = self.container.get("startupProbe")
        if startup:
            begun = asyncio.Event()
            task = asyncio.create_task(self._follow("Startup", startup, lambda good: begun.set() if good else None))
            try:
                await begun.wait()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        readiness, liveness = self.container.get("readinessProbe"), self.container.get("livenessProbe")
        self.state.started = True
        if not readiness:
            self._set_ready(True)
        self.started.set()
        self.around.changed()
        following = []
        if readiness:
            following.append(self._follow("Readiness", readiness, self._set_ready))
        if liveness:
            following.append(self._follow("Liveness", liveness, lambda _good: None))
        await asyncio.gather(*following)

    async def _follow(self, kind: str, probe: Object, verdict: Callable[[bool], None]) -> None:
        fatal = asyncio.Event()

        def turned(outcome: probes.Outcome) -> None:
            if not outcome.good:
                self.around.event("Warning", "Unhealthy", f"{kind} probe failed: {outcome.message}")
                if kind != "Readiness":
                    fatal.set()
            verdict(outcome.good)

        async def end_when_fatal() -> None:
            await fatal.wait()
            self.around.event("Normal", "Killing", f"Container {self.state.name} failed its {kind.lower()} probe")
            await self.engine.stop(self.around.grace)

        watch = asyncio.create_task(end_when_fatal())
        try:
            await probes.follow(probe, self.target, turned)
        finally:
            watch.cancel()

    def _set_ready(self, ready: bool) -> None:
        if self.state.ready != ready:
            self.state.ready = ready
            self.around.changed()

    def _note_end(self, ended: Ended) -> None:
        if self.state.running_since is not None and ended.finished - ended.started > _BACKOFF_RESET:
            self._failures = 0
        self._failures += 1
        succeeded_init = self.state.role is Role.INIT and ended.exit_code == 0
        self.state.running_since, self.state.ended = None, ended
        self.state.started, self.state.ready = False, succeeded_init
        self.around.changed()

    async def _back_off(self, ended: Ended) -> None:
        seconds = backoff(self._failures)
        if seconds:
            said = last_line(self.engine.log(self.state.restarts))
            message = f"back-off {seconds:g} s after exit code {ended.exit_code}: {said}"
            self.around.event("Warning", "BackOff", message)
            self._wait_state("CrashLoopBackOff", message)
            await asyncio.sleep(seconds)

    async def stop(self, grace: float) -> None:
        """End the container for good."""
        self.stopping = True
        await self.engine.stop(grace)

    def kill(self) -> None:
        """SIGKILL; the policy decides what comes next."""
        self.engine.kill()
