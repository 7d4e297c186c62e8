"""Blocking conversations of the command line with a lab's supervisor, kubelets, API servers: all over Unix sockets."""

import asyncio
import contextlib
import json
import os
import selectors
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus_lab.kubelet.client import ApiClient, ApiError
from isthmus_lab.supervisor.state import StateDirectory, connectable
from isthmus_lab.world import MACHINES

Message = dict[str, Any]
_FRAME = struct.Struct(">BI")
_STDIN, _STDOUT, _STDERR, _RESULT = range(4)
_BLOCK = 65536


class LabError(IsthmusError):
    """The lab said no, with its own exit code."""

    def __init__(self, message: str, remedy: str, exit_code: int) -> None:
        super().__init__(message, remedy)
        self.exit_code = exit_code


def conversation(state: StateDirectory, request: Message) -> Iterator[Message]:
    """All answers of the supervisor to one request. UnreachableError: it does not run, or it ended meanwhile."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(connectable(state.control_socket))
            sock.sendall(json.dumps(request).encode() + b"\n")
            for line in sock.makefile("rb"):
                yield json.loads(line)
        except OSError as error:
            remedy = "Start it: isthmus lab up <directory>"
            raise UnreachableError(f"the lab in {state.path} does not answer: {error.strerror}", remedy) from error


def ask(state: StateDirectory, request: Message) -> Message:
    """The last answer to a request. LabError: it said no."""
    answer = ([{}, *conversation(state, request)])[-1]
    if not answer.get("done"):
        raise UnreachableError("the lab ended while it was asked", f"Its log: {state.log}")
    if not answer["ok"]:
        raise LabError(answer.get("error", "refused"), answer.get("remedy", ""), int(answer.get("exit", 1)))
    return answer


def api(state: StateDirectory, cluster: str, path: str, **query: str) -> Message:
    """GET from a cluster's API server. UnreachableError: it is away; LabError: it refused."""
    try:
        client = ApiClient(connectable(state.api_socket(cluster)), state.system_token(cluster))
        return asyncio.run(client.get(path, **query))
    except FileNotFoundError as error:
        raise UnreachableError(f"the API server of {cluster} never started", f"Its log is in {state.path}.") from error
    except ApiError as error:
        raise LabError(f"{cluster}: {error}", "", 1) from error


def kubelet(state: StateDirectory, cluster: str, node: str) -> socket.socket:
    """A connection to a kubelet. UnreachableError: it does not run."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(connectable(state.node(cluster, node) / "kubelet.sock"))
    except OSError as error:
        sock.close()
        name = f"{cluster}/{node}" if cluster == MACHINES else f"{cluster}/node/{node}"
        remedy = f"If it was killed: isthmus lab restore {name}"
        raise UnreachableError(f"{name} does not answer: {error.strerror}", remedy) from error
    return sock


def nodes_of(state: StateDirectory, cluster: str) -> list[str]:
    """The nodes that have a directory."""
    kind = "machine.json" if cluster == MACHINES else "node.json"
    return sorted(path.parent.name for path in state.cluster(cluster).glob(f"nodes/*/{kind}"))


def pods_of(state: StateDirectory, cluster: str) -> list[Message]:
    """All pods as the kubelets have them, also while the API server is away; silent nodes are left out."""
    found: list[Message] = []
    for node in nodes_of(state, cluster):
        with contextlib.suppress(UnreachableError), kubelet(state, cluster, node) as sock:
            sock.sendall(b'{"pods": {}}\n')
            line = sock.makefile("rb").readline()
            found += [{**pod, "node": node} for pod in json.loads(line or b"{}").get("pods") or []]
    return found


def logs(sock: socket.socket, request: Message, out: BinaryIO) -> None:
    """Copy a container's log to `out`. LabError: there is none."""
    sock.sendall(json.dumps({"logs": request}).encode() + b"\n")
    first = True
    while data := sock.recv(_BLOCK):
        if first and data.startswith(b"error: "):
            raise LabError(data.decode().removeprefix("error: ").strip(), "", 2)
        first = False
        out.write(data)
        out.flush()


def execute(sock: socket.socket, request: Message, *, stdin: bool, out: BinaryIO, err: BinaryIO) -> int:
    """Run a command in a container with this process's streams; its exit code. LabError: it could not be run."""
    sock.sendall(json.dumps({"exec": {**request, "stdin": stdin}}).encode() + b"\n")
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        if stdin:
            with contextlib.suppress(PermissionError):  # a regular file cannot be waited for; it is always readable
                selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
            if len(selector.get_map()) == 1:
                _send_all(sock, sys.stdin.buffer)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not sock:
                    data = os.read(sys.stdin.fileno(), _BLOCK)
                    sock.sendall(_FRAME.pack(_STDIN, len(data)) + data)
                    if not data:
                        selector.unregister(sys.stdin.fileno())
                    continue
                channel, content = _read_frame(sock)
                if channel == _RESULT:
                    return _result(json.loads(content))
                stream = out if channel == _STDOUT else err
                stream.write(content)
                stream.flush()


def _send_all(sock: socket.socket, source: BinaryIO) -> None:
    while data := source.read(_BLOCK):
        sock.sendall(_FRAME.pack(_STDIN, len(data)) + data)
    sock.sendall(_FRAME.pack(_STDIN, 0))


def _result(result: Message) -> int:
    if "error" in result:
        raise LabError(result["error"], "", 2)
    return int(result["exitCode"])


def _read_frame(sock: socket.socket) -> tuple[int, bytes]:
    channel, length = _FRAME.unpack(_exactly(sock, _FRAME.size))
    return channel, _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise UnreachableError("the node closed the connection", "Was it killed?")
        data += part
    return data
