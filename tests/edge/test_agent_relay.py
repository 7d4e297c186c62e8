"""The relay between Envoy's stream and the control plane: frames as they are, failover, what rides along."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.agent.log import AgentLog
from isthmus.agent.name_stream import NameStream
from isthmus.dns.names import NameTable
from isthmus.edge.agent_relay import DELTA, SERVICE, Relay
from isthmus.edge.agent_socket import bind_unix
from isthmus.edge.clock import SystemClock
from isthmus.edge.control_plane import Upstream
from isthmus.edge.homing import Homing, HomingSettings
from isthmus.trust.authority import Authority
from isthmus.xds.resource import CDS, NDS, XdsResource
from tests.agent.fakes import FakeControlPlane, control_plane, eventually, make_authority, write_mounts
from tests.agent.test_name_stream import table_body


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


def upstream(directory: Path, *planes: FakeControlPlane) -> Upstream:
    """The way to these control planes, in order."""
    return Upstream(
        addresses=[("127.0.0.1", plane.port) for plane in planes],
        server_name="istiod.istio-system.svc",
        root_file=directory / "istio" / "root-cert.pem",
        token_file=directory / "tokens" / "istio-token",
        cluster="east",
        resolve=as_it_is,
    )


async def as_it_is(name: str) -> list[str]:
    return [name]


class Client:
    """Plays Envoy: one delta stream over the agent's socket."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def ask(self, type_url: str, **fields: Any) -> None:
        """Send a request."""
        await self.call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields).SerializeToString())

    async def answer(self) -> Any:
        """The next response, accepted."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(await asyncio.wait_for(self.call.read(), 5))
        await self.ask(response.type_url, response_nonce=response.nonce)
        return response

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ends."""
        async with asyncio.timeout(5):
            return await self.call.code(), await self.call.details()


class Agent:
    """A relay on a Unix socket, and the tables that it took."""

    def __init__(self, way: Upstream, socket: Path, gate: Callable[[], Awaitable[object]], hold: float = 30) -> None:
        self.tables: list[NameTable] = []
        self.socket = socket
        rider = NameStream(lambda _, table: self.tables.append(table), wanted=True)
        self.log = AgentLog(socket.with_name("log"))
        self.homing = Homing(way, HomingSettings(hold=hold, probe=0.02), SystemClock())
        self.relay = Relay(way, self.homing, riders=[rider], gate=gate, log=self.log.events)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Agent"]:
        """Serve while the context is open."""
        server = grpc.aio.server(handlers=(self.relay.handler(),))
        bind_unix(server, self.socket)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)
            self.log.close()

    @contextlib.asynccontextmanager
    async def envoy(self) -> AsyncIterator[Client]:
        """A stream of Envoy's."""
        async with grpc.aio.insecure_channel(f"unix:{self.socket}") as channel:
            yield Client(channel.stream_stream(f"/{SERVICE}/{DELTA}")())


async def now() -> None:
    """An open gate."""


def run(scenario: Awaitable[None]) -> None:
    """Run it in a loop of its own, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(limited())


def test_frames_pass_in_both_directions_and_names_are_taken_out(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b"\x0a\x01a"), XdsResource(NDS, "", table_body("10.1.0.1")))
            async with Agent(upstream(tmp_path, plane), tmp_path / "s", now).running() as agent, agent.envoy() as envoy:
                await envoy.ask(CDS, resource_names_subscribe=["*"])
                first = await envoy.answer()
                assert [resource.resource.value for resource in first.resources] == [b"\x0a\x01a"]
                await eventually(lambda: agent.tables)
                plane.config.put(XdsResource(NDS, "", table_body("10.1.0.2")), XdsResource(CDS, "b", b"\x0a\x01b"))
                assert [resource.name for resource in (await envoy.answer()).resources] == ["b"]
                await eventually(lambda: len(agent.tables) == 2)
            stream = plane.streams[0]
            assert stream.metadata["authorization"] == "Bearer token-1"
            assert stream.metadata["clusterid"] == "east"
            kinds = [request.type_url for request in stream.requests]
            assert kinds[:2] == [CDS, NDS]
            assert not [request for request in stream.requests if request.HasField("error_detail")]

    run(scenario())


def test_waits_at_the_gate(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        gate = asyncio.Event()
        async with control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b""))
            agent = Agent(upstream(tmp_path, plane), tmp_path / "s", gate.wait)
            async with agent.running(), agent.envoy() as envoy:
                await envoy.ask(CDS)
                await asyncio.sleep(0)
                assert plane.streams == []
                gate.set()
                assert len((await envoy.answer()).resources) == 1

    run(scenario())


def test_lost_control_plane_ends_the_stream_and_the_next_one_resumes(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b""))
            async with Agent(upstream(tmp_path, plane), tmp_path / "s", now).running() as agent:
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS)
                    await envoy.answer()
                    await plane.kill()
                    code, details = await envoy.end()
                    assert code == grpc.StatusCode.UNAVAILABLE
                    assert "control plane lost" in details
                (tmp_path / "tokens" / "istio-token").write_text("token-2")
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS, initial_resource_versions={"a": plane.config.held[CDS]["a"].version})
                    await eventually(lambda: "not reached" in (tmp_path / "log").read_text())
                    await plane.start()
                    plane.config.put(XdsResource(CDS, "b", b""))
                    assert [resource.name for resource in (await envoy.answer()).resources] == ["b"]
                assert plane.streams[-1].metadata["authorization"] == "Bearer token-2"

    run(scenario())


def test_first_control_plane_that_answers_is_used(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as first, control_plane(authority) as second:
            for plane in (first, second):
                plane.config.put(XdsResource(CDS, "a", b""))
            agent = Agent(upstream(tmp_path, first, second), tmp_path / "s", now)
            async with agent.running():
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS)
                    await envoy.answer()
                    assert (len(first.streams), len(second.streams)) == (1, 0)
                    await first.kill()
                    await envoy.end()
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS)
                    await envoy.answer()
                    assert agent.relay.connected_to.endswith(str(second.port))

    run(scenario())


def test_goes_back_to_the_preferred_control_plane_and_envoy_resumes_there(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as first, control_plane(authority) as second:
            for plane in (first, second):
                plane.config.put(XdsResource(CDS, "a", b""))
            await first.kill()
            agent = Agent(upstream(tmp_path, first, second), tmp_path / "s", now, hold=0.1)
            async with agent.running():
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS)
                    await envoy.answer()
                    assert agent.relay.connected_to.endswith(str(second.port))
                    await first.start()
                    code, details = await envoy.end()
                    assert (code, "preferred" in details) == (grpc.StatusCode.UNAVAILABLE, True)
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS, initial_resource_versions={"a": first.config.held[CDS]["a"].version})
                    await eventually(lambda: agent.relay.connected_to.endswith(str(first.port)))
                    first.config.put(XdsResource(CDS, "b", b""))
                    assert [resource.name for resource in (await envoy.answer()).resources] == ["b"]

    run(scenario())


def test_stays_where_it_is_while_the_preferred_one_is_away_or_none_is_better(
    tmp_path: Path, authority: Authority
) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as first, control_plane(authority) as second:
            second.config.put(XdsResource(CDS, "a", b""))
            await first.kill()
            agent = Agent(upstream(tmp_path, first, second), tmp_path / "s", now, hold=0)
            async with agent.running(), agent.envoy() as envoy:
                await envoy.ask(CDS)
                await envoy.answer()
                waiting = asyncio.create_task(agent.homing.better_than(0))
                second.config.put(XdsResource(CDS, "b", b""))
                assert [resource.name for resource in (await envoy.answer()).resources] == ["b"]
                assert not waiting.done()
                waiting.cancel()

    run(scenario())


def test_stranger_under_another_root_gets_no_token(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(make_authority()) as stranger, control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b""))
            agent = Agent(upstream(tmp_path, stranger, plane), tmp_path / "s", now)
            async with agent.running(), agent.envoy() as envoy:
                await envoy.ask(CDS)
                await envoy.answer()
            assert stranger.streams == []

    run(scenario())


def test_envoy_that_leaves_frees_the_control_plane(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        async with control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b""))
            async with Agent(upstream(tmp_path, plane), tmp_path / "s", now).running() as agent:
                async with agent.envoy() as envoy:
                    await envoy.ask(CDS)
                    await envoy.answer()
                    assert len(plane.config.streams) == 1
                await eventually(lambda: not plane.config.streams)
                assert agent.relay.connected_to == ""

    run(scenario())


def test_without_a_token_nothing_is_dialled(tmp_path: Path, authority: Authority) -> None:
    async def scenario() -> None:
        write_mounts(tmp_path, authority)
        token = tmp_path / "tokens" / "istio-token"
        token.unlink()
        async with control_plane(authority) as plane:
            plane.config.put(XdsResource(CDS, "a", b""))
            agent = Agent(upstream(tmp_path, plane), tmp_path / "s", now)
            async with agent.running(), agent.envoy() as envoy:
                await envoy.ask(CDS)
                await eventually(lambda: "service account token" in (tmp_path / "log").read_text())
                assert plane.streams == []
                token.write_text("token-3")
                await envoy.answer()

    run(scenario())
