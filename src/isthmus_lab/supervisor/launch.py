"""Starting and ending a lab from the host: sockets on its loopback, the supervisor in the background."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus_lab.supervisor import enter
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import World

_POLL = 0.05
_START_SECONDS = 15.0
_DOWN_SECONDS = 10.0


def supervisor_pid(state: StateDirectory) -> int | None:
    """The running supervisor's process on this host, or None."""
    try:
        known = json.loads(state.pid_file.read_text())
        if enter.start_time(known["pid"]) == known["started"]:
            return int(known["pid"])
    except (FileNotFoundError, ValueError, KeyError, ProcessLookupError):
        pass
    return None


@contextlib.contextmanager
def locked(state: StateDirectory) -> Iterator[None]:
    """Only one command at a time starts or ends this lab."""
    state.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(world: World, state: StateDirectory) -> None:
    """Start the supervisor in the background and return once it listens. UnreachableError: refused, or it broke."""
    enter.check_allowed()
    for path in (state.control_socket, state.pid_file):
        path.unlink(missing_ok=True)
    sockets = bind_api_sockets(state, [c.name for c in world.clusters])
    document = {"name": world.name, "file": str(world.file), "clusters": [c.name for c in world.clusters]}
    state.lab_file.write_text(json.dumps(document))
    argv = [sys.executable, "-m", "isthmus_lab.supervisor", "--state-dir", str(state.path)]
    argv += ["--lab", str(world.file)]
    for name, sock in sockets.items():
        argv += ["--host-fd", f"{name}={sock.fileno()}"]
    with state.log.open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[sock.fileno() for sock in sockets.values()],
        )
    for sock in sockets.values():
        sock.close()
    _wait_until_listening(process, state)


def _wait_until_listening(process: "subprocess.Popen[bytes]", state: StateDirectory) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll()
        if ended is not None and (ended != 0 or supervisor_pid(state) is None):
            break
        if state.control_socket.exists() and ended is not None:
            return
        time.sleep(_POLL)
    raise UnreachableError("the lab's supervisor did not start", f"Its log: {state.log}\n{tail(state.log)}")


def tail(path: Path, lines: int = 12) -> str:
    """The end of a log."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


def bind_api_sockets(state: StateDirectory, clusters: list[str]) -> dict[str, socket.socket]:
    """Listening sockets on 127.0.0.1, at the ports of the last start where they are free."""
    known = state.ports()
    sockets = {name: _bind(known.get(name, 0)) for name in clusters}
    state.ports_file.write_text(json.dumps({name: sock.getsockname()[1] for name, sock in sockets.items()}))
    return sockets


def _bind(port: int) -> socket.socket:
    for candidate in (port, 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", candidate))
            sock.listen(256)
        except OSError:
            sock.close()
        else:
            return sock
    raise IsthmusError("no free port on 127.0.0.1", "Close some programs.")


def stop(state: StateDirectory) -> bool:
    """End the lab and everything in it; False if it did not run. The kernel ends what is left with process 1."""
    pid = supervisor_pid(state)
    if pid is None:
        return False
    descriptor = os.pidfd_open(pid)
    try:
        for number, seconds in ((signal.SIGTERM, _DOWN_SECONDS), (signal.SIGKILL, _DOWN_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], seconds)[0]:
                break
    finally:
        os.close(descriptor)
    for path in (state.control_socket, state.pid_file):
        path.unlink(missing_ok=True)
    return True
