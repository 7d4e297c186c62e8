"""The other process of `xds_crowd`: many Envoys' ends of delta streams, each on a connection of its own.

Speaks with the measuring process over a pipe: it is told what to open and what to wait for, and says when the last
stream had it. Times are those of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import resource
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import grpc
import grpc.aio
import uvloop
from envoy.service.discovery.v3 import discovery_pb2

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SERVER_NAME = "istiod.istio-system.svc"
PREFIX = "type.googleapis.com/"
CDS = PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = PREFIX + "envoy.config.listener.v3.Listener"
RDS = PREFIX + "envoy.config.route.v3.RouteConfiguration"
NDS = PREFIX + "istio.networking.nds.v1.NameTable"
INITIAL = (CDS, EDS, LDS, RDS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to open. `first` proxies subscribe only to endpoints whose cluster name contains `only`."""

    target: str
    count: int
    routes: tuple[str, ...]
    first: int = 0
    only: str = ""
    keep_versions: bool = False
    roots: bytes = b""
    """PEM to trust; empty is plaintext."""


@dataclass(slots=True)
class Seen:
    """What arrived since the measuring process last asked."""

    bytes: int = 0
    responses: int = 0
    cpu: float = 0.0
    times: list[float] = field(default_factory=list)


class Envoy:
    """One stream as Envoy holds it: wildcard clusters and listeners, named endpoints and routes, answers to all."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.held: dict[str, dict[str, str]] = {}
        self.call: Any = None
        self.missing: set[str] = set()

    async def run(self) -> None:
        plan = self.crowd.plan
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        async with _channel(plan, options) as channel:
            self.call = channel.stream_stream(SERVICE)()
            self.missing = set(INITIAL)
            await self._begin()
            async for data in self.call:
                await self._take(data)

    async def _begin(self) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CDS, initial_resource_versions=self.held.get(CDS))
        name = f"p{self.number}.bench"
        request.node.id = f"sidecar~10.9.{self.number // 250}.{self.number % 250 + 1}~{name}~bench.svc.cluster.local"
        request.node.metadata.update({"CLUSTER_ID": "c0", "NAMESPACE": "bench", "NETWORK": "n0", "DNS_CAPTURE": "true"})
        await self._write(request)
        if self.held:
            self.missing.clear()
            for type_url in (EDS, RDS):
                names = self.held.get(type_url, {})
                await self._ask(type_url, names, names)
            await self._ask(LDS, (), self.held.get(LDS, {}))
            self.crowd.configured.append(time.monotonic())
            self.crowd.progress.set()

    async def _write(self, request: Any) -> None:
        await self.call.write(request.SerializeToString())

    async def _ask(self, type_url: str, names: Any, held: dict[str, str] | None = None) -> None:
        kind = discovery_pb2.DeltaDiscoveryRequest
        await self._write(kind(type_url=type_url, resource_names_subscribe=names, initial_resource_versions=held))

    async def _take(self, data: bytes) -> None:
        now = time.monotonic()
        crowd = self.crowd
        crowd.seen.bytes += len(data)
        crowd.seen.responses += 1
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
        type_url = response.type_url
        if type_url == crowd.awaited:
            crowd.seen.times.append(now)
            crowd.progress.set()
        held = self.held.setdefault(type_url, {})
        fresh = [resource.name for resource in response.resources if resource.name not in held]
        held.update((resource.name, resource.version) for resource in response.resources)
        for name in response.removed_resources:
            held.pop(name, None)
        await self._write(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce))
        if type_url == CDS:
            await self._follow(fresh, first=CDS in self.missing)
        if type_url in self.missing:
            self.missing.discard(type_url)
            if type_url == LDS:
                await self._ask(RDS, crowd.plan.routes)
            if not self.missing:
                crowd.configured.append(now)
                crowd.progress.set()

    async def _follow(self, clusters: list[str], *, first: bool) -> None:
        names = [name for name in clusters if name.startswith("outbound|")]
        plan = self.crowd.plan
        if plan.only and self.number >= plan.first:
            names = [name for name in names if plan.only not in name]
        if names:
            await self._ask(EDS, names)
        if first:
            await self._ask(LDS, ())


def _channel(plan: Plan, options: tuple[tuple[str, int], ...]) -> grpc.aio.Channel:
    if not plan.roots:
        return grpc.aio.insecure_channel(plan.target, options=options)
    named = (*options, ("grpc.ssl_target_name_override", SERVER_NAME))
    return grpc.aio.secure_channel(plan.target, grpc.ssl_channel_credentials(plan.roots), options=named)


class Crowd:
    """All streams of this process."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.plan = Plan("", 0, ())
        self.seen = Seen()
        self.awaited = ""
        self.configured: list[float] = []
        self.progress = asyncio.Event()
        self.envoys: list[Envoy] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.broken: list[str] = []

    async def serve(self) -> None:
        """Do what the measuring process says until it says that it is over."""
        loop = asyncio.get_running_loop()
        while True:
            word, *arguments = await loop.run_in_executor(None, self.pipe.recv)
            if word == "end":
                await self._close()
                self.pipe.send(("ended",))
                return
            self.pipe.send(await getattr(self, f"do_{word}")(*arguments))

    async def do_open(self, plan: Plan) -> tuple[list[float], Seen]:
        """Open all streams at once; answers when each has clusters, endpoints, listeners and routes."""
        self.plan = plan
        if not plan.keep_versions:
            self.envoys = [Envoy(self, number) for number in range(plan.count)]
        self.configured = []
        self.seen = Seen()
        self.tasks = [asyncio.create_task(self._guard(envoy)) for envoy in self.envoys]
        used = time.process_time()
        async with asyncio.timeout(120):
            while len(self.configured) < plan.count:
                self.progress.clear()
                await self.progress.wait()
        self.seen.cpu = time.process_time() - used
        return self.configured, self.seen

    async def _guard(self, envoy: Envoy) -> None:
        try:
            await envoy.run()
        except grpc.RpcError as error:
            self.broken.append(f"stream {envoy.number}: {error}")

    async def do_close(self) -> tuple[str]:
        """Break all connections; what was received is kept."""
        await self._close()
        return ("closed",)

    async def _close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []

    async def do_expect(self, type_url: str) -> tuple[str]:
        """Note when responses of a type arrive from now on."""
        self.seen = Seen()
        self.awaited = type_url
        return ("expecting",)

    async def do_wait(self, count: int, seconds: float) -> Seen:
        """Answer when so many came, or when the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.seen.times) < count:
                    self.progress.clear()
                    await self.progress.wait()
        except TimeoutError:
            pass
        return self.seen


def main(pipe: Connection) -> None:
    """Entry point of the second process."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))

    async def run() -> None:
        await Crowd(pipe).serve()

    uvloop.run(run())
