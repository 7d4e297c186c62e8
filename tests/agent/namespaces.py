"""Run as a program: enters namespaces of its own, then plays a scenario of the agent there with the real ports.

`python -m tests.agent.namespaces node|container`
"""

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import json
import os
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dnslib import DNSRecord

from isthmus.agent.settings import Ports
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.edge.envoy_process import UNKNOWN_EXIT
from isthmus.edge.netns import NetworkNamespace
from isthmus.xds.resource import NDS, XdsResource
from tests.agent import envoy_config
from tests.agent.fakes import IDENTITY, FakeControlPlane, control_plane, make_authority, until, write_mounts
from tests.agent.test_name_stream import table_body
from tests.agent.world import App, run

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_REC_PRIVATE = 0x4000 | 0x40000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x41

PORTS = Ports()
WAY = envoy_config.Path(outbound=8001, inbound=8002, app=8003)
RUN = os.path.realpath("/var/run")
POD = f"{RUN}/netns/pod"
ISTHMUS = [sys.executable, "-m", "isthmus.cli.main", "agent"]

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    """Raise what libc says."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter() -> None:
    """A user, mount and network namespace with its own /run."""
    user, group = os.geteuid(), os.getegid()
    flags = CLONE_NEWNS | CLONE_NEWNET
    check(libc.unshare(flags if user == 0 else flags | CLONE_NEWUSER))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    check(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None))
    check(libc.mount(b"tmpfs", RUN.encode(), b"tmpfs", 0, None))
    loopback_up()


def loopback_up() -> None:
    """Switch on `lo`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def make_pod() -> None:
    """A named network namespace for a pod."""
    Path(POD).parent.mkdir(parents=True, exist_ok=True)
    Path(POD).touch()
    child = os.fork()
    if child == 0:
        check(libc.unshare(CLONE_NEWNET))
        loopback_up()
        check(libc.mount(b"/proc/self/ns/net", POD.encode(), None, MS_BIND, None))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def environment(plane: FakeControlPlane) -> dict[str, str]:
    """As injection sets it."""
    return {
        "POD_NAME": "sleep-1",
        "POD_NAMESPACE": "sample",
        "INSTANCE_IP": "127.0.0.1",
        "SERVICE_ACCOUNT": "sleep",
        "ISTIO_META_DNS_CAPTURE": "true",
        "PILOT_ADDRESS": f"127.0.0.1:{plane.port}",
        "MINIMUM_DRAIN_DURATION": "0",
    }


async def resolve(namespace: NetworkNamespace) -> str:
    """Ask the agent in the namespace for a name of the mesh."""
    loop = asyncio.get_running_loop()
    with await namespace.unbound(socket.AF_INET, socket.SOCK_DGRAM) as made:
        await loop.sock_connect(made, ("127.0.0.1", PORTS.dns))
        await loop.sock_sendall(made, bytes(DNSRecord.question("hello.sample").pack()))
        reply = DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(made, 4096), 5))
    return str(reply.rr[0].rdata) if reply.rr else ""


async def check_pod(namespace: NetworkNamespace) -> None:
    """The proxy in this namespace is ready, forwards, and resolves."""
    client = LoopbackClient(namespace)

    async def resolved() -> bool:
        return await resolve(namespace) == "10.1.0.7"

    answer = await client.request("GET", WAY.outbound, "/")
    assert (answer.status, answer.body) == (200, b"hello"), answer
    assert (await client.request("GET", PORTS.health, "/healthz/ready")).status == 200
    assert (await client.request("GET", PORTS.prometheus, "/stats/prometheus")).status == 200
    await until(resolved)


@contextlib.asynccontextmanager
async def agent(*arguments: str, env: dict[str, str] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent as a program; killed when the context ends."""
    process = await asyncio.create_subprocess_exec(*ISTHMUS, *arguments, env={**os.environ, **(env or {})})
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def tell(path: Path, **request: Any) -> dict[str, Any]:
    """One request of the kubelet; waits until the agent listens."""
    found: list[bytes] = []

    async def asked() -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(request).encode() + b"\n")
            found.append(await reader.readline())
            writer.close()
        return bool(found and found[-1])

    await until(asked)
    answer: dict[str, Any] = json.loads(found[-1])
    assert answer["ok"], answer
    return answer


@contextlib.asynccontextmanager
async def surroundings(namespace: NetworkNamespace) -> AsyncIterator[FakeControlPlane]:
    """A control plane here, and an application in the pod's namespace."""
    app = App()
    async with control_plane(make_authority()) as plane:
        plane.config.put(*envoy_config.through_itself(WAY), XdsResource(NDS, "", table_body("10.1.0.7")))
        listening = await namespace.listen(("127.0.0.1", WAY.app), socket.SOCK_STREAM)
        async with await asyncio.start_server(app.converse, sock=listening):
            yield plane


async def node() -> None:
    """The agent of a node is killed without warning and started again; Envoy, in a pod's namespace, goes on."""
    make_pod()
    pod = NetworkNamespace(Path(POD))
    directory = Path(tempfile.mkdtemp(dir=RUN))
    path = directory / "agent.sock"
    async with surroundings(pod) as plane:
        request = {
            "op": "start",
            "id": "uid-1/istio-proxy",
            "args": ["proxy", "sidecar"],
            "env": environment(plane),
            "mounts": write_mounts(directory, plane.authority),
            "netns": POD,
            "log": str(directory / "0.log"),
        }
        ready = functools.partial(is_ready, path)
        async with agent("node", "--socket", str(path)):
            pid = (await tell(path, **request))["pid"]
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
            await until(ready)
            await check_pod(pod)
        assert (await LoopbackClient(pod).request("GET", PORTS.health, "/healthz/ready")).status == 200
        async with agent("node", "--socket", str(path)) as second:
            assert (await tell(path, op="list"))["proxies"][0]["pid"] == pid
            assert (await tell(path, **request))["pid"] == pid
            await check_pod(pod)
            os.kill(pid, signal.SIGKILL)
            await until(functools.partial(is_down, path))
            assert (await tell(path, op="status", id="uid-1/istio-proxy"))["exitCode"] == UNKNOWN_EXIT
            assert (await tell(path, **request))["pid"] != pid
            await until(ready)
            assert (await tell(path, op="stop", id="uid-1/istio-proxy", graceSeconds=5))["exitCode"] == 0
            second.terminate()
            assert await second.wait() == 0


async def is_ready(path: Path) -> bool:
    """As the agent tells."""
    return bool((await tell(path, op="status", id="uid-1/istio-proxy"))["ready"])


async def is_down(path: Path) -> bool:
    """As the agent tells."""
    return not (await tell(path, op="status", id="uid-1/istio-proxy"))["running"]


def mount_all(mounts: dict[str, str]) -> None:
    """Put directories where a container has them."""
    for inside, outside in mounts.items():
        Path(inside).parent.mkdir(parents=True, exist_ok=True)
        Path(inside).symlink_to(outside)


def kill_envoy() -> None:
    """The one that the agent's pid file names."""
    os.kill(json.loads(Path("/var/run/isthmus/envoy.pid").read_text())["pid"], signal.SIGKILL)


async def container() -> None:
    """The agent of one container, with paths and ports as on Kubernetes; a signal drains it."""
    here = NetworkNamespace()
    async with surroundings(here) as plane:
        mount_all(write_mounts(Path(tempfile.mkdtemp(dir=RUN)), plane.authority))
        async with agent("proxy", "sidecar", "--log_output_level", "x", env=environment(plane)) as process:
            async with agent("wait", "--timeout", "10") as waiting:
                assert await waiting.wait() == 0
            await check_pod(here)
            asking = await asyncio.create_subprocess_exec(
                *ISTHMUS, "request", "get", "/certs", stdout=asyncio.subprocess.PIPE
            )
            output, _ = await asking.communicate()
            assert json.loads(output)["certificates"][0]["cert_chain"][0]["subject_alt_names"][0]["uri"] == IDENTITY
            async with agent("request", "GET", "/nothing") as refused:
                assert await refused.wait() == 1
            process.terminate()
            assert await process.wait() == 0
        async with agent("wait", "--timeout", "0.2") as waiting:
            assert await waiting.wait() == 3
        async with agent("proxy", "sidecar", env=environment(plane)) as process:
            async with agent("wait", "--timeout", "10") as waiting:
                assert await waiting.wait() == 0
            kill_envoy()
            assert await process.wait() == 128 + signal.SIGKILL


if __name__ == "__main__":
    enter()
    run({"node": node, "container": container}[sys.argv[1]](), 50)
