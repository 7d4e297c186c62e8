"""Applying manifests: definitions before what they define, and waiting for what was started."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.edge.kube_access import from_kubeconfig
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.install.crds import definitions
from isthmus.kube.requests import Resource, replace_request
from isthmus_lab.apiserver.inprocess import Loopback

DEPLOYMENTS = Resource("apps", "v1", "deployments")
GATEWAY = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "gw", "namespace": "default"},
    "spec": {"selector": {"istio": "x"}, "servers": []},
}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
    },
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with Loopback(tmp_path) as running:
        yield running


@asynccontextmanager
async def applying(server: Loopback) -> AsyncIterator[tuple[ManifestApplier, KubeClient, list[str]]]:
    said: list[str] = []
    async with await KubeClient.connect(from_kubeconfig(str(server.kubeconfig))) as client:
        yield ManifestApplier(client, report=said.append), client, said


def test_a_kind_can_be_used_right_after_its_definition(server: Loopback) -> None:
    async def scenario() -> None:
        async with applying(server) as (applier, _, said):
            gateways = [item for item in definitions(gateway_api=False) if item["spec"]["names"]["kind"] == "Gateway"]
            await applier.apply([*gateways, GATEWAY], within=5)
            assert said == ["CustomResourceDefinition gateways.networking.istio.io", "Gateway gw"]

    asyncio.run(scenario())


def test_a_kind_without_definition_is_named(server: Loopback) -> None:
    async def scenario() -> None:
        async with applying(server) as (applier, _, _):
            with pytest.raises(UsageError, match=r"knows no ControllerRevision of apps/v1"):
                await applier.apply([{**DEPLOYMENT, "kind": "ControllerRevision"}], within=5)

    asyncio.run(scenario())


def test_deployments_are_waited_for_until_their_rollout_is_complete(server: Loopback) -> None:
    async def scenario() -> None:
        async with applying(server) as (applier, client, _):
            await applier.apply([DEPLOYMENT], within=5)
            with pytest.raises(UnreachableError, match=r"Deployment web is not ready after 0.3 s"):
                await applier.wait_available([DEPLOYMENT], within=0.3)
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
            found = await client.get(DEPLOYMENTS, "default", "web")
            found["status"] = {**counts, "observedGeneration": found["metadata"]["generation"]}
            await client.json(
                replace_request(DEPLOYMENTS, found, namespace="default", name="web", subresource="status")
            )
            await applier.wait_available([DEPLOYMENT], within=5)

    asyncio.run(scenario())
