"""Roots and webhooks of remote clusters, against a real API server: only where a cluster asks for it (RS12)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.edge.remote_duties import DutySettings, RemoteDuties
from isthmus.edge.root_writer import ROOT_KEY, WEBHOOKS
from isthmus.install.manifests import remote
from isthmus.install.values import (
    CONTROL_PLANE_CLUSTERS,
    READER_ACCOUNT,
    ROOT_CONFIG_MAP,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
)
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, Resource, create_request
from tests.embedded import EmbeddedCluster

ROOTS = "-----BEGIN CERTIFICATE-----\nroots of the mesh\n-----END CERTIFICATE-----\n"
WEBHOOK = "istio-sidecar-injector"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster("west", tmp_path_factory.mktemp("west"))
    with asyncio.Runner() as runner:
        runner.run(made.start())
        runner.run(install(made))
        yield made
        runner.run(made.kill())


async def install(cluster: EmbeddedCluster) -> None:
    planes = (RemoteControlPlane(name="shared", cluster="east", addresses=("192.0.2.1",), injects=True),)
    manifests = remote(RemoteValues(mesh=MeshValues(cluster="west"), control_planes=planes))
    async with await cluster.client() as client:
        await ManifestApplier(client, report=lambda _: None).apply(manifests, within=20)


async def reader_access(cluster: EmbeddedCluster) -> Access:
    """What a remote secret gives the control plane."""
    async with await cluster.client() as client:
        body = {"spec": {"expirationSeconds": 3600}}
        ask = create_request(SERVICE_ACCOUNTS, body, namespace="istio-system", name=READER_ACCOUNT, subresource="token")
        token = (await client.json(ask))["status"]["token"]
    admin = cluster.access
    return Access(server=admin.server, ca=admin.ca, ca_file=admin.ca_file, token=token)


class Bench:
    """Duties of the control plane of cluster `own`, with the reader's rights, and an administrator who looks."""

    def __init__(self, admin: KubeClient, reader: KubeClient, own: str) -> None:
        self.admin = admin
        self.known = ["west"]
        self.roots = ROOTS
        settings = DutySettings(cluster=own, system_namespace="istio-system", interval=0.05)
        self.duties = RemoteDuties(
            settings, clusters=lambda: self.known, client=lambda _: reader, roots=lambda: self.roots
        )

    async def asked_for(self, clusters: str | None) -> None:
        patch = {"metadata": {"annotations": {CONTROL_PLANE_CLUSTERS: clusters}}}
        await self.admin.patch(
            NAMESPACES, patch, namespace="", name="istio-system", content_type="application/merge-patch+json"
        )

    async def roots_in(self, namespace: str) -> str | None:
        found = await self.admin.find(CONFIG_MAPS, namespace, ROOT_CONFIG_MAP)
        return found["data"][ROOT_KEY] if found else None

    async def bundles(self) -> set[str]:
        found = await self.admin.get(WEBHOOKS, "", WEBHOOK)
        texts = [hook["clientConfig"].get("caBundle") or "" for hook in found["webhooks"]]
        return {base64.b64decode(text).decode() for text in texts}

    async def written(self) -> list[str]:
        """Versions of everything that could have been written."""
        maps = await self.admin.list(CONFIG_MAPS)
        hooks = await self.admin.list(WEBHOOKS)
        return [item["metadata"]["resourceVersion"] for item in (*maps, *hooks)]


@asynccontextmanager
async def bench(cluster: EmbeddedCluster, own: str = "east") -> AsyncIterator[Bench]:
    async with await cluster.client() as admin, await KubeClient.connect(await reader_access(cluster)) as reader:
        yield Bench(admin, reader, own)


@asynccontextmanager
async def running(made: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(made.duties.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


def test_a_cluster_that_asks_gets_roots_in_every_namespace_and_its_webhook_trusts_us(west: EmbeddedCluster) -> None:
    async def play() -> None:
        async with bench(west) as b, running(b):
            await b.asked_for("north, east")
            await until(lambda: _equals(b.bundles(), {ROOTS}))
            assert await b.roots_in("istio-system") == await b.roots_in("default") == ROOTS
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}}
            await b.admin.create(NAMESPACES, body)
            b.duties.poke("west")
            await until(lambda: _equals(b.roots_in("late"), ROOTS))
            b.roots = ROOTS + ROOTS
            await until(lambda: _equals(b.roots_in("late"), ROOTS + ROOTS))
            await until(lambda: _equals(b.bundles(), {ROOTS + ROOTS}))
            assert b.duties.problems() == []

    asyncio.run(play())


@pytest.mark.parametrize("asked", ["north", "easter", "", None])
def test_a_cluster_that_asks_another_is_not_written_to(west: EmbeddedCluster, asked: str | None) -> None:
    async def play() -> None:
        async with bench(west) as b:
            await b.asked_for(asked)
            before = await b.written()
            b.roots = f"{ROOTS}not for you"
            for _ in range(2):
                await b.duties._attempt("west")
            assert await b.written() == before

    asyncio.run(play())


def test_what_is_right_is_not_written_again(west: EmbeddedCluster) -> None:
    async def play() -> None:
        async with bench(west) as b:
            await b.asked_for("*")
            await b.duties._attempt("west")
            before = await b.written()
            await b.duties._attempt("west")
            assert await b.written() == before

    asyncio.run(play())


def test_missing_rights_are_a_problem_with_its_remedy_until_they_are_there(west: EmbeddedCluster) -> None:
    async def play() -> None:
        async with bench(west) as b:
            await b.asked_for("east")
            await revoke(b.admin)
            await b.duties._attempt("west")
            (problem,) = b.duties.problems()
            assert problem.where.cluster == "west"
            assert "--profile remote" in problem.remedy
            await install(west)
            await b.duties._attempt("west")
            assert b.duties.problems() == []

    asyncio.run(play())


async def revoke(admin: KubeClient) -> None:
    """Leave the reader what the reader of a primary has."""
    rules: list[Json] = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}]
    roles = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
    name = "istio-reader-clusterrole-istio-system"
    await admin.patch(roles, {"rules": rules}, namespace="", name=name, content_type="application/merge-patch+json")


def test_a_cluster_that_left_has_no_problem_any_more(west: EmbeddedCluster) -> None:
    async def play() -> None:
        async with bench(west) as b:
            await b.asked_for("east")
            await revoke(b.admin)
            await b.duties._attempt("west")
            b.known.clear()
            assert b.duties.problems() == []
            await install(west)

    asyncio.run(play())


async def _equals(found: Awaitable[Any], wanted: object) -> bool:
    return bool(await found == wanted)
