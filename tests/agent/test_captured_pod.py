"""What is done about a pod before it is known what is wanted of it."""

import asyncio
from pathlib import Path
from unittest.mock import Mock

import structlog

from isthmus.agent.captured_pod import CapturedPod, Tools
from isthmus.agent.enrolment import ENABLED, PENDING, Pod
from isthmus.agent.settings import Drain
from isthmus.edge.clock import SystemClock
from isthmus.install.capture_rules import NodeCapture
from tests.agent.fakes import eventually

POD = Pod(uid="u1", namespace="shop", name="web-1", mark=ENABLED)


def test_a_captured_pod_is_not_let_go_for_want_of_knowing(tmp_path: Path) -> None:
    """An agent that starts hears of pods before it hears of namespaces, whose labels decide."""
    marks: list[str] = []

    async def mark(pod: Pod, mark: str) -> None:
        marks.append(mark)

    async def scenario() -> None:
        tools = Tools(
            mark=mark,
            identities=None,
            names=None,
            capture=NodeCapture(),
            probes=Mock(),
            trust_domain="cluster.local",
            drain=Drain(least=0, most=0),
            clock=SystemClock(),
            log=structlog.get_logger(),
        )
        captured = CapturedPod(POD, tmp_path, tools)
        task = asyncio.create_task(captured.run())
        for _ in range(20):
            await asyncio.sleep(0)
        assert marks == []
        captured.learn(POD, wanted=False)
        await eventually(lambda: marks == [PENDING])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
