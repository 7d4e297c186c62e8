"""From the API servers to the mesh: clusters that start and join, events, memory, and how each grows.

    python -m benchmarks.feed
    python -m benchmarks.feed --only join --profile

A second process plays the API servers over loopback; its CPU is not counted, though it needs a core. The measured
process runs the real ClusterManager, Inbox and Mesh on uvloop with one sidecar that subscribes to everything. Every
scenario has a process of its own, so that memory freed by one does not help the next.
"""

import argparse
import asyncio
import base64
import cProfile
import ctypes
import gc
import multiprocessing
import pstats
import resource as limits
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import structlog
import uvloop
from msgspec.structs import replace

from benchmarks.engine import follow, percentile, resident, sidecar
from benchmarks.feed_objects import SYSTEM, Json, Size, meta
from benchmarks.feed_server import main
from isthmus.app.cluster_settings import ClusterSettings
from isthmus.app.clusters import ClusterManager
from isthmus.app.inbox import Inbox
from isthmus.edge.clock import SystemClock
from isthmus.graph.mesh import Dirty, Mesh, MeshSettings
from isthmus.kube.kubeconfig import Access
from isthmus.kube.remote_secret import Server, User, kubeconfig_document, remote_secret
from isthmus.kube.watch import WatchOptions
from isthmus.model.rows import Cluster, EndpointSlice, Node, Workload
from isthmus.tables.changes import Change
from isthmus.xds.resource import CDS, EDS

OWN = "10"
"""Digits of the own cluster; the others follow."""
SMALL = Size(30, 400)
USUAL = Size(300, 4000)
SIZES = (Size(300, 1000), USUAL, Size(300, 16_000))
COUNTS = (2, 5, 10)
ROUNDS = 100
DETAILS = 20
TICK = 0.001


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table; without a budget it is there to be compared with other rows."""

    work: str
    value: float
    unit: str
    budget: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured by budget: over 1 is a miss. A budget of 0 is kept or missed."""
        if self.budget is None:
            return None
        return self.value / self.budget if self.budget else float(self.value > 0) * 99.0


@dataclass(slots=True)
class Revision:
    """One pass of the mesh: when it ended (monotonic), how long it took, whom it concerned."""

    ended: float
    took: float
    changes: int
    dirty: Dirty


@dataclass(slots=True)
class Blocks:
    """The longest time for which the event loop served nothing else, in seconds: by the clock, and of CPU."""

    longest: float = 0.0
    cpu: float = 0.0
    _running: bool = True
    _before: tuple[float, float] = (0.0, 0.0)

    def tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        if self._before[0]:
            self.longest = max(self.longest, now[0] - self._before[0] - TICK)
            self.cpu = max(self.cpu, now[1] - self._before[1])
        self._before = now
        if self._running:
            asyncio.get_running_loop().call_later(TICK, self.tick)

    def stop(self) -> None:
        self._running = False


@contextmanager
def blocks() -> Iterator[Blocks]:
    """Watch the loop."""
    found = Blocks()
    found.tick()
    try:
        yield found
    finally:
        found.stop()


class Plane:
    """The control plane between API servers and sessions, all of it real."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.port = int(pipe.recv())
        self.lines: list[Line] = []
        self.revisions = 0
        self.listed = 0
        self.mesh = Mesh(MeshSettings(config_cluster=f"c{OWN}"))
        self.inbox = Inbox(self._apply)
        settings = ClusterSettings(config_cluster=f"c{OWN}", access=Access(server=self.url(OWN), token="any"))
        self.manager = ClusterManager(settings, emit=self.inbox.put, clock=SystemClock())
        self.waiting: tuple[Callable[[list[Change]], bool], asyncio.Future[Revision]] | None = None
        self.proxy = replace(sidecar(0, 1), cluster=f"c{OWN}")

    def url(self, digits: str) -> str:
        return f"http://127.0.0.1:{self.port}/{digits}"

    def _apply(self, batch: list[Change]) -> None:
        begin = time.monotonic()
        dirty = self.mesh.apply(batch)
        ended = time.monotonic()
        self.revisions += 1
        revision = Revision(ended, ended - begin, len(batch), dirty)
        if self.waiting is not None and self.waiting[0](batch):
            self.waiting[1].set_result(revision)
            self.waiting = None

    def note(self, work: str, value: float, unit: str, budget: float | None = None, note: str = "") -> None:
        self.lines.append(Line(work, value, unit, budget, note))

    def ask(self, *words: Any) -> Any:
        """Have the API servers do something; their answer. Blocks the loop: not while something is measured."""
        self.pipe.send(words)
        return self.pipe.recv()

    async def caused(self, wanted: Callable[[list[Change]], bool], *words: Any) -> tuple[float, Revision]:
        """Have the API servers send something; when it was sent, and the revision that it led to."""
        future: asyncio.Future[Revision] = asyncio.get_running_loop().create_future()
        self.waiting = (wanted, future)
        self.pipe.send(words)
        async with asyncio.timeout(60):
            revision = await future
        return self.pipe.recv(), revision

    def serve(self, digits: str, size: Size) -> None:
        """Let there be a cluster."""
        self.listed = self.ask("cluster", digits, size, WatchOptions().page)

    def secret(self, digits: str) -> Json:
        """The remote secret of a cluster, as its API server sends it."""
        cluster = f"c{digits}"
        document = kubeconfig_document(cluster, Server(self.url(digits)), b"", User(token="any"))
        del document["clusters"][0]["cluster"]["certificate-authority-data"]
        made = remote_secret(cluster, document, namespace=SYSTEM)
        data = {key: base64.b64encode(text.encode()).decode() for key, text in made.pop("stringData").items()}
        labels = {"labels": made["metadata"]["labels"]}
        return {**made, "metadata": meta(made["metadata"]["name"], SYSTEM, **labels), "data": data}

    async def start(self) -> None:
        """Until every cluster was listed and the mesh knows it, as `isthmus serve` before it answers."""
        await self.manager.synced()
        self.inbox.flush()

    async def join(self, digits: str) -> tuple[float, Revision]:
        """Link a cluster; when its secret was sent, and the revision that swapped it in."""
        key = (f"c{digits}", "", f"c{digits}")

        def swapped(batch: list[Change]) -> bool:
            return any(change.table == Cluster.TABLE and getattr(change, "key", None) == key for change in batch)

        return await self.caused(swapped, "link", OWN, self.secret(digits))

    async def endpoint_events(self, digits: str) -> list[float]:
        """Milliseconds from sending an EndpointSlice event to the end of `Mesh.apply`, many times."""
        found = []
        for number in range(ROUNDS):
            sent, revision = await self.caused(_has_slice, "endpoint", digits, number % 2 == 1)
            assert revision.dirty, "the sidecar is concerned"
            found.append((revision.ended - sent) * 1e3)
            self.take(revision.dirty)
        return found

    def take(self, dirty: Dirty) -> int:
        """Have the sidecar read what concerns it, as a session does; bytes."""
        size = 0
        for type_url, names in dirty.get(self.proxy.id, {}).items():
            for name in names:
                found = self.mesh.resource(self.proxy.id, type_url, name)
                size += len(found.body) if found else 0
        fresh = [name for name in dirty.get(self.proxy.id, {}).get(CDS, ()) if name.startswith("outbound|")]
        if fresh:
            self.mesh.subscribe(self.proxy.id, EDS, fresh)
            for name in fresh:
                found = self.mesh.resource(self.proxy.id, EDS, name)
                size += len(found.body) if found else 0
        return size


def _has_slice(batch: list[Change]) -> bool:
    return any(change.table == EndpointSlice.TABLE for change in batch)


def settle() -> int:
    """Bytes of this process in memory after collecting garbage."""
    gc.collect()
    return resident()


def trimmed() -> int:
    """The same after giving back what the allocator keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    return settle()


def peak() -> int:
    """The most bytes that this process ever had in memory."""
    return limits.getrusage(limits.RUSAGE_SELF).ru_maxrss * 1024


async def cold(plane: Plane) -> None:
    """Start with ten clusters whose secrets are there already."""
    remotes = [str(number) for number in range(11, 20)]
    for digits in (OWN, *remotes):
        plane.serve(digits, USUAL)
    plane.ask("own", OWN, [plane.secret(digits) for digits in remotes])
    clusters = len(remotes) + 1
    endpoints = USUAL.endpoints * clusters
    before = settle()
    used, begin = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(plane.manager.run())
        with blocks() as seen:
            await plane.start()
            listed = time.perf_counter() - begin
            await asyncio.sleep(0)
        applying = time.perf_counter()
        follow(plane.mesh, plane.proxy, subscribe=True)
        first = time.perf_counter() - applying
        took, used = time.perf_counter() - begin, time.process_time() - used
        title = "cold start, 10 clusters, 3,000 services, 40,000 endpoints"
        plane.note(f"{title}: until the first proxy is configured", took, "s", 5.0, f"CPU {used:.2f} s")
        plane.note("… of which: list, decode, apply", listed, "s", None, f"{plane.revisions} revisions")
        plane.note("… of which: everything for one sidecar that wants everything", first, "s")
        plane.note("… longest block of the event loop", seen.longest * 1e3, "ms", None, f"CPU {seen.cpu * 1e3:.0f} ms")
        assert len(plane.mesh.table(Workload.TABLE)) == endpoints, "not everything was listed"
        grown = settle() - before
        each = "with what one sidecar holds of it"
        plane.note("memory of 40,000 endpoints in 10 clusters", grown / 1e6, "MB", None, each)
        plane.note("… at most, while listing", (peak() - before) / 1e6, "MB", None, "lists come in pages of 500")
        kept = grown - (trimmed() - before)
        plane.note("… of which free, but kept by the allocator", kept / 1e6, "MB")
        plane.note(
            "memory per endpoint (its pod, slice entry, share of services)", (grown - kept) / endpoints / 1e3, "KB"
        )
        running.cancel()


async def _started(plane: Plane, own: Size, work: Callable[[], Awaitable[None]]) -> None:
    """Do something on a control plane that has its own cluster and one sidecar."""
    plane.serve(OWN, own)
    plane.ask("own", OWN, [])
    async with asyncio.TaskGroup() as group:
        running = group.create_task(plane.manager.run())
        await plane.start()
        follow(plane.mesh, plane.proxy, subscribe=True)
        await asyncio.sleep(0.2)
        gc.collect()
        gc.freeze()
        await work()
        running.cancel()


@dataclass(slots=True)
class Joined:
    """What one join took: seconds and bytes."""

    took: float
    cpu: float
    grown: int
    blocks: Blocks
    revision: Revision
    disturbed: int


async def _join(plane: Plane, digits: str, size: Size) -> Joined:
    plane.serve(digits, size)
    known = {name for kind in (CDS, EDS) for name in plane.mesh.resources(plane.proxy.id, kind)}
    before, used = settle(), time.process_time()
    with blocks() as seen:
        sent, revision = await plane.join(digits)
        await asyncio.sleep(0)
        used = time.process_time() - used
        await asyncio.sleep(0.05)
    dirty = revision.dirty.get(plane.proxy.id, {})
    disturbed = sum(name in known for kind in (CDS, EDS) for name in dirty.get(kind, ()))
    grown = settle() - before
    return Joined(revision.ended - sent, used, grown, seen, revision, disturbed)


async def join(plane: Plane) -> None:
    """The remote cluster of the budget joins a mesh of one cluster of the same size; then others, up to ten."""

    async def work() -> None:
        latencies = percentiles(await plane.endpoint_events(OWN))
        plane.note("EndpointSlice event, sent → applied, 1 cluster", latencies[1], "ms", None, latencies[2])
        for count in range(2, max(COUNTS) + 1):
            digits = str(9 + count)
            one = await _join(plane, digits, USUAL)
            begin = time.perf_counter()
            size = plane.take(one.revision.dirty)
            took = time.perf_counter() - begin
            if count == 2:
                _report_join(plane, one)
                plane.note("… then its resources, encoded for all who want them", took, "s", None, f"{size:,} bytes")
            elif count in COUNTS:
                plane.note(
                    f"cluster {count} joins",
                    one.took,
                    "s",
                    1.0,
                    f"longest block {one.blocks.longest * 1e3:.0f} ms, apply {one.revision.took * 1e3:.0f} ms",
                )
                plane.note(f"… memory of cluster {count}", one.grown / 1e6, "MB", 20.0)
            if count in COUNTS:
                _, p50, both = percentiles(await plane.endpoint_events(digits))
                plane.note(f"EndpointSlice event, sent → applied, {count} clusters", p50, "ms", None, both)
        await _details(plane, digits)

    await _started(plane, USUAL, work)


def _report_join(plane: Plane, one: Joined) -> None:
    work = "remote cluster of 300 services, 4,000 endpoints joins"
    plane.note(work, one.took, "s", 1.0, f"CPU {one.cpu:.2f} s; {plane.listed / 1e6:.0f} MB of JSON")
    plane.note("… its memory", one.grown / 1e6, "MB", 20.0, "once in force, garbage collected")
    cpu = f"CPU {one.blocks.cpu * 1e3:.0f} ms"
    plane.note("… longest block of the event loop", one.blocks.longest * 1e3, "ms", None, cpu)
    plane.note("… of which Mesh.apply", one.revision.took * 1e3, "ms", None, "one revision swaps it in")
    plane.note("… resources of other clusters that it touches", one.disturbed, "", 0.0)


def percentiles(found: list[float]) -> tuple[float, float, str]:
    """The 99th and 50th percentile, and both as text."""
    p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
    return p99, p50, f"p50 {p50:.2f}, p99 {p99:.2f} ms"


async def _details(plane: Plane, digits: str) -> None:
    """Changes of what no proxy is told. A watch keeps order: once the last is seen, all were looked at."""

    def of(table: str) -> Callable[[list[Change]], bool]:
        return lambda batch: any(change.table == table for change in batch)

    markers: dict[str, tuple[str, tuple[Any, ...]]] = {
        "pods": (Workload.TABLE, ("label", digits, "pods", "last")),
        "nodes": (Node.TABLE, ("label", digits, "nodes", "last")),
        "endpointslices": (EndpointSlice.TABLE, ("endpoint", digits, False)),
    }
    for kind, (table, marker) in markers.items():
        before = plane.revisions
        for number in range(DETAILS):
            plane.ask("annotation", digits, kind, str(number))
        await plane.caused(of(table), *marker)
        text = f"{DETAILS} events"
        plane.note(
            f"metadata-only change, annotation of {kind}: revisions", plane.revisions - before - 1, "", 0.0, text
        )
    dirty = size = 0
    for number in range(DETAILS):
        _, revision = await plane.caused(of(Workload.TABLE), "label", digits, "pods", str(number))
        dirty += sum(len(names) for types in revision.dirty.values() for names in types.values())
        size += plane.take(revision.dirty)
    text = f"{DETAILS} events, {dirty} resources dirty"
    plane.note("metadata-only change, label of a pod: sent", size, "bytes", 0.0, text)


def sized(size: Size) -> Callable[[Plane], Awaitable[None]]:
    """A remote cluster of a size joins a small mesh."""

    async def scenario(plane: Plane) -> None:
        async def work() -> None:
            one = await _join(plane, "11", size)
            name = f"cluster of {size.services} services, {size.endpoints:,} endpoints joins"
            plane.note(name, one.took, "s", None, f"{one.took / size.endpoints * 1e6:.0f} µs an endpoint")
            each = f"{one.grown / size.endpoints / 1e3:.1f} KB an endpoint"
            plane.note("… its memory", one.grown / 1e6, "MB", None, each)

        await _started(plane, SMALL, work)

    return scenario


SCENARIOS: dict[str, Callable[[Plane], Awaitable[None]]] = {
    "join": join,
    "cold": cold,
    **{f"size-{size.endpoints}": sized(size) for size in SIZES},
}


def measured(name: str, feed: Connection, result: Connection, profile: bool) -> None:
    """Entry point of the measured process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    gc.set_threshold(50_000, 20, 100)
    profiler = cProfile.Profile() if profile else None

    async def run() -> list[Line]:
        plane = Plane(feed)
        try:
            await SCENARIOS[name](plane)
        finally:
            feed.send(("end",))
        return plane.lines

    if profiler is not None:
        profiler.enable()
    lines = uvloop.run(run())
    if profiler is not None:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    result.send(lines)


def scenario(name: str, *, profile: bool = False) -> list[Line]:
    """Run one scenario: a process that is measured and one that feeds it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    answer, result = context.Pipe()
    server = context.Process(target=main, args=(theirs,), daemon=True)
    worker = context.Process(target=measured, args=(name, ours, result, profile), daemon=True)
    server.start()
    worker.start()
    result.close()
    try:
        found: list[Line] = answer.recv()
    except EOFError:
        raise SystemExit(f"scenario {name} failed: see above") from None
    finally:
        for process in (worker, server):
            process.join(5)
            process.kill()
    return found


HEADER = "| work | measured | budget | measured / budget | |\n|---|---|---|---|---|"


def row(line: Line) -> str:
    """One row of the table."""
    digits = 0 if line.unit in ("bytes", "") or line.value >= 100 else 2
    budget = "" if line.budget is None else f"{line.budget:g} {line.unit}".strip()
    ratio = ""
    if line.ratio is not None:
        ratio = f"{line.ratio:.2f}" if line.budget else ("0" if line.value == 0 else "over")
        ratio += "" if line.ratio <= 1 else " **miss**"
    return f"| {line.work} | {f'{line.value:,.{digits}f} {line.unit}'.strip()} | {budget} | {ratio} | {line.note} |"


def run(arguments: list[str]) -> list[Line]:
    """Measure and print the table; returns its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario")
    parser.add_argument("--profile", action="store_true", help="show where the time goes; times are worse by this")
    options = parser.parse_args(arguments)
    print(HEADER)  # noqa: T201
    lines = []
    for name in [options.only] if options.only else SCENARIOS:
        for line in scenario(name, profile=options.profile):
            lines.append(line)
            print(row(line), flush=True)  # noqa: T201
    return lines


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
