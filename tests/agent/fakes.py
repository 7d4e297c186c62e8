"""A control plane in miniature for tests of the agent: a real certificate authority and delta ADS over TLS."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.edge.agent_ca_client import IMPERSONATED, METHOD
from isthmus.edge.agent_relay import DELTA, SERVICE
from isthmus.edge.grpc_server import ServingCertificate, bind, make_server
from isthmus.proto import ca_pb2
from isthmus.trust.authority import Authority, Issued, from_pem, server_names, workload_names
from isthmus.trust.csr import public_key_of
from isthmus.trust.issue import Validity, make_intermediate, make_root, serial_from
from isthmus.trust.pem import certificates_to_pem, key_to_pem, new_key
from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import XdsResource

SERVER_NAME = "istiod.istio-system.svc"
IDENTITY = "spiffe://cluster.local/ns/sample/sa/sleep"


def make_authority() -> Authority:
    """A root and one intermediate."""
    now = time.time()
    root = make_root(new_key(), now=now, serial=serial_from(os.urandom(19)))
    key = new_key()
    signer = make_intermediate(root, key, now=now, serial=serial_from(os.urandom(19)), cluster="east")
    return from_pem(key_to_pem(key), signer.certificate, root.certificate, now=now)


async def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until the condition holds; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.02)
    return found


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> None:
    """Wait until a question is answered with yes; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if await condition():
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.02)


@dataclass
class Config:
    """What the fake serves to everybody; `put` replaces resources and tells the open streams."""

    held: dict[str, dict[str, XdsResource]] = field(default_factory=dict)
    streams: list["FakeStream"] = field(default_factory=list)

    def put(self, *resources: XdsResource) -> None:
        """Serve these from now on."""
        for resource in resources:
            self.held.setdefault(resource.type_url, {})[resource.name] = resource
        for stream in self.streams:
            for resource in resources:
                stream.session.mark({resource.type_url: [resource.name]})
            stream.work.set()

    def drop(self, *resources: XdsResource) -> None:
        """Serve these no more."""
        for resource in resources:
            if self.held.get(resource.type_url, {}).pop(resource.name, None) is not None:
                for stream in self.streams:
                    stream.session.mark({resource.type_url: [resource.name]})
                    stream.work.set()

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        """One."""
        return self.held.get(type_url, {}).get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        """All of a type."""
        return self.held.get(type_url, {})

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note."""

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        """Nothing to note."""


class FakeStream:
    """One stream: what was asked on it, and its session."""

    def __init__(self, config: Config, metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self.session = DeltaSession(config)
        self.work = asyncio.Event()
        self.requests: list[Any] = []


class FakeControlPlane:
    """Serves certificates and configuration on a loopback port, over TLS as 15012 does."""

    def __init__(self, authority: Authority, config: Config | None = None) -> None:
        self.authority = authority
        self.config = config or Config()
        self.streams: list[FakeStream] = []
        self.csrs: list[dict[str, str]] = []
        self.identities: list[str] = []
        """That certificates were made for."""
        self.lifetime: float | None = None
        """Seconds that certificates live, whatever was asked."""
        self.refuse_certificates = False
        self.silent = False
        """Streams are taken and get no answer until the configuration changes."""
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port again after `kill`."""
        key = new_key()
        issued = self._issue(key.public_key(), server_names([SERVER_NAME]), 3600)
        certificate = ServingCertificate(key_to_pem(key), issued.presented)
        name, _, method = METHOD.strip("/").rpartition("/")
        sign = grpc.unary_unary_rpc_method_handler(
            self._sign,
            request_deserializer=ca_pb2.IstioCertificateRequest.FromString,
            response_serializer=ca_pb2.IstioCertificateResponse.SerializeToString,
        )
        stream = grpc.stream_stream_rpc_method_handler(self._stream)
        handlers = (
            grpc.method_handlers_generic_handler(name, {method: sign}),
            grpc.method_handlers_generic_handler(SERVICE, {DELTA: stream}),
        )
        self._server = make_server(handlers)
        self.port = bind(self._server, f"127.0.0.1:{self.port}", certificate)
        await self._server.start()

    async def kill(self) -> None:
        """End all streams at once and listen no more."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def _sign(self, request: Any, context: Any) -> Any:
        self.csrs.append(dict(context.invocation_metadata()))
        wanted = request.metadata.fields[IMPERSONATED].string_value
        self.identities.append(wanted or IDENTITY)
        if self.refuse_certificates:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the authority is away")
        lifetime = self.lifetime or request.validity_duration
        issued = self._issue(public_key_of(request.csr), workload_names(wanted or IDENTITY), lifetime)
        return ca_pb2.IstioCertificateResponse(cert_chain=issued.response_chain)

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        stream = FakeStream(self.config, dict(context.invocation_metadata()))
        self.streams.append(stream)
        self.config.streams.append(stream)
        writer = asyncio.get_running_loop().create_task(self._write(stream, context))
        try:
            async for data in requests:
                request = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
                stream.requests.append(request)
                stream.session.receive(request, time.time())
                if not self.silent:
                    stream.work.set()
        finally:
            self.config.streams.remove(stream)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    @staticmethod
    async def _write(stream: FakeStream, context: Any) -> None:
        while True:
            await stream.work.wait()
            stream.work.clear()
            while push := stream.session.next(time.time()):
                await context.write(push.data)

    def _issue(self, public_key: Any, names: Any, lifetime: float) -> Issued:
        serial = serial_from(os.urandom(19))
        return self.authority.issue(public_key, names, validity=Validity(time.time(), lifetime), serial=serial)


@contextlib.asynccontextmanager
async def control_plane(authority: Authority, config: Config | None = None) -> AsyncIterator[FakeControlPlane]:
    """A running one."""
    made = FakeControlPlane(authority, config)
    await made.start()
    try:
        yield made
    finally:
        await made.kill()


def write_mounts(directory: Path, authority: Authority) -> dict[str, str]:
    """Token, root certificate and an empty state directory, as mounts of a proxy container."""
    volumes = {name: directory / name for name in ("tokens", "istio", "state")}
    for volume in volumes.values():
        volume.mkdir(parents=True)
    (volumes["tokens"] / "istio-token").write_text("token-1\n")
    (volumes["istio"] / "root-cert.pem").write_bytes(certificates_to_pem(authority.roots))
    return {
        "/var/run/secrets/tokens": str(volumes["tokens"]),
        "/var/run/secrets/istio": str(volumes["istio"]),
        "/var/run/isthmus": str(volumes["state"]),
    }
