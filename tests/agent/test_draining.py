"""Which connections keep a draining Envoy, and how it is told to leave."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from isthmus.agent.draining import active_connections, drain
from isthmus.agent.log import AgentLog
from isthmus.agent.settings import Drain
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import Answer, LoopbackClient
from tests.agent.test_settings import parse


def stats(**values: int) -> bytes:
    """The admin port's JSON; `__` stands for a dot."""
    found: list[dict[str, Any]] = [{"name": name.replace("__", "."), "value": value} for name, value in values.items()]
    return msgspec.json.encode({"stats": [*found, {"histograms": {}}]})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, 0),
        ({"listener__0__0__0__0_15006__downstream_cx_active": 3}, 3),
        ({"listener__a__downstream_cx_active": 1, "listener__b__downstream_cx_active": 2}, 3),
        ({"listener__a__downstream_cx_active": 1, "listener__a__worker_0__downstream_cx_active": 1}, 1),
        ({"listener__admin__downstream_cx_active": 1, "listener__isthmus_health__downstream_cx_active": 1}, 0),
        ({"listener__isthmus_stats__downstream_cx_active": 1, "http__admin__downstream_cx_active": 1}, 0),
        ({"listener__a__downstream_cx_total": 9}, 0),
    ],
)
def test_active_connections(found: dict[str, int], expected: int) -> None:
    assert active_connections(stats(**found)) == expected


def test_unreadable_stats_hold_nobody_up() -> None:
    assert active_connections(b"<html>") == 0


class FakeEnvoy:
    """Answers like the admin port; `active` lists the open connections at each look."""

    def __init__(self, active: list[int], *, ready: bool = True) -> None:
        self.active = active
        self.ready = ready
        self.asked: list[str] = []
        self.time = 0.0

    async def request(self, method: str, port: int, target: str) -> Answer:
        """Note what was asked; time passes with each look."""
        self.asked.append(f"{method} {target.partition('&')[0]}")
        if target == "/ready":
            return Answer(200 if self.ready else 503, b"")
        if target.startswith("/stats"):
            self.time += 1
            if not self.active:
                raise UnreachableError("gone")
            return Answer(200, stats(listener__in__downstream_cx_active=self.active.pop(0)))
        return Answer(200, b"OK\n")

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("active", "ready", "looks"),
    [
        ([1, 0, 0, 0, 0], True, 2),  # at least two seconds, then as soon as nobody is there
        ([0, 0, 0, 0, 0], True, 2),
        ([1, 1, 1, 0, 0], True, 4),
        ([1, 1, 1, 1, 1, 1, 1], True, 5),  # five seconds at most
        ([1], True, 2),  # it died meanwhile
        ([0], False, 0),  # never served anybody
    ],
)
def test_drain(active: list[int], ready: bool, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    envoy = FakeEnvoy(active, ready=ready)

    async def no_wait(_: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", no_wait)
    admin = cast(LoopbackClient, envoy)
    limits = Drain(least=2, most=5)
    asyncio.run(drain(admin, parse(), limits=limits, clock=envoy, log=AgentLog().events))
    told = ["POST /healthcheck/fail", "POST /drain_listeners?inboundonly"] if ready else []
    assert envoy.asked[1:3] == told
    assert len(envoy.asked[3:]) == looks
