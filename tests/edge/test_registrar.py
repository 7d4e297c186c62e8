"""WorkloadEntries of machines, written to a real API server as they come, go and fall ill."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import IsthmusError
from isthmus.edge.clock import SystemClock
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.registrar import Known, Registrar, RegistrarSettings, RegistrationDeniedError, RegistrationError
from isthmus.install.crds import definitions
from isthmus.kube.requests import NAMESPACES, WORKLOAD_ENTRIES, Resource
from isthmus.model.external import WorkloadEntry, WorkloadGroup
from isthmus.trust.caller import Caller
from isthmus.xds.node import Node
from tests.embedded import EmbeddedCluster

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
CALLER = Caller("east", "shop", "db")
NODE = Node(
    "sidecar~10.9.0.5~vm.shop~shop.svc.cluster.local",
    "sidecar",
    "10.9.0.5",
    "vm",
    "shop",
    "shop.svc.cluster.local",
    {"AUTO_REGISTER_GROUP": "db", "LABELS": {"app": "db"}},
)
GROUP = WorkloadGroup(cluster="east", namespace="shop", name="db", service_account="db", health_checked=True)
KEY = ("shop", "db-10.9.0.5")


class World:
    """A cluster, its client (None: unreachable), and what the mesh would know."""

    def __init__(self, client: KubeClient) -> None:
        self.client: KubeClient | None = client
        self.always = client
        self.groups = {("shop", "db"): GROUP}
        self.rows: dict[tuple[str, str], WorkloadEntry] = {}
        self.instances = {"istiod-1", "istiod-2"}

    @asynccontextmanager
    async def registrar(self, instance: str = "istiod-1") -> AsyncIterator[Registrar]:
        known = Known(self.groups.get, self.rows.get, self.rows.values, lambda: self.instances)
        settings = RegistrarSettings(instance=instance, grace=0.3, sweep=0.4, first_retry=0.05, longest_retry=0.1)
        made = Registrar(settings, SystemClock(), known=known, client=lambda: self.client)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def entry(self) -> dict[str, Any] | None:
        return await self.always.find(WORKLOAD_ENTRIES, *KEY)

    async def note(self, name: str) -> str:
        found = await self.entry()
        return str(found["metadata"]["annotations"].get(f"istio.io/{name}", "")) if found else "no entry"

    async def healthy(self) -> str:
        found = await self.entry() or {}
        conditions = (found.get("status") or {}).get("conditions") or []
        return " ".join(f"{one['type']}={one['status']}" for one in conditions)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - an API server's state has no event here
            await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    cluster = EmbeddedCluster("east", directory)
    await cluster.start()
    try:
        async with await cluster.client() as client:
            for crd in definitions(gateway_api=False):
                if crd["spec"]["names"]["kind"] == "WorkloadEntry":
                    await client.create(CRDS, crd)
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
            await until(lambda: _is_served(client))
            yield World(client)
    finally:
        await cluster.kill()


def run(directory: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with opened(directory) as world:
            await scenario(world)

    asyncio.run(inside())


async def _is_served(client: KubeClient) -> bool:
    try:
        return await client.list(WORKLOAD_ENTRIES) == []
    except IsthmusError:
        return False


def test_an_entry_comes_goes_and_stays_for_who_comes_back(tmp_path: Path) -> None:
    run(tmp_path, _an_entry_comes_goes_and_stays_for_who_comes_back)


async def _an_entry_comes_goes_and_stays_for_who_comes_back(world: World) -> None:
    async with world.registrar() as registrar:
        key = await registrar.arrive(NODE, CALLER)
        assert key == KEY
        found = await world.entry()
        assert found is not None
        assert found["spec"] == {"address": "10.9.0.5", "labels": {"app": "db"}, "serviceAccount": "db"}
        registrar.leave(KEY)
        await until(lambda: _has(world.note("disconnectedAt")))
        assert await registrar.arrive(NODE, CALLER) == KEY
        assert await world.note("disconnectedAt") == ""
        assert await registrar.arrive(NODE, CALLER) == KEY
        registrar.leave(KEY)
        await asyncio.sleep(0.5)
        assert await world.note("disconnectedAt") == ""
        registrar.leave(KEY)
        await until(lambda: _equals(world.entry(), None))


def test_a_machine_that_went_to_another_instance_keeps_its_entry(tmp_path: Path) -> None:
    run(tmp_path, _a_machine_that_went_to_another_instance_keeps_its_entry)


async def _a_machine_that_went_to_another_instance_keeps_its_entry(world: World) -> None:
    async with world.registrar() as first, world.registrar("istiod-2") as second:
        await first.arrive(NODE, CALLER)
        first.leave(KEY)
        await second.arrive(NODE, CALLER)
        await asyncio.sleep(0.8)
        assert await world.note("workloadController") == "istiod-2"
        assert await world.note("disconnectedAt") == ""


def test_health_is_written_as_it_changes(tmp_path: Path) -> None:
    run(tmp_path, _health_is_written_as_it_changes)


async def _health_is_written_as_it_changes(world: World) -> None:
    async with world.registrar() as registrar:
        await registrar.arrive(NODE, CALLER)
        assert await world.healthy() == ""
        registrar.report(KEY, "connection refused")
        await until(lambda: _equals(world.healthy(), "Healthy=False"))
        registrar.report(KEY, "")
        await until(lambda: _equals(world.healthy(), "Healthy=True"))


def test_a_known_machine_is_served_while_the_api_server_is_away(tmp_path: Path) -> None:
    run(tmp_path, _a_known_machine_is_served_while_the_api_server_is_away)


async def _a_known_machine_is_served_while_the_api_server_is_away(world: World) -> None:
    async with world.registrar() as registrar:
        world.client = None
        with pytest.raises(RegistrationError):
            await registrar.arrive(NODE, CALLER)
        world.rows[KEY] = WorkloadEntry(cluster="east", namespace="shop", name=KEY[1], group="db")
        assert await registrar.arrive(NODE, CALLER) == KEY
        assert await world.entry() is None
        world.client = world.always
        await until(lambda: _equals(world.note("workloadController"), "istiod-1"))


def test_what_a_dead_instance_left_is_swept(tmp_path: Path) -> None:
    run(tmp_path, _what_a_dead_instance_left_is_swept)


async def _what_a_dead_instance_left_is_swept(world: World) -> None:
    async with world.registrar("istiod-9") as registrar:
        await registrar.arrive(NODE, CALLER)
    world.rows[KEY] = WorkloadEntry(
        cluster="east", namespace="shop", name=KEY[1], group="db", controller="istiod-9", connected_at=1.0
    )
    async with world.registrar():
        await until(lambda: _equals(world.note("workloadController"), "istiod-1"))
        world.rows[KEY] = WorkloadEntry(
            cluster="east", namespace="shop", name=KEY[1], group="db", controller="istiod-1", disconnected_at=2.0
        )
        await until(lambda: _equals(world.entry(), None))


def test_who_may_not_register(tmp_path: Path) -> None:
    run(tmp_path, _who_may_not_register)


async def _who_may_not_register(world: World) -> None:
    async with world.registrar() as registrar:
        with pytest.raises(RegistrationDeniedError, match="other/db of cluster east may not register"):
            await registrar.arrive(NODE, Caller("east", "other", "db"))
        with pytest.raises(RegistrationDeniedError, match="shop/web of cluster east may not register"):
            await registrar.arrive(NODE, Caller("east", "shop", "web"))
        world.groups.clear()
        with pytest.raises(RegistrationError, match="no WorkloadGroup shop/db"):
            await registrar.arrive(NODE, CALLER)
        assert await world.entry() is None


def test_an_entry_that_somebody_wrote_is_not_taken(tmp_path: Path) -> None:
    run(tmp_path, _an_entry_that_somebody_wrote_is_not_taken)


async def _an_entry_that_somebody_wrote_is_not_taken(world: World) -> None:
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": KEY[1], "namespace": KEY[0]},
        "spec": {"address": "10.9.0.5"},
    }
    await world.always.create(WORKLOAD_ENTRIES, body, namespace=KEY[0])
    async with world.registrar() as registrar:
        with pytest.raises(RegistrationError, match="was not made by this group"):
            await registrar.arrive(NODE, CALLER)
        claiming = Node(*NODE_PARTS, {"WORKLOAD_ENTRY": KEY[1]})
        with pytest.raises(RegistrationError, match="no WorkloadEntry"):
            await registrar.arrive(claiming, CALLER)
        world.rows[KEY] = WorkloadEntry(cluster="east", namespace="shop", name=KEY[1])
        with pytest.raises(RegistrationDeniedError, match="may not claim"):
            await registrar.arrive(claiming, Caller("west", "shop", "db"))
        assert await registrar.arrive(claiming, CALLER) == KEY
        registrar.report(KEY, "")
        await until(lambda: _equals(world.healthy(), "Healthy=True"))
        registrar.leave(KEY)
        await until(lambda: _equals(world.healthy(), ""))
        assert await world.entry() is not None


NODE_PARTS = (NODE.id, NODE.type, NODE.address, NODE.name, NODE.namespace, NODE.domain)


async def _has(value: Awaitable[str]) -> bool:
    return bool(await value)


async def _equals(value: Awaitable[object], wanted: object) -> bool:
    return await value == wanted
