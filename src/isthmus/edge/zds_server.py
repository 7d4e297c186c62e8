"""The Unix socket at which a ztunnel of the node is handed pods, with their network namespaces as file descriptors.

A ztunnel that is replaced overlaps with its successor: the newest one takes what is new, and all of them end what ends.
"""

import asyncio
import contextlib
import os
import socket
from array import array
from collections.abc import Iterable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from isthmus.base.errors import IsthmusError
from isthmus.ztunnel.handover import Answered, Handed, HandoverSession, ProtocolError, Send

SOCKET = "ztunnel.sock"
"""Name of the socket, as ztunnel looks for it in /var/run/ztunnel (INPOD_UDS)."""

PACKET = 1 << 14
"""Bytes that a packet of ztunnel may have."""


class ZdsServer:
    """Hands pods to whatever ztunnel connects, from `begin` on: before that nobody knows which pods there are, and
    ztunnel would drop what it has.
    """

    def __init__(self, path: Path, log: FilteringBoundLogger) -> None:
        self._path = path
        self._log = log
        self._pods: dict[str, Handed] = {}
        self._taken: dict[str, asyncio.Future[None]] = {}
        self._lines: list[_Line] = []
        self._begun = False

    async def run(self) -> None:
        """Listen until cancelled. Raises IsthmusError when the path cannot be used."""
        listener = self._listen()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                    group.create_task(self._serve(connection))
        finally:
            listener.close()
            self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            listener.setblocking(False)
            listener.bind(os.fspath(self._path))
            self._path.chmod(0o600)
            listener.listen()
        except OSError as error:
            listener.close()
            raise IsthmusError(f"cannot listen at {self._path}: {error.strerror}", "Is the directory there?") from error
        return listener

    def begin(self, known: Iterable[Handed]) -> None:
        """All pods were looked at. `known` are those that a ztunnel may have from before: it keeps them until they are
        added again, or removed.
        """
        for pod in known if not self._begun else ():
            self._pods.setdefault(pod.uid, pod)
        self._begun = True
        self._wake()

    @property
    def connected(self) -> bool:
        """True while a ztunnel is there."""
        return bool(self._lines)

    async def add(self, pod: Handed) -> None:
        """Hand a pod over; returns once a ztunnel has taken it, however long it takes for one to be there.

        Raises IsthmusError when it cannot take it now: it is told again with the next attempt.
        """
        self._pods[pod.uid] = pod
        self._taken[pod.uid] = taken = asyncio.get_running_loop().create_future()
        for line in self._lines:
            line.session.again(pod.uid)
        self._wake()
        await taken

    def remove(self, uid: str) -> None:
        """The pod is served no more."""
        if self._pods.pop(uid, None) is not None:
            taken = self._taken.pop(uid, None)
            if taken is not None:
                taken.cancel()
            self._wake()

    def _wake(self) -> None:
        for line in self._lines:
            line.news.set()

    async def _serve(self, connection: socket.socket) -> None:
        line = _Line(connection)
        self._lines.append(line)
        self._log.info("ztunnel connected", connections=len(self._lines))
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write(line))
                await self._read(line)
                writing.cancel()
        except* (OSError, ProtocolError) as errors:
            self._log.warning("ztunnel lost", reason=str(errors.exceptions[0]))
        finally:
            self._lines.remove(line)
            connection.close()
            # The one before it takes what is new again.
            self._wake()
            self._log.info("ztunnel left", connections=len(self._lines))

    async def _read(self, line: "_Line") -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(line.connection, PACKET):
            answer = line.session.receive(data)
            if answer is not None:
                self._learn(answer)
            line.news.set()

    def _learn(self, answer: Answered) -> None:
        taken = self._taken.get(answer.uid)
        if taken is None or taken.done():
            return
        if answer.error:
            taken.set_exception(IsthmusError(f"ztunnel cannot take it: {answer.error}", "See the log of ztunnel"))
        else:
            taken.set_result(None)

    async def _write(self, line: "_Line") -> None:
        while True:
            line.news.clear()
            newest = line is self._lines[-1]
            while self._begun and (command := line.session.next(self._pods, adding=newest)) is not None:
                if not await line.send(command):
                    line.session.failed()
            await line.news.wait()


class _Line:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.session = HandoverSession()
        self.news = asyncio.Event()

    async def send(self, command: Send) -> bool:
        """Send one packet; False if the namespace that belongs to it cannot be opened any more."""
        with contextlib.ExitStack() as stack:
            rights = []
            if command.netns:
                try:
                    number = os.open(command.netns, os.O_RDONLY | os.O_CLOEXEC)
                except OSError:
                    return False
                stack.callback(os.close, number)
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [number]))]
            while True:
                try:
                    self.connection.sendmsg([command.data], rights)
                    return True
                except BlockingIOError:
                    await self._writable()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self.connection, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self.connection)
