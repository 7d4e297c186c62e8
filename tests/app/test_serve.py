"""The whole control plane in this process beside a real API server: what an agent and its Envoy would see."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.app.serve import ControlPlane
from isthmus.app.settings import Listen, ServeSettings
from isthmus.base.errors import IsthmusError
from isthmus.edge.grpc_server import BindError
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.root_writer import ROOT_KEY
from isthmus.install.values import ROOT_CONFIG_MAP
from isthmus.kube.requests import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    create_request,
)
from isthmus.proto import ca_pb2
from isthmus.trust.pem import load_certificates, new_key
from isthmus.xds.resource import CDS, EDS
from tests.embedded import EmbeddedCluster

HOST = "istiod.istio-system.svc"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CA = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
LATE = "outbound|80||late.sample.svc.cluster.local"
HELLO = "outbound|80||hello.sample.svc.cluster.local"


class World:
    """One cluster with an API server, and control planes that come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cluster = EmbeddedCluster("east", directory / "east")
        self.admin: KubeClient
        self.token = ""
        self.roots = b""

    async def prepare(self) -> None:
        await self.cluster.start()
        self.admin = await self.cluster.client()
        for name in ("istio-system", "sample"):
            await self.admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        meta = {"name": "sleep", "namespace": "sample"}
        await self.admin.create(
            SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}, namespace="sample"
        )
        body = {"spec": {"audiences": ["istio-ca"], "expirationSeconds": 3600}}
        answer = await self.admin.json(
            create_request(SERVICE_ACCOUNTS, body, namespace="sample", name="sleep", subresource="token")
        )
        self.token = answer["status"]["token"]
        await self.add_service("hello", "10.0.0.5")

    async def add_service(self, name: str, *addresses: str) -> None:
        meta = {"name": name, "namespace": "sample"}
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": ports}}
        await self.admin.create(SERVICES, service, namespace="sample")
        await self.admin.apply(ENDPOINT_SLICES, endpoints(name, addresses), manager="test")

    async def link(self, name: str, server: str) -> None:
        kubeconfig = {
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        meta = {"name": name, "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}
        data = {name: base64.b64encode(json.dumps(kubeconfig).encode()).decode()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}
        await self.admin.create(SECRETS, secret, namespace="istio-system")

    def settings(self, **changes: Any) -> ServeSettings:
        made = ServeSettings(
            cluster="east",
            access=self.cluster.access,
            network="n1",
            listen=Listen(host="127.0.0.1", tls=0, plain=0, webhook=0, admin=0),
            checkpoint_dir=str(self.directory / "checkpoint"),
            ca_directory=self.directory / "cacerts",
            drain_seconds=0.1,
        )
        return replace(made, **changes)

    @asynccontextmanager
    async def control_plane(self, *, wait: bool = True) -> AsyncIterator["Plane"]:
        plane = Plane(self, ControlPlane(self.settings()))
        task = asyncio.create_task(plane.inner.run())
        try:
            if wait:
                await plane.ready()
            yield plane
        finally:
            plane.inner.stop()
            await task


class Plane:
    """A running control plane, and ways to talk to it as others do."""

    def __init__(self, world: World, inner: ControlPlane) -> None:
        self.world = world
        self.inner = inner

    async def ready(self) -> None:
        await until(lambda: "tls" in self.inner.ports and not self.inner._waiting_for)
        self.world.roots = self.inner.trust.authority.root_bundle

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.inner.ports['admin']}") as client:
            return await client.get(path)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        credentials = grpc.ssl_channel_credentials(self.world.roots)
        options = (("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1))
        target = f"127.0.0.1:{self.inner.ports['tls']}"
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            yield channel

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.world.token}"), ("clusterid", "east"))

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator["Proxy"]:
        async with self.channel() as channel:
            call = channel.stream_stream(ADS)(metadata=self.metadata)
            yield Proxy(call)
            call.cancel()


class Proxy:
    """An Envoy's end of a stream."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.held: dict[str, dict[str, str]] = {CDS: {}, EDS: {}}

    async def ask(self, type_url: str, *names: str, first: bool = False, **held: str) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=names, initial_resource_versions=held
        )
        if first:
            request.node.id = "sidecar~10.0.0.9~sleep-1.sample~sample.svc.cluster.local"
            request.node.metadata.update({"CLUSTER_ID": "east", "NAMESPACE": "sample", "SERVICE_ACCOUNT": "sleep"})
        await self.call.write(request.SerializeToString())

    async def take(self) -> discovery_pb2.DeltaDiscoveryResponse:
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(await self.call.read())
        held = self.held.setdefault(response.type_url, {})
        held.update({resource.name: resource.version for resource in response.resources})
        for name in response.removed_resources:
            held.pop(name)
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        await self.call.write(answer.SerializeToString())
        return response

    async def take_until(self, condition: Callable[[], bool]) -> None:
        """Service and endpoints are two objects, so what they change together may come in two responses."""
        while not condition():
            await self.take()


def endpoints(name: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-x", "namespace": "sample", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  (bounded by the deadline of `run`)
        await asyncio.sleep(0.005)


def run(tmp_path: Path, scenario: Callable[[World], Awaitable[None]], *, prepared: bool = True) -> None:
    async def bounded() -> None:
        world = World(tmp_path)
        try:
            async with asyncio.timeout(60):
                if prepared:
                    await world.prepare()
                await scenario(world)
        finally:
            if prepared:
                await world.admin.aclose()
            await world.cluster.kill()

    asyncio.run(bounded())


def csr() -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(new_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_proxy_gets_its_configuration_and_every_change(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane, plane.proxy() as proxy:
            await proxy.ask(CDS, first=True)
            await proxy.take()
            assert HELLO in proxy.held[CDS]
            await proxy.ask(EDS, HELLO)
            assert b"10.0.0.5" in (await proxy.take()).resources[0].resource.value
            await world.admin.apply(ENDPOINT_SLICES, endpoints("hello", ("10.0.0.6",)), manager="test")
            assert b"10.0.0.6" in (await proxy.take()).resources[0].resource.value
            await world.add_service("late", "10.0.0.7")
            await proxy.take_until(lambda: LATE in proxy.held[CDS])
            await world.admin.delete(SERVICES, "sample", "late")
            await proxy.take_until(lambda: LATE not in proxy.held[CDS])

    run(tmp_path, scenario)


def test_a_workload_gets_its_certificate_and_may_trust_the_config_map(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane, plane.channel() as channel:
            request = ca_pb2.IstioCertificateRequest(csr=csr(), validity_duration=60)
            create = channel.unary_unary(
                CA,
                request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
                response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
            )
            chain = list((await create(request, metadata=plane.metadata)).cert_chain)
            [leaf] = load_certificates(chain[0].encode())
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/sample/sa/sleep")]
            async with asyncio.timeout(20):
                while not (found := await world.admin.find(CONFIG_MAPS, "sample", ROOT_CONFIG_MAP)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert found["data"][ROOT_KEY] == chain[-1]

    run(tmp_path, scenario)


def test_a_pod_is_injected_over_a_trusted_connection(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane:
            context = ssl.create_default_context(cadata=world.roots.decode())
            url = f"https://127.0.0.1:{plane.inner.ports['webhook']}"
            pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "isthmus/sleep"}]}}
            review = {"request": {"uid": "u", "namespace": "sample", "object": pod}}
            async with httpx.AsyncClient(verify=context, base_url=url) as client:
                extensions = {"sni_hostname": HOST}
                ready = await client.get("/ready", extensions=extensions)
                answer = await client.post("/inject/net/n7", content=json.dumps(review), extensions=extensions)
            assert ready.status_code == 200
            response = answer.json()["response"]
            patch = base64.b64decode(response["patch"]).decode()
            assert response["allowed"]
            for word in ("istio-proxy", "ISTIO_META_CLUSTER_ID", "east", "n7"):
                assert word in patch

    run(tmp_path, scenario)


def test_the_debug_pages_tell_what_is_known(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane, plane.proxy() as proxy:
            await proxy.ask(CDS, first=True)
            await proxy.take()
            await until(lambda: all(stream.session.idle for stream in plane.inner.streams.all()))
            [entry] = (await plane.get("/debug/syncz")).json()["proxies"]
            assert (entry["proxy"], entry["cluster"], entry["identity"]) == (
                "sleep-1.sample",
                "east",
                "sample/sleep of cluster east",
            )
            assert [(status["type"], status["state"]) for status in entry["types"]] == [("CDS", "SYNCED")]
            [cluster] = (await plane.get("/debug/clusterz")).json()["clusters"]
            assert (cluster["id"], cluster["status"], cluster["stale"]) == ("east", "synced", False)
            dump = (await plane.get("/debug/config_dump?proxyID=sleep-1.sample")).json()
            assert HELLO in [item["name"] for item in dump["CDS"]]
            assert (await plane.get("/debug/config_dump?proxyID=nobody")).status_code == 404
            tables = (await plane.get("/debug/tables")).json()
            assert (tables["services"], tables["proxies"]) == (2, 1)
            rows = (await plane.get("/debug/tables/services")).json()
            assert ["east", "sample", "hello"] in [row["key"] for row in rows]
            for path in ("/ready", "/debug/problems", "/debug/networkz"):
                assert (await plane.get(path)).status_code == 200
            metrics = (await plane.get("/metrics")).text
            assert "isthmus_xds_streams 1.0" in metrics
            assert 'isthmus_clusters{status="synced"} 1.0' in metrics

    run(tmp_path, scenario)


def test_a_restart_without_api_server_serves_what_was_known_and_removes_nothing(tmp_path: Path) -> None:
    """What a proxy holds survives: it gets no removal, and its token is verified by keys that were kept."""

    async def scenario(world: World) -> None:
        async with world.control_plane() as plane, plane.proxy() as proxy:
            await proxy.ask(CDS, first=True)
            await proxy.take()
            held = dict(proxy.held[CDS])
            await until((tmp_path / "checkpoint" / "signing-keys.json").exists)
            secret = await world.admin.get(SECRETS, "istio-system", "istio-ca-secret")
        mount(secret, tmp_path / "cacerts")
        await world.cluster.kill()
        async with world.control_plane() as plane, plane.proxy() as proxy:
            await proxy.ask(CDS, first=True, **held)
            await proxy.ask(EDS, HELLO)
            response = await proxy.take()
            assert response.type_url == EDS, "nothing about clusters: the proxy has them all"
            assert b"10.0.0.5" in response.resources[0].resource.value
            [cluster] = (await plane.get("/debug/clusterz")).json()["clusters"]
            assert (cluster["status"], cluster["stale"]) == ("error", True)
            await world.cluster.start()
            await world.admin.apply(ENDPOINT_SLICES, endpoints("hello", ("10.0.0.8",)), manager="test")
            assert b"10.0.0.8" in (await proxy.take()).resources[0].resource.value

    run(tmp_path, scenario)


def test_a_cluster_that_is_linked_later_and_does_not_answer_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane:
            await world.link("north", "https://127.0.0.1:1")
            await until(lambda: "north" in plane.inner.clusters.clusters())
            async with plane.proxy() as proxy:
                await proxy.ask(CDS, first=True)
                async with asyncio.timeout(20):
                    await proxy.take()
            assert (await plane.get("/ready")).status_code == 200

    run(tmp_path, scenario)


def mount(secret: dict[str, Any], directory: Path) -> None:
    """As a kubelet mounts a secret."""
    directory.mkdir()
    for name, value in secret["data"].items():
        (directory / name).write_bytes(base64.b64decode(value))


def test_a_pods_token_speaks_for_that_pod_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        meta = {"name": "other-1", "namespace": "sample"}
        spec = {"serviceAccountName": "sleep", "containers": [{"name": "a", "image": "isthmus/sleep"}]}
        pod = await world.admin.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, namespace="sample"
        )
        bound = {"kind": "Pod", "apiVersion": "v1", "name": "other-1", "uid": pod["metadata"]["uid"]}
        body = {"spec": {"audiences": ["istio-ca"], "boundObjectRef": bound}}
        answer = await world.admin.json(
            create_request(SERVICE_ACCOUNTS, body, namespace="sample", name="sleep", subresource="token")
        )
        world.token = answer["status"]["token"]
        async with world.control_plane() as plane, plane.proxy() as proxy:
            await proxy.ask(CDS, first=True)
            with pytest.raises(grpc.aio.AioRpcError, match="belongs to pod sample/other-1") as refused:
                await proxy.call.read()
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    run(tmp_path, scenario)


def test_it_is_not_ready_before_it_could_look(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.cluster.kill()
        async with world.control_plane(wait=False) as plane:
            await until(lambda: "admin" in plane.inner.ports)
            answer = await plane.get("/ready")
            assert (answer.status_code, answer.text) == (503, "the certificate authority\n")

    run(tmp_path, scenario)


def test_a_taken_port_ends_it_with_an_error(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.control_plane() as plane:
            taken = Listen(host="127.0.0.1", tls=0, plain=0, webhook=0, admin=plane.inner.ports["admin"])
            second = ControlPlane(world.settings(listen=taken))
            with pytest.raises(ExceptionGroup) as failed:
                await second.run()
            assert failed.group_contains(BindError)
            assert failed.group_contains(IsthmusError, match="cannot listen on")

    run(tmp_path, scenario)
