"""The kubelet's socket: exec, logs and port forwarding for the API server, hold and release for the supervisor."""

import asyncio
import contextlib
import json
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus.base.labels import REDIRECTION_ANNOTATION
from isthmus_lab.kubelet import execs, probes
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.pod import PodWorker
from isthmus_lab.kubelet.runtime_client import RuntimeClient, RuntimeRefusedError
from isthmus_lab.kubelet.status import Role

Object = dict[str, Any]
_FRAME = struct.Struct(">BI")
_STDIN, _STDOUT, _STDERR, _RESULT = range(4)
_BLOCK = 65536
_FOLLOW = 0.2


class RequestError(Exception):
    """The request cannot be served; the text goes to the client."""


class KubeletServer:
    """Serves one connection per request."""

    def __init__(
        self,
        find: Callable[[str, str], PodWorker | None],
        every: Callable[[], Iterable[PodWorker]],
        runtime: RuntimeClient,
    ) -> None:
        self._find = find
        self._all = every
        self._runtime = runtime

    async def serve(self, path: str) -> None:
        """Listen until cancelled."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = await asyncio.start_unix_server(self._connection, path, limit=1 << 22)
        os.chmod(path, 0o600)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request: Object = json.loads(await reader.readline() or b"{}")
            if "exec" in request:
                await self._exec(request["exec"], reader, writer)
            elif "logs" in request:
                await self._logs(request["logs"], writer)
            elif "portForward" in request:
                await self._port_forward(request["portForward"], reader, writer)
            else:
                writer.write(json.dumps(self._control(request)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _worker(self, request: Object) -> PodWorker:
        worker = self._find(request["namespace"], request["pod"])
        if worker is None or worker.place is None:
            raise RequestError(f"pod {request['namespace']}/{request['pod']} does not run on this node")
        return worker

    def _container(self, worker: PodWorker, name: str | None) -> str:
        if not name:
            return str(worker.pod["spec"]["containers"][0]["name"])
        if name not in worker.runners:
            raise RequestError(f"container {name} is not valid for pod {worker.pod['metadata']['name']}")
        return name

    def _control(self, request: Object) -> Object:
        try:
            if "hold" in request:
                self._worker(request["hold"]).hold()
            elif "release" in request:
                self._worker(request["release"]).release()
            elif "pods" in request:
                return {"ok": True, "pods": [_describe(worker) for worker in self._all()]}
            else:
                raise RequestError(f"unknown request {', '.join(request)}")
        except RequestError as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True}

    # exec

    async def _exec(self, request: Object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            code = await self._run_command(request, reader, writer)
            result: Object = {"exitCode": code}
        except (RequestError, RuntimeRefusedError, UnreachableError) as error:
            result = {"error": str(error)}
        _frame(writer, _RESULT, json.dumps(result).encode())

    def _command(self, request: Object) -> tuple[ContainerSpec, str | None]:
        """What to start, and the container to start it in."""
        worker = self._worker(request)
        name = self._container(worker, request.get("container"))
        assert worker.place is not None
        target = worker.runners[name].engine.process_id()
        return execs.exec_spec(worker.place, worker.current, worker.container(name), list(request["command"])), target

    async def _run_command(self, request: Object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        spec, target = self._command(request)
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
        try:
            sock = self._runtime.execute(
                execs.inside(spec) if target else spec, target, [in_read, out_write, err_write]
            )
        except BaseException:
            for fd in (in_write, out_read, err_read):
                os.close(fd)
            raise
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        feeding = asyncio.create_task(self._feed(reader, in_write, wanted=bool(request.get("stdin"))))
        outputs = [self._drain(out_read, _STDOUT, writer), self._drain(err_read, _STDERR, writer)]
        copying = asyncio.gather(*outputs)
        with sock:
            gone = asyncio.create_task(_until_closed(reader, feeding))
            waiting = asyncio.create_task(execs.exit_code(sock))
            await asyncio.wait({gone, waiting}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not waiting.done():
                waiting.cancel()
                copying.cancel()
                feeding.cancel()
                raise ConnectionResetError("client is gone")
        feeding.cancel()
        await copying
        return waiting.result()

    @staticmethod
    async def _feed(reader: asyncio.StreamReader, fd: int, *, wanted: bool) -> None:
        """Frames of channel 0 into the command's standard input; ends with the client's connection."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb"))
        pipe = asyncio.StreamWriter(transport, protocol, None, loop)
        try:
            if not wanted:
                pipe.close()
            while True:
                channel, length = _FRAME.unpack(await reader.readexactly(_FRAME.size))
                data = await reader.readexactly(length)
                if channel == _STDIN and not length:
                    pipe.close()
                elif channel == _STDIN and not pipe.is_closing():
                    pipe.write(data)
                    with contextlib.suppress(OSError):
                        await pipe.drain()
        finally:
            pipe.close()

    @staticmethod
    async def _drain(fd: int, channel: int, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
        )
        try:
            while data := await reader.read(_BLOCK):
                _frame(writer, channel, data)
                await writer.drain()
        finally:
            transport.close()

    # logs

    async def _logs(self, request: Object, writer: asyncio.StreamWriter) -> None:
        try:
            path = self._log_path(request)
            await _copy_log(path, writer, tail=request.get("tailLines"), follow=bool(request.get("follow")))
        except (RequestError, FileNotFoundError) as error:
            writer.write(f"error: {error}\n".encode())

    def _log_path(self, request: Object) -> Path:
        worker = self._worker(request)
        runner = worker.runners[self._container(worker, request.get("container"))]
        attempt = runner.state.restarts - (1 if request.get("previous") else 0)
        if attempt < 0:
            raise RequestError(f"previous terminated container {runner.state.name!r} not found")
        if runner.state.running_since is None and runner.state.ended is None and runner.state.last is None:
            raise RequestError(f"container {runner.state.name!r} is waiting to start: {runner.state.waiting}")
        return runner.engine.log(attempt)

    # port forwarding

    async def _port_forward(self, request: Object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            place = self._worker(request).place
            assert place is not None
            sock = await probes.connect(place.box.netns, "127.0.0.1", int(request["port"]), "127.0.0.1")
        except (RequestError, OSError) as error:
            writer.write(f"error: cannot reach port {request['port']}: {error}".encode())
            return
        writer.write(b"\0")
        inner_reader, inner_writer = await asyncio.open_connection(sock=sock)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer), return_exceptions=True)


def _describe(worker: PodWorker) -> Object:
    """What the supervisor is told of a pod: readiness now, troubles, pids (in the node's PID namespace)."""
    meta = worker.pod["metadata"]
    running = [r for r in worker.runners.values() if r.state.running_since is not None]
    return {
        "uid": worker.uid,
        "namespace": meta["namespace"],
        "name": meta["name"],
        "labels": meta.get("labels") or {},
        "ready": worker.is_ready,
        "held": worker.held,
        "ip": worker.place.box.ip if worker.place else "",
        "wanIP": (worker.place.box.wan_ip if worker.place else None) or "",
        "restarts": sum(r.state.restarts for r in worker.runners.values() if r.state.role is not Role.INIT),
        "troubles": worker.troubles(),
        "captured": (meta.get("annotations") or {}).get(REDIRECTION_ANNOTATION) == "enabled",
        "pids": {r.state.name: r.state.pid for r in running},
    }


def _frame(writer: asyncio.StreamWriter, channel: int, data: bytes) -> None:
    writer.write(_FRAME.pack(channel, len(data)) + data)


async def _until_closed(reader: asyncio.StreamReader, feeding: asyncio.Task[None]) -> None:
    await asyncio.wait({feeding})
    while not reader.at_eof():
        await reader.read(_BLOCK)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.write_eof()


def tail_offset(data: bytes, lines: int) -> int:
    """Where the last `lines` lines of `data` begin."""
    if lines <= 0:
        return len(data)
    position = len(data) - (1 if data.endswith(b"\n") else 0)
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1


async def _copy_log(path: Path, writer: asyncio.StreamWriter, *, tail: int | None, follow: bool) -> None:
    with path.open("rb") as file:
        data = file.read()
        writer.write(data if tail is None else data[tail_offset(data, tail) :])
        await writer.drain()
        while follow and not writer.is_closing():
            data = file.read()
            if data:
                writer.write(data)
                await writer.drain()
            else:
                await asyncio.sleep(_FOLLOW)
