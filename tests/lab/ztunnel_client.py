"""Run as a program in a pod: a ztunnel in shared mode, as far as one network goes; made of `tests/ztunnel/client.py`.

It is handed the pods of its node (ZDS), asks the control plane what there is (xDS) and for certificates of these pods
(CSR), and carries their connections: captured ones out, tunnels and plain ones in, names.

`python -m tests.lab.ztunnel_client`, set up by the environment as ztunnel is.
"""

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
import tempfile
from array import array
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.edge.netns import NetworkNamespace
from isthmus.proto import ca_pb2
from isthmus.proto import zds_pb2 as zds
from isthmus.xds.resource import ADDRESS, AUTHORIZATION
from tests.lab.http2 import Connection, Stream
from tests.ztunnel.client import Upstream, Ztunnel, identity

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CA = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
SO_ORIGINAL_DST, IP_TRANSPARENT = 80, 19
MARK = 1337
OUTBOUND, PLAIN, HBONE, DNS, READY = 15001, 15006, 15008, 15053, 15021
SOCKET = Path("/var/run/ztunnel/ztunnel.sock")
SECRETS = Path("/var/run/secrets")
CHUNK = 16_384


class Node:
    """What this ztunnel knows, and how it asks for more."""

    def __init__(self) -> None:
        env = os.environ
        self.state = Ztunnel(
            node=env["NODE_NAME"], cluster=env["CLUSTER_ID"], network=env["NETWORK"], pod=env["POD_NAME"]
        )
        self._target = urlsplit(env["XDS_ADDRESS"]).netloc
        self.pods: dict[str, Pod] = {}
        self.complete = False

    @property
    def ready(self) -> bool:
        """True once all pods were handed over, and everything was told."""
        return self.complete and {ADDRESS, AUTHORIZATION} <= self.state.versions.keys()

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[tuple[grpc.aio.Channel, tuple[tuple[str, str], ...]]]:
        """A connection to the control plane, and what to show it."""
        roots = (SECRETS / "istio/root-cert.pem").read_bytes()
        token = (SECRETS / "tokens/istio-token").read_text().strip()
        async with grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials(roots)) as channel:
            yield channel, (("authorization", f"Bearer {token}"), ("clusterid", self.state.cluster))

    async def follow(self) -> None:
        """Be told of everything, for ever; with what is known already on each new stream."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, OSError):
                async with self.channel() as (channel, metadata):
                    call = channel.stream_stream(ADS)(metadata=metadata)
                    for request in self.state.opening():
                        await call.write(request.SerializeToString())
                    while (data := await call.read()) is not grpc.aio.EOF:
                        answer = self.state.take(discovery_pb2.DeltaDiscoveryResponse.FromString(data))
                        await call.write(answer.SerializeToString())
            await asyncio.sleep(0.2)

    async def certificate(self, name: str) -> tuple[bytes, bytes, str]:
        """Key, chain and roots of an identity. Raises AioRpcError."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
        request = ca_pb2.IstioCertificateRequest(
            csr=csr.public_bytes(serialization.Encoding.PEM).decode(), validity_duration=86_400
        )
        request.metadata.fields["ImpersonatedIdentity"].string_value = name
        async with self.channel() as (channel, metadata):
            answer = await channel.unary_unary(CA)(request.SerializeToString(), metadata=metadata, timeout=5)
        *chain, roots = ca_pb2.IstioCertificateResponse.FromString(answer).cert_chain
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, "".join(chain).encode(), roots

    # -- pods -----------------------------------------------------------------------------------------------------

    async def be_handed(self) -> None:
        """Take pods in and let them go as the agent says; from the beginning when there is another agent."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
                line.setblocking(False)
                await loop.sock_connect(line, str(SOCKET))
                await loop.sock_sendall(line, zds.ZdsHello(version=zds.V1).SerializeToString())
                named: set[str] = set()
                while await self._message(line, named):
                    pass
            await asyncio.sleep(0.1)

    async def _message(self, line: socket.socket, named: set[str]) -> bool:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        loop.add_reader(line, arrived.set)
        await arrived.wait()
        loop.remove_reader(line)
        data, rights, _, _ = line.recvmsg(1024, socket.CMSG_SPACE(4))
        if not data:
            return False
        numbers = [number for _, _, raw in rights for number in array("i", raw)]
        request = zds.WorkloadRequest.FromString(data)
        error = ""
        match request.WhichOneof("payload"):
            case "add":
                named.add(request.add.uid)
                error = await self._add(request.add, numbers[0])
            case "keep":
                named.add(request.keep.uid)
            case "del":
                named.discard(getattr(request, "del").uid)
                self._remove(getattr(request, "del").uid)
            case "snapshot_sent":
                for uid in self.pods.keys() - named:
                    self._remove(uid)
                self.complete = True
        await loop.sock_sendall(line, zds.WorkloadResponse(ack=zds.Ack(error=error)).SerializeToString())
        return True

    async def _add(self, found: zds.AddWorkload, number: int) -> str:
        known = self.pods.get(found.uid)
        if known is not None and known.is_in(number):
            os.close(number)
            return ""
        self._remove(found.uid)
        info = found.workload_info
        pod = Pod(self, f"{self.state.cluster}//Pod/{info.namespace}/{info.name}", number)
        try:
            await pod.listen()
        except OSError as error:
            return str(error)
        self.pods[found.uid] = pod
        return ""

    def _remove(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            pod.close()


class Pod:
    """One pod: what listens in its network namespace, and its certificate."""

    def __init__(self, node: Node, uid: str, number: int) -> None:
        self._node = node
        self._uid = uid
        self._number = number
        self._here = NetworkNamespace(Path(f"/proc/self/fd/{number}"))
        self._servers: list[asyncio.Server] = []
        self._names: asyncio.DatagramTransport | None = None
        self._held: tuple[bytes, bytes, str] | None = None

    def is_in(self, number: int) -> bool:
        """True if that is its namespace."""
        return os.fstat(number).st_ino == os.fstat(self._number).st_ino

    async def listen(self) -> None:
        """Be there for its connections. Raises OSError."""
        for port, serve in ((OUTBOUND, self._out), (PLAIN, self._plain), (HBONE, self._tunnels)):
            made = await self._here.listen(("0.0.0.0", port), socket.SOCK_STREAM)
            self._servers.append(await asyncio.start_server(serve, sock=made))
        made = await self._here.listen(("127.0.0.1", DNS), socket.SOCK_DGRAM)
        loop = asyncio.get_running_loop()
        self._names, _ = await loop.create_datagram_endpoint(lambda: _Names(self._here), sock=made)

    def close(self) -> None:
        """Listen no more; what is open goes on."""
        for server in self._servers:
            server.close()
        if self._names is not None:
            self._names.close()

    # -- certificates ---------------------------------------------------------------------------------------------

    async def _tls(self, protocol: int) -> ssl.SSLContext:
        """Mutual TLS as this pod. Raises OSError."""
        if self._held is None:
            workload = self._node.state.workloads.get(self._uid)
            if workload is None:
                raise OSError(f"{self._uid} is not known")
            try:
                self._held = await self._node.certificate(identity(workload))
            except grpc.aio.AioRpcError as error:
                raise OSError(error.details()) from error
        key, chain, roots = self._held
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=roots)
        context.set_alpn_protocols(["h2"])
        with tempfile.NamedTemporaryFile() as file:
            file.write(key + chain)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    # -- out ------------------------------------------------------------------------------------------------------

    async def _out(self, reader: Reader, writer: Writer) -> None:
        address, port = _original(writer)
        with contextlib.suppress(OSError, ssl.SSLError):
            found = self._node.state.upstreams(self._uid, address, port)
            if not found and self._node.state.service_at(address) is None:
                found = [Upstream("", "tcp", f"{address}:{port}", "", 1, frozenset())]
            if found:
                (chosen,) = random.choices(found, [one.capacity for one in found])
                await self._carry(chosen, reader, writer)
        writer.close()

    async def _carry(self, chosen: Upstream, reader: Reader, writer: Writer) -> None:
        """To where it goes. Raises OSError."""
        host, _, port = chosen.to.rpartition(":")
        made = await self._connected(host, int(port))
        if chosen.protocol == "tcp":
            await _relay(reader, writer, *await asyncio.open_connection(sock=made))
            return
        if chosen.protocol != "hbone":
            made.close()
            return
        context = await self._tls(ssl.PROTOCOL_TLS_CLIENT)
        inner = await asyncio.open_connection(sock=made, ssl=context, server_hostname="")
        if not chosen.outer & _names_of(inner[1]):
            inner[1].close()
            return
        connection = Connection(*inner)
        running = asyncio.create_task(connection.run())
        stream = await connection.connect(chosen.authority)
        if stream is not None:
            await _tunnel(reader, writer, stream)
        connection.close()
        await running

    async def _connected(self, host: str, port: int, source: str = "") -> socket.socket:
        """A marked connection from inside the pod, as `source` if that is given. Raises OSError."""
        made = await self._here.unbound(socket.AF_INET, socket.SOCK_STREAM, mark=MARK)
        try:
            if source:
                made.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
                made.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(made, (host, port))
        except OSError:
            made.close()
            raise
        return made

    # -- in -------------------------------------------------------------------------------------------------------

    async def _plain(self, reader: Reader, writer: Writer) -> None:
        address, port = _original(writer)
        source = str(writer.get_extra_info("peername")[0])
        with contextlib.suppress(OSError):
            if self._node.state.admits(self._uid, source=source, port=port):
                made = await self._connected(address, port, source)
                await _relay(reader, writer, *await asyncio.open_connection(sock=made))
        writer.close()

    async def _tunnels(self, reader: Reader, writer: Writer) -> None:
        try:
            await writer.start_tls(await self._tls(ssl.PROTOCOL_TLS_SERVER))
        except (OSError, ssl.SSLError):
            writer.close()
            return
        callers = _names_of(writer)
        source = str(writer.get_extra_info("peername")[0])

        async def accept(stream: Stream, authority: str) -> None:
            port = self._port(authority)
            if not port or not any(self._admits(caller, source, port) for caller in callers):
                await connection.answer(stream, good=False)
                return
            try:
                own = socket.inet_ntoa(bytes(self._node.state.workloads[self._uid].addresses[0]))
                made = await self._connected(own, port, source)
            except OSError:
                await connection.answer(stream, good=False)
                return
            await connection.answer(stream, good=True)
            await _tunnel(*await asyncio.open_connection(sock=made), stream)

        connection = Connection(reader, writer, accept)
        await connection.run()

    def _admits(self, caller: str, source: str, port: int) -> bool:
        return self._node.state.admits(self._uid, caller, source=source, port=port)

    def _port(self, authority: str) -> int:
        """The port of the pod that is asked for, by its address or by a service's name; 0 if it has none such."""
        host, _, number = authority.rpartition(":")
        mine = self._node.state.workloads[self._uid]
        if host in (socket.inet_ntoa(bytes(one)) for one in mine.addresses):
            return int(number)
        for name, ports in mine.services.items():
            if name.partition("/")[2] == host:
                return next((one.target_port for one in ports.ports if one.service_port == int(number)), 0)
        return 0


class _Names(asyncio.DatagramProtocol):
    """Passes questions on to the name server, from inside the pod."""

    def __init__(self, here: NetworkNamespace) -> None:
        self._here = here
        lines = Path("/etc/resolv.conf").read_text().splitlines()
        self._server = next(line.split()[1] for line in lines if line.startswith("nameserver"))
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._ask(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, data: bytes, addr: tuple[str, int]) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(3):
                self._transport.sendto(await self._answer(data), addr)

    async def _answer(self, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with await self._here.unbound(socket.AF_INET, socket.SOCK_DGRAM, mark=MARK) as made:
            await loop.sock_connect(made, (self._server, 53))
            await loop.sock_sendall(made, question)
            return await loop.sock_recv(made, CHUNK)


def _original(writer: Writer) -> tuple[str, int]:
    """Where a redirected connection was going."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, packed = struct.unpack("!2xH4s8x", raw)
    return socket.inet_ntoa(packed), port


def _names_of(writer: Writer) -> frozenset[str]:
    """The SPIFFE IDs of who is on the other side."""
    shown = writer.get_extra_info("ssl_object").getpeercert() or {}
    return frozenset(value for kind, value in shown.get("subjectAltName", ()) if kind == "URI")


async def _relay(reader: Reader, writer: Writer, other: Reader, away: Writer) -> None:
    """Bytes both ways until both sides have ended."""
    await asyncio.gather(_copy(reader, away), _copy(other, writer), return_exceptions=True)
    away.close()


async def _copy(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _tunnel(reader: Reader, writer: Writer, stream: Stream) -> None:
    """Bytes both ways until both sides have ended."""

    async def out() -> None:
        while data := await reader.read(CHUNK):
            await stream.write(data)
        await stream.end()

    async def back() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    await asyncio.gather(out(), back(), return_exceptions=True)
    writer.close()


async def _tell(node: Node, reader: Reader, writer: Writer) -> None:
    """Whether it is ready, to whoever asks."""
    await reader.readuntil(b"\r\n\r\n")
    word = "200 OK" if node.ready else "503 Service Unavailable"
    writer.write(f"HTTP/1.1 {word}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()


async def main() -> None:
    """Until it is killed."""
    node = Node()
    serve: Callable[[Reader, Writer], Awaitable[None]] = lambda reader, writer: _tell(node, reader, writer)  # noqa: E731
    await asyncio.start_server(serve, "0.0.0.0", READY)
    async with asyncio.TaskGroup() as group:
        group.create_task(node.follow())
        group.create_task(node.be_handed())


if __name__ == "__main__":
    asyncio.run(main())
