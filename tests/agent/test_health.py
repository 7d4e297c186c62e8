"""A machine's workload, asked and told."""

import asyncio

from envoy.service.discovery.v3 import discovery_pb2

from isthmus.agent.health import HealthReporter
from isthmus.agent.log import AgentLog
from isthmus.base.probe import Probe, TcpSocket
from isthmus.edge.clock import SystemClock
from isthmus.xds.delta import DeltaSession
from isthmus.xds.session import HealthReported


def read(frame: bytes) -> str:
    """What the control plane makes of it."""
    request = discovery_pb2.DeltaDiscoveryRequest.FromString(frame)
    (event,) = DeltaSession.receive(None, request, 0.0)  # type: ignore[arg-type]  # health needs no session
    assert isinstance(event, HealthReported)
    return event.message


def test_changes_are_told_and_the_last_is_the_greeting() -> None:
    async def work() -> None:
        listening = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        probe = Probe(action=TcpSocket(port), period=0.02, failures=1)
        reporter = HealthReporter(probe, clock=SystemClock(), log=AgentLog().events)
        assert reporter.frame() is None
        told: asyncio.Queue[str] = asyncio.Queue()

        async def send(frame: bytes) -> None:
            await told.put(read(frame))

        task = asyncio.create_task(reporter.run(send))
        async with asyncio.timeout(10):
            assert await told.get() == ""
            listening.close()
            await listening.wait_closed()
            assert await told.get() != ""
        frame = reporter.frame()
        assert frame is not None
        assert read(frame) != ""
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())


def test_without_a_probe_nothing_is_told() -> None:
    async def work() -> None:
        reporter = HealthReporter(None, clock=SystemClock(), log=AgentLog().events)
        await reporter.run(lambda _: asyncio.sleep(0))
        assert reporter.frame() is None

    asyncio.run(work())
