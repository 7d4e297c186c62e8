"""Talks to the node's container runtime: short questions at once, endings as they happen."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.runtime import MAX_MESSAGE

Ending = dict[str, Any]


class RuntimeRefusedError(Exception):
    """The runtime could not do it; says why."""


class RuntimeClient:
    """One connection per question. The runtime forks and answers within milliseconds, so questions do not wait."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.ended: dict[str, Ending] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def start(self, spec: ContainerSpec) -> dict[str, Any]:
        """Start a container; one that runs under this id already is left alone. Returns its description."""
        self.ended.pop(spec.id, None)
        return self._ask({"op": "start", "spec": msgspec.to_builtins(spec)})

    def signal(self, container_id: str, number: int) -> None:
        """Send a signal; SIGKILL goes to its whole session."""
        self._ask({"op": "signal", "id": container_id, "signal": number})

    def remove(self, container_id: str) -> None:
        """Forget an ended container."""
        self._ask({"op": "remove", "id": container_id})
        self.ended.pop(container_id, None)

    def processes(self) -> list[dict[str, Any]]:
        """All containers, ended ones too."""
        return list(self._ask({"op": "list"})["processes"])

    def execute(self, spec: ContainerSpec, target: str | None, fds: list[int]) -> socket.socket:
        """Run a command in container `target`; the returned socket yields its exit code, and closing it kills it."""
        sock = self._connect()
        try:
            message = {"op": "exec", "spec": msgspec.to_builtins(spec), "target": target}
            socket.send_fds(sock, [json.dumps(message).encode()], fds)
            _checked(sock.recv(MAX_MESSAGE))
        except BaseException:
            sock.close()
            raise
        return sock

    async def wait(self, container_id: str) -> Ending:
        """Until the container has ended."""
        event = self._waiting.setdefault(container_id, asyncio.Event())
        while container_id not in self.ended:
            event.clear()
            await event.wait()
        return self.ended[container_id]

    async def watch(self, on_change: Callable[[], None] | None = None) -> None:
        """Follow endings until cancelled. UnreachableError: the runtime is gone, and with it this node."""
        loop = asyncio.get_running_loop()
        sock = self._connect()
        try:
            sock.send(b'{"op":"watch"}')
            for process in _checked(sock.recv(MAX_MESSAGE))["processes"]:
                self._note(process)
            sock.setblocking(False)
            while data := await loop.sock_recv(sock, MAX_MESSAGE):
                self._note(json.loads(data))
                if on_change:
                    on_change()
        finally:
            sock.close()
        raise UnreachableError("the container runtime closed the connection")

    def _note(self, process: dict[str, Any]) -> None:
        if not process["running"]:
            self.ended[process["id"]] = process
            event = self._waiting.pop(process["id"], None)
            if event:
                event.set()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
        try:
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            raise UnreachableError(f"no container runtime at {self._path}: {error.strerror}") from error
        return sock

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._connect() as sock:
            sock.send(json.dumps(message).encode())
            return _checked(sock.recv(MAX_MESSAGE))


def _checked(data: bytes) -> dict[str, Any]:
    if not data:
        raise UnreachableError("the container runtime closed the connection")
    answer: dict[str, Any] = json.loads(data)
    if not answer["ok"]:
        raise RuntimeRefusedError(answer.get("error", "refused"))
    return answer
