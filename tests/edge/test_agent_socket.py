"""The agent's Unix sockets: one line for each line, and paths longer than the kernel takes."""

import asyncio
import os
from pathlib import Path

import grpc
import grpc.aio
import pytest

from isthmus.base.errors import IsthmusError
from isthmus.edge.agent_socket import LONGEST_PATH, bind_unix, serve_lines


async def upper(line: bytes) -> bytes:
    return line.strip().upper()


async def talk(path: Path, *lines: bytes) -> list[bytes]:
    """Answers to lines on one connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for line in lines:
        writer.write(line + b"\n")
        answers.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answers


def test_lines_and_mode_and_replacement(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"

    async def scenario() -> None:
        for _ in range(2):  # the second time over what a killed agent left
            async with serve_lines(path, upper):
                assert await talk(path, b"a", b"b") == [b"A\n", b"B\n"]
                assert path.stat().st_mode & 0o777 == 0o600

    asyncio.run(scenario())


def test_too_long_a_path_is_refused_with_a_remedy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serve_lines(tmp_path / ("x" * LONGEST_PATH), upper):
            pass

    with pytest.raises(IsthmusError) as raised:
        asyncio.run(scenario())
    assert raised.value.remedy


@pytest.mark.parametrize("length", [10, 150])
def test_grpc_listens_at_paths_of_any_length(tmp_path: Path, length: int) -> None:
    directory = tmp_path / ("d" * length)
    directory.mkdir()

    async def ping(request: bytes, _: object) -> bytes:
        return request

    async def scenario() -> bytes:
        handler = grpc.method_handlers_generic_handler("t", {"Ping": grpc.unary_unary_rpc_method_handler(ping)})
        server = grpc.aio.server(handlers=(handler,))
        bind_unix(server, directory / "agent.sock")
        await server.start()
        there = os.open(directory, os.O_PATH)
        async with grpc.aio.insecure_channel(f"unix:/proc/self/fd/{there}/agent.sock") as channel:
            answer = await channel.unary_unary("/t/Ping")(b"hello", timeout=5)
        os.close(there)
        await server.stop(0)
        return bytes(answer)

    assert asyncio.run(scenario()) == b"hello"
