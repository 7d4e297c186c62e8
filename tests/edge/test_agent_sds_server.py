"""Secrets over the agent's socket, in both variants of the protocol."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.edge.agent_sds_server import SERVICE, SecretService, SecretStore
from isthmus.edge.agent_socket import bind_unix
from isthmus.xds.resource import SDS, XdsResource
from isthmus.xds.session import Rejected
from tests.agent.fakes import eventually

VARIANTS = {
    "DeltaSecrets": (
        discovery_pb2.DeltaDiscoveryRequest,
        discovery_pb2.DeltaDiscoveryResponse,
        "resource_names_subscribe",
    ),
    "StreamSecrets": (discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse, "resource_names"),
}


def secrets(version: str) -> dict[str, XdsResource]:
    """Both secrets, the roots unchanged."""
    return {
        "default": XdsResource(SDS, "default", f"\n\x07default{version}".encode()),
        "ROOTCA": XdsResource(SDS, "ROOTCA", b"\n\x06ROOTCA"),
    }


class Stream:
    """One stream of an Envoy."""

    def __init__(self, call: Any, variant: str) -> None:
        self.call = call
        self.request, self.response, self.names = VARIANTS[variant]

    async def ask(self, *names: str, **fields: Any) -> None:
        """A request for names."""
        await self.call.write(self.request(type_url=SDS, **{self.names: list(names)}, **fields).SerializeToString())

    async def read(self) -> Any:
        """The next response."""
        return self.response.FromString(await asyncio.wait_for(self.call.read(), 5))


@contextlib.asynccontextmanager
async def served(directory: Path, store: SecretStore, variant: str) -> AsyncIterator[tuple[Stream, list[Rejected]]]:
    """A stream to a running service, and what was rejected on it."""
    rejected: list[Rejected] = []
    server = grpc.aio.server(handlers=(SecretService(store, rejected.append).handler(),))
    bind_unix(server, directory / "s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{directory}/s") as channel:
        yield Stream(channel.stream_stream(f"/{SERVICE}/{variant}")(), variant), rejected
    await server.stop(0)


def run(scenario: Awaitable[None]) -> None:
    """Run it, and not for ever."""

    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario

    asyncio.run(limited())


def bodies(response: Any, variant: str) -> list[bytes]:
    """The bytes of the secrets in a response."""
    return [r.value if variant == "StreamSecrets" else r.resource.value for r in response.resources]


@pytest.mark.parametrize("variant", VARIANTS)
def test_waits_for_the_first_secret_and_pushes_each_next_one(tmp_path: Path, variant: str) -> None:
    async def scenario() -> None:
        store = SecretStore()
        async with served(tmp_path, store, variant) as (stream, rejected):
            await stream.ask("default")
            store.replace(secrets("1"))
            first = await stream.read()
            assert bodies(first, variant) == [secrets("1")["default"].body]
            names = [] if variant == "DeltaSecrets" else ["default"]
            await stream.ask(*names, response_nonce=first.nonce)
            store.replace(secrets("2"))
            second = await stream.read()
            assert bodies(second, variant) == [secrets("2")["default"].body]
            assert rejected == []

    run(scenario())


@pytest.mark.parametrize("variant", VARIANTS)
def test_unchanged_roots_are_not_sent_again(tmp_path: Path, variant: str) -> None:
    async def scenario() -> None:
        store = SecretStore()
        store.replace(secrets("1"))
        async with served(tmp_path, store, variant) as (stream, _):
            await stream.ask("default", "ROOTCA")
            first = await stream.read()
            assert len(first.resources) == 2
            names = [] if variant == "DeltaSecrets" else ["default", "ROOTCA"]
            await stream.ask(*names, response_nonce=first.nonce)
            store.replace(secrets("2"))
            assert bodies(await stream.read(), variant) == [secrets("2")["default"].body]

    run(scenario())


@pytest.mark.parametrize("variant", VARIANTS)
def test_rejection_is_told(tmp_path: Path, variant: str) -> None:
    async def scenario() -> None:
        store = SecretStore()
        store.replace(secrets("1"))
        async with served(tmp_path, store, variant) as (stream, rejected):
            await stream.ask("default")
            first = await stream.read()
            await stream.ask("default", response_nonce=first.nonce, error_detail={"code": 13, "message": "bad key"})
            await eventually(lambda: rejected)
            assert rejected[0].message == "bad key"

    run(scenario())


def workload(name: str) -> XdsResource:
    """The secret of a workload on the node."""
    return XdsResource(SDS, name, b"\n" + bytes([len(name)]) + name.encode())


def test_a_workloads_secret_that_is_not_there_yet_is_kept_by_an_envoy_that_has_one(tmp_path: Path) -> None:
    """An agent that starts again has no certificates of workloads: Envoy must not be told that there are none."""

    async def scenario() -> None:
        store = SecretStore(patient=True)
        store.replace(secrets("1"))
        async with served(tmp_path, store, "DeltaSecrets") as (stream, _):
            await stream.ask("shop/a", "shop/b", "default", initial_resource_versions={"shop/a": "of the last agent"})
            first = await stream.read()
            assert ([r.name for r in first.resources], list(first.removed_resources)) == (["default"], [])
            await stream.ask(response_nonce=first.nonce)
            store.put(workload("shop/a"))
            second = await stream.read()
            assert ([r.name for r in second.resources], list(second.removed_resources)) == (["shop/a"], [])
            await stream.ask(response_nonce=second.nonce)
            store.drop("shop/a")
            third = await stream.read()
            assert ([r.name for r in third.resources], list(third.removed_resources)) == ([], ["shop/a"])

    run(scenario())
