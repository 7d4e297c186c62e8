"""HTTP servers inside the control plane's own task group: uvicorn without its signal handlers."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from isthmus.edge.grpc_server import BindError


class HttpServer:
    """One Starlette application on one address. Bind first, then `run` in a task; cancel it to stop."""

    def __init__(self, app: Starlette, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        self._socket = _listen(host, port)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", loop="none", ws="none")
        config.load()
        config.ssl = context
        self._server = _Embedded(config)

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        """Serve until cancelled; requests under way get a second to end."""
        # Not in a task group: a group would cancel it before the requests under way have ended.
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        try:
            await asyncio.shield(serving)
        finally:
            self._server.should_exit = True
            self._server.config.timeout_graceful_shutdown = 1
            await asyncio.wait({serving})
            self._socket.close()


class _Embedded(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        raise BindError(f"cannot listen on {host}:{port} ({error.strerror})", "Is another one running here?") from error


def server_context() -> ssl.SSLContext:
    """TLS for a server whose certificate is loaded with `load_identity`, again whenever it is replaced."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_identity(context: ssl.SSLContext, key: bytes, chain: bytes) -> None:
    """Show this certificate from the next connection on. The key passes through memory only."""
    with _memory_file(chain) as chain_path, _memory_file(key) as key_path:
        context.load_cert_chain(chain_path, key_path)


@contextlib.contextmanager
def _memory_file(data: bytes) -> Iterator[str]:
    """Python loads certificates from files only: this one has no place on a disk."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
