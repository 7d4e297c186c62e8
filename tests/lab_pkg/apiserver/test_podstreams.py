"""Logs, exec and port forwarding, through a kubelet that answers as the contract says."""

from __future__ import annotations

import asyncio
import gc
import json
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

from isthmus_lab.apiserver import podstreams
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.inprocess import Loopback

Kubectl = Callable[..., str]
HEAD = struct.Struct(">BI")
needs_kubectl = pytest.mark.kubectl

# The client leaves sockets of websockets that the server closed to the garbage collector; `core` runs it in time.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]


class FakeKubelet:
    """Echoes: exec sends its command and standard input back, `exit N` ends with that code."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.requests: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_unix_server(self._connected, path=str(self._path)):
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> FakeKubelet:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readline())
        self.requests.append(request)
        (kind, body), *_ = request.items()
        await {"exec": self._exec, "logs": self._logs, "portForward": self._forward}[kind](body, reader, writer)
        writer.close()

    async def _exec(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(channel: int, data: bytes) -> None:
            writer.write(HEAD.pack(channel, len(data)) + data)

        command = body["command"]
        result: dict[str, Any] = {"exitCode": 0}
        if command[0] == "exit":
            send(2, b"going\n")
            result = {"exitCode": int(command[1])}
        elif command[0] == "missing":
            result = {"error": 'exec: "missing": executable file not found in $PATH'}
        else:
            send(1, " ".join(command).encode() + b"\n")
        while body["stdin"]:
            channel, size = HEAD.unpack(await reader.readexactly(HEAD.size))
            data = await reader.readexactly(size)
            if channel == 0 and not size:
                break
            send(1, data.upper())
            if data.endswith(b"bye\n"):
                break
        send(3, json.dumps(result).encode())
        await writer.drain()

    async def _logs(self, body: dict[str, Any], _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if body["previous"]:
            writer.write(b"error: previous terminated container not found\n")
            return
        lines = [b"one\n", b"two\n", b"three\n"]
        tail = body["tailLines"]
        writer.writelines(lines if tail is None else lines[len(lines) - tail :])
        await writer.drain()

    async def _forward(self, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if body["port"] == 81:
            writer.write(b"connection refused")
            return
        writer.write(b"\0")
        while data := await reader.read(1024):
            writer.write(data[::-1])
            await writer.drain()


@pytest.fixture(scope="module")
def core(loopback: Loopback) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(loopback.kubeconfig)) as api_client:
        yield client.CoreV1Api(api_client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def kubelet(loopback: Loopback, core: client.CoreV1Api) -> Iterator[FakeKubelet]:
    directory = loopback.directory / "nodes" / "n1"
    directory.mkdir(parents=True)
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}}
    pod["spec"]["containers"] = [{"name": "main", "image": "x"}]
    two = {"metadata": {"name": "two"}, "spec": {"nodeName": "gone", "containers": []}}
    two["spec"]["containers"] = [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]  # type: ignore[index]
    core.create_namespaced_pod("default", pod)
    core.create_namespaced_pod("default", two)
    with FakeKubelet(directory / "kubelet.sock") as fake:
        yield fake


def test_logs(core: client.CoreV1Api, kubelet: FakeKubelet) -> None:
    assert core.read_namespaced_pod_log("p", "default") == "one\ntwo\nthree\n"
    assert core.read_namespaced_pod_log("p", "default", tail_lines=1, container="main") == "three\n"
    assert kubelet.requests[-1]["logs"] == {
        "namespace": "default", "pod": "p", "container": "main", "follow": False, "tailLines": 1, "previous": False,
    }  # fmt: skip
    assert core.read_namespaced_pod_log("p", "default", limit_bytes=5) == "one\nt"


@pytest.mark.parametrize(
    ("pod", "options", "code", "says"),
    [
        ("p", {"previous": True}, 400, "previous terminated container not found"),
        ("p", {"container": "other"}, 400, "container other is not valid for pod p"),
        ("two", {}, 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("two", {"container": "a"}, 500, "error dialing backend"),
        ("none", {}, 404, 'pods \\"none\\" not found'),
    ],
)
def test_log_errors(
    core: client.CoreV1Api, kubelet: FakeKubelet, pod: str, options: dict[str, Any], code: int, says: str
) -> None:
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_pod_log(pod, "default", **options)
    assert caught.value.status == code
    assert says in str(caught.value.body)


def run(core: client.CoreV1Api, *command: str) -> tuple[str, str, int]:
    """Standard output, standard error and exit code."""
    talk = stream(
        core.connect_get_namespaced_pod_exec, "p", "default", command=list(command), stdout=True, stderr=True,
        _preload_content=False,
    )  # fmt: skip
    talk.run_forever(timeout=10)
    try:
        return talk.read_stdout(), talk.read_stderr(), talk.returncode
    finally:
        talk.close()


def test_exec_with_the_python_client(core: client.CoreV1Api, kubelet: FakeKubelet) -> None:
    assert run(core, "echo", "a b") == ("echo a b\n", "", 0)
    assert run(core, "exit", "3") == ("", "going\n", 3)


def test_exec_with_standard_input(core: client.CoreV1Api, kubelet: FakeKubelet) -> None:
    talk = stream(
        core.connect_get_namespaced_pod_exec, "p", "default", command=["cat"], stdin=True, stdout=True, stderr=True,
        _preload_content=False,
    )  # fmt: skip
    assert talk.readline_stdout(timeout=10) == "cat"
    talk.write_stdin("hello\n")
    assert talk.readline_stdout(timeout=10) == "HELLO"
    talk.write_stdin("bye\n")
    talk.run_forever(timeout=10)
    assert talk.returncode == 0
    talk.close()


def test_port_forwarding_with_the_python_client(core: client.CoreV1Api, kubelet: FakeKubelet) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports="80,81")
    sock = forward.socket(80)
    sock.settimeout(10)
    sock.sendall(b"abc")
    assert sock.recv(16) == b"cba"
    refused = forward.socket(81)
    refused.settimeout(10)
    assert refused.recv(16) == b""
    assert forward.error(81) == "connection refused"
    sock.close()
    forward.close()


@needs_kubectl
def test_kubectl_logs_and_exec(kubectl: Kubectl, kubelet: FakeKubelet) -> None:
    assert kubectl("logs", "p", "--tail=2") == "two\nthree\n"
    assert kubectl("logs", "-f", "p") == "one\ntwo\nthree\n"
    assert "previous terminated container not found" in kubectl("logs", "p", "--previous", code=1)
    assert kubectl("exec", "p", "--", "echo", "x", "y") == "echo x y\n"
    assert kubectl("exec", "-i", "p", "--", "cat", stdin="hi\n") == "cat\nHI\n"
    said = kubectl("exec", "p", "--", "exit", "7", code=7)
    assert "going" in said
    assert "command terminated with exit code 7" in said
    assert "executable file not found" in kubectl("exec", "p", "--", "missing", code=1)
    assert "container other is not valid for pod p" in kubectl("exec", "p", "-c", "other", "--", "x", code=1)


def test_the_unsupported_transport_is_named() -> None:
    """SPDY is not spoken; the refusal says what is."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}
    assert podstreams.container_of(pod, "") == "a"
    several = {
        "metadata": {"name": "p", "annotations": {"kubectl.kubernetes.io/default-container": "b"}},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
    }
    assert podstreams.container_of(several, "") == "b"
    with pytest.raises(ApiError, match="container c is not valid for pod p"):
        podstreams.container_of(several, "c")


@pytest.mark.parametrize(
    ("result", "status", "reason"),
    [
        ({"exitCode": 0}, "Success", None),
        ({"exitCode": 5}, "Failure", "NonZeroExitCode"),
        ({"error": "no such container"}, "Failure", "InternalError"),
    ],
)
def test_exec_status(result: dict[str, Any], status: str, reason: str | None) -> None:
    found = podstreams.exec_status(result)
    assert (found["status"], found.get("reason")) == (status, reason)
