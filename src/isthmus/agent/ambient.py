"""The ambient pods of a node: who they are, what the CNI plugin asks about them, and where their namespaces are."""

import asyncio
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from isthmus.agent.captured_pod import CapturedPod, Tools, handed
from isthmus.agent.enrolment import NodePod, Pod, read_pod, wants_ambient
from isthmus.agent.pod_namespaces import find_namespace
from isthmus.base.errors import IsthmusError
from isthmus.base.labels import ADDRESSES_ANNOTATION
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.kube_watch import Watcher
from isthmus.install.node import RUNTIME_NETNS_DIR
from isthmus.kube.events import Applied, Deleted, Fact, Failed, Replaced
from isthmus.kube.objects import Namespace
from isthmus.kube.requests import NAMESPACES, PODS, Scope, get_request
from isthmus.kube.watch import WatchMachine

Answer = dict[str, Any]

PATIENCE = 45.0
"""Seconds within which a pod that starts must be captured; its runtime tries again later, in a new namespace."""


class CniRequest(msgspec.Struct, frozen=True):
    """What the plugin asks: `op` is add, del, check or status."""

    op: str
    container: str = ""
    netns: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    addresses: tuple[str, ...] = ()


class _RefusedError(IsthmusError):
    """The answer to the plugin is no. `final`: trying again does not help."""

    def __init__(self, message: str, remedy: str, *, final: bool = False) -> None:
        super().__init__(message, remedy)
        self.final = final


class AmbientPods:
    """Watches the pods of one node and keeps each where its labels want it, between `run` and its cancellation."""

    def __init__(
        self,
        client: KubeClient,
        tools: Tools,
        *,
        node: str,
        netns_dir: Path,
        excluded: Collection[str] = (),
        runtime_dir: Path = Path(RUNTIME_NETNS_DIR),
    ) -> None:
        """`netns_dir` holds a link to the network namespace of each pod, by its uid: Envoy opens them there.

        `excluded` are namespaces whose pods are never ambient: the mesh's own, and what the node cannot do without.
        `runtime_dir` is where the container runtime keeps them: pods that were there before are looked for there.
        """
        self._runtime_dir = runtime_dir
        self._excluded = frozenset(excluded)
        self._client = client
        self._tools = tools
        self._node = node
        self._netns_dir = netns_dir
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pods: dict[str, Pod] = {}
        self._running: dict[str, tuple[CapturedPod, asyncio.Task[None]]] = {}
        self._listed: set[str] = set()
        self._given: dict[str, tuple[str, ...]] = {}
        self._searches: set[str] = set()
        self._left: set[str] = set()
        self._leaving = False

    async def run(self) -> None:
        """Watch until cancelled; what is captured stays so."""
        pods = WatchMachine(PODS, _decode_pod, scope=Scope(field_selector=f"spec.nodeName={self._node}"))
        namespaces = WatchMachine(NAMESPACES, _decode_namespace)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(Watcher(self._client, namespaces, facts=self._learn_namespaces).run())
                group.create_task(Watcher(self._client, pods, facts=self._learn_pods).run())
        finally:
            for _, task in self._running.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)

    async def release_all(self, patience: float) -> None:
        """Take every pod of the node out of ambient, within `patience` seconds."""
        self._leaving = True
        for uid in self._running:
            self._decide(uid)
        await asyncio.gather(*(pod.settled(patience) for pod, _ in self._running.values()))
        await self._tools.probes.close()

    async def handle(self, line: bytes) -> bytes:
        """Answer one question of the plugin; every failure is an answer, too."""
        try:
            answer = await self._answer(msgspec.json.decode(line, type=CniRequest))
        except msgspec.DecodeError as error:
            answer = {
                "ok": False,
                "error": f"request not understood: {error}",
                "remedy": "Is the plugin of this version?",
            }
        except _RefusedError as error:
            answer = {"ok": False, "error": error.message, "remedy": error.remedy, "final": error.final}
        except IsthmusError as error:
            answer = {"ok": False, "error": error.message, "remedy": error.remedy}
        except OSError as error:
            answer = {"ok": False, "error": str(error), "remedy": "See the log of isthmus-node on this node"}
        return msgspec.json.encode(answer)

    async def _answer(self, request: CniRequest) -> Answer:
        match request.op:
            case "add":
                return {"ok": True, "captured": await self._add(request)}
            case "del":
                await self._delete(request)
                return {"ok": True}
            case "check":
                return {"ok": True, "captured": self._check(request)}
            case "status":
                if len(self._listed) < 2:
                    raise _RefusedError(
                        "the agent has not read the pods of this node yet", "Does the API server answer?"
                    )
                return {"ok": True}
        raise _RefusedError(f"{request.op} is unknown", "Is the plugin of this version?", final=True)

    async def _add(self, request: CniRequest) -> bool:
        """Hold the pod's start back until it is captured; False at once if it is not to be."""
        found = await self._read(request.namespace, request.name)
        pod, annotations = read_pod(found), found.metadata.annotations or {}
        if request.uid and request.uid != pod.uid and "kubernetes.io/config.mirror" not in annotations:
            raise _RefusedError(f"pod {pod.key} is another one by now", "The runtime tries again")
        self._namespaces[pod.namespace] = await self._labels(pod.namespace)
        self._link(pod.uid, request.netns)
        self._left.discard(pod.uid)
        self._given[pod.uid] = request.addresses
        pod = self._pods[pod.uid] = self._with_addresses(pod)
        captured = self._captured(pod)
        await captured.enter()
        self._decide(pod.uid)
        if not self._wants(pod):
            return False
        if not await captured.settled(PATIENCE) or not captured.captured:
            raise _RefusedError(
                f"pod {pod.key} is not captured after {PATIENCE:g} s: {captured.obstacle}",
                "See the log of isthmus-node on this node, and whether its control plane answers",
            )
        return True

    async def _delete(self, request: CniRequest) -> None:
        if request.uid and self._ends(request):
            self._left.add(request.uid)
            if request.uid in self._running:
                await self._running[request.uid][0].leave()
            (self._netns_dir / request.uid).unlink(missing_ok=True)

    def _ends(self, request: CniRequest) -> bool:
        """Calls may come again, and late: only the namespace that is still the pod's counts."""
        link = self._netns_dir / request.uid
        if not link.is_symlink():
            return False
        if not request.netns:
            return not link.exists()
        return os.path.realpath(request.netns) == os.path.realpath(link)

    def _check(self, request: CniRequest) -> bool:
        pod = self._pods.get(request.uid)
        if pod is None or not self._wants(pod):
            return False
        captured = self._captured(pod)
        if not captured.captured:
            raise _RefusedError(f"pod {pod.key} is not captured: {captured.obstacle}", "See the log of isthmus-node")
        return True

    def _wants(self, pod: Pod) -> bool:
        labels = self._namespaces.get(pod.namespace, {})
        return pod.namespace not in self._excluded and wants_ambient(pod, labels)

    async def _read(self, namespace: str, name: str) -> NodePod:
        """The pod as it is now: the watch may not have come to it."""
        body = await self._client.call(get_request(PODS, namespace, name))
        return msgspec.json.decode(body, type=NodePod)

    async def _labels(self, namespace: str) -> Mapping[str, str]:
        body = await self._client.call(get_request(NAMESPACES, "", namespace))
        return msgspec.json.decode(body, type=Namespace).metadata.labels or {}

    def _link(self, uid: str, netns: str) -> None:
        """Keep the way to the pod's namespace for Envoy, and for the next agent."""
        self._netns_dir.mkdir(parents=True, exist_ok=True)
        fresh = self._netns_dir / f".{uid}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.realpath(netns))
        fresh.replace(self._netns_dir / uid)

    def _learn_namespaces(self, facts: list[Fact[Namespace | None]]) -> None:
        changed: set[str] = set()
        for fact in facts:
            match fact:
                case Applied(found) if found is not None:
                    changed.add(found.metadata.name)
                    self._namespaces[found.metadata.name] = found.metadata.labels or {}
                case Deleted(found) if found is not None:
                    self._namespaces.pop(found.metadata.name, None)
                case Replaced(values):
                    known = {one.metadata.name: one.metadata.labels or {} for one in values if one is not None}
                    self._namespaces = dict(known)
                    self._look_over("namespaces")
                    changed.update(pod.namespace for pod in self._pods.values())
                case Failed(_, message):
                    self._tools.log.warning("namespaces not read", reason=message)
        for pod in list(self._pods.values()):
            if pod.namespace in changed:
                self._decide(pod.uid)

    def _learn_pods(self, facts: list[Fact[Pod | None]]) -> None:
        for fact in facts:
            match fact:
                case Applied(pod) if pod is not None:
                    self._learn_pod(pod)
                case Deleted(pod) if pod is not None:
                    self._forget(pod.uid)
                case Replaced(values):
                    known = {pod.uid: pod for pod in values if pod is not None}
                    for uid in self._pods.keys() - known.keys():
                        self._forget(uid)
                    for pod in known.values():
                        self._learn_pod(pod)
                    self._look_over("pods")
                    self._sweep()
                case Failed(_, message):
                    self._tools.log.warning("pods not read", reason=message)

    def _look_over(self, kind: str) -> None:
        """Once everything was listed a ztunnel may be told that something is gone."""
        self._listed.add(kind)
        if self._tools.ztunnel is not None and len(self._listed) == 2:
            self._tools.ztunnel.begin(handed(pod) for pod in self._pods.values() if pod.mark)

    def _with_addresses(self, pod: Pod) -> Pod:
        """The kubelet tells a pod's addresses only once all plugins are done."""
        return pod if pod.addresses else replace(pod, addresses=self._given.get(pod.uid, ()))

    def _learn_pod(self, pod: Pod) -> None:
        self._pods[pod.uid] = pod = self._with_addresses(pod)
        if pod.able or pod.uid in self._running or pod.mark:
            self._captured(pod)
            self._decide(pod.uid)

    def _decide(self, uid: str) -> None:
        """Nobody is let out of ambient because of not having looked."""
        pod = self._pods[uid]
        if uid not in self._running or ("namespaces" not in self._listed and pod.namespace not in self._namespaces):
            return
        wanted = self._wants(pod) and not self._leaving
        searched = uid in self._searches or uid in self._left
        if wanted and pod.addresses and not searched and not (self._netns_dir / uid).exists():
            self._searches.add(uid)
            asyncio.get_running_loop().create_task(self._search(pod)).add_done_callback(self._on_end)
        self._running[uid][0].learn(pod, wanted=wanted)

    async def _search(self, pod: Pod) -> None:
        """Find the namespace of a pod that started without the plugin."""
        try:
            found = await find_namespace(self._runtime_dir, pod.addresses)
            if found is None:
                self._tools.log.warning(
                    "pod", pod=pod.key, failed=f"no network namespace in {self._runtime_dir} has its address"
                )
            elif pod.uid in self._running:
                self._link(pod.uid, str(found))
                await self._running[pod.uid][0].enter()
                self._decide(pod.uid)
        finally:
            self._searches.discard(pod.uid)

    def _captured(self, pod: Pod) -> CapturedPod:
        known = self._running.get(pod.uid)
        if known is None:
            captured = CapturedPod(pod, self._netns_dir / pod.uid, self._tools)
            task = asyncio.get_running_loop().create_task(captured.run())
            task.add_done_callback(self._on_end)
            known = self._running[pod.uid] = captured, task
        return known[0]

    def _forget(self, uid: str) -> None:
        """The pod is gone from the API server; its namespace may live a moment longer."""
        self._pods.pop(uid, None)
        self._given.pop(uid, None)
        self._left.discard(uid)
        asyncio.get_running_loop().create_task(self._end(uid)).add_done_callback(self._on_end)

    async def _end(self, uid: str) -> None:
        captured, task = self._running.pop(uid, (None, None))
        if captured is None or task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await captured.end()

    def _sweep(self) -> None:
        """Links of pods that ended while there was no agent."""
        if self._netns_dir.is_dir():
            for link in self._netns_dir.iterdir():
                if link.name not in self._pods and not link.exists():
                    link.unlink(missing_ok=True)

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._tools.log.error("a pod is not looked after any more", defect=repr(task.exception()))


async def write_mark(client: KubeClient, annotation: str, pod: Pod, mark: str) -> None:
    """Annotate a pod, unless another one has its name by now. Raises IsthmusError."""
    addresses = ",".join(pod.addresses) if mark else ""
    marks = {annotation: mark or None, ADDRESSES_ANNOTATION: addresses or None}
    body = {"metadata": {"uid": pod.uid, "annotations": marks}}
    try:
        await client.patch(PODS, body, namespace=pod.namespace, name=pod.name)
    except KubeError as error:
        if error.status not in (404, 409):
            raise


def _decode_pod(raw: msgspec.Raw) -> Pod | None:
    try:
        return read_pod(msgspec.json.decode(raw, type=NodePod))
    except msgspec.MsgspecError:
        return None


def _decode_namespace(raw: msgspec.Raw) -> Namespace | None:
    try:
        return msgspec.json.decode(raw, type=Namespace)
    except msgspec.MsgspecError:
        return None
