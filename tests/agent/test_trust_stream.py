"""Roots of other trust domains: heard on Envoy's stream, kept for the next agent, and believed by a real Envoy."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.config.listener.v3 import listener_components_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from isthmus.agent.secrets import Identity, build_secrets
from isthmus.agent.trust_stream import Bundle, Bundles, TrustStream, read_bundles, write_bundles
from isthmus.base.errors import IsthmusError
from isthmus.edge.agent_sds_server import SecretService, SecretStore
from isthmus.edge.agent_socket import bind_unix
from isthmus.edge.envoy_process import envoy_binary
from isthmus.envoy import tls
from isthmus.envoy.naming import SDS_CLUSTER
from isthmus.ingest.peer_wire import write_bundle
from isthmus.trust.authority import Authority, workload_names
from isthmus.trust.issue import Validity, serial_from
from isthmus.trust.pem import key_to_pem, new_key
from isthmus.xds.resource import NDS, TRUST_BUNDLE, XdsResource
from isthmus.xds.wire import delta_response
from tests.agent.fakes import make_authority


def identity(authority: Authority, *spiffe: str) -> Identity:
    """A workload's identity; several in one certificate is what no authority of ours makes."""
    key = new_key()
    issued = authority.issue(
        key.public_key(),
        [name for one in spiffe for name in workload_names(one)],
        validity=Validity(time.time(), 3600),
        serial=serial_from(os.urandom(19)),
    )
    return Identity(key_to_pem(key), issued.presented, issued.roots, "1", issued.not_after)


def bundle_response(*found: tuple[str, bytes], removed: tuple[str, ...] = (), nonce: str = "1") -> bytes:
    framed = [
        XdsResource(TRUST_BUNDLE, domain, write_bundle(domain, roots.decode(), own=domain == "east.test")).framed
        for domain, roots in found
    ]
    return delta_response(TRUST_BUNDLE, framed, removed, nonce=nonce)


def parsed(data: bytes | None) -> Any:
    assert data is not None
    return discovery_pb2.DeltaDiscoveryRequest.FromString(data)


def test_bundles_are_heard_kept_and_taken_away() -> None:
    heard: list[Bundles] = []
    stream = TrustStream(heard.append)
    west = make_authority().root_bundle
    taken = stream.take(bundle_response(("east.test", b""), ("west.test", west)))
    assert taken is not None
    assert not parsed(taken.answer).HasField("error_detail")
    assert heard[-1] == {"east.test": Bundle(b"", own=True), "west.test": Bundle(west, own=False)}
    assert set(parsed(stream.join()).initial_resource_versions) == {"east.test", "west.test"}
    assert read_bundles(write_bundles(heard[-1])) == heard[-1]
    stream.take(bundle_response(removed=("east.test", "west.test")))
    assert heard[-1] == {}
    assert stream.take(delta_response(NDS, [], nonce="2")) is None


def test_bundles_that_cannot_be_read_change_nothing() -> None:
    heard: list[Bundles] = []
    stream = TrustStream(heard.append)
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    taken = stream.take(bundle_response(("west.test", broken)))
    assert taken is not None
    assert "cannot be read" in parsed(taken.answer).error_detail.message
    assert heard == []


@pytest.mark.parametrize("data", [b"\0\0\0\5abc", b"\0\0\0\3\xff\xff\xff"])
def test_damaged_files_are_told(data: bytes) -> None:
    with pytest.raises((IsthmusError, DecodeError)):
        read_bundles(data)


# -- a real Envoy -------------------------------------------------------------------------------------------------


def bootstrap(port: int, sockets: Path, accepted: tuple[str, ...]) -> dict[str, Any]:
    """One listener as workloads have it, and the agent's socket."""
    server = tls.server_socket(trust_domains=accepted, alpn=())
    chain = listener_components_pb2.FilterChain(transport_socket=server)
    echo = {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}
    wire = json_format.MessageToDict(chain)
    wire["filters"] = [{"name": "envoy.filters.network.echo", "typed_config": echo}]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    agent = {
        "name": SDS_CLUSTER,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {options: http2},
        "load_assignment": {
            "cluster_name": SDS_CLUSTER,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(sockets / "agent.sock")}}}}]}
            ],
        },
    }
    return {
        "node": {"id": "n", "cluster": "c"},
        "static_resources": {
            "listeners": [{"name": "in", "address": address, "filter_chains": [wire]}],
            "clusters": [agent],
        },
    }


@contextlib.asynccontextmanager
async def envoy(directory: Path, store: SecretStore, accepted: tuple[str, ...]) -> AsyncIterator[int]:
    """A running Envoy that gets its secrets from the store; the listener's port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rejected: list[str] = []
    server = grpc.aio.server(handlers=(SecretService(store, lambda event: rejected.append(event.message)).handler(),))
    bind_unix(server, directory / "agent.sock")
    await server.start()
    (directory / "envoy.json").write_text(json.dumps(bootstrap(port, directory, accepted)))
    argv = ["--config-path", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    process = await asyncio.create_subprocess_exec(str(envoy_binary()), *argv, cwd=directory)
    try:
        yield port
        assert rejected == []
    finally:
        process.terminate()
        await process.wait()
        await server.stop(0)


async def let_in(port: int, directory: Path, who: Identity) -> bool:
    """Whether the listener takes this client's certificate."""
    key, chain = directory / "key.pem", directory / "chain.pem"
    key.write_bytes(who.key)
    chain.write_bytes(who.chain)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(chain, key)
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            try:
                writer.write(b"in")
                return await reader.read(2) == b"in"
            finally:
                writer.close()
    except (OSError, ssl.SSLError):
        return False


def test_envoy_believes_each_trust_domain_by_its_own_roots_and_follows_a_rotation(tmp_path: Path) -> None:
    """East's and west's own identities are let in; an identity of west that east's authority signed is not. After a
    rotation the new root's are, too, and the old one's no more once it is gone, without a restart."""

    async def scenario() -> None:
        east, west, fresh = make_authority(), make_authority(), make_authority()
        here = identity(east, "spiffe://east.test/ns/app/sa/server")
        alice = identity(east, "spiffe://east.test/ns/app/sa/alice")
        bob = identity(west, "spiffe://west.test/ns/app/sa/bob")
        stolen = identity(east, "spiffe://west.test/ns/app/sa/bob")
        renewed = identity(fresh, "spiffe://west.test/ns/app/sa/bob")
        own = {"east.test": Bundle(b"", own=True)}
        store = SecretStore()
        store.replace(build_secrets(here))
        async with envoy(tmp_path, store, ("east.test", "west.test")) as port:
            await reached(port, tmp_path, alice)
            assert not await let_in(port, tmp_path, bob)
            store.replace(build_secrets(here, {**own, "west.test": Bundle(west.root_bundle, own=False)}))
            await reached(port, tmp_path, bob)
            assert await let_in(port, tmp_path, alice)
            assert not await let_in(port, tmp_path, stolen)
            assert not await let_in(port, tmp_path, renewed)
            both = Bundle(west.root_bundle + fresh.root_bundle, own=False)
            store.replace(build_secrets(here, {**own, "west.test": both}))
            await reached(port, tmp_path, renewed)
            assert await let_in(port, tmp_path, bob)
            store.replace(build_secrets(here, {**own, "west.test": Bundle(fresh.root_bundle, own=False)}))
            await refused(port, tmp_path, bob)
            assert await let_in(port, tmp_path, renewed)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_second_name_in_a_certificate_does_not_widen_whom_a_root_speaks_for(tmp_path: Path) -> None:
    """Envoy takes the roots by the first name, and policies ask for any: the roots themselves must be bound."""

    async def scenario() -> None:
        east, west = make_authority(), make_authority()
        here = identity(east, "spiffe://east.test/ns/app/sa/server")
        bob, alice = "spiffe://west.test/ns/app/sa/bob", "spiffe://east.test/ns/app/sa/alice"
        store = SecretStore()
        believed = {"east.test": Bundle(b"", own=True), "west.test": Bundle(west.root_bundle, own=False)}
        store.replace(build_secrets(here, believed))
        async with envoy(tmp_path, store, ("east.test", "west.test")) as port:
            await reached(port, tmp_path, identity(west, bob))
            assert not await let_in(port, tmp_path, identity(west, bob, alice))
            assert not await let_in(port, tmp_path, identity(west, alice, bob))
            assert await let_in(port, tmp_path, identity(west, bob, "spiffe://west.test/ns/app/sa/carol"))

    asyncio.run(asyncio.wait_for(scenario(), 60))


async def reached(port: int, directory: Path, who: Identity) -> None:
    deadline = time.monotonic() + 20
    while not await let_in(port, directory, who):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def refused(port: int, directory: Path, who: Identity) -> None:
    deadline = time.monotonic() + 20
    while await let_in(port, directory, who):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
