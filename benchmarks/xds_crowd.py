"""A crowd of Envoys on delta streams against the real mesh: how long, how much, and how it grows.

    python -m benchmarks.xds_crowd --proxies 1000 --services 1000

The second process plays the proxies, over loopback. "Last proxy" is from handing the change to the inbox, as the
watchers do, until the last of the proxies concerned has the response. CPU is that of the control plane's process.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import structlog
import uvloop

from benchmarks.crowd import CDS, EDS, SERVER_NAME, Plan, Seen, main
from benchmarks.world import World
from isthmus.app.inbox import Inbox
from isthmus.edge.clock import SystemClock
from isthmus.edge.grpc_server import ServingCertificate, bind, make_server
from isthmus.edge.xds_server import XdsService
from isthmus.edge.xds_streams import Stream, Streams
from isthmus.graph.mesh import Mesh
from isthmus.graph.settings import MeshSettings
from isthmus.ingest.proxy import NodeInfo, proxy
from isthmus.model.rows import Proxy
from isthmus.tables.changes import Change
from isthmus.trust.authority import self_signed_authority, server_names
from isthmus.trust.caller import Caller
from isthmus.trust.issue import Validity
from isthmus.trust.pem import key_to_pem, new_key
from isthmus.xds.node import Node
from isthmus.xds.session import Accepted, Event, Push

HOT = "svc-0."
"""The service whose endpoints change; few proxies may subscribe to it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table. Budgets are those of the performance page; `ratio` is measured by budget."""

    work: str
    result: str
    budget: str
    good: bool | None
    ratio: float | None = None


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def resident() -> int:
    """Bytes of this process in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Bench:
    """The control plane's part: mesh, inbox, streams and a plaintext server, all real."""

    def __init__(self, options: argparse.Namespace, pipe: Connection) -> None:
        self.options = options
        self.pipe = pipe
        self.world = World(services=options.services, endpoints=options.endpoints)
        self.mesh = Mesh(MeshSettings(config_cluster="c0"))
        self.streams = Streams(self.mesh)
        self.inbox = Inbox(self._apply)
        self.lines: list[Line] = []
        self.pushed = 0
        self.answered = 0
        self.target = ""
        self.roots = b""

    def _apply(self, batch: list[Change]) -> None:
        self.streams.dispatch(self.mesh.apply(batch))

    def _row(self, node: Node, _: Caller | None) -> Proxy:
        row, problems = proxy(NodeInfo(node.id, node.metadata), None, default_cluster="c0")
        assert row is not None, problems
        return row

    async def tell(self, *words: Any) -> Any:
        """Say something to the crowd; its answer."""
        self.pipe.send(words)
        return await asyncio.get_running_loop().run_in_executor(None, self.pipe.recv)

    async def run(self) -> None:
        """All measurements in order."""
        begin = time.perf_counter()
        self.mesh.apply(self.world.everything())
        self.note("rows taken in", f"{self.world.rows:,} rows in {time.perf_counter() - begin:.2f} s")
        service = XdsService(self.streams, SystemClock(), make_row=self._row, gate=_open, authenticator=None)
        service.observe(self._on_push, self._on_event)
        server = make_server([service.handler()])
        self.target = f"127.0.0.1:{bind(server, '127.0.0.1:0', self._certificate())}"
        await server.start()
        try:
            await self._storm()
            await self._changes(
                "one endpoint changes", self.world.change_endpoint, EDS, budget=100 if self.options.tls else 50
            )
            await self._nothing_sent()
            await self._changes("a service is added", self.world.add_service, CDS, budget=250, rounds=10)
            await self._reconnect()
            await self.tell("close")
            await self._until_empty()
            await self._few()
            await self._remote()
        finally:
            await self.tell("end")
            await server.stop(0)

    def _certificate(self) -> ServingCertificate | None:
        if not self.options.tls:
            return None
        now = time.time()
        authority, _ = self_signed_authority(new_key(), now=now, serial=1)
        key = new_key()
        names = server_names([SERVER_NAME])
        issued = authority.issue(key.public_key(), names, validity=Validity(now, 3600), serial=2)
        self.roots = authority.root_bundle
        return ServingCertificate(key_to_pem(key), issued.presented)

    async def _storm(self) -> None:
        count = self.options.proxies
        gc.collect()
        before, cpu = resident(), time.process_time()
        begin = time.monotonic()
        times, seen = await self.tell("open", Plan(self.target, count, self.world.routes, roots=self.roots))
        self.note(
            f"{count:,} proxies connect at once, {self.options.services:,} services",
            f"all configured in {max(times) - begin:.2f} s (CPU {time.process_time() - cpu:.2f} s, the crowd's "
            f"{seen.cpu:.2f} s; {seen.bytes / count / 1e3:,.0f} KB each)",
            "5 s, none refused",
            max(times) - begin <= 5 and len(times) == count,
            ratio=(max(times) - begin) / 5,
        )
        await self._settled()
        gc.collect()
        each = (resident() - before) / count
        self.note("memory of a connected sidecar", f"{each / 1e3:,.0f} KB", "150 KB", each <= 150e3, ratio=each / 150e3)
        gc.freeze()

    async def _changes(
        self, work: str, change: Callable[[], list[Change]], type_url: str, *, budget: float, rounds: int = 0
    ) -> None:
        rounds = rounds or self.options.rounds
        last, every, cpu, sent = [], [], 0.0, 0
        count = self.options.proxies
        for _ in range(rounds):
            await self.tell("expect", type_url)
            used = time.process_time()
            begin = time.monotonic()
            self.inbox.put(change())
            seen: Seen = await self.tell("wait", count, 10.0)
            await self._settled()
            cpu += time.process_time() - used
            times = [moment - begin for moment in seen.times]
            assert len(times) >= count, f"{len(times)} of {count} proxies were told"
            last.append(times[-1] * 1e3)
            every += times
            sent += seen.bytes
        per_push = cpu / rounds / count * 1e6
        self.note(
            f"{work}, {count:,} proxies",
            f"last proxy p50 {percentile(last, 0.5):.1f} / p99 {percentile(last, 0.99):.1f} ms; any proxy p50 "
            f"{percentile(every, 0.5) * 1e3:.1f} ms; {per_push:.0f} µs CPU and {sent / rounds / count:,.0f} B a proxy",
            f"p99 {budget} ms",
            percentile(last, 0.99) <= budget,
            ratio=percentile(last, 0.99) / budget,
        )

    async def _nothing_sent(self) -> None:
        await self.tell("expect", "")
        begin = time.perf_counter()
        self.inbox.put(self.world.change_metadata())
        await asyncio.sleep(0.2)
        seen: Seen = await self.tell("wait", 0, 0.0)
        took = time.perf_counter() - begin - 0.2
        self.note("metadata-only change", f"{seen.bytes} bytes sent, {took * 1e3:.1f} ms", "0 bytes", seen.bytes == 0)

    async def _reconnect(self) -> None:
        """Everybody comes back with what he has: only differences are sent."""
        await self.tell("close")
        await self._until_empty()
        count = self.options.proxies
        cpu = time.process_time()
        begin = time.monotonic()
        await self.tell("open", Plan(self.target, count, self.world.routes, roots=self.roots, keep_versions=True))
        await until(lambda: len(self.streams) == count)
        await self._settled()
        took = time.monotonic() - begin
        seen: Seen = await self.tell("wait", 0, 0.0)
        self.note(
            f"{count:,} proxies reconnect with what they hold",
            f"{took:.2f} s (CPU {time.process_time() - cpu:.2f} s), {seen.bytes:,} bytes sent",
            "5 s, none refused",
            took <= 5,
            ratio=took / 5,
        )

    async def _few(self) -> None:
        """50 of the proxies subscribe to the endpoints that change."""
        count, few = self.options.proxies, min(50, self.options.proxies)
        plan = Plan(self.target, count, self.world.routes, roots=self.roots, first=few, only=HOT)
        await self.tell("open", plan)
        await self._settled()
        last, cpu = [], 0.0
        for _ in range(self.options.rounds):
            await self.tell("expect", EDS)
            used = time.process_time()
            begin = time.monotonic()
            self.inbox.put(self.world.change_endpoint())
            seen: Seen = await self.tell("wait", few, 10.0)
            await self._settled()
            cpu += time.process_time() - used
            last.append((max(seen.times) - begin) * 1e3)
            assert len(seen.times) == few, "the others were told, too"
        self.note(
            f"one endpoint changes, {few} subscribed of {count:,} connected",
            f"last proxy p50 {percentile(last, 0.5):.1f} / p99 {percentile(last, 0.99):.1f} ms; "
            f"{cpu / len(last) * 1e3:.2f} ms CPU a change",
            "p99 5 ms",
            percentile(last, 0.99) <= 5,
            ratio=percentile(last, 0.99) / 5,
        )

    async def _remote(self) -> None:
        """A cluster with 300 services and 4,000 endpoints joins while everybody is connected."""
        gc.collect()
        before = resident()
        changes = self.world.remote(services=300, endpoints=4000)
        begin = time.perf_counter()
        dirty = self.mesh.apply(changes)
        took = time.perf_counter() - begin
        gc.collect()
        grown = (resident() - before) / 1e6
        self.note(
            "a remote cluster of 300 services, 4,000 endpoints joins",
            f"{took:.2f} s in one swap, {grown:.1f} MB, {len(dirty):,} proxies get its services",
            "1 s, 20 MB",
            took <= 1 and grown <= 20,
            ratio=max(took, grown / 20),
        )
        self.streams.dispatch(dirty)

    def _on_push(self, _: Push) -> None:
        self.pushed += 1

    def _on_event(self, _: Stream, event: Event) -> None:
        self.answered += isinstance(event, Accepted)

    async def _settled(self) -> None:
        """Until every response was answered, and twice so."""
        await until(lambda: self.answered >= self.pushed)
        await asyncio.sleep(0.005)
        await until(lambda: self.answered >= self.pushed)

    async def _until_empty(self) -> None:
        await until(lambda: len(self.streams) == 0)
        self.answered = self.pushed = 0

    def note(
        self, work: str, result: str, budget: str = "", good: bool | None = None, *, ratio: float | None = None
    ) -> None:
        self.lines.append(Line(work, result, budget, good, ratio))
        mark = "" if good is None else "ok" if good else "OVER"
        print(f"{work:62} {result}  {f'[{budget}] {mark}' if budget else ''}", flush=True)  # noqa: T201


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def _open() -> None:
    """Everything was looked at."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each service")
    parser.add_argument("--tls", action="store_true", help="over TLS, as port 15012 (budgets double)")
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args(arguments)


def run(arguments: list[str] | None = None) -> list[Line]:
    """Measure and print; returns the lines."""
    options = parse(arguments)
    # A breaking connection is part of the measurement, not worth a line each.
    os.environ["GRPC_VERBOSITY"] = "NONE"
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    crowd = context.Process(target=main, args=(theirs,), daemon=True)
    crowd.start()
    bench = Bench(options, ours)
    gc.set_threshold(50_000, 20, 100)
    try:
        uvloop.run(bench.run())
    finally:
        crowd.join(5)
        crowd.kill()
    return bench.lines


if __name__ == "__main__":
    run()
