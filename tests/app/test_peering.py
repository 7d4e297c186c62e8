"""Two control planes in this process, each beside an API server of its own, that tell each other over loopback."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from isthmus.app.serve import ControlPlane
from isthmus.app.settings import Listen, ServeSettings
from isthmus.base.labels import NETWORK_LABEL, TRUST_BUNDLE_ANNOTATION, TRUST_DOMAIN_ANNOTATION
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.install.crds import definitions
from isthmus.kube.requests import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Resource
from isthmus.model.peering import PeerService
from tests.embedded import EmbeddedCluster

GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways")
DEADLINE = 90


class Site:
    """A cluster of its own trust domain and network, with a control plane that comes and goes."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        self.cluster = EmbeddedCluster(name, self.directory / "api")
        self.admin: KubeClient
        self.plane: ControlPlane
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def prepare(self) -> None:
        await self.cluster.start()
        self.admin = await self.cluster.client()
        applier = ManifestApplier(self.admin, report=lambda _: None)
        wanted = [one for one in definitions(gateway_api=True) if one["spec"]["names"]["kind"] == "Gateway"]
        await applier.apply(wanted, within=20)
        for name, labels in (("istio-system", {NETWORK_LABEL: self.name}), ("app", {})):
            meta = {"name": name, "labels": labels}
            await self.admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})

    def settings(self) -> ServeSettings:
        return ServeSettings(
            cluster=self.name,
            access=self.cluster.access,
            network=self.name,
            trust_domain=f"{self.name}.test",
            instance=f"istiod-{self.name}",
            listen=Listen(host="127.0.0.1", tls=0, plain=0, webhook=0, admin=0, peers=self.port),
            checkpoint_dir=str(self.directory / "checkpoint"),
            ca_directory=self.directory / "cacerts",
            drain_seconds=0.1,
        )

    async def start(self) -> None:
        self.plane = ControlPlane(self.settings())
        self._task = asyncio.create_task(self.plane.run())
        await until(lambda: "peers" in self.plane.ports and not self.plane._waiting_for)
        self.port = self.plane.ports["peers"]

    async def stop(self) -> None:
        if self._task is not None:
            self.plane.stop()
            await self._task
            self._task = None

    @property
    def roots(self) -> str:
        return self.plane.trust.authority.root_bundle.decode()

    async def export(self, name: str, *addresses: str, label: str = "global") -> None:
        """A service that other clusters may call, with pods that take HBONE."""
        meta = {"name": name, "namespace": "app", "labels": {"solo.io/service-scope": label}}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}}
        await self.admin.apply(SERVICES, service, manager="test")
        for address in addresses:
            await self._pod(f"{name}-{address.rpartition('.')[2]}", address)
        await self.admin.apply(ENDPOINT_SLICES, endpoints(name, addresses), manager="test")

    async def _pod(self, name: str, address: str) -> None:
        meta = {"name": name, "namespace": "app", "annotations": {"ambient.istio.io/redirection": "enabled"}}
        spec = {"containers": [{"name": "a", "image": "isthmus/helloworld"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        if await self.admin.find(PODS, "app", name) is None:
            await self.admin.create(PODS, body, namespace="app")
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            await self.admin.patch_status(PODS, {"status": status}, namespace="app", name=name)

    async def link(self, other: "Site", *, port: int | None = None, roots: str | None = None) -> None:
        """Declare the other a peer; port 0: it is only let in."""
        await self.admin.apply(GATEWAYS, remote(other, port=port, roots=roots), manager="test")

    async def unlink(self, other: "Site") -> None:
        await self.admin.delete(GATEWAYS, "istio-gateways", f"istio-remote-peer-{other.name}")

    def heard(self, other: "Site") -> dict[str, PeerService]:
        rows = (row for _, row in self.plane.mesh.sources.peer_services.rows() if row.cluster == other.name)
        return {row.name: row for row in rows}

    def peer(self, other: "Site") -> dict[str, Any]:
        found = [one for one in self.plane.peering.page()["peers"] if one["peer"] == other.name]
        return found[0] if found else {"state": "none"}

    async def status(self, other: "Site") -> dict[str, Any]:
        found = await self.admin.get(GATEWAYS, "istio-gateways", f"istio-remote-peer-{other.name}")
        return {one["type"]: one for one in (found.get("status") or {}).get("conditions", [])}


def remote(other: Site, *, port: int | None, roots: str | None) -> dict[str, Any]:
    notes = {
        TRUST_DOMAIN_ANNOTATION: f"{other.name}.test",
        TRUST_BUNDLE_ANNOTATION: other.roots if roots is None else roots,
    }
    listeners: list[dict[str, Any]] = [{"name": "cross-network", "port": 15008, "protocol": "HBONE"}]
    if port != 0:
        listeners.append({"name": "xds-tls", "port": port or other.port, "protocol": "TLS"})
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "name": f"istio-remote-peer-{other.name}",
            "namespace": "istio-gateways",
            "labels": {NETWORK_LABEL: other.name},
            "annotations": notes,
        },
        "spec": {
            "gatewayClassName": "istio-remote",
            "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
            "listeners": listeners,
        },
    }


def endpoints(name: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    found = [
        {
            "addresses": [address],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "namespace": "app", "name": f"{name}-{address.rpartition('.')[2]}"},
        }
        for address in addresses
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x", "namespace": "app", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": found,
    }


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  (bounded by the deadline of `sites`)
        await asyncio.sleep(0.02)


@asynccontextmanager
async def sites(directory: Path) -> AsyncIterator[tuple[Site, Site]]:
    pair = Site("east", directory), Site("west", directory)
    try:
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(site.prepare() for site in pair))
            for site in pair:
                meta = {"name": "istio-gateways"}
                await site.admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
            await asyncio.gather(*(site.start() for site in pair))
            yield pair
    finally:
        for site in pair:
            await site.stop()
            await site.admin.aclose()
            await site.cluster.kill()


Scenario = Callable[[Site, Site], Awaitable[None]]


def two_control_planes(scenario: Scenario) -> Callable[[Path], None]:
    """A test with two sites."""

    @functools.wraps(scenario)
    def test(tmp_path: Path) -> None:
        async def bounded() -> None:
            async with sites(tmp_path) as (east, west):
                await scenario(east, west)

        asyncio.run(bounded())

    test.__annotations__ = {"tmp_path": Path}
    del test.__wrapped__
    return test


@two_control_planes
async def test_linked_both_ways_each_hears_of_the_other(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: "hello" in east.heard(west))
    found = east.heard(west)["hello"]
    assert found.identities == ("spiffe://west.test/ns/app/sa/default",)
    assert [(place.network, place.total) for place in found.endpoints] == [("west", 1)]
    await until(lambda: west.peer(east)["state"] == east.peer(west)["state"] == "connected")
    await west.export("hello", "10.0.0.5", "10.0.0.6")
    await until(lambda: east.heard(west)["hello"].endpoints[0].total == 2)
    await west.export("hello", label="none")
    await until(lambda: not east.heard(west))
