"""The socket of a node's ztunnel: packets, file descriptors of namespaces, and one ztunnel after another."""

import asyncio
import os
import socket
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from isthmus.base.errors import IsthmusError
from isthmus.edge.zds_server import ZdsServer
from isthmus.proto import zds_pb2 as pb
from isthmus.ztunnel.handover import Handed


class Ztunnel:
    """Connects, says hello, and takes what it is given, as ztunnel does."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pods: dict[str, tuple[str, int]] = {}
        self.complete = False

    async def take(self, error: str = "") -> str:
        """One message, answered; returns its kind. The inode of a namespace tells which one it is."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.connection, ready.set)
        try:
            await ready.wait()
        finally:  # a closed socket's number would be polled for no more when the next socket gets it
            loop.remove_reader(self.connection)
        data, rights, flags, _ = self.connection.recvmsg(1024, socket.CMSG_SPACE(4))
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if not data:
            return "end"
        numbers = [number for _, _, raw in rights for number in array("i", raw)]
        request = pb.WorkloadRequest.FromString(data)
        kind = str(request.WhichOneof("payload"))
        assert len(numbers) == (kind == "add")
        self._apply(request, kind, numbers)
        answer = pb.WorkloadResponse(ack=pb.Ack(error=error))
        await loop.sock_sendall(self.connection, answer.SerializeToString())
        return kind

    def _apply(self, request: pb.WorkloadRequest, kind: str, numbers: list[int]) -> None:
        if kind == "add":
            self.pods[request.add.uid] = (request.add.workload_info.name, os.fstat(numbers[0]).st_ino)
            os.close(numbers[0])
        elif kind == "del":
            del self.pods[getattr(request, "del").uid]
        elif kind == "snapshot_sent":
            self.complete = True


@asynccontextmanager
async def ztunnel(path: Path) -> AsyncIterator[Ztunnel]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, str(path))
    await asyncio.get_running_loop().sock_sendall(connection, pb.ZdsHello(version=pb.V1).SerializeToString())
    try:
        yield Ztunnel(connection)
    finally:
        connection.close()


def run(tmp_path: Path, scenario: Callable[[ZdsServer, Path], Awaitable[None]], *, begun: bool = True) -> None:
    async def bounded() -> None:
        path = tmp_path / "run" / "ztunnel.sock"
        server = ZdsServer(path, structlog.get_logger())
        task = asyncio.create_task(server.run())
        if begun:
            server.begin(())
        async with asyncio.timeout(10):
            while not path.exists():  # noqa: ASYNC110  (bounded)
                await asyncio.sleep(0.005)
            await scenario(server, path)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not path.exists()

    asyncio.run(bounded())


def pod(uid: str, netns: str = "/proc/self/ns/net") -> Handed:
    return Handed(uid, "sample", f"name-{uid}", "sa", netns)


HERE = os.stat("/proc/self/ns/net").st_ino


def test_a_pod_is_handed_over_with_its_network_namespace(tmp_path: Path) -> None:
    async def scenario(server: ZdsServer, path: Path) -> None:
        waiting = asyncio.create_task(server.add(pod("a")))
        async with ztunnel(path) as client:
            assert [await client.take(), await client.take()] == ["add", "snapshot_sent"]
            await waiting
            assert client.pods == {"a": ("name-a", HERE)}
            later = asyncio.create_task(server.add(pod("b")))
            assert await client.take() == "add"
            await later
            server.remove("a")
            assert await client.take() == "del"
            assert set(client.pods) == {"b"}
        assert os.stat(path).st_mode & 0o777 == 0o600

    run(tmp_path, scenario)


def test_a_pod_that_ztunnel_cannot_take_is_tried_again(tmp_path: Path) -> None:
    async def scenario(server: ZdsServer, path: Path) -> None:
        waiting = asyncio.create_task(server.add(pod("a")))
        async with ztunnel(path) as client:
            await client.take(error="no listener")
            await client.take()
            with pytest.raises(IsthmusError, match="ztunnel cannot take it: no listener"):
                await waiting
            again = asyncio.create_task(server.add(pod("a")))
            assert await client.take() == "add"
            await again

    run(tmp_path, scenario)


def test_the_next_ztunnel_gets_everything_and_the_one_before_it_nothing_new(tmp_path: Path) -> None:
    async def scenario(server: ZdsServer, path: Path) -> None:
        async with ztunnel(path) as old:
            assert await old.take() == "snapshot_sent"
            async with ztunnel(path) as new:
                assert await new.take() == "snapshot_sent"
                first = asyncio.create_task(server.add(pod("a")))
                assert await new.take() == "add"
                await first
                assert old.pods == {}
            second = asyncio.create_task(server.add(pod("b")))
            assert {await old.take(), await old.take()} == {"add"}
            await second
            assert set(old.pods) == {"a", "b"}

    run(tmp_path, scenario)


def test_a_namespace_that_is_gone_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def scenario(server: ZdsServer, path: Path) -> None:
        lost = asyncio.create_task(server.add(pod("a", str(tmp_path / "gone"))))
        await asyncio.sleep(0)
        kept = asyncio.create_task(server.add(pod("b")))
        async with ztunnel(path) as client:
            assert [await client.take(), await client.take()] == ["add", "snapshot_sent"]
            await kept
            assert set(client.pods) == {"b"}
            assert not lost.done()
            lost.cancel()

    run(tmp_path, scenario)


def test_nothing_is_said_to_be_gone_before_everything_was_looked_at(tmp_path: Path) -> None:
    """A new agent: what ztunnel has from before is kept until it is added again."""

    async def scenario(server: ZdsServer, path: Path) -> None:
        async with ztunnel(path) as client:
            taking = asyncio.create_task(client.take())
            await asyncio.sleep(0)
            assert not taking.done()
            server.begin([pod("a", "")])
            assert [await taking, await client.take()] == ["keep", "snapshot_sent"]
            again = asyncio.create_task(server.add(pod("a")))
            assert await client.take() == "add"
            await again

    run(tmp_path, scenario, begun=False)


def test_who_speaks_something_else_is_sent_away(tmp_path: Path) -> None:
    async def scenario(server: ZdsServer, path: Path) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, str(path))
        await loop.sock_sendall(connection, b"\x08\x09")
        assert await loop.sock_recv(connection, 100) == b""
        connection.close()
        async with ztunnel(path) as client:
            assert await client.take() == "snapshot_sent"

    run(tmp_path, scenario)


def test_a_path_that_cannot_be_used_is_an_error_that_says_so() -> None:
    async def scenario() -> None:
        with pytest.raises(IsthmusError, match="cannot listen at /proc/nothing"):
            await ZdsServer(Path("/proc/nothing/ztunnel.sock"), structlog.get_logger()).run()

    asyncio.run(scenario())
