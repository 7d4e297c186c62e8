"""A real Envoy on the loopback: its agent, a control plane in miniature, an application behind mutual TLS."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from isthmus.agent.node import Node
from isthmus.agent.requests import Memory, Start
from isthmus.agent.settings import Ports
from isthmus.edge.clock import SystemClock
from isthmus.trust.authority import Authority
from tests.agent import envoy_config
from tests.agent.envoy_config import free_pair, free_ports
from tests.agent.fakes import Config, FakeControlPlane, control_plane, until, write_mounts

PROXY = "uid-1/istio-proxy"


class App:
    """Answers HTTP requests, slowly if asked to; a connection for each, so that each one shakes hands anew."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.served = 0
        self.waiting = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            self.waiting += 1
            await self.go.wait()
            self.waiting -= 1
            self.served += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
            await writer.drain()
        writer.close()


@dataclass
class World:
    """Everything that runs. `node` is the agent now; `next_agent` replaces it."""

    directory: Path
    authority: Authority
    plane: FakeControlPlane
    app: App
    way: envoy_config.Path
    ports: Ports
    env: dict[str, str]
    mounts: dict[str, str]
    client: httpx.AsyncClient
    node: Node = field(init=False)

    async def next_agent(self) -> None:
        """A new agent for the node, after the one before left."""
        self.node = Node(Memory(self.directory / "proxies"), SystemClock())
        await self.node.recall()

    async def op(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request of the kubelet about the proxy."""
        line = msgspec.json.encode({"op": op, "id": PROXY, **fields})
        answer: dict[str, Any] = msgspec.json.decode(await self.node.handle(line))
        return answer

    def start_request(self, **changes: Any) -> Start:
        """The proxy container."""
        request = Start(
            id=PROXY,
            args=["proxy", "sidecar", "--domain", "sample.svc.cluster.local"],
            env=self.env,
            mounts=self.mounts,
            log=str(self.directory / "0.log"),
            namespace="sample",
            pod="sleep-1",
        )
        return msgspec.structs.replace(request, **changes)

    async def start(self, **changes: Any) -> int:
        """Start the proxy; Envoy's pid."""
        answer = msgspec.json.decode(await self.node.handle(msgspec.json.encode(self.start_request(**changes))))
        assert answer["ok"], answer
        return int(answer["pid"])

    async def ready(self) -> bool:
        """Readiness as a kubelet's probe sees it."""
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get(f"http://127.0.0.1:{self.ports.health}/healthz/ready")).status_code == 200
        return False

    async def until_ready(self) -> None:
        """Wait for it."""
        await until(self.ready)

    async def until_down(self) -> dict[str, Any]:
        """Wait until Envoy is gone; the status then."""
        status: dict[str, Any] = {}

        async def down() -> bool:
            status.update(await self.op("status"))
            return not status["running"]

        await until(down)
        return status

    async def serials(self) -> set[str]:
        """Serial numbers of the certificates that Envoy holds now."""
        return {certificate["serial_number"] for certificate in await self.certificates()}

    async def call(self) -> str:
        """A request from the application's side: through Envoy, mutual TLS, and Envoy again to the app."""
        return (await self.client.get(f"http://127.0.0.1:{self.way.outbound}/")).text

    async def certificates(self) -> list[dict[str, Any]]:
        """The certificate chains that Envoy holds now."""
        answer = await self.client.get(f"http://127.0.0.1:{self.ports.admin}/certs")
        return [entry["cert_chain"][0] for entry in answer.json()["certificates"] if entry.get("cert_chain")]

    def log(self, attempt: int = 0) -> str:
        """What agent and Envoy wrote."""
        return (self.directory / f"{attempt}.log").read_text()


@contextlib.asynccontextmanager
async def world(authority: Authority, **env: str) -> AsyncIterator[World]:
    """A world with a configured control plane and an agent; the proxy is not started yet. Ends what it started."""
    dns = free_pair()
    outbound, inbound, admin, health, prometheus, stats = free_ports(6)
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agent-")))
        plane = await stack.enter_async_context(control_plane(authority, Config()))
        app = App()
        server = await stack.enter_async_context(await asyncio.start_server(app.converse, "127.0.0.1", 0))
        way = envoy_config.Path(outbound, inbound, server.sockets[0].getsockname()[1])
        plane.config.put(*envoy_config.through_itself(way))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=5, limits=httpx.Limits(max_connections=20)))
        made = World(
            directory=directory,
            authority=authority,
            plane=plane,
            app=app,
            way=way,
            ports=Ports(admin=admin, health=health, prometheus=prometheus, stats=stats, dns=dns),
            env=_environment(plane.port, Ports(admin=admin, health=health, prometheus=prometheus, stats=stats, dns=dns))
            | env,
            mounts=write_mounts(directory, authority),
            client=client,
        )
        await made.next_agent()
        try:
            yield made
        finally:
            await made.node.stop_all(0)


def _environment(plane_port: int, ports: Ports) -> dict[str, str]:
    """As injection sets it, with ports that are free here."""
    return {
        "POD_NAME": "sleep-1",
        "POD_NAMESPACE": "sample",
        "INSTANCE_IP": "127.0.0.1",
        "SERVICE_ACCOUNT": "sleep",
        "ISTIO_META_CLUSTER_ID": "east",
        "ISTIO_META_DNS_CAPTURE": "true",
        "PILOT_ADDRESS": f"127.0.0.1:{plane_port}",
        "PROXY_ADMIN_PORT": str(ports.admin),
        "ENVOY_STATUS_PORT": str(ports.health),
        "ENVOY_PROMETHEUS_PORT": str(ports.prometheus),
        "ISTIO_AGENT_STATUS_PORT": str(ports.stats),
        "DNS_PROXY_ADDR": f"localhost:{ports.dns}",
        "MINIMUM_DRAIN_DURATION": "0",
    }


def run(scenario: Awaitable[None], seconds: float = 30.0) -> None:
    """Run a scenario in a loop of its own, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await scenario

    asyncio.run(limited())
