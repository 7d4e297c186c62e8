"""The way to a control plane: addresses in order of preference, TLS under the mesh's root, a fresh token each time."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from isthmus.base.errors import UnreachableError

CONNECT_SECONDS = 5.0

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Streams must not share a connection that another one found dead, nor its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # A control plane that falls silent is noticed after at most 15 s, and left if there is another.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Of every channel to a control plane: an agent's, and a peer's."""


@dataclass(frozen=True, slots=True)
class Target:
    """A gRPC target; `rank` is the place of its control plane in the order of preference, from 0."""

    address: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """How one proxy reaches its control plane or certificate authority.

    Token and roots are files that are read again at each use, because both are rotated.
    """

    addresses: Sequence[tuple[str, int]]
    server_name: str
    root_file: Path
    token_file: Path
    cluster: str
    resolve: Callable[[str], Awaitable[list[str]]]
    """Addresses of a host, empty if it has none."""
    proof: Callable[[], str] = lambda: ""
    """A bearer token that is made for each call; empty: the token file's is sent."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """gRPC metadata of one call: bearer token and `clusterid` (AU2). Raises UnreachableError without a token."""
        token = self.proof() or _read(self.token_file, "service account token").strip()
        return (("authorization", f"Bearer {token}"), ("clusterid", self.cluster))

    async def targets(self) -> list[Target]:
        """Targets in order of preference. Raises UnreachableError if no name can be resolved."""
        found: list[Target] = []
        for rank, (host, port) in enumerate(self.addresses):
            found.extend(Target(_target(address, port), rank) for address in await self.resolve(host))
        if not found:
            names = ", ".join(host for host, _ in self.addresses)
            raise UnreachableError(f"no address for {names}", "Check the cluster's DNS and PILOT_ADDRESS / CA_ADDR")
        return found

    @asynccontextmanager
    async def channel(self, target: str) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to one target's address, which must prove `server_name` under the mesh's root."""
        roots = _read(self.root_file, "root certificate")
        credentials = grpc.ssl_channel_credentials(root_certificates=roots.encode())
        options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self.server_name)]
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            yield channel


class Backoff:
    """Waits that double up to a limit, with full jitter, so that proxies do not come back in step."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def reset(self) -> None:
        """Something worked: begin again with the shortest wait."""
        self._next = self._first

    def delay(self) -> float:
        """Seconds to wait now; the next one is longer."""
        seconds = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._most)
        return seconds


def _target(address: str, port: int) -> str:
    return f"ipv6:[{address}]:{port}" if ":" in address else f"ipv4:{address}:{port}"


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UnreachableError(f"{what} {path}: {error.strerror}", "Is the volume mounted and filled?") from error
