"""A pod's network: its namespace, addresses and cables; remembered on disk so that a pod keeps its addresses."""

import asyncio
import hashlib
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.env import Object
from isthmus_lab.net import fabric, links, netns, nft, rules

WAN_ANNOTATION = "lab.isthmus.dev/wan"
WAN_IP_ANNOTATION = "lab.isthmus.dev/wan-ip"
T = TypeVar("T")


class Sandbox(msgspec.Struct, frozen=True):
    """Where a pod lives. `started`: seconds since the epoch."""

    netns: str
    ip: str
    wan_ip: str | None
    tag: str
    host_network: bool
    started: float


class AddressPool:
    """Hands out addresses of a range, the longest unused one first; never one that is in use. Pure."""

    def __init__(self, addresses: list[str], used: set[str]) -> None:
        self._free = [a for a in addresses if a not in used]

    def take(self, wanted: str | None = None) -> str:
        """An address, `wanted` if it is free. OSError: none left."""
        if wanted in self._free:
            self._free.remove(wanted)
            return str(wanted)
        if not self._free:
            raise OSError("no free pod address on this node. Give the cluster another node in lab.yaml.")
        return self._free.pop(0)

    def give_back(self, address: str) -> None:
        """The address may be used again, after all others."""
        if address not in self._free:
            self._free.append(address)


class Sandboxes:
    """All pods' networks of one node."""

    def __init__(self, config: NodeConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netlink")
        self._files = {path.parent.name: path for path in directory.glob("*/sandbox.json")}
        self._known = {uid: msgspec.json.decode(path.read_bytes(), type=Sandbox) for uid, path in self._files.items()}
        block = [str(ip) for ip in list(ipaddress.IPv4Network(config.node.pod_block).hosts())[1:]]
        for uid, box in list(self._known.items()):
            if not box.host_network and box.ip not in block:
                del self._known[uid]  # lab.yaml has changed since then
        first = ipaddress.IPv4Address(config.node.wan_first)
        wan = [str(first + i) for i in range(config.node.wan_count)]
        self._pool = AddressPool(block, {s.ip for s in self._known.values()})
        self._wan = AddressPool(wan, {s.wan_ip for s in self._known.values() if s.wan_ip})

    def namespaces(self) -> list[str]:
        """Names of the namespaces of all pods that have one of their own."""
        return [s.netns for s in self._known.values() if not s.host_network and netns.is_alive(s.netns)]

    def find(self, uid: str) -> Sandbox | None:
        """The pod's network if it was set up before."""
        return self._known.get(uid)

    def is_alive(self, uid: str) -> bool:
        """True if the pod's network is there: it outlived the kubelet, not the node."""
        box = self._known.get(uid)
        return box is not None and netns.is_alive(box.netns)

    def uids(self) -> list[str]:
        """Pods that have something here."""
        return list(self._known)

    async def ensure(self, pod: Object, now: float, *, on_wan: bool = False) -> Sandbox:
        """The pod's network, made if it is not there; after a node's death it comes back with the same addresses.

        `on_wan`: it is called from other networks; a pod may say so itself, too.
        """
        uid = pod["metadata"]["uid"]
        box = self._known.get(uid) or self._plan(pod, now, on_wan=on_wan)
        if box.host_network or netns.is_alive(box.netns):
            return box
        network = self._config.network
        legs = fabric.pod_legs(network, tag=box.tag, ip=box.ip, wan_ip=box.wan_ip)

        def make() -> None:
            netns.create(box.netns)
            with netns.entered(box.netns):
                netns.write_sysctls(fabric.POD_SYSCTLS)
            links.attach(box.netns, legs, root=netns.ROOT)

        await self._in_thread(make)
        return box

    def _plan(self, pod: Object, now: float, *, on_wan: bool) -> Sandbox:
        meta = pod["metadata"]
        tag = hashlib.sha1(f"{self._config.cluster}/{meta['uid']}".encode(), usedforsecurity=False).hexdigest()[:10]
        if pod["spec"].get("hostNetwork"):
            box = Sandbox(self._config.node.netns, self._config.node.ip, None, tag, True, now)
        else:
            annotations = meta.get("annotations") or {}
            on_wan = on_wan or annotations.get(WAN_ANNOTATION) == "true"
            name = f"{meta['name']}.{meta['namespace']}.{self._config.cluster}-{tag[:4]}"
            wan_ip = self._wan.take(annotations.get(WAN_IP_ANNOTATION)) if on_wan else None
            box = Sandbox(name, self._pool.take(), wan_ip, tag, False, now)
        path = self._directory / meta["uid"] / "sandbox.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(box))
        self._known[meta["uid"]] = box
        return box

    async def remove(self, uid: str) -> None:
        """Take the pod's network away and free its addresses. Unknown pods are fine."""
        box = self._known.pop(uid, None)
        if box is None:
            return
        if not box.host_network:
            await self._in_thread(lambda: self._unmake(box))
            self._pool.give_back(box.ip)
            if box.wan_ip:
                self._wan.give_back(box.wan_ip)
        (self._directory / uid / "sandbox.json").unlink(missing_ok=True)

    @staticmethod
    def _unmake(box: Sandbox) -> None:
        links.detach([f"p{box.tag}l", f"p{box.tag}w"], root=netns.ROOT)
        netns.delete(box.netns)

    async def apply_services(self, chains: list[nft.Chain], only: str | None = None) -> None:
        """Make ClusterIPs work in every pod of this node and on the node itself (or in namespace `only`)."""
        messages = nft.table_messages(rules.SERVICE_TABLE, chains)
        names = [only] if only else [*self.namespaces(), self._config.node.netns]
        await self._in_thread(lambda: commit_in(names, messages))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def commit_in(namespaces: list[str], messages: list[bytes]) -> None:
    """Apply one nftables transaction in each namespace; one that vanished meanwhile is skipped."""
    for name in namespaces:
        try:
            with netns.entered(name):
                nft.commit(messages)
        except FileNotFoundError:
            continue
