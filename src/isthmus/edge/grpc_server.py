"""gRPC servers as the control plane runs them: limits for thousands of streams, and certificates that are replaced."""

import threading
from collections.abc import Iterable

import grpc
import grpc.aio

from isthmus.base.errors import IsthmusError

MANY = 100_000

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""A first request names every resource that a client holds."""

OPTIONS: tuple[tuple[str, int], ...] = (
    # At the defaults, 2,000 streams that open at once hang.
    ("grpc.server.max_pending_requests", MANY),
    ("grpc.server.max_pending_requests_hard_limit", MANY),
    ("grpc.max_concurrent_streams", MANY),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # Without this a second server could take a port that is in use, silently.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.max_pings_without_data", 0),
)


class BindError(IsthmusError):
    """An address is taken or not ours."""


class ServingCertificate:
    """The certificate that new connections are shown; replacing it disturbs no open one.

    gRPC asks from threads of its own, so the pending one is handed over under a lock. With `roots` callers must have a
    certificate under one of them (mutual TLS); whose it is, and by which of the roots, is for the service to judge.
    """

    def __init__(self, key: bytes, chain: bytes, roots: bytes | None = None) -> None:
        self._lock = threading.Lock()
        self._mutual = roots is not None
        self._pending: grpc.ServerCertificateConfiguration | None = None
        self._first = grpc.ssl_server_certificate_configuration([(key, chain)], roots)

    def replace(self, key: bytes, chain: bytes, roots: bytes | None = None) -> None:
        """Show this one from the next connection on. PEM."""
        made = grpc.ssl_server_certificate_configuration([(key, chain)], roots)
        with self._lock:
            self._pending = made

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            pending, self._pending = self._pending, None
            return pending

    def credentials(self) -> grpc.ServerCredentials:
        """Server TLS; without client certificates callers prove themselves by token."""
        return grpc.dynamic_ssl_server_credentials(self._first, self._fetch, require_client_authentication=self._mutual)


def make_server(handlers: Iterable[grpc.GenericRpcHandler]) -> grpc.aio.Server:
    """A server with these services, not bound yet."""
    return grpc.aio.server(handlers=tuple(handlers), options=OPTIONS)


def bind(server: grpc.aio.Server, address: str, certificate: ServingCertificate | None) -> int:
    """Listen on `host:port` (port 0: any), with TLS if there is a certificate; returns the port. Raises BindError."""
    try:
        if certificate is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, certificate.credentials()))
    except RuntimeError as error:
        raise BindError(f"cannot listen on {address}", "Is another control plane running here?") from error


def call_metadata(context: grpc.aio.ServicerContext[bytes, bytes]) -> dict[str, str]:
    """A call's metadata as text."""
    pairs = context.invocation_metadata() or ()
    return {str(key): value if isinstance(value, str) else value.decode("latin-1") for key, value in pairs}
