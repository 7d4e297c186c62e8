"""A whole conversation: a client that speaks as ztunnel does against the running control plane, over TLS, with the
token of its pod; and the certificates of the pods on its node."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.kube.requests import NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, Request, create_request
from isthmus.proto import ca_pb2
from isthmus.trust.pem import load_certificates
from tests.app.test_serve import ADS, CA, Plane, World, csr, run, until
from tests.ztunnel.client import Ztunnel

HELLO = "sample/hello.sample.svc.cluster.local"


class Node:
    """A node with its ztunnel, and pods on it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.token = ""

    async def prepare(self) -> None:
        """The node, the ztunnel's pod on it, and the token that is bound to that pod."""
        admin = self.world.admin
        await admin.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}})
        await self.pod("ztunnel", "10.9.9.9", namespace="istio-system")
        found = await admin.get(PODS, "istio-system", self.named("ztunnel"))
        bound = {"apiVersion": "v1", "kind": "Pod", "name": found["metadata"]["name"], "uid": found["metadata"]["uid"]}
        spec = {"audiences": ["istio-ca"], "expirationSeconds": 3600, "boundObjectRef": bound}
        request = create_request(
            SERVICE_ACCOUNTS, {"spec": spec}, namespace="istio-system", name="ztunnel", subresource="token"
        )
        self.token = (await admin.json(request))["status"]["token"]

    def named(self, account: str) -> str:
        """The pod of an account on this node."""
        return f"{account}-{self.name}"

    async def pod(self, account: str, address: str, *, namespace: str = "sample", **labels: str) -> None:
        """A ready, captured pod."""
        admin, name = self.world.admin, self.named(account)
        if await admin.find(SERVICE_ACCOUNTS, namespace, account) is None:
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
            await admin.create(SERVICE_ACCOUNTS, body, namespace=namespace)
        annotations = {"ambient.istio.io/redirection": "enabled"}
        meta = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
        spec = {
            "serviceAccountName": account,
            "nodeName": self.name,
            "containers": [{"name": "app", "image": "isthmus/sleep"}],
        }
        await admin.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, namespace=namespace
        )
        ready = [{"type": "Ready", "status": "True"}]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": ready}
        await admin.patch_status(PODS, {"status": status}, namespace=namespace, name=name)

    async def lose(self, account: str, namespace: str = "sample") -> None:
        """The pod is gone, at once."""
        body = json.dumps({"gracePeriodSeconds": 0}).encode()
        await self.world.admin.call(Request("DELETE", PODS.path(namespace, self.named(account)), body=body))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What ztunnel sends with each call."""
        return (("authorization", f"Bearer {self.token}"), ("clusterid", "east"))


class Line:
    """A stream between a client and the control plane."""

    def __init__(self, call: Any, client: Ztunnel) -> None:
        self.call = call
        self.client = client

    async def open(self) -> None:
        """Say what it says first."""
        for request in self.client.opening():
            await self.call.write(request.SerializeToString())

    async def say(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Say something more."""
        await self.call.write(request.SerializeToString())

    async def take_until(self, condition: Callable[[], object]) -> None:
        """Take responses and answer them."""
        while not condition():
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(await self.call.read())
            await self.call.write(self.client.take(response).SerializeToString())
        assert not self.client.errors


@asynccontextmanager
async def line(plane: Plane, node: Node, client: Ztunnel) -> AsyncIterator[Line]:
    """A new stream of a client; what it holds it holds from before."""
    async with plane.channel() as channel:
        call = channel.stream_stream(ADS)(metadata=node.metadata)
        opened = Line(call, client)
        await opened.open()
        yield opened
        call.cancel()


async def nodes(world: World) -> tuple[Node, Node]:
    """Two nodes; sleep is on the first, hello on the second."""
    await world.admin.find(NAMESPACES, "", "sample")
    first, second = Node(world, "n1"), Node(world, "n2")
    for node in (first, second):
        await node.prepare()
    await first.pod("sleep", "10.0.0.2")
    await second.pod("hello", "10.0.0.7", app="hello")
    return first, second


def ztunnel(node: Node, **fields: Any) -> Ztunnel:
    return Ztunnel(node=node.name, network="", pod=node.named("ztunnel"), **fields)


def test_a_ztunnel_is_told_everything_and_every_change(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        first, second = await nodes(world)
        async with world.control_plane() as plane, line(plane, first, client := ztunnel(first)) as talk:
            await talk.take_until(lambda: client.services and client.policies)
            assert {uid for uid in client.workloads if "/Pod/sample/" in uid} == {
                "east//Pod/sample/sleep-n1", "east//Pod/sample/hello-n2",
            }  # fmt: skip
            assert HELLO in client.services
            [found] = client.upstreams("east//Pod/sample/sleep-n1", "10.0.0.7", 8080)
            assert (found.protocol, found.to) == ("hbone", "10.0.0.7:15008")
            assert found.outer == {"spiffe://cluster.local/ns/sample/sa/hello"}
            await second.lose("hello")
            await talk.take_until(lambda: "east//Pod/sample/hello-n2" not in client.workloads)
            await until(lambda: all(stream.session.idle for stream in plane.inner.streams.all()))
            [entry] = (await plane.get("/debug/syncz")).json()["proxies"]
            assert [(one["type"], one["state"]) for one in entry["types"]] == [("WADS", "SYNCED"), ("WDS", "SYNCED")]

    run(tmp_path, scenario)


def test_after_a_restart_of_the_control_plane_nothing_is_sent_again(tmp_path: Path) -> None:
    """XD8: versions are hashes of content, whoever computes them."""

    async def scenario(world: World) -> None:
        first, _ = await nodes(world)
        client = ztunnel(first)
        async with world.control_plane() as plane, line(plane, first, client) as talk:
            await talk.take_until(lambda: client.services and client.policies)
            held = len(client.received)
        async with world.control_plane() as plane, line(plane, first, client) as talk:
            await first.pod("late", "10.0.0.99")
            await talk.take_until(lambda: "east//Pod/sample/late-n1" in client.workloads)
        fresh = [one.name for response in client.received[held:] for one in response.resources]
        assert set(fresh) == {"east//Pod/sample/late-n1"}

    run(tmp_path, scenario)


def test_a_ztunnel_asks_for_what_it_needs(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        first, _ = await nodes(world)
        client = ztunnel(first, on_demand=True)
        async with world.control_plane() as plane, line(plane, first, client) as talk:
            await talk.take_until(lambda: "east//Pod/sample/sleep-n1" in client.workloads)
            assert "east//Pod/sample/hello-n2" not in client.workloads
            await talk.say(client.demand("/10.0.0.7"))
            await talk.take_until(lambda: not client.waiting)
            assert "east//Pod/sample/hello-n2" in client.workloads

    run(tmp_path, scenario)


def test_it_gets_the_certificates_of_the_pods_on_its_node_and_of_no_others(tmp_path: Path) -> None:
    """TR11"""

    async def scenario(world: World) -> None:
        first, second = await nodes(world)
        sleep, hello = (f"spiffe://cluster.local/ns/sample/sa/{name}" for name in ("sleep", "hello"))
        async with world.control_plane() as plane, plane.channel() as channel:
            create = channel.unary_unary(
                CA,
                request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
                response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
            )

            async def certificate(node: Node, identity: str) -> str:
                request = ca_pb2.IstioCertificateRequest(csr=csr(), validity_duration=86_400)
                request.metadata.update({"ImpersonatedIdentity": identity})
                [leaf, *_] = (await create(request, metadata=node.metadata)).cert_chain
                [found] = load_certificates(leaf.encode())
                [name] = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                return str(name.value)

            assert [await certificate(first, sleep), await certificate(second, hello)] == [sleep, hello]
            for node, identity in ((first, hello), (second, sleep)):
                with pytest.raises(
                    grpc.aio.AioRpcError, match=f"no pod on node {node.name} of cluster east"
                ) as refused:
                    await certificate(node, identity)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            await first.lose("ztunnel", "istio-system")
            plane.inner.authenticator._kept.clear()
            with pytest.raises(grpc.aio.AioRpcError, match="refused the token"):
                await certificate(first, sleep)

    run(tmp_path, scenario)


def test_nobody_else_is_told_what_a_ztunnel_is(tmp_path: Path) -> None:
    """A workload's token, and the claim to be on another node."""

    async def scenario(world: World) -> None:
        first, _ = await nodes(world)
        async with world.control_plane() as plane:
            for text, node, client in (
                ("is on node n1, but claims n2", first, Ztunnel(node="n2", network="", pod=first.named("ztunnel"))),
                ("the token belongs to sample/sleep", await impostor(world, first), ztunnel(first)),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match=text):
                    async with line(plane, node, client) as talk:
                        await talk.take_until(lambda: False)

    run(tmp_path, scenario)


async def impostor(world: World, node: Node) -> Node:
    """Somebody with a workload's token."""
    found = Node(world, node.name)
    found.token = world.token
    return found
