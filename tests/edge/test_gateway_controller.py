"""What is made for Gateways and what they are told, against a real API server, with the control plane's own rights."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import msgspec
import pytest

from isthmus.base.errors import Problem
from isthmus.derive.gateway_status import Seen
from isthmus.edge.clock import SystemClock
from isthmus.edge.gateway_controller import DEPLOYMENTS, GATEWAY_CLASSES, GATEWAYS, GatewayController
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.ingest.managed_gateway import managed_gateway
from isthmus.ingest.place import Place
from isthmus.install.manifests import control_plane, remote
from isthmus.install.values import (
    READER_ACCOUNT,
    ControlPlaneValues,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
)
from isthmus.kube import objects
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import NAMESPACES, SERVICE_ACCOUNTS, SERVICES, create_request
from isthmus.model.managed import ManagedGateway
from isthmus.model.rows import Service, Workload
from tests.embedded import EmbeddedCluster

Json = dict[str, Any]
MESH = MeshValues(cluster="east", network="net-east")
SPACE = "istio-gateways"


@pytest.fixture(scope="module")
def east(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster("east", tmp_path_factory.mktemp("east"))
    with asyncio.Runner() as runner:
        runner.run(made.start())
        runner.run(install(made))
        yield made
        runner.run(made.kill())


async def install(cluster: EmbeddedCluster) -> None:
    async with await cluster.client() as client:
        manifests = control_plane(ControlPlaneValues(mesh=MESH, gateway_api_crds=True))
        await ManifestApplier(client, report=lambda _: None).apply(manifests, within=20)
        await client.create(NAMESPACES, {"metadata": {"name": SPACE}})


@pytest.fixture(scope="module")
def west(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    """A cluster without a control plane."""
    made = EmbeddedCluster("west", tmp_path_factory.mktemp("west"))
    with asyncio.Runner() as runner:
        runner.run(made.start())
        yield made
        runner.run(made.kill())


async def entrusted(cluster: EmbeddedCluster, *, writes: bool) -> None:
    """East's control plane serves the cluster, and may write there or not."""
    planes = (RemoteControlPlane(name="shared", cluster="east", addresses=("192.0.2.1",), injects=writes),)
    async with await cluster.client() as client:
        manifests = remote(RemoteValues(mesh=MeshValues(cluster="west"), control_planes=planes, gateway_api_crds=True))
        await ManifestApplier(client, report=lambda _: None).apply(manifests, within=20)
        if await client.find(NAMESPACES, "", SPACE) is None:
            await client.create(NAMESPACES, {"metadata": {"name": SPACE}})


async def own_access(cluster: EmbeddedCluster, account: str = "istiod") -> Access:
    """What the control plane may do, and nothing else."""
    async with await cluster.client() as client:
        body = {"spec": {"expirationSeconds": 3600}}
        ask = create_request(SERVICE_ACCOUNTS, body, namespace="istio-system", name=account, subresource="token")
        token = (await client.json(ask))["status"]["token"]
    admin = cluster.access
    return Access(server=admin.server, ca=admin.ca, ca_file=admin.ca_file, token=token)


def gateway(name: str, *, network: str = "net-east", kind: str = "istio-eastwest") -> Json:
    tls = {"mode": "Passthrough"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": SPACE, "labels": {"topology.istio.io/network": network}},
        "spec": {
            "gatewayClassName": kind,
            "listeners": [
                {"name": "cross-network", "port": 15008, "protocol": "HBONE", "tls": tls},
                {"name": "wrong", "port": 80, "protocol": "HTTP"},
            ],
        },
    }


P = ParamSpec("P")


async def eventually(ask: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]) -> Any:
    """What is answered, once it is as wanted."""
    async with asyncio.timeout(15):
        while not good(found := await ask()):  # noqa: ASYNC110 - a server that is asked has no event
            await asyncio.sleep(0.05)
    return found


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Bench:
    """A controller that sees what a test says it sees."""

    def __init__(self, cluster: EmbeddedCluster, admin: KubeClient, own: KubeClient) -> None:
        self.cluster = cluster
        self.admin = admin
        self.rows: list[ManagedGateway] = []
        self.seen = Seen()
        self.controller = GatewayController(
            lambda: MESH, SystemClock(), rows=lambda: self.rows, seen=lambda _: self.seen, client=lambda: own
        )

    async def put(self, obj: Json) -> ManagedGateway:
        """Create a Gateway, which the controller then knows of."""
        made = await self.admin.create(GATEWAYS, obj, namespace=SPACE)
        (row,), _ = managed_gateway(Place("east"), msgspec.convert(made, objects.Custom))
        assert isinstance(row, ManagedGateway)
        self.rows.append(row)
        self.controller.poke()
        return row

    async def status(self, name: str, good: Callable[[Json], bool]) -> Json:
        """The status of a Gateway, once it is as wanted."""
        found = await eventually(
            lambda: self.admin.get(GATEWAYS, SPACE, name), lambda one: "status" in one and good(one["status"])
        )
        status: Json = found["status"]
        return status


@asynccontextmanager
async def bench(cluster: EmbeddedCluster, account: str = "istiod") -> AsyncIterator[Bench]:
    admin, own = await cluster.client(), await KubeClient.connect(await own_access(cluster, account))
    async with admin, own, asyncio.TaskGroup() as group:
        made = Bench(cluster, admin, own)
        task = group.create_task(made.controller.run())
        yield made
        task.cancel()


def condition(status: Json, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    [found] = [one for one in status["conditions"] if one["type"] == kind]
    return found["status"], found["reason"]


def pod(name: str, *, ready: bool) -> Workload:
    return Workload(cluster="east", namespace=SPACE, name=name, ready=ready)


@in_loop
async def test_a_gateway_runs_is_told_how_it_is_and_takes_everything_along(east: EmbeddedCluster) -> None:
    async with bench(east) as made:
        row = await made.put(gateway("ew"))
        status = await made.status("ew", lambda found: condition(found, "Programmed")[1] == "AddressNotAssigned")
        assert condition(status, "Accepted") == ("True", "ListenersNotValid")
        assert [condition(one, "Accepted")[0] for one in status["listeners"]] == ["True", "False"]
        owned = [await made.admin.get(one, SPACE, "ew") for one in (SERVICE_ACCOUNTS, SERVICES, DEPLOYMENTS)]
        assert {item["metadata"]["ownerReferences"][0]["uid"] for item in owned} == {row.uid}
        assert owned[1]["spec"]["type"] == "LoadBalancer"
        assert [port["port"] for port in owned[1]["spec"]["ports"]] == [15021, 15008]
        service = Service(
            cluster="east", namespace=SPACE, name="ew", type="LoadBalancer", ingress_addresses=("198.18.0.9",)
        )
        made.seen = Seen(service, (pod("a", ready=False),))
        made.controller.poke()
        status = await made.status("ew", lambda found: condition(found, "Programmed")[1] == "Pending")
        made.seen = Seen(service, (pod("a", ready=True),))
        made.controller.poke()
        status = await made.status("ew", lambda found: condition(found, "Programmed")[0] == "True")
        assert status["addresses"] == [{"type": "IPAddress", "value": "198.18.0.9"}]
        await made.admin.delete(GATEWAYS, SPACE, "ew")
        made.rows.clear()
        for resource in (SERVICE_ACCOUNTS, SERVICES, DEPLOYMENTS):
            await eventually(functools.partial(made.admin.find, resource, SPACE, "ew"), lambda found: found is None)


@in_loop
async def test_classes_are_there_and_accepted(east: EmbeddedCluster) -> None:
    async with bench(east) as made:
        for name in ("istio-eastwest", "istio-waypoint", "istio-remote"):
            found = await eventually(
                functools.partial(made.admin.find, GATEWAY_CLASSES, "", name), lambda one: "status" in (one or {})
            )
            assert condition(found["status"], "Accepted") == ("True", "Accepted")
            assert found["spec"]["controllerName"].startswith("istio.io/")


@in_loop
async def test_replicas_write_the_same_once(east: EmbeddedCluster) -> None:
    async with bench(east) as one, bench(east) as other:
        row = await one.put(gateway("twice"))
        await one.status("twice", lambda found: condition(found, "Accepted")[0] == "True")
        other.rows.append(row)
        before = await versions(one, "twice")
        await other.controller.look(everything=True)
        assert await versions(one, "twice") == before


async def versions(made: Bench, name: str) -> list[str]:
    """The versions of everything about a Gateway: nobody wrote anything if they are the same."""
    found = [await made.admin.get(one, SPACE, name) for one in (GATEWAYS, SERVICE_ACCOUNTS, SERVICES, DEPLOYMENTS)]
    return [str(item["metadata"]["resourceVersion"]) for item in found]


@in_loop
async def test_what_is_somebody_elses_stays(east: EmbeddedCluster) -> None:
    async with bench(east) as made:
        labels = {"app": "theirs"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
        body = {"metadata": {"name": "taken"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
        await made.admin.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", **body}, namespace=SPACE)
        await made.put(gateway("taken"))
        status = await made.status("taken", lambda found: condition(found, "Programmed")[1] == "Invalid")
        [told] = [one["message"] for one in status["conditions"] if one["type"] == "Programmed"]
        assert "is there already and not ours" in told
        found = await made.admin.get(DEPLOYMENTS, SPACE, "taken")
        assert found["spec"]["template"]["metadata"]["labels"] == labels


@in_loop
async def test_a_cluster_without_a_control_plane_gets_its_gateways_run_by_the_one_it_lets_write(
    west: EmbeddedCluster,
) -> None:
    """With the rights of its remote secret alone. Without them nothing is made, and the control plane says why."""
    await entrusted(west, writes=False)
    async with bench(west, READER_ACCOUNT) as made:
        await made.put(gateway("far"))
        [told] = await eventually(_problems_of(made), bool)
        assert (told.where.cluster, told.where.kind, told.where.name) == ("east", "Gateway", "far")
        assert "isthmus install" in told.remedy
        assert await made.admin.find(DEPLOYMENTS, SPACE, "far") is None
        await entrusted(west, writes=True)
        made.controller.poke()
        made.seen = Seen(None, (pod("a", ready=False),))
        await made.status("far", lambda found: condition(found, "Programmed")[1] == "AddressNotAssigned")
        found = await made.admin.get(DEPLOYMENTS, SPACE, "far")
        assert found["metadata"]["ownerReferences"][0]["name"] == "far"
        assert await eventually(_problems_of(made), lambda one: not one) == []


def _problems_of(made: Bench) -> Callable[[], Awaitable[list[Problem]]]:
    async def ask() -> list[Problem]:
        return made.controller.problems()

    return ask
