"""pods/log, pods/exec and pods/portforward, handed on to the node's kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from isthmus_lab.apiserver import errors, kubelet
from isthmus_lab.apiserver.call import Call
from isthmus_lab.apiserver.errors import bad_request
from isthmus_lab.apiserver.front import Front
from isthmus_lab.apiserver.httpd import Answer, Response, Streaming, Upgrade
from isthmus_lab.apiserver.kubelet import Link
from isthmus_lab.apiserver.objects import JsonObject, annotations_of, decode, encode, items, lookup, section
from isthmus_lab.apiserver.reading import Reader
from isthmus_lab.apiserver.state import State
from isthmus_lab.apiserver.store import Entry
from isthmus_lab.apiserver.websocket import WebSocket

EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
FORWARD_PROTOCOLS = ("v4.channel.k8s.io", "portforward.k8s.io")
_ERROR_CHANNEL, _CLOSE_CHANNEL = 3, 255
_FIRST_WAIT = 0.2  # seconds that a followed log may stay silent before the answer begins
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class PodStreams:
    def __init__(self, state: State, reader: Reader) -> None:
        self._state = state
        self._reader = reader

    def install(self, front: Front) -> None:
        front.subresources["pods", "log", "get"] = self.log
        for verb in ("get", "create"):
            front.subresources["pods", "exec", verb] = self.execute
            front.subresources["pods", "portforward", verb] = self.forward

    async def _ask(self, entry: Entry, request: JsonObject) -> Link:
        node = lookup(entry.obj, "spec", "nodeName", default="")
        if not node:
            raise bad_request(f"pod {entry.name} does not have a host assigned")
        return await kubelet.ask(self._state.settings.kubelet_dir, node, request)

    # --- logs

    async def log(self, call: Call) -> Answer:
        entry = self._reader.entry(call)
        request = {
            "namespace": entry.namespace,
            "pod": entry.name,
            "container": container_of(entry.obj, call.request.param("container")),
            "follow": call.request.flag("follow"),
            "tailLines": _number(call, "tailLines"),
            "previous": call.request.flag("previous"),
        }
        if not lookup(entry.obj, "spec", "nodeName"):
            return Response(200, b"", "text/plain")
        link = await self._ask(entry, {"logs": request})
        try:
            first = await _first_bytes(link)
            if first.startswith(b"error: ") and first.find(b"\n") in (-1, len(first) - 1):
                # One line that says error: the kubelet's answer, unless the log goes on.
                more = await _first_bytes(link)
                if not more:
                    raise bad_request(first.decode(errors="replace").removeprefix("error: ").strip())
                first += more
        except BaseException:
            link.close()
            raise
        return Streaming(200, _log_bytes(link, first, _number(call, "limitBytes")), "text/plain")

    # --- exec

    async def execute(self, call: Call) -> Answer:
        entry = self._reader.entry(call)
        phase = lookup(entry.obj, "status", "phase", default="")
        if phase in ("Succeeded", "Failed"):
            raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        command = [word for word in call.request.query.get("command", []) if word]
        if not command:
            raise bad_request("you must specify at least 1 command for the container")
        stdin = call.request.flag("stdin")
        request = {
            "namespace": entry.namespace,
            "pod": entry.name,
            "container": container_of(entry.obj, call.request.param("container")),
            "command": command,
            "stdin": stdin,
        }
        _check_upgrade(call, EXEC_PROTOCOLS)  # last: a client that falls back to SPDY shall see the real error
        link = await self._ask(entry, {"exec": request})
        return Upgrade(EXEC_PROTOCOLS, lambda websocket: _run_exec(websocket, link))

    # --- port forwarding

    async def forward(self, call: Call) -> Answer:
        entry = self._reader.entry(call)
        _check_upgrade(call, FORWARD_PROTOCOLS)
        given = [text for value in call.request.query.get("ports", []) for text in value.split(",")]
        if not given or not all(text.isdigit() and 0 < int(text) < 65536 for text in given):
            raise bad_request('query parameter "ports" is required: numbers from 1 to 65535')
        ports = [int(text) for text in given]
        target = {"namespace": entry.namespace, "pod": entry.name}
        links = [await self._ask(entry, {"portForward": {**target, "port": port}}) for port in ports]
        return Upgrade(FORWARD_PROTOCOLS, lambda websocket: _run_forward(websocket, ports, links))


def container_of(pod: JsonObject, wanted: str) -> str:
    """The container that is meant. Raises 400 when there are several to choose from, or none of that name."""
    spec = section(pod, "spec")
    names = [str(c.get("name")) for kind in ("containers", "initContainers") for c in items(spec, kind)]
    pod_name = section(pod, "metadata").get("name")
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
        return wanted
    main = [str(c.get("name")) for c in items(spec, "containers")]
    if len(main) == 1:
        return main[0]
    preferred = annotations_of(pod).get(_DEFAULT_CONTAINER)
    if preferred in names:
        return str(preferred)
    inits = [str(c.get("name")) for c in items(spec, "initContainers")]
    text = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(main)}]"
    raise bad_request(text + (f" or one of the init containers: [{' '.join(inits)}]" if inits else ""))


def _number(call: Call, name: str) -> int | None:
    text = call.request.param(name)
    if not text:
        return None
    if not text.isdigit():
        raise bad_request(f'{name}: "{text}" is not a number')
    return int(text)


def _check_upgrade(call: Call, protocols: tuple[str, ...]) -> None:
    headers = call.request.headers
    if headers.get("upgrade", "").lower() != "websocket" or call.request.method != "GET":
        raise bad_request("Upgrade request required: this server speaks websockets, not SPDY")
    offered = [text.strip() for text in headers.get("sec-websocket-protocol", "").split(",")]
    if not set(offered) & set(protocols):
        raise bad_request(f"unable to upgrade: none of {offered} is spoken here; {', '.join(protocols)} are")


# --- logs


async def _first_bytes(link: Link) -> bytes:
    try:
        async with asyncio.timeout(_FIRST_WAIT):
            return await link.reader.read(65536)
    except TimeoutError:
        return b""


async def _log_bytes(link: Link, first: bytes, limit: int | None) -> AsyncIterator[bytes]:
    left = limit if limit is not None else -1
    try:
        chunk = first
        yield b""
        while True:
            if left >= 0:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                return
            chunk = await link.reader.read(65536)
            if not chunk:
                return
    finally:
        link.close()


# --- exec


async def _run_exec(websocket: WebSocket, link: Link) -> None:
    """Passes bytes both ways until the command ends or the client goes."""
    await websocket.send(bytes([kubelet.STDOUT]))  # tells the client that the stream is open
    incoming = asyncio.create_task(_exec_input(websocket, link))
    outgoing = asyncio.create_task(_exec_output(websocket, link))
    try:
        await asyncio.wait((incoming, outgoing), return_when=asyncio.FIRST_COMPLETED)
        if outgoing.done():
            outgoing.result()
    finally:
        for task in (incoming, outgoing):
            task.cancel()
        await asyncio.gather(incoming, outgoing, return_exceptions=True)
        link.close()


async def _exec_input(websocket: WebSocket, link: Link) -> None:
    """Ends when the client goes away."""
    while (message := await websocket.receive()) is not None:
        if not message:
            continue
        channel, data = message[0], message[1:]
        if channel == kubelet.STDIN and data:
            await link.send(kubelet.STDIN, data)
        elif channel == _CLOSE_CHANNEL and data[:1] == bytes([kubelet.STDIN]):
            await link.send(kubelet.STDIN, b"")  # v5: the client's standard input has ended


async def _exec_output(websocket: WebSocket, link: Link) -> None:
    while (frame := await link.frame()) is not None:
        channel, data = frame
        if channel == kubelet.RESULT:
            await websocket.send(bytes([_ERROR_CHANNEL]) + encode(exec_status(decode(data))))
            return
        if data:
            await websocket.send(bytes([channel]) + data)
    status = exec_status({"error": "the kubelet hung up"})
    await websocket.send(bytes([_ERROR_CHANNEL]) + encode(status))


def exec_status(result: JsonObject) -> JsonObject:
    """The Status that ends an exec: success, an exit code, or an error of the kubelet."""
    if result.get("error"):
        return errors.internal(str(result["error"])).status()
    code = int(result.get("exitCode") or 0)
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


# --- port forwarding: for port i, channel 2i carries data and 2i + 1 an error text


async def _run_forward(websocket: WebSocket, ports: list[int], links: list[Link]) -> None:
    for index, port in enumerate(ports):
        announced = struct.pack("<H", port)
        await websocket.send(bytes([2 * index]) + announced)
        await websocket.send(bytes([2 * index + 1]) + announced)
    incoming = asyncio.create_task(_forward_input(websocket, links))
    outgoing = [asyncio.create_task(_forward_output(websocket, index, link)) for index, link in enumerate(links)]
    every = asyncio.gather(*outgoing)
    try:
        await asyncio.wait((incoming, every), return_when=asyncio.FIRST_COMPLETED)
    finally:
        incoming.cancel()
        every.cancel()
        await asyncio.gather(incoming, every, return_exceptions=True)
        for link in links:
            link.close()


async def _forward_input(websocket: WebSocket, links: list[Link]) -> None:
    while (message := await websocket.receive()) is not None:
        index, is_error = divmod(message[0], 2) if message else (0, 1)
        if is_error or index >= len(links):
            continue
        with contextlib.suppress(ConnectionError):
            links[index].writer.write(message[1:])
            await links[index].writer.drain()


async def _forward_output(websocket: WebSocket, index: int, link: Link) -> None:
    head = await link.reader.read(1)
    if head != b"\0":
        text = head + await link.reader.read(4096)
        await websocket.send(bytes([2 * index + 1]) + (text or b"the kubelet hung up"))
        return
    while data := await link.reader.read(65536):
        await websocket.send(bytes([2 * index]) + data)
