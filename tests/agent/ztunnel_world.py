"""Run as a program: the node of `ambient_world`, but its proxy is one that is handed pods as a ztunnel is.

`python -m tests.agent.ztunnel_world`
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from isthmus.agent.node_proxy import DAEMON_SETS
from isthmus.agent.ztunnel_node import ZtunnelNode
from isthmus.edge.clock import SystemClock
from isthmus.edge.netns import NetworkNamespace
from isthmus.edge.zds_server import SOCKET
from isthmus.proto import zds_pb2 as pb
from tests.agent.ambient_config import PORTS
from tests.agent.ambient_world import APP_PORT, HOST_RUN, World, answers, daemon_set, make_node, world
from tests.agent.fakes import eventually, until
from tests.agent.namespaces import enter
from tests.agent.world import run
from tests.edge.test_zds_server import Ztunnel

SO_ORIGINAL_DST, IP_TRANSPARENT = 80, 19
MARK = 1337
PATH = HOST_RUN / SOCKET


class Proxy(Ztunnel):
    """Listens in the namespaces that it is given, and passes on what is redirected there."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.servers: dict[str, list[asyncio.Server]] = {}
        self.passed: list[tuple[str, int]] = []

    async def serve(self, stack: contextlib.AsyncExitStack) -> None:
        """Take messages until the agent is gone."""
        stack.callback(self._close)
        while await self.take() != "end":
            pass

    def _close(self) -> None:
        for servers in self.servers.values():
            for server in servers:
                server.close()

    def _apply(self, request: pb.WorkloadRequest, kind: str, numbers: list[int]) -> None:
        kept = [os.dup(number) for number in numbers]
        super()._apply(request, kind, numbers)
        if kind == "add":
            asyncio.get_running_loop().create_task(self._listen(request.add.uid, kept[0]))
        elif kind == "del":
            for server in self.servers.pop(getattr(request, "del").uid):
                server.close()

    async def _listen(self, uid: str, number: int) -> None:
        here = NetworkNamespace(Path(f"/proc/self/fd/{number}"))

        async def converse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            caller, mine = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
            raw = writer.get_extra_info("socket").getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack("!2xH4s8x", raw)
            self.passed.append((socket.inet_ntoa(packed), port))
            with await here.unbound(socket.AF_INET, socket.SOCK_STREAM, mark=MARK) as made:
                if mine[1] == PORTS.inbound_port:  # as ztunnel: the application sees its caller's address
                    made.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
                    made.bind((caller[0], 0))
                loop = asyncio.get_running_loop()
                await loop.sock_connect(made, (socket.inet_ntoa(packed), port))
                writer.write(await loop.sock_recv(made, 100))
            writer.close()

        ports = (PORTS.outbound_port, PORTS.inbound_port, PORTS.hbone_port)
        listening = [await here.listen(("0.0.0.0", port), socket.SOCK_STREAM) for port in ports]
        self.servers[uid] = [await asyncio.start_server(converse, sock=sock) for sock in listening]


@contextlib.asynccontextmanager
async def ztunnel() -> AsyncIterator[Proxy]:
    """A ztunnel that is connected."""
    await eventually(PATH.exists)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, str(PATH))
    await loop.sock_sendall(connection, pb.ZdsHello(version=pb.V1).SerializeToString())
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(connection.close)
        proxy = Proxy(connection)
        task = asyncio.create_task(proxy.serve(stack))
        try:
            yield proxy
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def agent(here: World) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(ZtunnelNode(here.settings, here.access, PATH, clock=SystemClock()).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def taken_up(here: World, name: str) -> bool:
    """The agent stands by the pod's being captured."""
    return await here.cni("CHECK", name) == (0, {})


async def shared() -> None:
    """Pods are taken in and let go as with a proxy of our own; a new agent takes nothing from the ztunnel."""
    async with world() as here:
        for name in ("a", "b"):
            await here.create_pod(name, mode="ambient")
        await here.client.create(DAEMON_SETS, daemon_set(), namespace="istio-system")
        a, b = (here.pods[name].uid for name in ("a", "b"))
        async with agent(here):
            await until(lambda: answers(here))
            adding = asyncio.gather(here.cni("ADD", "a"), here.cni("ADD", "b"))
            await here.until_mark("a", "pending")
            assert not adding.done(), "captured before anybody listens"
            async with ztunnel() as proxy:
                assert [code for code, _ in await adding] == [0, 0]
                assert {uid: name for uid, (name, _) in proxy.pods.items()} == {a: "a", b: "b"}
                assert await here.mark("a") == "enabled"
                assert await here.call("a", "b") == "b"
                there = (here.pods["b"].ip, APP_PORT)
                assert proxy.passed == [there, there], "out of a and into b"
                await here.label("a", "none")
                await here.until_mark("a", "")
                await eventually(lambda: set(proxy.pods) == {b})
                assert await here.call("a", "a") == "a"
                assert len(proxy.passed) == 2
        assert await here.mark("b") == "enabled"
        async with agent(here), ztunnel() as proxy:
            await eventually(lambda: set(proxy.pods) == {b} and proxy.complete)
            await eventually(lambda: b in proxy.servers)
            assert await here.call("a", "b") == "b"
            await until(lambda: taken_up(here, "b"))


if __name__ == "__main__":
    enter()
    make_node()
    run(shared(), 60)
