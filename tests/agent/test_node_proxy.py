"""The Envoy of a node is started again by its agent; one that does not stay is the kubelet's to tell."""

import asyncio
from pathlib import Path

import pytest
import structlog

from isthmus.agent import node_proxy
from isthmus.agent.node_proxy import RESTARTS, SHORT_LIFE, keep_running


class Lives:
    """An Envoy by how long each of its processes lives; after the last it lives on."""

    def __init__(self, *seconds: float) -> None:
        self.left = list(seconds)
        self.time = 0.0
        self.started = 0
        self.settled = asyncio.Event()

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.time

    async def ended(self) -> int:
        if not self.left:
            self.settled.set()
            await asyncio.Event().wait()
        self.time += self.left.pop(0)
        return -9

    async def revive(self, log_file: Path | None) -> None:
        self.started += 1


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_proxy, "FIRST_PAUSE", 0.0)


@pytest.mark.parametrize(
    ("lives", "gives_up"),
    [
        ([3600.0], False),
        ([3600.0, *[1.0] * (RESTARTS - 1)], False),
        ([1.0, 1.0, SHORT_LIFE + 1] * 4, False),
        ([1.0] * RESTARTS, True),
        ([3600.0, *[1.0] * RESTARTS], True),
    ],
)
def test_it_is_started_again_unless_it_ends_soon_time_after_time(lives: list[float], gives_up: bool) -> None:
    async def scenario() -> None:
        envoy = Lives(*lives)
        keeping = asyncio.create_task(keep_running(envoy, envoy, structlog.get_logger()))
        settled = asyncio.create_task(envoy.settled.wait())
        await asyncio.wait((keeping, settled), return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert keeping.done() is gives_up
        assert envoy.started == len(lives) - gives_up
        for task in (keeping, settled):
            task.cancel()
        await asyncio.gather(keeping, settled, return_exceptions=True)

    asyncio.run(scenario())
