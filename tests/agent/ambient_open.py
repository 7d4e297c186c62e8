"""Run as a program: what open connections meet when pods are captured and let go, and who gets around capture.

`python -m tests.agent.ambient_open open|around|annotations`
"""

import asyncio
import contextlib
import functools
import socket
import struct
import sys
from collections.abc import AsyncIterator

from dnslib import DNSRecord

from isthmus.base.labels import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION
from isthmus.edge.netns import NetworkNamespace
from isthmus.kube.requests import NAMESPACES, PODS, SERVICE_ACCOUNTS
from isthmus_lab.net import netns
from tests.agent.ambient_world import (
    HOST_RUN,
    MESH_ADDRESS,
    NAME_SERVER,
    NAMESPACE,
    NODE,
    World,
    agent,
    answers,
    make_node,
    world,
)
from tests.agent.fakes import until
from tests.agent.namespaces import enter
from tests.agent.world import run

ECHO_PORT = 8001
OWN_PORT = 40000
SYSTEM = "kube-system"
HELLO, RESET = b"hello", b"reset"


class Line:
    """A connection to the echo of a pod."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def works(self) -> bool:
        """Whether what is said comes back."""
        try:
            self._writer.write(HELLO)
            async with asyncio.timeout(3):
                return await self._reader.read(100) == HELLO
        except (OSError, TimeoutError):
            return False

    async def be_reset(self) -> None:
        """Have the application end it in the rude way."""
        self._writer.write(RESET)
        with contextlib.suppress(ConnectionResetError):
            assert not await self._reader.read(100)
        self._writer.close()


async def connect(here: World, caller: str, callee: str, *, port: int = 0) -> Line:
    """From the application of one pod, with that port of its own, to that of another. Raises OSError."""
    made = await here.pods[caller].namespace.unbound(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((here.pods[caller].ip, port))
    async with asyncio.timeout(2):
        await asyncio.get_running_loop().sock_connect(made, (here.pods[callee].ip, ECHO_PORT))
    return Line(*await asyncio.open_connection(sock=made))


async def serve_echo(stack: contextlib.AsyncExitStack, here: World, name: str) -> None:
    """An application that says what it is told, over both versions of the protocol."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while said := await reader.read(100):
                if said == RESET:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                writer.write(said)
                await writer.drain()
        writer.close()

    listening = await here.pods[name].namespace.listen(("::", ECHO_PORT), socket.SOCK_STREAM)
    await stack.enter_async_context(await asyncio.start_server(converse, sock=listening))


@contextlib.asynccontextmanager
async def node(*modes: str) -> AsyncIterator[World]:
    """Pods a and b with these modes run, `b` with an echo; there is an agent."""
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(world())
        await serve_echo(stack, here, "b")
        for name, mode in zip("ab", modes, strict=True):
            await here.create_pod(name, mode=mode)
        await stack.enter_async_context(agent(here))
        await until(lambda: answers(here))
        for name in "ab":
            assert (await here.cni("ADD", name))[0] == 0
        yield here


async def open_connections() -> None:
    """Neither capture nor release breaks a connection, though nothing else makes the kernel follow any."""
    async with node("", "") as here:
        before = await connect(here, "a", "b")
        assert await before.works()
        for name in "ab":
            await here.label(name, "ambient")
            await here.until_mark(name, "enabled")
            assert await before.works(), name
        assert await here.passed() == 0
        captured = await connect(here, "a", "b")
        assert await captured.works()
        assert await here.passed() == 2
        for name in "ab":
            await here.label(name, "none")
            await here.until_mark(name, "pending")
            # a's are still captured where they come in to b
            caller, callee, still = ("a", "b", 1) if name == "a" else ("b", "a", 0)
            await until(functools.partial(is_released, here, callee, caller=caller, still=still))
            assert await captured.works(), name
            assert await before.works(), name


async def is_released(here: World, callee: str, *, caller: str, still: int = 0) -> bool:
    """A new connection goes by itself, but for as many proxies as are `still` on its way."""
    before = await here.passed()
    assert await here.call(caller, callee) == callee
    return await here.passed() - before == still


async def around() -> None:
    """Nobody gets to a captured application past the proxy: not over IPv6, nor in the place of an older connection."""
    async with node("", "") as here:
        target = await link_local(here.pods["b"].namespace)
        assert await over_ipv6(here, target)
        older = await connect(here, "a", "b", port=OWN_PORT)
        assert await older.works()
        await here.label("b", "ambient")
        await here.until_mark("b", "enabled")
        assert not await over_ipv6(here, target)
        before = await here.passed()
        assert await (await connect(here, "a", "b")).works()
        assert await here.passed() - before == 1
        assert await older.works()
        await older.be_reset()
        with contextlib.suppress(TimeoutError, OSError):
            assert await (await connect(here, "a", "b", port=OWN_PORT)).works()
            assert await here.passed() - before == 2, "it reached the application by itself"


async def annotations() -> None:
    """A pod says what it keeps for itself, also while it is captured; one of an excluded namespace is left alone."""
    async with node("", "ambient") as here:
        await create_system_pod(here)
        before = await here.passed()
        assert await here.call("a", "b") == "b"
        assert await here.passed() - before == 1
        assert await names_are_captured(here)
        await annotate(here, "ambient.istio.io/bypass-inbound-capture", "true")
        await until(functools.partial(is_released, here, "b", caller="a"))
        assert await here.peer_identity("b") == "spiffe://cluster.local/ns/shop/sa/b"
        asked = await query_socket(here)
        assert await asks(asked) == MESH_ADDRESS
        await annotate(here, "ambient.istio.io/dns-capture", "false")

        async def own_servers() -> bool:
            return not await names_are_captured(here)

        await until(own_servers)
        assert await asks(asked) == "", "a socket that has asked before is no exception"
        await annotate(here, "ambient.istio.io/dns-capture", "true")

        async def by_the_mesh() -> bool:
            return await asks(asked) == MESH_ADDRESS

        await until(by_the_mesh)
        asked.close()
        system = await here.client.get(PODS, SYSTEM, "dns")
        assert REDIRECTION_ANNOTATION not in (system["metadata"].get("annotations") or {})
        assert await here.mark("b") == "enabled"
        assert here.orders == [("b", "pending"), ("b", "enabled")]


async def create_system_pod(here: World) -> None:
    """What nodes cannot do without, though its namespace, and it itself, are labelled."""
    labels = {DATAPLANE_MODE_LABEL: "ambient"}
    await here.client.patch(NAMESPACES, {"metadata": {"labels": labels}}, namespace="", name=SYSTEM)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dns"}}
    await here.client.create(SERVICE_ACCOUNTS, account, namespace=SYSTEM)
    spec = {"nodeName": NODE, "serviceAccountName": "dns", "containers": [{"name": "app", "image": "app"}]}
    metadata = {"name": "dns", "namespace": SYSTEM, "labels": labels}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    made = await here.client.create(PODS, body, namespace=SYSTEM)
    (HOST_RUN / "netns" / made["metadata"]["uid"]).symlink_to(netns.path("a"))


async def annotate(here: World, annotation: str, value: str) -> None:
    """Of pod b."""
    body = {"metadata": {"annotations": {annotation: value}}}
    await here.client.patch(PODS, body, namespace=NAMESPACE, name="b")


async def names_are_captured(here: World) -> bool:
    """Whether b's questions for names are answered by the mesh."""
    with await query_socket(here) as made:
        return await asks(made) == MESH_ADDRESS


async def query_socket(here: World) -> socket.socket:
    """An application of b asks its cluster's name server from here."""
    made = await here.pods["b"].namespace.unbound(socket.AF_INET, socket.SOCK_DGRAM)
    await asyncio.get_running_loop().sock_connect(made, (NAME_SERVER, 53))
    return made


async def asks(made: socket.socket) -> str:
    """The address that a name of the mesh has; empty without an answer."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1):
            await loop.sock_sendall(made, bytes(DNSRecord.question("hello.sample").pack()))
            return str(DNSRecord.parse(await loop.sock_recv(made, 4096)).rr[0].rdata)
    return ""


async def link_local(namespace: NetworkNamespace) -> str:
    """The address of a pod's interface that every interface has."""

    def look() -> str:
        with open("/proc/thread-self/net/if_inet6", encoding="ascii") as file:
            fields = next(line.split() for line in file if line.split()[-1] == "eth0")
        return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0]))

    async def is_there() -> bool:
        with contextlib.suppress(StopIteration):
            return bool(await namespace.run(look))
        return False

    await until(is_there)
    return await namespace.run(look)


async def over_ipv6(here: World, address: str) -> bool:
    """Whether a reaches b's application there; at first the kernel still makes sure that the address is its own."""

    async def attempt() -> bool:
        namespace = here.pods["a"].namespace
        scope = await namespace.run(lambda: socket.if_nametoindex("eth0"))
        with await namespace.unbound(socket.AF_INET6, socket.SOCK_STREAM) as made:
            made.setblocking(False)
            async with asyncio.timeout(1):
                await asyncio.get_running_loop().sock_connect(made, (address, ECHO_PORT, 0, scope))
            return True

    for _ in range(8):
        try:
            return await attempt()
        except ConnectionRefusedError:
            return False
        except (OSError, TimeoutError):
            await asyncio.sleep(0.5)
    return False


if __name__ == "__main__":
    enter()
    make_node()
    run({"open": open_connections, "around": around, "annotations": annotations}[sys.argv[1]](), 60)
