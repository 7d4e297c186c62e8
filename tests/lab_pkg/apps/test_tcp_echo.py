"""The TCP application."""

import asyncio
import socket

import pytest

from isthmus_lab.apps import tcp_echo


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_it_greets_with_its_name_and_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_ID", "west")
    monkeypatch.setenv("POD_NAME", "echo-1")

    async def run() -> list[bytes]:
        port, stop = free_port(), asyncio.Event()
        task = asyncio.create_task(tcp_echo.serve(port, stop))
        async with asyncio.timeout(5):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            greeting = await reader.readline()
            writer.write(b"ping\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
            stop.set()
            await task
        return [greeting, answer]

    assert asyncio.run(run()) == [b"west:echo-1\n", b"ping\n"]
