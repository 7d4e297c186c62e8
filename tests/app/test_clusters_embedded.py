"""ClusterManager against two embedded API servers with TLS, tokens and RBAC, linked as a user would, on uvloop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
import yaml

from isthmus.app.cluster_settings import ClusterSettings
from isthmus.app.clusters import ClusterManager
from isthmus.cli.create_remote_secret import Wanted, make
from isthmus.edge.clock import SystemClock
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.kube import kubeconfig
from isthmus.kube.requests import NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS, SERVICES
from isthmus.kube.watch import WatchOptions
from isthmus.tables.changes import Change
from tests.app.cluster_world import Tables, until
from tests.embedded import EmbeddedCluster

Json = dict[str, Any]


@asynccontextmanager
async def clusters(directory: Path) -> AsyncIterator[tuple[EmbeddedCluster, EmbeddedCluster]]:
    """East and west, each with a namespace for the mesh and one for samples."""
    found = [EmbeddedCluster(name, directory / name) for name in ("east", "west")]
    try:
        for cluster in found:
            await cluster.start()
            async with await cluster.client() as client:
                for name in ("istio-system", "sample"):
                    await client.create(
                        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                    )
        yield found[0], found[1]
    finally:
        for cluster in found:
            await cluster.kill()


def service(name: str) -> Json:
    """A service."""
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 5000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def link(west: EmbeddedCluster, east: EmbeddedCluster) -> None:
    """What `isthmus create-remote-secret --context west | kubectl --context east apply -f -` does."""
    async with await west.client() as client:
        secret = await make(client, Wanted(name="west", server=client.server))
    async with await east.client() as client:
        await client.apply(SECRETS, secret, manager="kubectl")


def manager(east: EmbeddedCluster, directory: Path, emit: Any) -> ClusterManager:
    """A control plane's part in east."""
    settings = ClusterSettings(
        config_cluster="east",
        access=east.access,
        checkpoint_dir=str(directory / "state"),
        checkpoint_interval=0.05,
        restore_after=0.5,
        probe_interval=0.2,
        probe_timeout=0.5,
        watch=WatchOptions(backoff_first=0.05, backoff_most=0.2, missing_confirm=0.05),
    )
    return ClusterManager(settings, emit=emit, clock=SystemClock())


def test_link_outage_and_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusters(tmp_path) as (east, west):
            async with await west.client() as client:
                await client.create(SERVICES, service("in-west"), namespace="sample")
            await link(west, east)
            tables = Tables()
            first = manager(east, tmp_path, tables.apply)
            task = asyncio.create_task(first.run())
            async with asyncio.timeout(10):
                await first.synced()
            assert "in-west" in tables.names("services", "west")
            assert [(s.id, s.status, s.last_error) for s in first.statuses()] == [
                ("east", "synced", ""),
                ("west", "synced", ""),
            ]
            await restart_while_west_is_dead(tmp_path, east, west, task)

    uvloop.run(scenario())


async def restart_while_west_is_dead(
    directory: Path, east: EmbeddedCluster, west: EmbeddedCluster, task: asyncio.Task[None]
) -> None:
    """Kill west's API server and the control plane; the next control plane still knows west's services."""
    await west.kill()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    tables = Tables()
    second = manager(east, directory, tables.apply)
    task = asyncio.create_task(second.run())
    async with asyncio.timeout(10):
        await second.synced()
    assert "in-west" in tables.names("services", "west")
    row = tables.cluster("west")
    assert row is not None
    assert row.stale
    await west.start()
    async with await west.client() as client:
        await client.delete(SERVICES, "sample", "in-west")
        await client.create(SERVICES, service("new"), namespace="sample")
    await until(lambda: {"new"} == tables.names("services", "west") - {"kubernetes"}, within=10)
    await until(lambda: all(s.status == "synced" for s in second.statuses()), within=10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_readers_token_reads_but_neither_writes_nor_sees_secrets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusters(tmp_path) as (_, west):
            async with await west.client() as client:
                secret = await make(client, Wanted(name="west", server=client.server))
                again = await make(client, Wanted(name="west", server=client.server))
            assert secret == again
            document = yaml.safe_load(secret["stringData"]["west"])
            async with await KubeClient.connect(kubeconfig.select(document)) as reader:
                assert await reader.list(PODS) == []
                status = await reader.review_token("nonsense", "istio-ca")
                assert status.get("authenticated") in (False, None)
                assert (await reader.signing_keys())["keys"]
                for ask in (
                    reader.list(SECRETS),
                    reader.create(SERVICES, service("x"), namespace="sample"),
                    reader.list(SERVICE_ACCOUNTS),
                ):
                    with pytest.raises(KubeError) as refused:
                        await ask
                    assert refused.value.status == 403

    uvloop.run(scenario())


def test_a_burst_of_changes_arrives_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with clusters(tmp_path) as (east, _):
            tables = Tables()
            changes: list[Change] = []

            def emit(found: list[Change]) -> None:
                changes.extend(found)
                tables.apply(found)

            running = manager(east, tmp_path, emit)
            task = asyncio.create_task(running.run())
            async with asyncio.timeout(10):
                await running.synced()
            async with await east.client() as client:
                for i in range(30):
                    await client.create(SERVICES, service(f"s{i}"), namespace="sample")
                for i in range(0, 30, 2):
                    await client.delete(SERVICES, "sample", f"s{i}")
            odd = {f"s{i}" for i in range(1, 30, 2)}
            await until(lambda: tables.names("services", "east") - {"kubernetes"} == odd)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    uvloop.run(scenario())
