"""Startup, readiness and liveness probes, made from inside the pod's network namespace.

They bind 127.0.0.6, which capture rules leave alone: a probe reaches the application itself, not the proxy beside it.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from isthmus_lab.net import netns

Object = dict[str, Any]
Exec = Callable[[list[str]], Awaitable[int]]
PROBE_SOURCE = "127.0.0.6"
_EAGER = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a probe was content, and why not."""

    good: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a container's probes go: its pod's namespace and address, its named ports, a way to run commands in it."""

    netns: str
    ip: str
    ports: dict[str, int]
    execute: Exec

    def port(self, value: int | str) -> int:
        """A port by number or name. KeyError: no such name."""
        return self.ports[value] if isinstance(value, str) and not value.isdigit() else int(value)


async def probe_once(probe: Object, target: Target) -> Outcome:
    """Make one attempt within its timeout."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if "exec" in probe:
                code = await target.execute(probe["exec"]["command"])
                return Outcome(code == 0, f"command ended with {code}")
            if "tcpSocket" in probe:
                spec = probe["tcpSocket"]
                (await connect(target.netns, spec.get("host") or target.ip, target.port(spec["port"]))).close()
                return Outcome(True)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], target)
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout:g} s")
    except (OSError, KeyError, asyncio.IncompleteReadError, ValueError) as error:
        return Outcome(False, f"{type(error).__name__}: {error}")
    return Outcome(False, "the lab knows httpGet, tcpSocket and exec probes; use one of them")


async def connect(namespace: str, host: str, port: int, source: str = PROBE_SOURCE) -> socket.socket:
    """A TCP connection made inside the named network namespace. OSError: refused or unreachable."""
    with netns.entered(namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.asynccontextmanager
async def _stream(
    sock: socket.socket, *, tls: bool
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = None
    if tls:
        import ssl

        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="" if tls else None)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _http(spec: Object, target: Target) -> Outcome:
    host, port = spec.get("host") or target.ip, target.port(spec["port"])
    sock = await connect(target.netns, host, port)
    async with _stream(sock, tls=str(spec.get("scheme", "HTTP")).upper() == "HTTPS") as (reader, writer):
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.32", "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: h["value"] for h in spec.get("httpHeaders") or []}
        path = "/" + str(spec.get("path", "/")).lstrip("/")
        lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        status = int((await reader.readuntil(b"\r\n")).split()[1])
    return Outcome(200 <= status < 400, f"HTTP status {status}")


@dataclass(slots=True)
class Counter:
    """Counts attempts in a row until a threshold turns the verdict; pure."""

    success_threshold: int
    failure_threshold: int
    good: bool | None = None
    _run: int = field(default=0)
    _last: bool | None = field(default=None)

    def feed(self, good: bool) -> bool:
        """Take in an attempt; True if the verdict (`good`) just turned."""
        self._run = self._run + 1 if good == self._last else 1
        self._last = good
        needed = self.success_threshold if good else self.failure_threshold
        if self._run >= needed and self.good != good:
            self.good = good
            return True
        return False


def counter_for(probe: Object) -> Counter:
    """A counter with the probe's thresholds (defaults 1 and 3)."""
    return Counter(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3))


async def follow(probe: Object, target: Target, verdict: Callable[[Outcome], None]) -> None:
    """Probe for ever and tell each turn of the verdict.

    Before the first success attempts come every 0.2 s, so that a lab starts quickly; one per period counts as failure.
    """
    period = float(probe.get("periodSeconds") or 10)
    counter = counter_for(probe)
    loop = asyncio.get_running_loop()
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    next_failure = loop.time()
    while True:
        outcome = await probe_once(probe, target)
        counts = outcome.good or counter.good is not None or loop.time() >= next_failure
        if counts:
            next_failure = loop.time() + period
            if counter.feed(outcome.good):
                verdict(outcome)
        eager = counter.good is not True and not outcome.good and period > _EAGER
        await asyncio.sleep(_EAGER if eager and counter.good is None else period)
