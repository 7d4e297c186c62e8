"""Sockets and work in a namespace; with a real second namespace in tests/agent/namespaces.py."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest

from isthmus.base.errors import UnreachableError
from isthmus.edge.netns import NetworkNamespace

HERE = NetworkNamespace()


def test_missing_namespace_says_so() -> None:
    with pytest.raises(UnreachableError, match="network namespace /run/netns/none"):
        asyncio.run(NetworkNamespace(Path("/run/netns/none")).run(lambda: 1))


def test_listen_and_connect() -> None:
    async def scenario() -> bytes:
        listening = await HERE.listen(("127.0.0.1", 0), socket.SOCK_STREAM)

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        async with await asyncio.start_server(greet, sock=listening):
            reader, writer = await HERE.connect(("127.0.0.1", listening.getsockname()[1]), mark=1)
            text = await reader.read()
            writer.close()
            await writer.wait_closed()
            return text

    assert asyncio.run(scenario()) == b"hello"


def test_taken_port_raises_and_closes() -> None:
    async def scenario() -> None:
        taken = await HERE.listen(("127.0.0.1", 0), socket.SOCK_DGRAM)
        with taken, pytest.raises(OSError, match="in use"):
            await HERE.listen(taken.getsockname(), socket.SOCK_DGRAM)

    asyncio.run(scenario())


def test_refused_connection_closes_its_socket() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectionRefusedError):
            await HERE.connect(("127.0.0.1", 1))

    asyncio.run(scenario())


def test_errors_of_the_work_come_through() -> None:
    def work() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(HERE.run(work))


def test_a_forked_process_has_a_thread_of_its_own() -> None:
    async def work() -> int:
        async with asyncio.timeout(5):
            return await NetworkNamespace().run(lambda: 7)

    assert asyncio.run(work()) == 7
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(asyncio.run(work()))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
