"""The watcher against a server in this process."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from isthmus.edge.kube_client import ClientOptions, KubeClient
from isthmus.edge.kube_watch import Watcher
from isthmus.kube.events import Applied, ContactLost, ContactRegained, Deleted, Fact, Failed, Replaced
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import PODS
from isthmus.kube.watch import WatchMachine, WatchOptions
from tests.fake_kube import FakeKube

FAST = WatchOptions(page=3, slice=2, backoff_first=0.02, backoff_most=0.05, missing_confirm=0.01, missing_retry=0.05)


def name_of(raw: Any) -> str:
    """The value handed on: the object's name."""
    return str(json.loads(bytes(raw))["metadata"]["name"])


class Seen:
    """What a watcher told, and the collection that follows from it."""

    def __init__(self) -> None:
        self.facts: list[Fact[str]] = []
        self.names: set[str] = set()
        self.contacts = 0

    def learn(self, facts: list[Fact[str]]) -> None:
        """Take facts."""
        self.facts += facts
        for fact in facts:
            match fact:
                case Applied(name):
                    self.names.add(name)
                case Deleted(name):
                    self.names.discard(name)
                case Replaced(names):
                    self.names = set(names)

    def contact(self) -> None:
        """Count."""
        self.contacts += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)


Scenario = Callable[[FakeKube, Watcher[str], Seen], Awaitable[None]]


def play(scenario: Scenario, options: WatchOptions = FAST) -> None:
    """Run a scenario beside a running watcher; three pods exist at the start."""

    async def run() -> None:
        async with FakeKube() as server:
            for name in "abc":
                await server.put("pods", pod(name))
            access = Access(server=server.url, token="good")
            async with await KubeClient.connect(access, ClientOptions(1.0, 1.0)) as client:
                seen = Seen()
                machine = WatchMachine(PODS, name_of, options=options)
                watcher = Watcher(client, machine, facts=seen.learn, contact=seen.contact)
                task = asyncio.create_task(watcher.run())
                try:
                    await scenario(server, watcher, seen)
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def pod(name: str) -> dict[str, Any]:
    """A pod."""
    return {"metadata": {"name": name, "namespace": "n"}}


def test_lists_then_follows() -> None:
    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: seen.names == {"a", "b", "c"})
        await server.put("pods", pod("d"))
        await server.delete("pods", "a", "n")
        await seen.until(lambda: seen.names == {"b", "c", "d"})
        assert not [fact for fact in seen.facts if isinstance(fact, Failed)]
        assert seen.contacts > 2

    play(scenario)


def test_outage_is_a_failure_and_then_a_difference() -> None:
    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: len(seen.names) == 3)
        await server.stop()
        await seen.until(lambda: any(isinstance(fact, Failed) for fact in seen.facts))
        assert seen.names == {"a", "b", "c"}
        server.objects.clear()
        await server.start()
        await server.put("pods", pod("z"))
        await server.compact()
        await seen.until(lambda: seen.names == {"z"})

    play(scenario)


def test_resumes_without_listing_where_it_can() -> None:
    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: len(seen.names) == 3)
        await server.drop_watches()
        await server.put("pods", pod("d"))
        await seen.until(lambda: "d" in seen.names)
        assert sum(isinstance(fact, Replaced) for fact in seen.facts) == 1

    play(scenario)


def test_nudges_reach_a_stream_and_a_wait() -> None:
    slow = WatchOptions(backoff_first=60.0, backoff_most=60.0)

    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        def watches() -> int:
            return sum("watch=1" in request for request in server.requests)

        await seen.until(lambda: watches() == 1)
        await asyncio.sleep(0.05)
        watcher.nudge(ContactLost())
        await asyncio.sleep(0.05)
        assert watches() == 1
        watcher.nudge(ContactRegained())
        await seen.until(lambda: watches() == 2)
        await server.put("pods", pod("d"))
        await seen.until(lambda: "d" in seen.names)

    play(scenario, slow)


def test_word_of_contact_does_not_end_a_stream_that_has_it() -> None:
    """Others of the cluster's watches may have regained contact later: whoever watches already must go on."""

    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: sum("watch=1" in request for request in server.requests) == 1)
        await asyncio.sleep(0.05)
        watcher.nudge(ContactRegained())
        await asyncio.sleep(0.05)
        await server.put("pods", pod("d"))
        await seen.until(lambda: "d" in seen.names)
        assert sum("watch=1" in request for request in server.requests) == 1

    play(scenario, WatchOptions(idle_timeout=3600.0))


def test_a_silent_stream_is_replaced() -> None:
    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: sum("watch=1" in request for request in server.requests) >= 3)
        await server.put("pods", pod("d"))
        await seen.until(lambda: "d" in seen.names)

    play(scenario, WatchOptions(idle_timeout=0.05))


def test_a_burst_is_told_in_order_and_in_batches() -> None:
    async def scenario(server: FakeKube, watcher: Watcher[str], seen: Seen) -> None:
        await seen.until(lambda: len(seen.names) == 3)
        await asyncio.gather(*(server.put("pods", pod(f"p{i}")) for i in range(500)))
        await seen.until(lambda: len(seen.names) == 503)
        applied = [fact.value for fact in seen.facts if isinstance(fact, Applied)]
        assert applied == [f"p{i}" for i in range(500)]

    play(scenario)
