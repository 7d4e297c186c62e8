"""An API server inside the calling process, for tests and benchmarks: socketless, or on the loopback."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from isthmus_lab.apiserver.httpd import Request, Response, Streaming
from isthmus_lab.apiserver.main import Options, serve
from isthmus_lab.apiserver.objects import JsonObject, decode, encode
from isthmus_lab.apiserver.resources import Registry
from isthmus_lab.apiserver.server import ApiServer
from isthmus_lab.apiserver.state import Settings, State
from isthmus_lab.apiserver.store import Store

_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: list[tuple[str, str]]


class InProcess:
    """Requests go straight to the handler; time is `now`, which the owner moves; names and UIDs come from a seed."""

    def __init__(self, directory: Path, *, cluster: str = "test", history: int = 2048) -> None:
        self.now = 1_700_000_000.0
        settings = Settings(cluster=cluster, data_dir=directory, advertise_network="https://10.0.0.5:6443")
        store = Store(directory / "store.db", history=history)
        self.state = State(
            settings=settings, store=store, registry=Registry(), clock=lambda: self.now, rng=random.Random(7)
        )
        self.server = ApiServer(self.state)

    def close(self) -> None:
        self.state.store.close()

    async def request(
        self, method: str, target: str, body: object = None, *, token: str | None = "admin", **headers: str
    ) -> Reply:
        """Sends JSON (bytes go as they are). `token`: admin, another token, or None for nobody."""
        answer = await self.answer(method, target, body, token=token, **headers)
        assert isinstance(answer, Response), answer
        text = answer.content_type.startswith("text/")
        return Reply(answer.status, answer.body if text else decode(answer.body), answer.headers)

    async def answer(
        self, method: str, target: str, body: object = None, *, token: str | None = "admin", **headers: str
    ) -> object:
        path, _, query = target.partition("?")
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            secret = self.server.secrets.admin_token if token == "admin" else token
            given["authorization"] = f"Bearer {secret}"
        data = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        request = Request(method, path, parse_qs(query, keep_blank_values=True), given, data)
        return await self.server.handler(request)

    async def watch(self, target: str, **headers: str) -> AsyncIterator[JsonObject]:
        """The events of a watch. Close it (aclose) when done."""
        answer = await self.answer("GET", target, **headers)
        assert isinstance(answer, Streaming), answer
        buffer = b""
        chunks = answer.chunks
        try:
            async for chunk in chunks:
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield decode(line)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def settle(self) -> None:
        """Lets garbage collection and namespace clean-up finish."""
        await self.server.lifecycle.settle()


class Loopback:
    """A server on 127.0.0.1 and a Unix socket, in a thread of its own. A context manager; `directory` has its files."""

    def __init__(
        self, directory: Path, *, cluster: str = "east", kubelet_dir: Path | None = None, history: int = 2048
    ) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.directory = directory
        self.unix = directory / "api.sock"
        settings = Settings(
            cluster=cluster, data_dir=directory, advertise="https://192.0.2.1:6443", kubelet_dir=kubelet_dir,
            history=history,
        )  # fmt: skip
        self._options = Options(settings=settings, host_fd=sock.detach(), listen=(), unix=self.unix, controllers=False)
        self._ready = threading.Event()
        self._stopped: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    def token(self) -> str:
        """The system's token."""
        return (self.directory / "system.token").read_text()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._stopped = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()

        def ready(api: ApiServer, urls: list[str]) -> None:
            self.api = api
            self.url = urls[0]
            self._ready.set()

        await serve(self._options, self._stop, ready)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS) or self._stopped is not None:
            raise RuntimeError("the API server did not start") from self._stopped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)
