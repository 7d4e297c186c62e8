"""Run as a program: a node with two pods in namespaces of its own, an API server, a control plane in miniature, and
the agent of the node's proxy with a real Envoy.

`python -m tests.agent.ambient_world enrol|start|restart|removal`
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from dnslib import DNSRecord

from isthmus.agent.node_proxy import DAEMON_SETS, NodeProxy, NodeSettings, parse_node_settings
from isthmus.agent.settings import Mounts
from isthmus.base.labels import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION
from isthmus.edge.agent_admin import LoopbackClient
from isthmus.edge.clock import SystemClock
from isthmus.edge.kube_access import from_kubeconfig
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.kube_watch import Watcher
from isthmus.edge.netns import NetworkNamespace
from isthmus.install.capture_rules import PROBE_SOURCE
from isthmus.install.cni_conf import container_launcher
from isthmus.kube.events import Applied, Fact, Replaced
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import NAMESPACES, PODS, SERVICE_ACCOUNTS
from isthmus.kube.watch import WatchMachine
from isthmus.xds.resource import NDS, XdsResource
from isthmus_lab.apiserver.inprocess import Loopback
from isthmus_lab.net import links, linux, netns
from tests.agent.ambient_config import PORTS, pod_resources
from tests.agent.fakes import FakeControlPlane, control_plane, eventually, make_authority, until, write_mounts
from tests.agent.namespaces import enter
from tests.agent.test_name_stream import table_body
from tests.agent.world import run

Json = dict[str, Any]

NODE = "node-1"
BRIDGE, GATEWAY = "br0", "10.9.0.1"
ADDRESSES = {"a": "10.9.0.2", "b": "10.9.0.3"}
APP_PORT = 8000
HOST_RUN = Path("/run/isthmus")
NAMESPACE = "shop"
MESH_ADDRESS = "10.1.0.7"
NAME_SERVER = "10.96.0.10"


@dataclass
class Seen:
    """What an application of a pod was reached from: addresses of the callers."""

    callers: list[str] = field(default_factory=list)


@dataclass
class PodHere:
    """A pod of the node: its namespace, its address, its uid in the API server."""

    name: str
    ip: str
    uid: str = ""
    seen: Seen = field(default_factory=Seen)

    @property
    def namespace(self) -> NetworkNamespace:
        """To work inside of it."""
        return NetworkNamespace(Path(netns.path(self.name)))


@dataclass
class World:
    """Everything that runs."""

    client: KubeClient
    access: Access
    plane: FakeControlPlane
    settings: NodeSettings
    kubeconfig: Path
    mounts: dict[str, str]
    pods: dict[str, PodHere] = field(default_factory=dict)
    orders: list[tuple[str, str]] = field(default_factory=list)
    """(pod, mark) as the API server saw them."""
    plugin: tuple[str, ...] = (sys.executable, "-m", "isthmus.cli.cni")
    serving: bool = True
    """False: the control plane sends no listeners."""

    def serve_pod(self, name: str, uid: str, *, wanted: bool) -> None:
        """The pod's listeners are there from now on, or are not."""
        identity = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{name}"
        netns_path = str(HOST_RUN / "netns" / uid)
        made = pod_resources(uid, netns_path, identity=identity, answer=str(APP_PORT))
        if wanted and self.serving:
            self.plane.config.put(*(r for r in made if self.plane.config.resource(r.type_url, r.name) is None))
        elif not wanted:
            self.plane.config.drop(*made)

    async def mark(self, name: str) -> str:
        """The pod's annotation now."""
        found = await self.client.get(PODS, NAMESPACE, name)
        return str((found["metadata"].get("annotations") or {}).get(REDIRECTION_ANNOTATION, ""))

    async def label(self, name: str, mode: str | None) -> None:
        """Set or remove a pod's own label."""
        body = {"metadata": {"labels": {DATAPLANE_MODE_LABEL: mode}}}
        await self.client.patch(PODS, body, namespace=NAMESPACE, name=name)

    async def until_mark(self, name: str, mark: str) -> None:
        """Wait for the pod's annotation."""

        async def holds() -> bool:
            return await self.mark(name) == mark

        await until(holds)

    async def create_pod(self, name: str, *, mode: str = "") -> None:
        """The object, as a scheduler left it."""
        labels = {DATAPLANE_MODE_LABEL: mode} if mode else {}
        spec = {"nodeName": NODE, "serviceAccountName": name, "containers": [{"name": "app", "image": "app"}]}
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        made = await self.client.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, namespace=NAMESPACE
        )
        self.pods[name].uid = made["metadata"]["uid"]

    async def cni(self, command: str, name: str) -> tuple[int, dict[str, Any]]:
        """Call the plugin as a container runtime does; its exit code and what it printed."""
        pod = self.pods[name]
        previous = {"cniVersion": "1.0.0", "ips": [{"address": f"{pod.ip}/24"}]}
        conf: Json = {"cniVersion": "1.0.0", "name": "net", "type": "isthmus-cni", "prevResult": previous}
        conf |= {"socket": str(HOST_RUN / "cni.sock"), "excludeNamespaces": ["kube-system"], "patience": 20}
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_UID={pod.uid}"
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": f"c-{name}", "CNI_IFNAME": "eth0", "CNI_ARGS": arguments}
        env |= {"CNI_NETNS": netns.path(name), "CNI_PATH": "/opt/cni/bin"}
        process = await asyncio.create_subprocess_exec(
            *self.plugin,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(json.dumps(conf).encode())
        if command == "ADD" and process.returncode == 0:  # only now the kubelet tells
            status = {"status": {"podIP": pod.ip, "podIPs": [{"ip": pod.ip}]}}
            await self.client.patch_status(PODS, status, namespace=NAMESPACE, name=name)
        return process.returncode or 0, json.loads(output) if output else {}

    async def call(self, caller: str, callee: str, port: int = APP_PORT) -> str:
        """What the application of another pod answers to a connection from inside of a pod."""
        reader, writer = await self.pods[caller].namespace.connect((self.pods[callee].ip, port))
        try:
            return (await asyncio.wait_for(reader.read(), 5)).decode()
        finally:
            writer.close()

    async def call_from_node(self, callee: str, port: int) -> str:
        """From a process of the node itself: what is answered, or `silent`."""
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(self.pods[callee].ip, port)
                answer = (await reader.read()).decode()
                writer.close()
                return answer
        except TimeoutError:
            return "silent"

    async def resolve(self, name: str) -> str:
        """The address that the mesh's name has for the pod, asked of its cluster's name server."""
        loop = asyncio.get_running_loop()
        with await self.pods[name].namespace.unbound(socket.AF_INET, socket.SOCK_DGRAM) as made:
            await loop.sock_connect(made, (NAME_SERVER, 53))
            await loop.sock_sendall(made, bytes(DNSRecord.question("hello.sample").pack()))
            reply = DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(made, 4096), 5))
        return str(reply.rr[0].rdata)

    async def peer_identity(self, name: str) -> str:
        """The identity that the node's proxy presents on the pod's HBONE port."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(self.pods[name].ip, PORTS.hbone_port, ssl=context)
        leaf = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(True))
        writer.close()
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return str(names.get_values_for_type(x509.UniformResourceIdentifier)[0])

    async def passed(self) -> int:
        """How many connections went through Envoy, out of a pod or into one; the admin port is the node's."""
        path = r"/stats?filter=^tcp\.passthrough\.downstream_cx_total$"
        body = (await LoopbackClient(NetworkNamespace()).request("GET", 15000, path)).body.decode()
        return int(body.partition(": ")[2] or 0)


def make_pod(name: str, ip: str) -> None:
    """A namespace with a cable to the node's bridge, by which everything else is reached, too."""
    netns.create(name)
    leg = links.Leg("eth0", f"v{name}", BRIDGE, ip, 24, routes=[("0.0.0.0/0", GATEWAY)])
    links.attach(name, [leg], root=netns.ROOT)


def make_node() -> None:
    """The node's bridge, its namespace by name, and its pods'."""
    netns.DIRECTORY.mkdir(parents=True)
    Path(netns.path(netns.ROOT)).touch()
    linux.mount("/proc/self/ns/net", netns.path(netns.ROOT), flags=linux.MS_BIND)
    with links.rtnetlink() as ip:
        links.ensure_bridge(ip, BRIDGE, (GATEWAY, 24))
    for name, address in ADDRESSES.items():
        make_pod(name, address)
    HOST_RUN.mkdir()


async def serve_app(stack: contextlib.AsyncExitStack, pod: PodHere) -> None:
    """An application that tells its name to whoever connects."""

    async def converse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pod.seen.callers.append(writer.get_extra_info("peername")[0])
        writer.write(pod.name.encode())
        writer.close()

    listening = await pod.namespace.listen(("0.0.0.0", APP_PORT), socket.SOCK_STREAM)
    await stack.enter_async_context(await asyncio.start_server(converse, sock=listening))


async def serve_listeners(world: World) -> None:
    """The control plane's part: a pod with an annotation has listeners, one without has none."""
    marks: dict[str, str] = {}

    def learn(facts: list[Fact[Json]]) -> None:
        for fact in facts:
            found = fact.values if isinstance(fact, Replaced) else (fact.value,) if isinstance(fact, Applied) else ()
            for pod in found:
                meta = pod["metadata"]
                mark = (meta.get("annotations") or {}).get(REDIRECTION_ANNOTATION, "")
                if marks.get(meta["uid"], "") != mark:
                    world.orders.append((meta["name"], mark))
                marks[meta["uid"]] = mark
                world.serve_pod(meta["name"], meta["uid"], wanted=bool(mark))

    await Watcher(world.client, WatchMachine(PODS, lambda raw: json.loads(bytes(raw))), facts=learn).run()


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A node without an agent yet; pods `a` and `b` have namespaces and applications, but no objects."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(tempfile.mkdtemp(dir="/run"))
        kube = stack.enter_context(Loopback(directory / "api"))
        access = from_kubeconfig(str(kube.kubeconfig))
        client = await stack.enter_async_context(await KubeClient.connect(access))
        plane = await stack.enter_async_context(control_plane(make_authority()))
        plane.config.put(XdsResource(NDS, "", table_body(MESH_ADDRESS)))
        mounts = write_mounts(directory / "mounts", plane.authority)
        mounts |= {"/var/run/isthmus": str(HOST_RUN), "/run/cni": str(directory / "cni")}
        settings = parse_node_settings(
            ["--domain", "istio-system.svc.cluster.local"],
            environment(plane),
            mounts=Mounts(mounts),
            read=lambda _: None,
        )
        made = World(client, access, plane, settings, kube.kubeconfig, mounts)
        await client.create(NAMESPACES, _namespace(NAMESPACE))
        await client.create(NAMESPACES, _namespace("istio-system"))
        for name, ip in ADDRESSES.items():
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            await client.create(SERVICE_ACCOUNTS, account, namespace=NAMESPACE)
            made.pods[name] = PodHere(name, ip)
            await serve_app(stack, made.pods[name])
        writer = asyncio.create_task(serve_listeners(made))
        try:
            yield made
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def environment(plane: FakeControlPlane) -> dict[str, str]:
    """As the DaemonSet sets it."""
    return {
        "POD_NAME": "isthmus-node-x",
        "POD_NAMESPACE": "istio-system",
        "INSTANCE_IP": "127.0.0.1",
        "SERVICE_ACCOUNT": "isthmus-node",
        "NODE_NAME": NODE,
        "PILOT_ADDRESS": f"127.0.0.1:{plane.port}",
        "CNI_NET_DIR": "/run/cni/net.d",
        "CNI_BIN_DIR": "/run/cni/bin",
        "CNI_EXCLUDE_NAMESPACES": "kube-system",
        "MINIMUM_DRAIN_DURATION": "0",
    }


@contextlib.asynccontextmanager
async def agent(here: World) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The agent of the node; yields how to stop it, which happens at the latest when the context ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(NodeProxy(here.settings, here.access, clock=SystemClock()).run(stop))

    async def leave() -> None:
        stop.set()
        await task

    try:
        yield leave
    finally:
        await leave()


async def answers(here: World) -> bool:
    """The agent has read the pods of its node."""
    return (await here.cni("STATUS", "a"))[0] == 0


async def enrol() -> None:
    """A pod that runs is taken in and let go, by its label alone; everything about it is seen from its namespace."""
    async with world() as here:
        await here.create_pod("a")
        await here.create_pod("b")
        async with agent(here):
            await until(lambda: answers(here))
            for name in ("a", "b"):
                code, said = await here.cni("ADD", name)
                assert (code, said["ips"]) == (0, [{"address": f"{here.pods[name].ip}/24"}]), said
            assert here.orders == []
            assert await here.call("a", "b") == "b"
            assert await here.passed() == 0
            for name in ("a", "b"):
                await here.label(name, "ambient")
                await here.until_mark(name, "enabled")
            await eventually(
                lambda: here.orders == [("a", "pending"), ("a", "enabled"), ("b", "pending"), ("b", "enabled")]
            )
            await check_captured(here)
            assert await here.cni("CHECK", "a") == (0, {})
            await here.label("a", None)
            await here.until_mark("a", "")
            await eventually(lambda: here.orders[4:] == [("a", "pending"), ("a", "")])
            before = await here.passed()
            assert await here.call("a", "a") == "a"
            assert await here.call("b", "a") == "a"  # b's outbound only
            assert await here.passed() - before == 1
            await until(lambda: has_no_listeners(here, "a"))
            assert here.plane.identities.count("spiffe://cluster.local/ns/shop/sa/a") == 1


async def check_captured(here: World) -> None:
    """Both pods are: connections, names, certificates, probes, and what must not be reached from outside."""
    before = await here.passed()
    assert await here.call("a", "b") == "b"
    assert await here.passed() - before == 2, "out of a and into b"
    assert await here.resolve("a") == MESH_ADDRESS
    assert await here.peer_identity("b") == "spiffe://cluster.local/ns/shop/sa/b"
    assert {f"spiffe://cluster.local/ns/shop/sa/{name}" for name in here.pods} <= set(here.plane.identities)
    assert await here.call_from_node("b", PORTS.inbound_port) == "silent"
    assert await here.call_from_node("b", PORTS.outbound_port) == "silent"
    assert await here.call_from_node("b", APP_PORT) == "b"
    assert await here.passed() - before == 2, "probes reach the application itself"
    assert here.pods["b"].seen.callers[-1] == PROBE_SOURCE


async def has_no_listeners(here: World, name: str) -> bool:
    """Nothing of the proxy listens in the pod any more."""
    return PORTS.proxy_ports.isdisjoint((await here.pods[name].namespace.sockets()).listening)


async def start() -> None:
    """A pod that starts in an ambient namespace waits until it is captured; without listeners it does not start."""
    async with world() as here:
        labels = {"metadata": {"labels": {DATAPLANE_MODE_LABEL: "ambient"}}}
        await here.client.patch(NAMESPACES, labels, namespace="", name=NAMESPACE)
        await here.create_pod("a")
        code, said = await here.cni("ADD", "a")
        assert (code, said["code"]) == (1, 11), said  # no agent: closed
        async with agent(here):
            await until(lambda: answers(here))
            here.serving = False
            adding = asyncio.create_task(here.cni("ADD", "a"))
            await here.until_mark("a", "pending")
            assert not adding.done()
            here.serving = True
            here.serve_pod("a", here.pods["a"].uid, wanted=True)
            code, said = await adding
            assert (code, said["cniVersion"]) == (0, "1.0.0"), said
            assert await here.mark("a") == "enabled"
            await here.create_pod("b", mode="none")
            if shutil.which("nsenter"):
                here.plugin = (container_program(),)
            assert (await here.cni("ADD", "b"))[0] == 0
            assert await here.mark("b") == ""
            assert await here.call("a", "b") == "b"
            assert await here.cni("DEL", "a") == (0, {})
            assert not (HOST_RUN / "netns" / here.pods["a"].uid).is_symlink()
            assert await here.mark("a") == ""
            assert await here.cni("DEL", "a") == (0, {})
        assert await here.cni("DEL", "b") == (0, {})  # without an agent, too


def container_program() -> str:
    """The plugin as a node starts it whose agent has a file system of its own."""
    path = HOST_RUN / "isthmus-cni"
    namespace = str(Path("/proc/self/ns/mnt").readlink())
    path.write_text(container_launcher(sys.executable, pid=os.getpid(), namespace=namespace))
    path.chmod(0o755)
    return str(path)


async def restart() -> None:
    """What is captured stays so while the agent is away, and the next one takes it up."""
    async with world() as here:
        for name in ("a", "b"):
            await here.create_pod(name, mode="ambient")
        await here.client.create(DAEMON_SETS, daemon_set(), namespace="istio-system")
        async with agent(here):
            await until(lambda: answers(here))
            for name in ("a", "b"):
                assert (await here.cni("ADD", name))[0] == 0
            await check_captured(here)
        assert await here.mark("a") == "enabled"
        async with contextlib.AsyncExitStack() as stack:
            # Closed while there is no proxy.
            with contextlib.suppress(ConnectionError):
                assert await here.call("a", "b") == ""
            await stack.enter_async_context(agent(here))

            async def captured() -> bool:
                with contextlib.suppress(OSError):
                    return await here.call("a", "b") == "b" and await here.cni("CHECK", "a") == (0, {})
                return False

            await until(captured)
            await check_captured(here)
        assert [mark for _, mark in here.orders] == ["pending", "enabled"] * 2, here.orders


async def removal() -> None:
    """When the DaemonSet is removed, all pods are plain again, and the node is as it was."""
    async with world() as here:
        net_dir = here.settings.cni_net_dir
        assert net_dir is not None
        net_dir.mkdir(parents=True)
        written = json.dumps({"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]})
        conf = net_dir / "10-net.conflist"
        conf.write_text(written)
        await here.create_pod("a", mode="ambient")
        await here.create_pod("b")
        async with agent(here) as leave:
            await until(lambda: answers(here))

            async def installed() -> bool:
                return [one["type"] for one in json.loads(conf.read_text())["plugins"]] == ["bridge", "isthmus-cni"]

            await until(installed)
            assert (await here.cni("ADD", "a"))[0] == 0
            assert await here.mark("a") == "enabled"
            await leave()
            assert await here.mark("a") == ""
            assert json.loads(conf.read_text()) == json.loads(written)
            assert await here.call("a", "b") == "b"


def daemon_set() -> dict[str, Any]:
    """What the agent looks for before it takes a stop for the end."""
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": pod}
    meta = {"name": "isthmus-node", "namespace": "istio-system"}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": spec}


if __name__ == "__main__":
    enter()
    make_node()
    run({"enrol": enrol, "start": start, "restart": restart, "removal": removal}[sys.argv[1]](), 60)
