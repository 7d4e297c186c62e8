"""Network namespaces with a node's Envoy in them: pods on a bridge, captured by the listeners that the mesh makes.

Run as a program (`python -m tests.envoy.tunnels <scenario>`): it enters namespaces of its own. Secrets come from a real
SDS server, as the agent of a node serves them: one certificate for each identity, asked for when needed.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from isthmus.agent.bootstrap import RUNTIME
from isthmus.edge.agent_sds_server import SecretService, SecretStore
from isthmus.edge.agent_socket import bind_unix
from isthmus.edge.grpc_server import make_server
from isthmus.edge.netns import NetworkNamespace
from isthmus.install import netfilter as nft
from isthmus.trust.authority import Authority, from_pem, workload_names
from isthmus.trust.issue import PemPair, Validity, make_intermediate, make_root, serial_from
from isthmus.trust.pem import key_to_pem, new_key
from isthmus.xds.resource import CDS, EDS, LDS, RDS, SDS, XdsResource
from isthmus_lab.net import linux, netns
from isthmus_lab.net import nft as lab_nft
from isthmus_lab.net.links import Leg, attach, ensure_bridge, rtnetlink
from tests.envoy.acceptance import ENVOY, agent_cluster

ROOT = "root"
ADMIN = 15000
MARK = 1337
LAST_WORDS = 3_000_000
"""Bytes that a server sends before it ends a connection: more than all buffers between hold."""


@dataclass(frozen=True)
class Place:
    """A pod: its legs are (bridge, address)."""

    name: str
    legs: tuple[tuple[str, str], ...]
    captured: bool = True


def enter() -> None:
    """Own user, mount and network namespaces with a /run of their own; the root one has a name."""
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET | (0 if user == 0 else linux.CLONE_NEWUSER))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    linux.make_private()
    linux.mount("tmpfs", "/run", kind="tmpfs")
    netns.DIRECTORY.mkdir(parents=True)
    Path(netns.path(ROOT)).touch()
    linux.mount("/proc/self/ns/net", netns.path(ROOT), flags=linux.MS_BIND)
    with rtnetlink() as ip:
        ip.link("set", index=1, state="up")


class Mesh:
    """One authority for each trust domain under a common root, and the secrets of everybody."""

    def __init__(self, *trust_domains: str, apart: bool = False) -> None:
        """`apart`: each trust domain is believed by its own roots, as where control planes are linked."""
        self.apart = apart
        now = time.time()
        root = make_root(new_key(), now=now, serial=serial_from(os.urandom(19)))
        self.root = root.certificate
        self.authorities = {domain: self._authority(root, domain, now) for domain in trust_domains}

    @staticmethod
    def _authority(root: PemPair, domain: str, now: float) -> Authority:
        key = new_key()
        signer = make_intermediate(root, key, now=now, serial=serial_from(os.urandom(19)), cluster=domain)
        return from_pem(key_to_pem(key), signer.certificate, root.certificate, now=now)

    def certificate(self, name: str, identity: str) -> XdsResource:
        """A secret with a fresh certificate of an identity."""
        key = new_key()
        authority = self.authorities[identity.removeprefix("spiffe://").partition("/")[0]]
        issued = authority.issue(
            key.public_key(),
            workload_names(identity),
            validity=Validity(time.time(), 3600),
            serial=serial_from(os.urandom(19)),
        )
        secret = secret_pb2.Secret(name=name)
        secret.tls_certificate.certificate_chain.inline_bytes = issued.presented
        secret.tls_certificate.private_key.inline_bytes = key_to_pem(key)
        return XdsResource(SDS, name, secret.SerializeToString())

    def secrets(self, *identities: str, default: str = "") -> dict[str, XdsResource]:
        """What the agent of a proxy serves."""
        roots = secret_pb2.Secret(name="ROOTCA")
        if self.apart:
            config = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
            for domain in self.authorities:
                config.trust_domains.add(name=domain).trust_bundle.inline_bytes = self.root
            validator = roots.validation_context.custom_validator_config
            validator.name = "envoy.tls.cert_validator.spiffe"
            validator.typed_config.Pack(config)
        else:
            roots.validation_context.trusted_ca.inline_bytes = self.root
        found = {one: self.certificate(one, one) for one in identities}
        if default:
            found["default"] = self.certificate("default", default)
        return {**found, "ROOTCA": XdsResource(SDS, "ROOTCA", roots.SerializeToString())}


def make_pod(place: Place) -> None:
    """A network namespace on bridges; a captured one is so as the agent of an ambient node does it."""
    name = place.name
    netns.create(name)
    with rtnetlink() as ip:
        for network, _ in place.legs:
            ensure_bridge(ip, network)
    legs = [Leg(f"eth{i}", f"v{i}-{name}", network, at, 16) for i, (network, at) in enumerate(place.legs)]
    attach(name, legs, root=ROOT)
    with rtnetlink(name) as ip:
        ip.route("add", dst="10.99.0.0/16", oif=2)  # virtual addresses: nobody has them, capture takes them before
    if not place.captured:
        return
    accept, tcp = nft.verdict(nft.ACCEPT), nft.protocol("tcp")
    leaving = (
        nft.rule(nft.mark(MARK), accept),
        nft.rule(nft.address("src", "127.0.0.6"), accept),
        nft.rule(nft.interface("out", "lo"), accept),
        nft.rule(tcp, nft.redirect(15001)),
    )
    coming = (
        nft.rule(nft.interface("in", "lo"), accept),
        nft.rule(tcp, nft.port(15008), accept),
        nft.rule(tcp, nft.redirect(15006)),
    )
    chains = [
        nft.Chain("output", "nat", "output", -110, leaving),
        nft.Chain("prerouting", "nat", "prerouting", -110, coming),
    ]
    with netns.entered(name):
        lab_nft.commit(lab_nft.table_messages("capture", chains))


class App:
    """A server in a pod that says its name, and from where it was called. A request is a line; `quit` ends it."""

    def __init__(self, name: str, port: int = 8080) -> None:
        self.name, self.port = name, port
        self.calls = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each line, the last one by closing."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.calls += 1
                source = writer.get_extra_info("peername")[0]
                writer.write(f"{self.name} {source} {line.decode()}".encode())
                if line == b"quit\n":
                    writer.write(b"x" * LAST_WORDS)
                    break
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["App"]:
        """Listen in the pod."""
        listening = await NetworkNamespace(Path(netns.path(self.name))).listen(
            ("0.0.0.0", self.port), socket.SOCK_STREAM
        )
        async with await asyncio.start_server(self.converse, sock=listening):
            yield self


async def call(pod: str, address: str, port: int, word: str = "hello") -> str:
    """What a call from a pod is answered; "" if the connection is closed. Raises OSError as the caller sees it."""
    reader, writer = await NetworkNamespace(Path(netns.path(pod))).connect((address, port))
    try:
        writer.write(f"{word}\n".encode())
        answer = await asyncio.wait_for(reader.readline(), 10)
        if word == "quit" and answer:
            assert len(await asyncio.wait_for(reader.read(), 10)) == LAST_WORDS
        return answer.decode().strip()
    finally:
        writer.close()


class Node:
    """An Envoy in the root namespace, with the listeners and clusters given, and its SDS server."""

    def __init__(
        self, name: str, resources: Iterable[XdsResource], secrets: dict[str, XdsResource], admin: int
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/run"))
        self.name, self.admin = name, admin
        self.resources = list(resources)
        self.store = SecretStore()
        self.store.replace(secrets)

    def _bootstrap(self) -> bytes:
        config = bootstrap_pb2.Bootstrap()
        json_format.ParseDict(
            {
                "node": {"id": self.name, "cluster": "test"},
                "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
                "static_resources": {"clusters": [agent_cluster("sds-grpc")]},
                "layered_runtime": {"layers": [{"name": "static", "static_layer": RUNTIME}]},
            },
            config,
        )
        extension = config.bootstrap_extensions.add(name="envoy.bootstrap.internal_listener")
        extension.typed_config.Pack(internal_listener_pb2.InternalListener())
        static = config.static_resources
        assignments = {one.name: one for one in self.resources if one.type_url == EDS}
        for one in self.resources:
            if one.type_url == CDS:
                static.clusters.append(_static(cluster_pb2.Cluster.FromString(one.body), assignments))
        source = config.dynamic_resources.lds_config
        source.resource_api_version = config_source_pb2.V3
        source.path_config_source.path = str(self.directory / "lds.pb")
        self.listen(self.resources)
        encoded: bytes = config.SerializeToString()
        return encoded

    def listen(self, resources: Iterable[XdsResource]) -> None:
        """These are the listeners and routes from now on: Envoy sees the files move in."""
        found = list(resources)
        for one in found:
            if one.type_url == RDS:
                self._move_in(self._routes(one.name), RDS, [one.body])
        listeners = [listener_pb2.Listener.FromString(one.body) for one in found if one.type_url == LDS]
        for listener in listeners:
            for chain in listener.filter_chains:
                for filter_ in chain.filters:
                    self._by_file(filter_.typed_config)
        self._move_in(self.directory / "lds.pb", LDS, [one.SerializeToString() for one in listeners])

    def _routes(self, name: str) -> Path:
        return self.directory / f"{name.replace('/', '-')}.pb"

    def _by_file(self, holder: Any) -> None:
        """Routes that would come over ADS come from a file."""
        manager = hcm_pb2.HttpConnectionManager()
        if holder.Unpack(manager) and manager.HasField("rds"):
            manager.rds.config_source.Clear()
            manager.rds.config_source.resource_api_version = config_source_pb2.V3
            manager.rds.config_source.path_config_source.path = str(self._routes(manager.rds.route_config_name))
            holder.Pack(manager)

    def _move_in(self, path: Path, type_url: str, bodies: Iterable[bytes]) -> None:
        answer = discovery_pb2.DiscoveryResponse(type_url=type_url)
        for body in bodies:
            answer.resources.add(type_url=type_url, value=body)
        fresh = self.directory / "fresh.pb"
        fresh.write_bytes(answer.SerializeToString())
        fresh.rename(path)

    async def config(self, part: str) -> list[str]:
        """What it has of a part of its configuration, as text."""
        async with httpx.AsyncClient() as client:
            found = (await client.get(f"http://127.0.0.1:{self.admin}/config_dump")).json()["configs"]
        return [json.dumps(item) for one in found for item in one.get(part, [])]

    @contextlib.asynccontextmanager
    async def running(self, level: str = "warning", *, drain: int = 1) -> AsyncIterator["Node"]:
        """Start it, and wait until it is ready. `drain`: seconds that connections of what was replaced have."""
        server = make_server([SecretService(self.store, lambda rejected: None).handler()])
        bind_unix(server, self.directory / "agent.sock")
        await server.start()
        path = self.directory / "bootstrap.pb"
        path.write_bytes(self._bootstrap())
        command = [str(ENVOY), "-c", str(path), "-l", level, "--concurrency", "2", "--use-dynamic-base-id"]
        command += ["--drain-time-s", str(drain)]
        log, access = ((self.directory / name).open("wb") for name in ("log", "access"))
        process = await asyncio.create_subprocess_exec(*command, cwd=self.directory, stdout=access, stderr=log)
        try:
            await until(lambda: self._ready(process))
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()  # so that it writes the last lines of its access log
            await process.wait()
            log.close()
            access.close()
            await server.stop(0)

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        assert process.returncode is None, (self.directory / "log").read_text()
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{self.admin}/ready")).status_code == 200
        return False

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges by name."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(
                f"http://127.0.0.1:{self.admin}/stats", params={"filter": pattern, "format": "json"}
            )
        return {one["name"]: one["value"] for one in answer.json()["stats"] if "name" in one}

    def log(self) -> list[dict[str, Any]]:
        """The lines of the access log so far."""
        return [json.loads(line) for line in (self.directory / "access").read_text().splitlines()]


def _static(message: Any, assignments: dict[str, XdsResource]) -> Any:
    """A cluster with its members inside: this Envoy has no control plane."""
    if message.type == cluster_pb2.Cluster.EDS:
        message.type = cluster_pb2.Cluster.STATIC
        message.load_assignment.CopyFrom(endpoint_pb2.ClusterLoadAssignment.FromString(assignments[message.name].body))
        message.ClearField("eds_cluster_config")
    return message


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)


Scenarios = Mapping[str, tuple[Sequence[Place], Callable[[], Coroutine[Any, Any, None]]]]
"""By name: the pods, and what happens."""


def program(scenarios: Scenarios) -> None:
    """Play the scenario named on the command line in namespaces of its own, with its pods."""
    enter()
    places, play = scenarios[sys.argv[1]]
    for place in places:
        make_pod(place)
    asyncio.run(play())
