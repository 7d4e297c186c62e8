"""The container runtime of one node: process 1 of the node's PID namespace and parent of all its containers.

It is one thread without an event loop, so that a fork is safe at any moment: images that are Python run in a fork of
this already warm interpreter. It outlives its kubelet, which finds the containers again; when it dies the whole node
dies.

Clients speak over a SOCK_SEQPACKET Unix socket, a JSON message each way; `exec` takes the three standard descriptors
along, keeps the connection and sends a second message when the command ended; `watch` keeps it and sends a message per
ended container.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from isthmus_lab.kubelet.container import ContainerSpec, become, bind_file
from isthmus_lab.net import linux, netns
from isthmus_lab.supervisor.state import INSIDE

MAX_MESSAGE = 1 << 20
_KUBELET_RETRY = 0.5


@dataclass
class Process:
    """A container, running or ended."""

    spec: ContainerSpec
    pid: int
    pidfd: int
    started: float
    finished: float | None = None
    exit_code: int | None = None

    def describe(self) -> dict[str, Any]:
        """What `list` and `watch` tell; times are seconds since the epoch."""
        return {
            "id": self.spec.id,
            "pid": self.pid,
            "running": self.exit_code is None,
            "exitCode": self.exit_code,
            "startedAt": self.started,
            "finishedAt": self.finished,
            "log": self.spec.log,
            "meta": self.spec.meta,
        }


@dataclass
class Runtime:
    """State and event loop of the runtime."""

    listener: socket.socket
    kubelet: ContainerSpec | None
    processes: dict[str, Process] = field(default_factory=dict)
    execs: dict[int, socket.socket] = field(default_factory=dict)
    watchers: list[socket.socket] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    kubelet_due: float | None = 0.0

    def run(self) -> None:
        """Serve for ever; the end of this process is the end of the node."""
        woken, waker = socket.socketpair()
        for sock in (woken, waker):
            sock.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.listener.setblocking(False)
        self.selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        while True:
            for key, _ in self.selector.select(self._until_kubelet()):
                self._guarded(key.data)
            self._guarded(self._reap)
            self._guarded(self._keep_kubelet)

    @staticmethod
    def _guarded(work: Callable[[], object]) -> None:
        """Whatever goes wrong is told and survived: the end of this process would be the end of the node."""
        try:
            work()
        except BlockingIOError:
            pass  # readiness is only a hint (select(2), BUGS)
        except Exception:
            traceback.print_exc()

    def _until_kubelet(self) -> float | None:
        return None if self.kubelet_due is None else max(0.0, self.kubelet_due - time.monotonic())

    def _keep_kubelet(self) -> None:
        if self.kubelet is None or self.kubelet_due is None or time.monotonic() < self.kubelet_due:
            return
        self.kubelet_due = None
        self._start(self.kubelet)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        client.setblocking(False)
        self.selector.register(client, selectors.EVENT_READ, lambda: self._message(client))

    def _drop(self, client: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(client)
        with contextlib.suppress(ValueError):
            self.watchers.remove(client)
        for pid in [pid for pid, waiting in self.execs.items() if waiting is client]:
            del self.execs[pid]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        client.close()

    def _message(self, client: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(client, MAX_MESSAGE, 3)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._drop(client)
            return
        try:
            keep = self._handle(client, json.loads(data), fds)
        except (OSError, ValueError, KeyError, msgspec.ValidationError) as error:
            keep = False
            _send(client, {"ok": False, "error": f"{type(error).__name__}: {error}"})
        finally:
            for fd in fds:
                os.close(fd)
        if not keep:
            self._drop(client)

    def _handle(self, client: socket.socket, request: dict[str, Any], fds: list[int]) -> bool:
        """Answer one request; True if the connection stays open."""
        match request["op"]:
            case "start":
                _send(client, self._start_once(msgspec.convert(request["spec"], ContainerSpec)))
            case "signal":
                _send(client, {"ok": self._signal(request["id"], request["signal"])})
            case "remove":
                _send(client, {"ok": self._remove(request["id"])})
            case "list":
                _send(client, {"ok": True, "processes": [p.describe() for p in self.processes.values()]})
            case "watch":
                self.watchers.append(client)
                _send(client, {"ok": True, "processes": [p.describe() for p in self.processes.values()]})
                return True
            case "exec":
                pid = self._exec(msgspec.convert(request["spec"], ContainerSpec), request.get("target"), fds)
                self.execs[pid] = client
                _send(client, {"ok": True, "pid": pid})
                return True
            case other:
                _send(client, {"ok": False, "error": f"unknown op {other!r}"})
        return False

    def _start_once(self, spec: ContainerSpec) -> dict[str, Any]:
        known = self.processes.get(spec.id)
        if known is None or known.exit_code is not None:
            known = self._start(spec)
        return {"ok": True, **known.describe()}

    def _start(self, spec: ContainerSpec) -> Process:
        if spec.log is not None:
            Path(spec.log).parent.mkdir(parents=True, exist_ok=True)
        old = self.processes.get(spec.id)
        if old is not None:
            os.close(old.pidfd)
        pid = self._fork(lambda: become(spec))
        process = Process(spec, pid, os.pidfd_open(pid), time.time())
        self.processes[spec.id] = process
        return process

    def _fork(self, child: Callable[[], None]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            child()
        return pid

    def _exec(self, spec: ContainerSpec, target: str | None, fds: list[int]) -> int:
        if len(fds) != 3:
            raise ValueError("exec needs three descriptors")
        pidfd = None
        if target is not None:
            process = self.processes.get(target)
            if process is None or process.exit_code is not None:
                raise ValueError(f"container {target} is not running")
            pidfd = process.pidfd

        def child() -> None:
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            if pidfd is not None:
                linux.setns(pidfd, linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWNET)
            become(spec)

        return self._fork(child)

    def _signal(self, process_id: str, number: int) -> bool:
        process = self.processes.get(process_id)
        if process is None or process.exit_code is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
        return True

    def _remove(self, process_id: str) -> bool:
        process = self.processes.get(process_id)
        if process is None or process.exit_code is None:
            return False
        os.close(process.pidfd)
        del self.processes[process_id]
        return True

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, _exit_code(status))

    def _sweep(self) -> None:
        """End what containers left behind: in Kubernetes a container's processes end with its first.

        They are known by their mount namespace, which is neither the node's nor that of a container that runs.
        """
        if not _sees_own_processes():
            return
        living = [os.getpid(), *(p.pid for p in self.processes.values() if p.exit_code is None)]
        known = {_mount_namespace(pid) for pid in living}
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and _mount_namespace(int(entry)) not in {None, *known}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry), signal.SIGKILL)

    def _ended(self, pid: int, code: int) -> None:
        client = self.execs.pop(pid, None)
        if client is not None:
            _send(client, {"exitCode": code})
            self._drop(client)
        for process in self.processes.values():
            if process.pid == pid and process.exit_code is None:
                process.exit_code, process.finished = code, time.time()
                if process.spec.private:
                    self._sweep()
                self._tell(process)
                if self.kubelet is not None and process.spec.id == self.kubelet.id:
                    self.kubelet_due = time.monotonic() + _KUBELET_RETRY
                return

    def _tell(self, process: Process) -> None:
        for watcher in list(self.watchers):
            if not _send(watcher, process.describe()):
                self._drop(watcher)


def _sees_own_processes() -> bool:
    """False where /proc is that of a PID namespace above, whose numbers mean other processes."""
    status = Path("/proc/self/status").read_text().splitlines()
    return any(line.split() == ["NSpid:", str(os.getpid())] for line in status)


def _mount_namespace(pid: int) -> int | None:
    """Its inode; None for what is gone, or is none of ours."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return None


def _send(client: socket.socket, message: dict[str, Any]) -> bool:
    try:
        client.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def listen(path: Path) -> socket.socket:
    """Bind the runtime's socket, in place of one that a dead runtime left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return listener


def own_run() -> None:
    """Give the node a /run of its own, with the lab's state and namespaces in it.

    It is shared with those containers that ask for it (`mountPropagation`), so that they see pods' namespaces come.
    """
    kept = [(str(path), os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in (INSIDE, netns.DIRECTORY) if path.is_dir()]
    linux.mount("tmpfs", "/run", kind="tmpfs", data="mode=755")
    for target, fd in kept:
        os.mkdir(target)
        linux.mount(f"/proc/self/fd/{fd}", target, flags=linux.MS_BIND | linux.MS_REC)
        os.close(fd)
    linux.propagate("/run", linux.MS_SHARED)


def main(arguments: list[str]) -> None:
    """`python -m isthmus_lab.kubelet.runtime NODE_JSON`: own mounts and /proc, the kubelet, then serve for ever."""
    import isthmus_lab.kubelet.main as kubelet_main  # imported here once, for all forks
    from isthmus_lab.kubelet.config import load
    from isthmus_lab.kubelet.context import resolv_conf

    config = load(Path(arguments[0]))
    if os.getpid() == 1:
        linux.unshare(linux.CLONE_NEWNS)
        linux.make_private()
        with contextlib.suppress(OSError):
            linux.mount("proc", "/proc", kind="proc", flags=linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        own_run()
        names = Path(config.directory, "resolv.conf")
        names.write_text(resolv_conf(config.node.ip))
        bind_file(str(names), "/etc/resolv.conf")
    kubelet = ContainerSpec(
        id="node/kubelet",
        argv=["isthmus-lab-kubelet", arguments[0]],
        entry=f"{kubelet_main.__name__}:main",
        env=dict(os.environ),
        private=False,
        log=str(Path(config.directory) / "kubelet.log"),
    )
    Runtime(listen(Path(config.runtime_socket)), kubelet).run()


if __name__ == "__main__":
    main(sys.argv[1:])
