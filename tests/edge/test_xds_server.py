"""The discovery service over real gRPC on loopback, with a mesh made of a dictionary."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import struct_pb2

from isthmus.base.errors import IsthmusError
from isthmus.edge.authenticate import Authenticator
from isthmus.edge.grpc_server import bind, make_server
from isthmus.edge.xds_server import SERVICE, XdsService
from isthmus.edge.xds_streams import Dirty, Streams
from isthmus.model.rows import Proxy
from isthmus.trust.caller import Caller
from isthmus.xds.node import Node
from isthmus.xds.resource import CDS, EDS, XdsResource

DELTA, SOTW = "DeltaAggregatedResources", "StreamAggregatedResources"


class Clock:
    def now(self) -> float:
        return 1000.0

    def monotonic(self) -> float:
        return 1000.0


class Mesh:
    """Everybody sees the same resources."""

    def __init__(self) -> None:
        self.exists: dict[str, dict[str, XdsResource]] = {CDS: {}, EDS: {}}
        self.proxies: dict[str, Proxy] = {}
        self.followed: dict[tuple[str, str], set[str]] = {}

    def put(self, type_url: str, name: str, body: str) -> None:
        self.exists[type_url][name] = XdsResource(type_url, name, body.encode(), body)

    def connect(self, proxy: Proxy) -> Dirty:
        known = proxy.id in self.proxies
        self.proxies[proxy.id] = proxy
        return {proxy.id: {CDS: {"a"}}} if known else {}

    def disconnect(self, proxy_id: str) -> None:
        del self.proxies[proxy_id]
        self.followed = {key: names for key, names in self.followed.items() if key[0] != proxy_id}

    def subscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        known = self.followed.setdefault((proxy_id, type_url), set())
        assert not known.intersection(names)
        known.update(names)

    def unsubscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        assert self.followed[(proxy_id, type_url)].issuperset(names)
        self.followed[(proxy_id, type_url)].difference_update(names)

    def demand(self, proxy_id: str, type_url: str, names: Collection[str]) -> Collection[str]:
        return ()

    def resource(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        assert proxy_id in self.proxies
        return self.exists[type_url].get(name)

    def resources(self, proxy_id: str, type_url: str) -> Mapping[str, XdsResource]:
        assert proxy_id in self.proxies
        return self.exists[type_url]


@dataclass
class Reviewer:
    """Tokens are `<namespace>/<account>/<pod>`, good in the cluster east only."""

    config_cluster: str = "east"

    def clusters(self) -> tuple[str, ...]:
        return ("east", "west")

    async def review(self, cluster: str, token: str, audience: str) -> Mapping[str, Any]:
        if cluster != "east" or token.count("/") != 2:
            return {"authenticated": False}
        namespace, account, pod = token.split("/")
        extra = {"authentication.kubernetes.io/pod-name": [pod]} if pod else {}
        user = {"username": f"system:serviceaccount:{namespace}:{account}", "extra": extra}
        return {"authenticated": True, "audiences": [audience], "user": user}

    async def signing_keys(self, cluster: str) -> Mapping[str, Any]:
        return {"keys": []}


def row(node: Node, caller: Caller | None) -> Proxy:
    if node.type not in ("sidecar", "router"):
        raise IsthmusError(f"a proxy of type {node.type} is not known")
    cluster = caller.cluster if caller else node.cluster
    return Proxy(
        cluster=cluster, namespace=node.namespace, name=node.name, network=str(node.metadata.get("NETWORK", ""))
    )


@dataclass
class Bench:
    mesh: Mesh = field(default_factory=Mesh)
    authenticated: bool = True
    open: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Streams = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self.streams = Streams(self.mesh)
        self.mesh.put(CDS, "a", "1")
        self.mesh.put(EDS, "a", "1")

    async def gate(self) -> None:
        await self.open.wait()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Bench"]:
        authenticator = Authenticator(Reviewer(), Clock()) if self.authenticated else None
        service = XdsService(self.streams, Clock(), make_row=row, gate=self.gate, authenticator=authenticator)
        server = make_server([service.handler()])
        self.port = bind(server, "127.0.0.1:0", None)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    @asynccontextmanager
    async def client(
        self, *, token: str = "sample/sleep/sleep-1", cluster: str = "east", method: str = DELTA
    ) -> AsyncIterator["Client"]:
        metadata = (("authorization", f"Bearer {token}"), ("clusterid", cluster)) if token else ()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call = channel.stream_stream(f"/{SERVICE}/{method}")(metadata=metadata)
            yield Client(call, method == DELTA)
            call.cancel()


@dataclass
class Client:
    call: Any
    delta: bool

    async def ask(self, type_url: str, node: dict[str, Any] | None = None, **fields: Any) -> None:
        kind = discovery_pb2.DeltaDiscoveryRequest if self.delta else discovery_pb2.DiscoveryRequest
        request = kind(type_url=type_url, **fields)
        if node is not None:
            request.node.id = node.pop("id", "sidecar~10.0.0.1~sleep-1.sample~sample.svc.cluster.local")
            metadata = struct_pb2.Struct()
            metadata.update({"CLUSTER_ID": "east", "NAMESPACE": "sample", "SERVICE_ACCOUNT": "sleep"} | node)
            request.node.metadata.CopyFrom(metadata)
        await self.call.write(request.SerializeToString())

    async def get(self) -> str:
        data = await self.call.read()
        if self.delta:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            words = [f"{r.name}={r.version}" for r in response.resources]
        else:
            response = discovery_pb2.DiscoveryResponse.FromString(data)
            words = [r.value.decode() for r in response.resources]
        self.nonce = response.nonce
        return " ".join([response.type_url.rpartition(".")[2], *words, *(f"-{n}" for n in _removed(response))])

    async def end(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError):
            await self.call.read()
        return await self.call.code(), await self.call.details()


def _removed(response: Any) -> list[str]:
    return list(getattr(response, "removed_resources", []))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (bounded by the deadline of `run`)
        await asyncio.sleep(0.001)


def run(scenario: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    async def wait() -> None:
        bench = Bench(**options)
        bench.open.set()
        async with asyncio.timeout(10), bench.serving():
            await scenario(bench)
        await asyncio.sleep(0)

    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    asyncio.run(wait())


def test_a_stream_gets_what_exists_and_then_what_changes() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client() as client:
            await client.ask(CDS, node={"NETWORK": "n1"})
            assert await client.get() == "Cluster a=1"
            await client.ask(CDS, response_nonce=client.nonce)
            assert bench.mesh.proxies["sleep-1.sample@east"].network == "n1"
            await until(lambda: bench.streams.of("sleep-1.sample@east")[0].session.idle)
            bench.mesh.put(CDS, "b", "7")
            assert bench.streams.dispatch({"sleep-1.sample@east": {CDS: {"b"}}, "other@west": {CDS: {"b"}}}) == 1
            assert await client.get() == "Cluster b=7"
        await until(lambda: not bench.mesh.proxies)
        assert bench.mesh.followed == {}

    run(scenario)


def test_the_state_of_the_world_works_too() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client(method=SOTW) as client:
            await client.ask(CDS, node={})
            assert await client.get() == "Cluster 1"

    run(scenario)


def test_plaintext_needs_no_identity() -> None:
    """AU3"""

    async def scenario(bench: Bench) -> None:
        async with bench.client(token="") as client:
            await client.ask(CDS, node={"CLUSTER_ID": "west"})
            assert await client.get() == "Cluster a=1"
            assert list(bench.mesh.proxies) == ["sleep-1.sample@west"]

    run(scenario, authenticated=False)


@pytest.mark.parametrize(
    ("options", "node", "code", "text"),
    [
        ({"token": ""}, {}, grpc.StatusCode.UNAUTHENTICATED, "no bearer token was sent"),
        ({"token": "x"}, {}, grpc.StatusCode.UNAUTHENTICATED, "cluster east refused the token"),
        ({"cluster": "west"}, {}, grpc.StatusCode.UNAUTHENTICATED, "cluster west refused the token"),
        ({"cluster": "north"}, {}, grpc.StatusCode.UNAUTHENTICATED, "claims to be in cluster 'north'"),
        (
            {},
            {"CLUSTER_ID": "west"},
            grpc.StatusCode.PERMISSION_DENIED,
            "belongs to sample/sleep of cluster east, but the proxy claims to be sample/sleep of cluster west",
        ),
        (
            {"token": "other/sleep/"},
            {},
            grpc.StatusCode.PERMISSION_DENIED,
            "belongs to other/sleep of cluster east, but the proxy claims to be sample/sleep of cluster east",
        ),
        ({}, {"SERVICE_ACCOUNT": "admin"}, grpc.StatusCode.PERMISSION_DENIED, "claims to be sample/admin"),
        ({"token": "sample/sleep/sleep-2"}, {}, grpc.StatusCode.PERMISSION_DENIED, "belongs to pod sample/sleep-2"),
        ({}, {"id": "me"}, grpc.StatusCode.INVALID_ARGUMENT, "the node id 'me' is not"),
        ({}, {"NAMESPACE": "other"}, grpc.StatusCode.INVALID_ARGUMENT, "does not agree with the namespace 'other'"),
        (
            {},
            {"id": "toaster~10.0.0.1~sleep-1.sample~sample.svc.cluster.local"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "type toaster is not known",
        ),
        ({}, None, grpc.StatusCode.INVALID_ARGUMENT, "the first request does not carry a node"),
    ],
)
def test_who_is_refused_is_told_why(
    options: dict[str, str], node: dict[str, Any] | None, code: grpc.StatusCode, text: str
) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client(**options) as client:
            await client.ask(CDS, node=None if node is None else dict(node))
            ended, details = await client.end()
            assert ended is code
            assert text in details
        assert bench.mesh.proxies == {}

    run(scenario)


def test_garbage_is_refused() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client() as client:
            await client.call.write(b"\xff\xff\xff")
            assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    run(scenario)


def test_nothing_is_answered_before_every_cluster_was_looked_at() -> None:
    async def scenario(bench: Bench) -> None:
        bench.open.clear()
        async with bench.client() as client:
            await client.ask(CDS, node={}, initial_resource_versions={"gone": "1"})
            answer = asyncio.create_task(client.get())
            assert await asyncio.wait({answer}, timeout=0.05) == (set(), {answer})
            assert bench.mesh.proxies == {}
            bench.mesh.put(CDS, "gone", "1")
            bench.open.set()
            assert await answer == "Cluster a=1", "what was only not looked at yet is not removed"

    run(scenario)


def test_two_streams_of_one_proxy_share_its_row_and_their_subscriptions() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client() as envoy:
            await envoy.ask(EDS, node={}, resource_names_subscribe=["a"])
            assert await envoy.get() == "ClusterLoadAssignment a=1"
            async with bench.client() as agent:
                await agent.ask(EDS, node={}, resource_names_subscribe=["a", "b"])
                assert await agent.get() == "ClusterLoadAssignment a=1 -b"
                assert bench.mesh.followed == {("sleep-1.sample@east", EDS): {"a", "b"}}
                assert len(bench.streams) == 2
            await until(lambda: len(bench.streams) == 1)
            assert bench.mesh.followed == {("sleep-1.sample@east", EDS): {"a"}}

    run(scenario)


def test_a_second_stream_with_other_metadata_changes_the_row_for_both() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.client() as first:
            await first.ask(CDS, node={"NETWORK": "n1"})
            assert await first.get() == "Cluster a=1"
            await first.ask(CDS, response_nonce=first.nonce)
            bench.mesh.put(CDS, "a", "2")
            async with bench.client() as second:
                await second.ask(CDS, node={"NETWORK": "n2"})
                assert await second.get() == "Cluster a=2"
                assert await first.get() == "Cluster a=2"
            assert bench.mesh.proxies["sleep-1.sample@east"].network == "n2"

    run(scenario)


def test_a_client_that_goes_away_while_it_is_written_to_leaves_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.mesh.put(CDS, "big", "x" * 8_000_000)
        async with bench.client() as client:
            await client.ask(CDS, node={})
            await until(lambda: len(bench.streams) == 1)
        await until(lambda: len(bench.streams) == 0)
        assert bench.mesh.proxies == {}

    run(scenario)


def test_five_hundred_streams_open_at_once_and_all_are_told_of_a_change() -> None:
    count = 500

    async def one(bench: Bench, channel: grpc.aio.Channel, number: int, settled: asyncio.Semaphore) -> str:
        client = Client(channel.stream_stream(f"/{SERVICE}/{DELTA}")(), delta=True)
        await client.ask(CDS, node={"id": f"sidecar~10.0.0.1~p{number}.sample~sample.svc.cluster.local"})
        await client.get()
        await client.ask(CDS, response_nonce=client.nonce)
        settled.release()
        answer = await client.get()
        client.call.cancel()
        return answer

    async def scenario(bench: Bench) -> None:
        settled = asyncio.Semaphore(0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bench.port}") as channel, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(bench, channel, number, settled)) for number in range(count)]
            for _ in range(count):
                await settled.acquire()
            await until(lambda: all(stream.session.idle for stream in bench.streams.all()))
            bench.mesh.put(CDS, "a", "2")
            assert bench.streams.dispatch({proxy_id: {CDS: {"a"}} for proxy_id in bench.mesh.proxies}) == count
            answers = [await task for task in tasks]
        assert set(answers) == {"Cluster a=2"}

    run(scenario, authenticated=False)
