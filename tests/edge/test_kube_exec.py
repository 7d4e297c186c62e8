"""exec against a websocket server in this process that speaks v4 or v5."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from isthmus.base.errors import UnreachableError
from isthmus.edge.kube_client import ClientOptions, KubeClient, KubeError
from isthmus.edge.kube_exec import V4, V5, ExecResult, Target, execute, exit_code
from isthmus.kube.kubeconfig import Access

Handler = Callable[[ServerConnection], Awaitable[None]]
TARGET = Target("ns", "pod", "c")


def run(
    handler: Handler, *, stdin: bytes | None = None, protocols: tuple[str, ...] = (V5,), within: float = 5.0
) -> ExecResult:
    """Execute `sh -c x` against the handler."""

    async def refuse(connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Authorization") == "Bearer good":
            return None
        body = json.dumps({"reason": "Forbidden", "message": "not you"}).encode()
        return Response(HTTPStatus.FORBIDDEN, "Forbidden", Headers(), body)

    async def work() -> ExecResult:
        server = await serve(handler, "127.0.0.1", 0, subprotocols=list(protocols), process_request=refuse)  # type: ignore[arg-type]
        async with server:
            port = next(iter(server.sockets)).getsockname()[1]
            token = "good" if within != 4.0 else "bad"
            access = Access(server=f"http://127.0.0.1:{port}", token=token)
            async with await KubeClient.connect(access, ClientOptions(2.0, 2.0)) as client:
                return await execute(client, TARGET, ["sh", "-c", "x"], stdin=stdin, within=within)

    return asyncio.run(work())


def result(code: int) -> bytes:
    """The last message of an exec."""
    if code == 0:
        return b"\x03" + json.dumps({"status": "Success"}).encode()
    details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    return b"\x03" + json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": details}).encode()


@pytest.mark.parametrize("protocol", [V5, V4])
def test_output_and_exit_code(protocol: str) -> None:
    async def handler(socket: ServerConnection) -> None:
        assert socket.request is not None
        url = urlsplit(socket.request.path)
        assert url.path == "/api/v1/namespaces/ns/pods/pod/exec"
        query = parse_qs(url.query)
        assert query == {"command": ["sh", "-c", "x"], "container": ["c"], "stdout": ["true"], "stderr": ["true"]}
        assert socket.subprotocol == protocol
        for message in (b"\x01", b"\x01hel", b"\x02oops", b"\x01lo", result(7)):
            await socket.send(message)

    assert run(handler, protocols=(protocol,)) == ExecResult(b"hello", b"oops", 7)


def test_input_is_sent_and_ended() -> None:
    async def handler(socket: ServerConnection) -> None:
        got = b""
        while True:
            message = await socket.recv()
            assert isinstance(message, bytes)
            if message == b"\xff\x00":
                break
            assert message[0] == 0
            got += message[1:]
        await socket.send(b"\x01" + str(len(got)).encode())
        await socket.send(result(0))

    assert run(handler, stdin=b"x" * 100_000) == ExecResult(b"100000", b"", 0)


def test_large_output() -> None:
    async def handler(socket: ServerConnection) -> None:
        for _ in range(40):
            await socket.send(b"\x01" + b"y" * 100_000)
        await socket.send(result(0))

    assert len(run(handler).stdout) == 4_000_000


def test_a_lost_result_is_told() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send(b"\x01half")

    with pytest.raises(UnreachableError, match="result got lost"):
        run(handler)


def test_a_broken_connection_is_told() -> None:
    async def handler(socket: ServerConnection) -> None:
        socket.transport.abort()

    with pytest.raises(UnreachableError, match="broke"):
        run(handler)


def test_a_command_that_hangs_is_ended() -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()

    with pytest.raises(UnreachableError, match="took longer than"):
        run(handler, within=0.2)


def test_a_refusal_carries_the_servers_words() -> None:
    async def handler(socket: ServerConnection) -> None:
        raise AssertionError("not reached")

    with pytest.raises(KubeError, match="not you") as error:
        run(handler, within=4.0)
    assert error.value.status == 403


def test_nobody_there() -> None:
    async def work() -> None:
        async with await KubeClient.connect(Access(server="http://127.0.0.1:1", token="t")) as client:
            await execute(client, TARGET, ["true"])

    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1"):
        asyncio.run(work())


def test_results() -> None:
    assert exit_code(b'{"status":"Success"}') == 0
    with pytest.raises(KubeError, match="no such container"):
        exit_code(b'{"status":"Failure","reason":"InternalError","message":"no such container","code":500}')
    with pytest.raises(UnreachableError):
        exit_code(b"{")
