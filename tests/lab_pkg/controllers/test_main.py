"""All controllers against the real API server: from a Deployment to endpoints, over failures and restarts."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.errors import UnreachableError
from isthmus_lab.apiserver.inprocess import Loopback
from isthmus_lab.controllers import client as kinds
from isthmus_lab.controllers.client import Client
from isthmus_lab.controllers.main import ControllerSettings, run
from isthmus_lab.kubelet.client import ApiError
from tests.lab_pkg.controllers.nodes import PretendedNodes
from tests.lab_pkg.controllers.world import Json

ZONES = {"n1": "zone-a", "n2": "zone-b"}


async def until(question: Callable[[], Awaitable[Any]], wanted: Any, *, seconds: float = 10.0) -> None:
    """Ask until the answer is the wanted one."""
    answer: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                answer = await question()
                if answer == wanted:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"after {seconds} s: {answer!r}, not {wanted!r}") from None


@asynccontextmanager
async def cluster(
    server: Loopback, *, nodes: bool = True, grace: float = 60.0
) -> AsyncIterator[tuple[Client, PretendedNodes]]:
    """A client, with controllers and nodes at work."""
    client = Client(str(server.unix), server.token())
    async with asyncio.TaskGroup() as group:
        kubelets = PretendedNodes(client, ZONES)
        tasks = [group.create_task(run(client, ControllerSettings(node_grace_seconds=grace)))]
        if nodes:
            tasks.append(group.create_task(kubelets.run()))
            tasks.append(group.create_task(renewals(kubelets)))
        try:
            yield client, kubelets
        finally:
            for task in tasks:
                task.cancel()


async def renewals(kubelets: PretendedNodes) -> None:
    await kubelets.ready.wait()
    while True:
        for name in ZONES:
            await kubelets.renew(name)
        await asyncio.sleep(0.3)


def web(replicas: int, image: str = "isthmus/helloworld") -> Json:
    container = {"name": "app", "image": image, "ports": [{"name": "http", "containerPort": 5000}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def web_service(kind: str = "ClusterIP") -> Json:
    port = {"name": "http", "port": 80, "targetPort": "http"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"type": kind, "selector": {"app": "web"}, "ports": [port]},
    }


async def ready_endpoints(client: Client) -> int:
    listing = await client.list(kinds.ENDPOINT_SLICE, "default", labels="kubernetes.io/service-name=web")
    return sum(end["conditions"]["ready"] for item in listing.items for end in item.get("endpoints") or [])


async def pod_names(client: Client) -> list[str]:
    return [pod["metadata"]["name"] for pod in (await client.list(kinds.POD, "default")).items]


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with Loopback(tmp_path) as running:
        yield running


def test_from_deployment_to_endpoints_and_back(server: Loopback) -> None:
    async def scenario() -> None:
        async with cluster(server) as (client, _):
            await client.create(kinds.SERVICE, web_service())
            await client.create(kinds.DEPLOYMENT, web(3))
            await until(lambda: ready_endpoints(client), 3)
            (found,) = (
                await client.list(kinds.ENDPOINT_SLICE, "default", labels="kubernetes.io/service-name=web")
            ).items
            assert found["ports"] == [{"name": "http", "port": 5000, "protocol": "TCP"}]
            assert {end["zone"] for end in found["endpoints"]} == {"zone-a", "zone-b"}
            await client.patch(kinds.DEPLOYMENT, "default", "web", {"spec": {"replicas": 0}}, subresource="scale")
            await until(lambda: ready_endpoints(client), 0)
            await until(lambda: pod_names(client), [])
            await client.delete(kinds.SERVICE, "default", "web")
            await until(lambda: ready_endpoints(client), 0)

    asyncio.run(scenario())


def test_controllers_that_start_again_change_nothing(server: Loopback) -> None:
    async def scenario() -> None:
        async with cluster(server) as (client, _):
            await client.create(kinds.SERVICE, web_service())
            await client.create(kinds.DEPLOYMENT, web(3))
            await until(lambda: ready_endpoints(client), 3)
            await until(lambda: progress(client), "NewReplicaSetAvailable")
            before = await written_by_controllers(client)
        async with cluster(server, nodes=False) as (client, _):
            await client.create(kinds.DEPLOYMENT, {**web(1), "metadata": {"name": "other", "namespace": "default"}})
            await until(lambda: replicas_of(client, "other"), 1)
            assert before.items() <= (await written_by_controllers(client)).items()

    asyncio.run(scenario())


async def progress(client: Client) -> str:
    found = await client.get(kinds.DEPLOYMENT, "default", "web")
    return next((c["reason"] for c in found["status"].get("conditions") or [] if c["type"] == "Progressing"), "")


async def replicas_of(client: Client, name: str) -> int:
    return int((await client.get(kinds.DEPLOYMENT, "default", name)).get("status", {}).get("replicas", 0))


async def written_by_controllers(client: Client) -> dict[tuple[str, str], str]:
    """Revisions of everything that controllers of `web` wrote."""
    found = {}
    for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.POD, kinds.ENDPOINT_SLICE, kinds.ENDPOINTS):
        for obj in (await client.list(kind, "default")).items:
            found[kind.kind, obj["metadata"]["name"]] = obj["metadata"]["resourceVersion"]
    return found


def test_pods_that_are_refused_are_made_when_they_are_no_longer(server: Loopback) -> None:
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "absent"},
        "webhooks": [
            {
                "name": "absent.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:1/inject"},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }
        ],
    }
    webhooks = kinds.Kind("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "", namespaced=False)

    async def scenario() -> None:
        async with cluster(server) as (client, _):
            await client.create(webhooks, hook)
            await client.create(kinds.DEPLOYMENT, web(2))
            await until(lambda: reasons(client), {"FailedCreate"})
            found = await client.get(kinds.DEPLOYMENT, "default", "web")
            assert any(item["type"] == "ReplicaFailure" for item in found["status"]["conditions"])
            assert await pod_names(client) == []
            await client.delete(webhooks, "", "absent")
            await until(lambda: replicas_of(client, "web"), 2)

    asyncio.run(scenario())


async def reasons(client: Client) -> set[str]:
    """Reasons of the warnings about ReplicaSets."""
    events = (await client.list(kinds.EVENT, "default")).items
    about = [item for item in events if item["involvedObject"]["kind"] == "ReplicaSet" and item["type"] == "Warning"]
    return {item["reason"] for item in about}


def test_a_silent_node_takes_its_endpoints_out_until_it_is_back(server: Loopback) -> None:
    async def scenario() -> None:
        async with cluster(server, nodes=False, grace=2.0) as (client, kubelets), asyncio.TaskGroup() as group:
            playing = group.create_task(kubelets.run())
            alive = group.create_task(renewals(kubelets))
            await client.create(kinds.SERVICE, web_service())
            await client.create(kinds.DEPLOYMENT, web(2))
            await until(lambda: ready_endpoints(client), 2)
            alive.cancel()
            await until(lambda: ready_endpoints(client), 0)
            node = await client.get(kinds.NODE, "", "n1")
            assert [item["status"] for item in node["status"]["conditions"] if item["type"] == "Ready"] == ["Unknown"]
            assert [taint["key"] for taint in node["spec"]["taints"]] == ["node.kubernetes.io/unreachable"]
            playing.cancel()

    asyncio.run(scenario())


def test_load_balancers_have_the_wan_addresses_of_their_pods(server: Loopback) -> None:
    async def addresses(client: Client) -> list[str]:
        found = await client.get(kinds.SERVICE, "default", "web")
        return [item["ip"] for item in found["status"].get("loadBalancer", {}).get("ingress") or []]

    async def scenario() -> None:
        async with cluster(server) as (client, _):
            await client.create(kinds.SERVICE, web_service("LoadBalancer"))
            await client.create(kinds.DEPLOYMENT, web(2))
            await until(lambda: ready_endpoints(client), 2)
            for number, name in enumerate(await pod_names(client)):
                annotation = {"lab.isthmus.dev/wan-ip": f"198.18.0.{number + 1}"}
                await client.patch(kinds.POD, "default", name, {"metadata": {"annotations": annotation}})
            await until(lambda: addresses(client), ["198.18.0.1", "198.18.0.2"])
            await client.patch(kinds.DEPLOYMENT, "default", "web", {"spec": {"replicas": 0}})
            await until(lambda: addresses(client), [])

    asyncio.run(scenario())


def test_the_client_tells_a_refusal_from_a_server_that_is_away(server: Loopback, tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ApiError, match="404 NotFound"):
            await Client(str(server.unix), server.token()).get(kinds.POD, "default", "none")
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await Client(str(server.unix), "nobody's").list(kinds.POD)
        with pytest.raises(UnreachableError, match=r"nothing\.sock"):
            await Client(str(tmp_path / "nothing.sock"), "").list(kinds.POD)

    asyncio.run(scenario())


@pytest.mark.kubectl
def test_kubectl_rolls_out_scales_restarts_and_undoes(server: Loopback) -> None:
    async def kubectl(*words: str) -> str:
        program = ["kubectl", f"--kubeconfig={server.kubeconfig}", *words]
        done = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = await asyncio.wait_for(done.communicate(), 40)
        assert done.returncode == 0, said.decode()
        return said.decode()

    async def rolled_out() -> None:
        said = await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        assert 'deployment "web" successfully rolled out' in said

    async def scenario() -> None:
        async with cluster(server) as (client, _):
            await kubectl("create", "deployment", "web", "--image=one", "--replicas=2")
            await rolled_out()
            await kubectl("scale", "deployment/web", "--replicas=3")
            await rolled_out()
            before = set(await pod_names(client))
            await kubectl("rollout", "restart", "deployment/web")
            await rolled_out()
            await until(lambda: pod_count(client), 3)
            assert before.isdisjoint(await pod_names(client))
            await kubectl("set", "image", "deployment/web", "one=broken")
            await kubectl("rollout", "undo", "deployment/web")
            await rolled_out()
            history = await kubectl("rollout", "history", "deployment/web")
            assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "3", "4"]
            assert "3/3" in await kubectl("get", "deployment", "web")
            await kubectl("delete", "deployment", "web", "--wait=false")
            await until(lambda: pod_count(client), 0)

    asyncio.run(scenario())


async def pod_count(client: Client) -> int:
    return len(await pod_names(client))
