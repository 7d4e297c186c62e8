"""The supervisor's children: started in their namespaces, again when they die, held when they are to stay dead."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from isthmus_lab.net import linux, netns

log = logging.getLogger("supervisor")
_RESTART_FIRST, _RESTART_MOST = 0.2, 5.0
_GOOD_RUN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How a child is started. `whole_node`: it is process 1 of a PID namespace, and its end is the end of all below."""

    name: str
    argv: tuple[str, ...]
    netns: str
    log: str
    pass_fds: tuple[int, ...] = ()
    whole_node: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Child:
    """A program and its process; `pid` 0: not running."""

    program: Program
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    held: bool = False
    delay: float = _RESTART_FIRST
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Processes:
    """All children by name."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self._closing = False

    def watch(self) -> None:
        """Reap children, orphans of the lab included, as process 1 must. Needs a running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, program: Program) -> Child:
        """Start a program and keep it running."""
        child = self.children.setdefault(program.name, Child(program))
        self._spawn(child)
        return child

    def _spawn(self, child: Child) -> None:
        program = child.program
        with ExitStack() as stack:
            stack.enter_context(netns.entered(program.netns))
            if program.whole_node:
                stack.enter_context(linux.children_in_new_pid_namespace())
            out = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, out)
            for fd in program.pass_fds:
                os.set_inheritable(fd, True)
            try:
                child.pid = os.posix_spawn(
                    program.argv[0],
                    program.argv,
                    {**os.environ, **program.env},
                    file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE],
                )
            finally:
                for fd in program.pass_fds:
                    os.set_inheritable(fd, False)
        child.started, child.gone = time.monotonic(), asyncio.Event()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children.values():
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        child.pid = 0
        child.gone.set()
        if self._closing or child.held:
            return
        log.warning("%s ended with %d and is started again", child.program.name, code)
        child.delay = _RESTART_FIRST if time.monotonic() - child.started > _GOOD_RUN else child.delay * 2
        child.restarts += 1
        asyncio.get_running_loop().call_later(min(child.delay, _RESTART_MOST), self._again, child)

    def _again(self, child: Child) -> None:
        if not (self._closing or child.held or child.pid):
            self._spawn(child)

    def kill(self, name: str) -> None:
        """SIGKILL a child and keep it dead until `restore`. KeyError: no such child."""
        child = self.children[name]
        child.held = True
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)

    async def restore(self, name: str) -> None:
        """Start a killed child again, once its process is really gone."""
        child = self.children[name]
        if child.held:
            child.held = False
            if child.pid:
                await child.gone.wait()
            if not child.pid:
                self._spawn(child)

    async def close(self, names: list[str], seconds: float) -> None:
        """Restart nothing any more; SIGTERM these children and wait up to `seconds` for them."""
        self._closing = True
        ending = [self.children[name] for name in names if name in self.children and self.children[name].pid]
        for child in ending:
            os.kill(child.pid, signal.SIGTERM)
        if ending:
            await asyncio.wait([asyncio.create_task(c.gone.wait()) for c in ending], timeout=seconds)
