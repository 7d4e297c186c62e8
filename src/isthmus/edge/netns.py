"""Work inside another network namespace without leaving one's own: sockets and processes keep where they were made."""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import TypeVar

from isthmus.base.errors import UnreachableError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_OWN = Path("/proc/thread-self/ns/net")

SO_MARK = 36
"""Socket option (Linux, all architectures we build for) that marks packets; Python names it only from 3.12 on."""


class _Worker:
    """The one thread that stands in other namespaces. A process that was forked has not got its parent's."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns")


_worker = _Worker()
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A network namespace by path, such as /run/netns/pod; None is the one this process runs in."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    async def run(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread that stands in the namespace. Raises UnreachableError if the namespace is gone."""
        return await asyncio.get_running_loop().run_in_executor(_worker.pool, self._enter, work)

    def _enter(self, work: Callable[[], T]) -> T:
        if self.path is None:
            return work()
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._join(self.path)
            try:
                return work()
            finally:
                _setns(own)
        finally:
            os.close(own)

    @staticmethod
    def _join(path: Path) -> None:
        try:
            target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UnreachableError(f"network namespace {path}: {error.strerror}", "Is the pod still there?") from error
        try:
            _setns(target)
        except OSError as error:
            raise UnreachableError(
                f"network namespace {path}: {error.strerror}", "The agent must run as root of the pod's user namespace"
            ) from error
        finally:
            os.close(target)

    async def listen(self, address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
        """A bound socket (listening, if it is a stream) inside the namespace."""
        return await self.run(lambda: _listen(address, kind))

    async def has_addresses(self, addresses: Sequence[str]) -> bool:
        """True if all of them are own addresses inside the namespace. Raises UnreachableError if it is gone."""
        return set(addresses) <= await self.run(_own_addresses)

    async def default_gateway(self) -> str:
        """Where packets to unknown IPv4 addresses go from inside the namespace; empty if nowhere."""
        return await self.run(_default_gateway)

    async def sockets(self) -> "Sockets":
        """What listens and what is connected inside the namespace. Raises UnreachableError if it is gone."""
        return await self.run(_sockets)

    async def unbound(self, family: socket.AddressFamily, kind: socket.SocketKind, *, mark: int = 0) -> socket.socket:
        """A non-blocking socket inside the namespace, marked if the kernel permits it."""
        return await self.run(lambda: _unbound(family, kind, mark))

    async def connect(
        self, address: tuple[str, int], *, mark: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection from inside the namespace. Raises OSError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        made = await self.unbound(family, socket.SOCK_STREAM, mark=mark)
        try:
            await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)


@dataclass(frozen=True, slots=True)
class Sockets:
    """TCP sockets of a namespace by local port: who listens, and how many connections are open."""

    listening: frozenset[int]
    connections: Mapping[int, int]


_ESTABLISHED, _LISTEN = "01", "0A"


def _sockets() -> Sockets:
    """Of the namespace that this thread stands in (proc(5), /proc/net/tcp)."""
    listening: set[int] = set()
    connections: Counter[int] = Counter()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), Path("/proc/thread-self/net", name).open() as file:
            next(file, "")
            for line in file:
                _, local, _, state, *_ = line.split(maxsplit=4)
                port = int(local.rpartition(":")[2], 16)
                if state == _LISTEN:
                    listening.add(port)
                elif state == _ESTABLISHED:
                    connections[port] += 1
    return Sockets(frozenset(listening), connections)


def _own_addresses() -> set[str]:
    """Of the namespace that this thread stands in (proc(5), /proc/net/fib_trie and if_inet6)."""
    found: set[str] = set()
    with contextlib.suppress(FileNotFoundError), Path("/proc/thread-self/net/fib_trie").open() as file:
        leaf = ""
        for line in file:
            words = line.split()
            if words[:1] == ["|--"]:
                leaf = words[1]
            elif words[-2:] == ["host", "LOCAL"]:
                found.add(leaf)
    with contextlib.suppress(FileNotFoundError), Path("/proc/thread-self/net/if_inet6").open() as file:
        found.update(str(IPv6Address(bytes.fromhex(line.split()[0]))) for line in file)
    return found


def _default_gateway() -> str:
    """Of the namespace that this thread stands in (proc(5), /proc/net/route: addresses in the machine's byte order)."""
    with contextlib.suppress(FileNotFoundError), Path("/proc/thread-self/net/route").open() as file:
        for line in file:
            _, destination, gateway, *_ = line.split()
            if destination == "00000000" and gateway != "00000000":
                return socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
    return ""


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _listen(address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
    try:
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _unbound(family: socket.AddressFamily, kind: socket.SocketKind, mark: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    if mark:
        # Without CAP_NET_ADMIN the capture rules tell the agent's packets by its user id instead.
        with contextlib.suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    return made
