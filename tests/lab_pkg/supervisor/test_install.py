"""The order in which a mesh is installed, against real API servers; no pod runs, addresses come from the test."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus_lab.apiserver.inprocess import Loopback
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.labfile.load import load
from isthmus_lab.net.plan import make_plan
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.supervisor.install import Installer
from isthmus_lab.supervisor.progress import Progress
from isthmus_lab.supervisor.state import StateDirectory

Json = dict[str, Any]
SYSTEM = "/api/v1/namespaces/istio-system"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices"
GATEWAY = f"{SYSTEM}/services/istio-eastwestgateway"
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "default"}}


class Bench:
    """API servers of an example's clusters, and installers for it."""

    def __init__(self, directory: Path, document: Json) -> None:
        (directory / "example" / "all").mkdir(parents=True)
        (directory / "example" / "lab.yaml").write_text(yaml.safe_dump(document))
        (directory / "example" / "all" / "map.yaml").write_text(yaml.safe_dump(MAP))
        self.world = load(directory / "example")
        self.state = StateDirectory(directory / "state")
        plan = make_plan(self.world)
        self.clusters = {c.name: ClusterControl(c, plan.network(c.network), self.state) for c in plan.clusters}
        self._servers = ExitStack()

    def __enter__(self) -> "Bench":
        for name in self.clusters:
            data = self.state.api_data(name)
            data.mkdir(parents=True)
            server = self._servers.enter_context(Loopback(data, cluster=name))
            self.state.api_socket(name).symlink_to(server.unix)
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    async def get(self, cluster: str, path: str) -> Json:
        return await self.clusters[cluster].client.get(path)

    async def appears(self, cluster: str, path: str) -> Json:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ApiError):
                    return await self.get(cluster, path)
                await asyncio.sleep(0.02)

    async def address(self, cluster: str, service: str, *addresses: str) -> None:
        """What the cluster's load balancers would do."""
        await self.appears(cluster, service)
        body = {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}}
        await self.clusters[cluster].client.merge(f"{service}/status", body)

    async def reached(self, cluster: str, name: str = "istiod-ipv4") -> list[str]:
        found = await self.get(cluster, f"{SLICES}/{name}")
        return [address for endpoint in found["endpoints"] for address in endpoint["addresses"]]

    async def install(self) -> list[str]:
        """One `lab up`; what it said."""
        progress = Progress()
        async with asyncio.timeout(40):
            await Installer(self.world, self.state, self.clusters, progress).run()
        return [step.text for step in progress.steps]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While addresses are kept up to date."""
        task = asyncio.create_task(Installer(self.world, self.state, self.clusters, Progress()).keep_addresses())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


def cluster(name: str, **fields: Any) -> Json:
    return {"name": name, "network": "a", "nodes": [{"name": "n1"}], **fields}


def document(planes: Any, *clusters: Json) -> Json:
    return {"name": "x", "networks": [{"name": "a"}], "controlPlanes": planes, "clusters": list(clusters)}


PRIMARY_REMOTE = document([{"cluster": "east"}], cluster("east"), cluster("west"))


async def install(bench: Bench, cluster: str, service: str, address: str) -> list[str]:
    """The first `lab up`, with a load balancer that gives an address."""
    given = asyncio.create_task(bench.address(cluster, service, address))
    said = await bench.install()
    await given
    return said


def test_a_remote_waits_for_the_gateway_of_its_primary_and_is_introduced(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        said = await install(bench, "east", GATEWAY, "198.18.1.1")
        assert "west: uses control plane east at 198.18.1.1" in said
        assert said[-1] == "remote secrets: control plane east knows west"
        assert await bench.reached("west") == ["198.18.1.1"]
        secret = await bench.get("east", f"{SYSTEM}/secrets/istio-remote-secret-west")
        kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["west"]))
        assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://192.0.2.1:6443"
        with pytest.raises(ApiError):
            await bench.get("east", f"{SYSTEM}/secrets/istio-remote-secret-east")
        for name in ("east", "west"):
            await bench.get(name, "/api/v1/namespaces/default/configmaps/mine")

    with Bench(tmp_path, PRIMARY_REMOTE) as bench:
        asyncio.run(scenario(bench))


def test_the_next_start_applies_nothing_again_but_addresses(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await install(bench, "east", GATEWAY, "198.18.1.1")
        client = bench.clusters["west"].client
        await client.merge("/api/v1/namespaces/default/configmaps/mine", {"data": {"by": "hand"}})
        await bench.address("east", GATEWAY, "198.18.1.2")
        said = await bench.install()
        assert "east: objects of the last run found again" in said
        assert "west: objects of the last run found again" in said
        assert not [text for text in said if text.startswith("remote secrets")]
        assert (await bench.get("west", "/api/v1/namespaces/default/configmaps/mine"))["data"] == {"by": "hand"}
        assert await bench.reached("west") == ["198.18.1.2"]

    with Bench(tmp_path, PRIMARY_REMOTE) as bench:
        asyncio.run(scenario(bench))


def test_addresses_of_a_control_plane_are_followed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await install(bench, "east", GATEWAY, "198.18.1.1")
        async with bench.following():
            for address in ("198.18.1.7", "198.18.1.9"):
                await bench.address("east", GATEWAY, address)

                async def moved(address: str = address) -> bool:
                    return await bench.reached("west") == [address]

                await until(moved)

    with Bench(tmp_path, PRIMARY_REMOTE) as bench:
        asyncio.run(scenario(bench))


def test_an_external_control_plane_reads_its_config_cluster(tmp_path: Path) -> None:
    planes = [{"name": "out", "cluster": "mgmt", "config": "east"}]
    made = document(planes, cluster("mgmt"), cluster("east"), cluster("west"))

    async def scenario(bench: Bench) -> None:
        said = await install(bench, "mgmt", f"{SYSTEM}/services/istiod", "198.18.1.5")
        assert "control plane out in mgmt reads its configuration in east" in said
        secret = await bench.get("mgmt", f"{SYSTEM}/secrets/istio-kubeconfig")
        assert yaml.safe_load(base64.b64decode(secret["data"]["config"]))["current-context"] == "east"
        await bench.get("mgmt", f"{SYSTEM}/secrets/istio-remote-secret-west")
        for name in ("east", "west"):
            assert await bench.reached(name) == ["198.18.1.5"]

    with Bench(tmp_path, made) as bench:
        asyncio.run(scenario(bench))


def test_control_planes_that_need_each_others_addresses_do_not_wait_for_ever(tmp_path: Path) -> None:
    both = ["shared", "own"]
    planes = [{"name": "shared", "cluster": "east"}, {"name": "own", "cluster": "north"}]
    made = document(planes, cluster("east", controlPlanes=both), cluster("north", controlPlanes=both[::-1]))

    async def scenario(bench: Bench) -> None:
        given = asyncio.create_task(bench.address("north", GATEWAY, "198.18.1.2"))
        await install(bench, "east", GATEWAY, "198.18.1.1")
        await given
        assert await bench.reached("north", "istiod-shared-ipv4") == ["198.18.1.1"]
        assert await bench.reached("east", "istiod-own-ipv4") == ["198.18.1.2"]

    with Bench(tmp_path, made) as bench:
        asyncio.run(scenario(bench))


def test_nothing_is_exchanged_where_nobody_is_to_know_anybody(tmp_path: Path) -> None:
    planes = [{"cluster": "east", "knows": []}, {"cluster": "west", "knows": []}]

    async def scenario(bench: Bench) -> None:
        said = await bench.install()
        assert not [text for text in said if text.startswith("remote secrets")]
        for name in ("east", "west"):
            found = await bench.get(name, f"{SYSTEM}/secrets")
            assert [item["metadata"]["name"] for item in found["items"]] == ["cacerts"]

    with Bench(tmp_path, document(planes, cluster("east"), cluster("west"))) as bench:
        asyncio.run(scenario(bench))
