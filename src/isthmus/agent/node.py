"""The agent of a node: many proxies, started and stopped by the kubelet over a socket, remembered across restarts."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from isthmus.agent.log import AgentLog
from isthmus.agent.proxy import Proxy
from isthmus.agent.requests import GetStatus, ListProxies, Memory, Request, Shutdown, Start, Stop
from isthmus.agent.settings import Mounts, ProxySettings, parse_settings
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError
from isthmus.edge import envoy_process
from isthmus.edge.netns import NetworkNamespace

Answer = dict[str, Any]

MOST_ENDED = 1000
"""Proxies that were stopped and whose exit code is still told."""


class UnknownProxyError(IsthmusError):
    """No proxy of that id."""


class _Entry:
    def __init__(self, request: Start, proxy: Proxy, log: AgentLog) -> None:
        self.request = request
        self.proxy = proxy
        self.log = log


class Node:
    """All proxies of a node by id. Starts and stops of one id are handled one after the other."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        """`memory` lets the next agent take up the proxies of this one."""
        self._memory = memory
        self._clock = clock
        self._log = AgentLog()
        self._proxies: dict[str, _Entry] = {}
        self._ended: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def recall(self) -> None:
        """Take up the proxies of an agent that was here before, as far as their Envoys still run."""
        await asyncio.gather(*map(self._recall, self._memory.load()))

    async def _recall(self, request: Start) -> None:
        try:
            process = envoy_process.adopt(_settings(request).state_dir)
            if process is not None:
                process.release()
                async with self._lock(request.id):
                    await self._start(request)
            else:
                self._memory.drop(request.id)
        except IsthmusError as error:
            # Remembered all the same: the agent before this one may still be leaving its sockets.
            self._log.events.warning("proxy not taken up again", id=request.id, reason=str(error))

    async def handle(self, line: bytes) -> bytes:
        """Answer one request; every failure is an answer, too."""
        try:
            answer = await self._dispatch(msgspec.json.decode(line, type=Request))
        except msgspec.DecodeError as error:
            answer = {
                "ok": False,
                "error": f"request not understood: {error}",
                "remedy": "Ask start, stop, status, list",
            }
        except IsthmusError as error:
            answer = {"ok": False, "error": error.message, "remedy": error.remedy}
        except OSError as error:
            answer = {"ok": False, "error": str(error), "remedy": "See the agent's log"}
        return msgspec.json.encode(answer)

    async def _dispatch(self, request: Request) -> Answer:
        match request:
            case Start():
                async with self._lock(request.id):
                    return await self._start(request)
            case Stop():
                async with self._lock(request.id):
                    return await self._stop(request.id, request.grace_seconds)
            case GetStatus():
                return await self._status(request.id)
            case ListProxies():
                return {"ok": True, "proxies": [await self._describe(known) for known in sorted(self._proxies)]}
            case Shutdown():
                await self.stop_all(request.grace_seconds)
                return {"ok": True}

    async def stop_all(self, grace: float) -> None:
        """Drain and end every proxy, all at the same time."""
        await asyncio.gather(*(self._dispatch(Stop(id=known, grace_seconds=grace)) for known in list(self._proxies)))

    async def leave_all(self) -> None:
        """Close everything, and leave the Envoys to the next agent."""
        for entry in self._proxies.values():
            await entry.proxy.leave()
            entry.log.close()
        self._proxies.clear()

    def _lock(self, proxy_id: str) -> asyncio.Lock:
        return self._locks.setdefault(proxy_id, asyncio.Lock())

    async def _start(self, request: Start) -> Answer:
        known = self._proxies.get(request.id)
        if known is not None:
            if known.request.essence == request.essence:
                return await self._revive(known, request)
            await self._stop(request.id, 0)
        file = _log_file(request)
        log = AgentLog(file)
        namespace = NetworkNamespace(Path(request.netns) if request.netns else None)
        proxy = Proxy(_settings(request), namespace=namespace, log_file=file, clock=self._clock, log=log.events)
        try:
            await proxy.start()
        except BaseException:
            log.close()
            raise
        self._proxies[request.id] = _Entry(request, proxy, log)
        self._ended.pop(request.id, None)
        self._memory.keep(request)
        status = await proxy.status()
        self._log.events.info("proxy started", id=request.id, pod=_pod(request), pid=status.pid)
        return {"ok": True, "pid": status.pid}

    async def _revive(self, entry: _Entry, request: Start) -> Answer:
        """A new attempt of a container, if its Envoy ended; agent and certificate are still there."""
        if not (await entry.proxy.status()).running:
            entry.log.reopen(_log_file(request))
            await entry.proxy.revive(_log_file(request))
            entry.request = request
            self._memory.keep(request)
        return {"ok": True, "pid": (await entry.proxy.status()).pid}

    async def _stop(self, proxy_id: str, grace: float) -> Answer:
        """The proxy is listed until it is gone, so that its status can be asked while it drains."""
        entry = self._proxies.get(proxy_id)
        if entry is None:
            return {"ok": True, "exitCode": self._ended.get(proxy_id, 0)}
        self._memory.drop(proxy_id)
        code = await entry.proxy.stop(grace)
        del self._proxies[proxy_id]
        self._ended[proxy_id] = code
        if len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        entry.log.close()
        self._log.events.info("proxy stopped", id=proxy_id, pod=_pod(entry.request), exit_code=code)
        return {"ok": True, "exitCode": code}

    async def _status(self, proxy_id: str) -> Answer:
        entry = self._proxies.get(proxy_id)
        if entry is None and proxy_id in self._ended:
            return {"ok": True, "running": False, "ready": False, "pid": 0, "exitCode": self._ended[proxy_id]}
        if entry is None:
            raise UnknownProxyError(f"no proxy {proxy_id} on this node", "Start it first")
        status = await entry.proxy.status()
        return {
            "ok": True,
            "running": status.running,
            "ready": status.ready,
            "pid": status.pid,
            "exitCode": status.exit_code,
        }

    async def _describe(self, proxy_id: str) -> Answer:
        request = self._proxies[proxy_id].request
        return {**await self._status(proxy_id), "id": proxy_id, "namespace": request.namespace, "pod": request.pod}


def _pod(request: Start) -> str:
    return f"{request.namespace}/{request.pod}"


def _log_file(request: Start) -> Path | None:
    return Path(request.log) if request.log else None


def _settings(request: Start) -> ProxySettings:
    return parse_settings(request.args, request.env, mounts=Mounts(request.mounts), read=read_text)


def read_text(path: Path) -> str | None:
    """A file's text, None if there is no such file."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return None
