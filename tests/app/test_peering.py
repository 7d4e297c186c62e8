"""Two control planes in this process, each beside an API server of its own, that tell each other over loopback."""

import asyncio
import base64
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.app.peer import PeerMismatchError
from isthmus.app.serve import ControlPlane
from isthmus.app.settings import Listen, ServeSettings
from isthmus.base.labels import NETWORK_LABEL, TRUST_BUNDLE_ANNOTATION, TRUST_DOMAIN_ANNOTATION
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.manifest_applier import ManifestApplier
from isthmus.edge.peer_server import PeerRefusedError
from isthmus.edge.trust_keeper import HELD_SECRET
from isthmus.ingest.peer_wire import Hello
from isthmus.install.crds import definitions
from isthmus.kube.requests import ENDPOINT_SLICES, NAMESPACES, PODS, SECRETS, SERVICES, Resource
from isthmus.model.peering import PeerService
from isthmus.trust.authority import PLUG_IN_SECRET, Authority, secret_data, self_signed_authority
from isthmus.trust.issue import PemPair
from isthmus.trust.pem import certificates_to_pem, key_to_pem, load_certificates, new_key
from isthmus.xds.node import Node
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

    async def authority(self, signer: Authority, *others: Authority) -> None:
        """The operator puts an authority into the secret, with the roots of others beside its own."""
        roots = b"".join(one.root_bundle for one in (signer, *others))
        pair = PemPair(certificates_to_pem([signer.certificate]), key_to_pem(signer.key))
        data = {key: base64.b64encode(value).decode() for key, value in secret_data(pair, b"", roots).items()}
        meta = {"name": PLUG_IN_SECRET, "namespace": "istio-system"}
        await self.admin.apply(
            SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}, manager="test"
        )

    async def replaced(self, *, heard_by: "Site") -> None:
        """The operator replaces the authority, and takes the old root out."""
        old, fresh = self.plane.trust.authority, self_signed_authority(new_key(), now=time.time(), serial=2)[0]
        await self.authority(fresh, old)
        await until(lambda: self.plane.trust.authority.certificate == fresh.certificate)
        await self.authority(fresh)
        await until(lambda: heard_by.bundle(self) == fresh.root_bundle.decode())

    async def export(self, name: str, *addresses: str, label: str = "global") -> None:
        """A service that other clusters may call, with pods that take HBONE."""
        meta = {"name": name, "namespace": "app", "labels": {"solo.io/service-scope": label}}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}}
        await self.admin.apply(SERVICES, service, manager="test")
        for address in addresses:
            await self._pod(f"{name}-{address.rpartition('.')[2]}", address)
        await self.admin.apply(ENDPOINT_SLICES, endpoints(name, addresses), manager="test")

    async def gateway(self, *addresses: str) -> None:
        """Where the network is entered."""
        meta = {"name": "ew", "namespace": "istio-gateways", "labels": {NETWORK_LABEL: self.name}}
        spec = {"ports": [{"port": 15008}], "externalIPs": list(addresses)}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        await self.admin.apply(SERVICES, service, manager="test")

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

    def signal(self, other: "Site") -> str:
        """What is said of contact to the other's control plane where clusters are judged."""
        found = [one for one in self.plane.liveness.page() if one["cluster"] == other.name]
        return str(found[0]["signals"]["apiServer"].health) if found else ""

    def bundle(self, other: "Site") -> str:
        rows = (row for _, row in self.plane.mesh.sources.peer_bundles.rows() if row.cluster == other.name)
        return next((row.roots for row in rows), "")

    async def condition(self, other: "Site", wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The condition Programmed of a link, once it is as wanted."""
        while True:
            found = await self.admin.get(GATEWAYS, "istio-gateways", f"istio-remote-peer-{other.name}")
            for one in (found.get("status") or {}).get("conditions", []):
                if one["type"] == "Programmed" and wanted(one):
                    return dict(one)
            await asyncio.sleep(0.05)

    async def end_followers(self) -> None:
        """As if the network had closed all connections of peers."""
        for guest in list(self.plane.peering._guests.values()):
            guest.end()


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


@two_control_planes
async def test_one_way_the_other_hears_nothing_but_lets_the_caller_in(east: Site, west: Site) -> None:
    await asyncio.gather(east.export("near", "10.0.0.4"), west.export("hello", "10.0.0.5"))
    await west.link(east, port=0)
    await east.link(west)
    await until(lambda: "hello" in east.heard(west))
    assert west.peer(east)["state"] == "inbound"
    assert west.heard(east) == {}
    domains = {row.name for _, row in west.plane.mesh.sources.peer_bundles.rows()}
    assert domains == {"east.test"}


@two_control_planes
async def test_whom_nobody_linked_gets_nothing(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    await east.link(west)
    await until(lambda: east.peer(west).get("lastError"))
    assert "does it know our roots" in east.peer(west)["lastError"]
    assert east.heard(west) == {}


@two_control_planes
async def test_a_certificate_that_is_not_of_the_declared_trust_domain_is_refused(east: Site, west: Site) -> None:
    """West believes east by other roots than east's: TLS, or the comparison after it, must turn east away."""
    await west.export("hello", "10.0.0.5")
    foreign = self_signed_authority(new_key(), now=time.time(), serial=1)[0].root_bundle.decode()
    await west.link(east, roots=foreign)
    await east.link(west)
    await until(lambda: east.peer(west).get("lastError"))
    assert east.heard(west) == {}
    await west.link(east)
    await until(lambda: "hello" in east.heard(west))


@two_control_planes
async def test_roots_of_one_peer_do_not_vouch_for_another(east: Site, west: Site) -> None:
    """West's own roots get east's calls past TLS, but east is declared to be under others."""
    chain = load_certificates(west.plane.peering._credentials("").chain)
    await asyncio.gather(west.link(east), east.link(west))
    await until(lambda: west.peer(east)["state"] == "connected")
    node = Node("peer~0.0.0.0~a.istio-system~x", "peer", "0.0.0.0", "a", "istio-system", "x", {"CLUSTER_ID": "east"})
    with pytest.raises(PeerRefusedError, match=r"not a certificate of east\.test"):
        west.plane.peering.admit(chain, node)


@two_control_planes
async def test_silence_takes_nothing_away_and_healing_costs_nothing(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: "hello" in east.heard(west) and any(one.healthy for one in east.heard(west)["hello"].endpoints))
    before = east.peer(west)["lastUpdate"]
    await west.stop()
    await until(lambda: east.peer(west)["state"] == "error")
    assert "hello" in east.heard(west)
    condition = await east.condition(west, lambda one: one["status"] == "False")
    assert "1 services stay as last told" in condition["message"]
    await west.start()
    await until(lambda: east.peer(west)["state"] == "connected")
    assert "hello" in east.heard(west)
    assert east.peer(west)["lastUpdate"] == before, "nothing was told again"
    condition = await east.condition(west, lambda one: one["status"] == "True")
    assert "1 services in" in condition["message"]


@two_control_planes
async def test_a_restart_remembers_a_silent_peer_and_unlinking_forgets_it(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: "hello" in east.heard(west))
    await west.stop()
    await east.stop()
    await east.start()
    assert set(east.heard(west)) == {"hello"}
    assert east.peer(west)["stale"]
    await east.unlink(west)
    await until(lambda: not east.heard(west) and east.peer(west)["state"] == "none")
    assert not list(east.plane.mesh.sources.peer_bundles.rows())
    await until(lambda: not list((east.directory / "checkpoint").glob("*.peer")))


@two_control_planes
async def test_a_link_cut_by_the_network_heals_at_another_address(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    async with Wire(west.port) as wire:
        await asyncio.gather(east.link(west, port=wire.port), west.link(east))
        await until(lambda: "hello" in east.heard(west))
        await wire.cut()
        await until(lambda: east.peer(west)["state"] == "error")
        await west.export("later", "10.0.0.7")
        assert set(east.heard(west)) == {"hello"}
    await east.link(west)
    await until(lambda: set(east.heard(west)) == {"hello", "later"})


@two_control_planes
async def test_new_roots_are_announced_and_the_peer_follows_without_a_word_of_the_operator(
    east: Site, west: Site
) -> None:
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: west.peer(east)["state"] == east.peer(west)["state"] == "connected")
    old, fresh = west.plane.trust.authority, self_signed_authority(new_key(), now=time.time(), serial=2)[0]
    await west.authority(old, fresh)
    await until(lambda: fresh.root_bundle.decode() in east.bundle(west))
    await west.authority(fresh, old)
    await until(lambda: west.plane.trust.authority.certificate == fresh.certificate)
    await west.end_followers()
    await until(lambda: not west.plane.peering._guests)
    await until(lambda: west.peer(east)["state"] == east.peer(west)["state"] == "connected")
    await west.authority(fresh)
    await until(lambda: east.bundle(west) == fresh.root_bundle.decode())


@two_control_planes
async def test_nothing_is_signed_under_a_root_that_a_peer_did_not_confirm_whatever_restarts(
    east: Site, west: Site
) -> None:
    """West's operator replaces everything at once while east is away: it waits, and nobody must link again."""
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: west.peer(east)["state"] == east.peer(west)["state"] == "connected")
    await until(lambda: west.peer(east)["believesOurRoots"] and east.peer(west)["believesOurRoots"])
    await east.stop()
    old, fresh = west.plane.trust.authority, self_signed_authority(new_key(), now=time.time(), serial=2)[0]
    await west.authority(fresh, old)
    await until(lambda: west.plane.trust.waits_for)
    for _ in range(2):
        assert west.plane.trust.waits_for == ("cluster east",)
        assert west.plane.trust.authority.certificate == old.certificate
        assert set(west.plane.trust.authority.roots) == {*fresh.roots, *old.roots}
        await west.stop()
        await west.start()
        await until(lambda: west.plane.trust.waits_for == ("cluster east",))
    await east.start()
    await until(lambda: west.plane.trust.authority.certificate == fresh.certificate)
    await until(lambda: west.peer(east)["state"] == east.peer(west)["state"] == "connected")
    while (await west.admin.get(SECRETS, "istio-system", HELD_SECRET)).get("data"):  # noqa: ASYNC110  (bounded)
        await asyncio.sleep(0.02)
    await west.authority(fresh)
    await until(lambda: east.bundle(west) == fresh.root_bundle.decode())


@two_control_planes
async def test_who_is_only_let_in_confirms_new_roots_and_who_lets_in_does(east: Site, west: Site) -> None:
    """East calls west, west nobody: roots of both change all the same, first east's and then west's."""
    await west.link(east, port=0)
    await east.link(west)
    await east.replaced(heard_by=west)
    await west.replaced(heard_by=east)
    await west.end_followers()
    await until(lambda: not west.plane.peering._guests)
    await until(lambda: east.peer(west)["state"] == "connected")


@two_control_planes
async def test_the_api_server_sees_how_a_link_stands(east: Site, west: Site) -> None:
    await east.export("near", "10.0.0.4")
    await west.export("hello", "10.0.0.5")
    await asyncio.gather(east.link(west), west.link(east))
    found = await east.condition(west, lambda one: one["status"] == "True" and "1 services out" in one["message"])
    assert found["reason"] == "Connected"
    assert "1 services in" in found["message"]
    page = east.peer(west)
    assert page["roundTrip"] > 0
    assert page["connectedSince"] is not None
    assert [one["istiod"] for one in page["followers"]] == ["istiod-west"]


class Wire:
    """What a network does between two control planes: it carries, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._tasks.add(task)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@two_control_planes
async def test_a_link_follows_the_addresses_at_which_the_peer_is_entered(east: Site, west: Site) -> None:
    def entered() -> set[str]:
        return {one.address for one in east.plane.mesh.gateways() if one.network == "west"}

    await west.gateway("127.0.0.1", "127.0.0.2")
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: entered() == {"127.0.0.1", "127.0.0.2"})
    await west.gateway("127.0.0.2")
    await until(lambda: entered() == {"127.0.0.2"})
    await east.stop()
    await east.start()
    await until(lambda: entered() == {"127.0.0.2"})
    assert east.peer(west)["addresses"][0].startswith("127.0.0.2:")
    await west.gateway()
    await east.unlink(west)
    await until(lambda: not entered())


@two_control_planes
async def test_who_moved_while_nobody_listened_says_so_when_it_asks(east: Site, west: Site) -> None:
    """East looks for west where it was, for ever; but west still finds east."""

    def entered() -> set[str]:
        return {one.address for one in east.plane.mesh.gateways() if one.network == "west"}

    await west.gateway("127.0.0.1", "127.0.0.2")
    async with Wire(west.port) as wire:
        await asyncio.gather(east.link(west, port=wire.port), west.link(east))
        await until(lambda: entered() == {"127.0.0.1", "127.0.0.2"})
        await east.stop()
        await wire.cut()
        await west.gateway("127.0.0.2")
        await east.start()
        await until(lambda: entered() == {"127.0.0.2"})
        assert east.peer(west)["state"] != "connected"


@two_control_planes
async def test_a_peer_is_judged_as_clusters_are(east: Site, west: Site) -> None:
    await west.export("hello", "10.0.0.5")
    await east.link(west)
    await west.link(east)
    await until(lambda: east.signal(west) == "good")
    await west.stop()
    await until(lambda: east.signal(west) == "bad")
    await west.start()
    await until(lambda: east.signal(west) == "good")


@two_control_planes
async def test_a_peer_proves_itself_to_whom_asks_and_to_nobody_else(east: Site, west: Site) -> None:
    """Under a common root TLS lets any control plane answer for west: the proof says which one it is, for whom."""
    await asyncio.gather(east.link(west), west.link(east))
    await until(lambda: east.peer(west)["state"] == "connected")
    peer, prove = east.plane.peering._peers["west"], west.plane.peering._prove
    caller = "spiffe://east.test/ns/istio-system/sa/istiod"

    def check(proof: str) -> None:
        peer._check_proof(Hello("west", "west", "west.test", proof=proof))

    check(prove(peer._challenge, caller))
    relayed = prove(peer._challenge, "spiffe://north.test/ns/istio-system/sa/istiod")
    replayed = prove("of another stream", caller)
    foreign = east.plane.peering._prove(peer._challenge, caller)
    for proof in (relayed, replayed, foreign, ""):
        with pytest.raises(PeerMismatchError, match="does not prove who it is"):
            check(proof)
