"""Commands in containers, over the API server's websocket (v5, else v4.channel.k8s.io)."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from isthmus.base.errors import UnreachableError
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube.lines import decode_status
from isthmus.kube.requests import PODS

V5 = Subprotocol("v5.channel.k8s.io")
V4 = Subprotocol("v4.channel.k8s.io")

_STDIN, _STDOUT, _STDERR, _RESULT, _CLOSE = 0, 1, 2, 3, 255
_MAX_FRAME = 64 * 1024 * 1024
_STDIN_CHUNK = 32 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A container; an empty container name means the pod's default one."""

    namespace: str
    pod: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command left behind."""

    stdout: bytes
    stderr: bytes
    exit_code: int


async def execute(
    client: KubeClient, target: Target, command: list[str], *, stdin: bytes | None = None, within: float = 60.0
) -> ExecResult:
    """Run a command to its end, at most `within` seconds. Raises KubeError or UnreachableError."""
    try:
        async with asyncio.timeout(within), await _open(client, target, command, stdin=stdin is not None) as socket:
            if stdin is not None:
                await _send(socket, stdin)
            return await _receive(socket)
    except TimeoutError as error:
        message = f"{' '.join(command)!r} in {target.namespace}/{target.pod} took longer than {within:g} s"
        raise UnreachableError(message, "Look at the pod's log") from error
    except ConnectionClosed as error:
        message = f"the connection to {target.namespace}/{target.pod} broke: {error}"
        raise UnreachableError(message, "Check that the pod runs, and try again") from error


async def _open(client: KubeClient, target: Target, command: list[str], *, stdin: bool) -> ClientConnection:
    query: list[tuple[str, str]] = [("command", word) for word in command]
    query += [("stdout", "true"), ("stderr", "true")]
    if stdin:
        query.append(("stdin", "true"))
    if target.container:
        query.append(("container", target.container))
    path = PODS.path(target.namespace, target.pod, "exec")
    url = "ws" + client.server.removeprefix("http") + path + "?" + urlencode(query)
    extra: dict[str, Any] = {"ssl": client.context} if client.context is not None else {}
    if client.access.tls_server_name:
        extra["server_hostname"] = client.access.tls_server_name
    try:
        return await connect(
            url,
            subprotocols=[V5, V4],
            additional_headers=await client.credentials.headers(),
            open_timeout=client.options.connect_timeout,
            max_size=_MAX_FRAME,
            compression=None,
            proxy=client.access.proxy_url or None,
            **extra,
        )
    except InvalidStatus as error:
        status = decode_status(bytes(error.response.body or b""))
        code = error.response.status_code
        raise KubeError(code, status.reason or error.response.reason_phrase, status.message) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        remedy = f"Check that {client.server} is the right address and reachable from here"
        raise UnreachableError(f"{client.server}: {error}", remedy) from error


async def _send(socket: ClientConnection, stdin: bytes) -> None:
    for start in range(0, len(stdin), _STDIN_CHUNK):
        await socket.send(bytes([_STDIN]) + stdin[start : start + _STDIN_CHUNK])
    if socket.subprotocol == V5:
        # v4 cannot say that the input is over: such a server needs a command that knows by itself.
        await socket.send(bytes([_CLOSE, _STDIN]))


async def _receive(socket: ClientConnection) -> ExecResult:
    output: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
    code: int | None = None
    async for message in socket:
        data = message if isinstance(message, bytes) else message.encode()
        if not data:
            continue
        if data[0] == _RESULT:
            code = exit_code(data[1:])
        elif data[0] in output:
            output[data[0]].append(data[1:])
    if code is None:
        raise UnreachableError("the command's result got lost", "Check that the pod runs, and try again")
    return ExecResult(b"".join(output[_STDOUT]), b"".join(output[_STDERR]), code)


def exit_code(result: bytes) -> int:
    """The exit code in the Status that ends an exec. Raises KubeError if the command could not be run."""
    try:
        status = json.loads(result)
    except ValueError as error:
        raise UnreachableError("the command's result is unreadable", "Try again") from error
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    found = [cause.get("message", "") for cause in causes if cause.get("reason") == "ExitCode"]
    if found and found[0].isdigit():
        return int(found[0])
    raise KubeError(int(status.get("code") or 500), status.get("reason", ""), status.get("message", ""))
