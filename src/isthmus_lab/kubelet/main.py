"""The kubelet: runs the pods bound to its node, keeps their ClusterIPs and names working, reports."""

import asyncio
import contextlib
import logging
import sys
import time
from pathlib import Path

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import dns, node, services
from isthmus_lab.kubelet.agent import NodeAgent
from isthmus_lab.kubelet.client import ApiClient, Object
from isthmus_lab.kubelet.config import NodeConfig, load
from isthmus_lab.kubelet.context import NodeContext
from isthmus_lab.kubelet.informer import Informer, key_of
from isthmus_lab.kubelet.plugins import Plugins
from isthmus_lab.kubelet.pod import PodWorker
from isthmus_lab.kubelet.runtime_client import RuntimeClient
from isthmus_lab.kubelet.sandbox import Sandboxes
from isthmus_lab.kubelet.server import KubeletServer
from isthmus_lab.net import nft, rules

log = logging.getLogger("kubelet")


class Kubelet:
    """One node's kubelet."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        token = _wait_for_token(Path(config.api_token_file))
        self.client = ApiClient(config.api_socket, token)
        self.runtime = RuntimeClient(config.runtime_socket)
        self.agent = NodeAgent(config, self.runtime)
        self.sandboxes = Sandboxes(config, Path(config.directory, "pods"))
        self.plugins = Plugins(config, Path(config.directory, "pods"))
        self.workers: dict[str, PodWorker] = {}
        self._group = asyncio.TaskGroup()
        self._changed = asyncio.Event()
        self._names: dict[str, tuple[str, ...]] = {}
        selector = {"fieldSelector": f"spec.nodeName={config.node.name}"}
        self._pods = Informer(self.client, "/api/v1/pods", self._pod_event, **selector)
        self._services = Informer(self.client, "/api/v1/services", self._service_event)
        slices = "/apis/discovery.k8s.io/v1/endpointslices"
        self._slices = Informer(self.client, slices, self._service_event)
        self._context = NodeContext(
            config=config,
            client=self.client,
            runtime=self.runtime,
            agent=self.agent,
            sandboxes=self.sandboxes,
            plugins=self.plugins,
            services=self._services,
            config_maps=Informer(self.client, "/api/v1/configmaps", self._source_event),
            secrets=Informer(self.client, "/api/v1/secrets", self._source_event),
            wire_services=self._wire,
        )

    async def run(self) -> None:
        """Until cancelled, or until the runtime is gone."""
        server = KubeletServer(self.find, self.workers.values, self.runtime)
        async with self._group as group:
            group.create_task(self.runtime.watch())
            group.create_task(node.keep_alive(self.client, self.config))
            group.create_task(server.serve(self.config.kubelet_socket))
            group.create_task(dns.serve(self.config.node.ip, self._known_names))
            if self.config.run_agent:
                group.create_task(self.agent.keep())
            sources = [self._services, self._slices, self._context.config_maps, self._context.secrets]
            for informer in sources:
                group.create_task(informer.run())
            for informer in sources:
                await informer.synced.wait()
            self._names = services.name_table(self._services.objects.values(), self._slices.objects.values())
            group.create_task(self._pods.run())
            await self._pods.synced.wait()
            await self._remove_strays()
            await self._keep_services()

    def _known_names(self) -> dns.Table:
        """What the name server answers: names of the cluster, and those of the lab's machines."""
        return {**{name: tuple(found) for name, found in self.config.names.items()}, **self._names}

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by name."""
        for worker in self.workers.values():
            if key_of(worker.pod) == f"{namespace}/{name}":
                return worker
        return None

    def _pod_event(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        for other in self.workers.values():
            if other.uid != uid and key_of(other.pod) == key_of(pod):
                other.terminate(0)  # its successor is here already
        worker = self.workers.get(uid)
        if kind == "DELETED":
            if worker is not None:
                worker.terminate(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        elif worker is not None:
            worker.update(pod)
        elif (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") or pod["metadata"].get(
            "deletionTimestamp"
        ):
            self._start(pod)

    def _start(self, pod: Object) -> None:
        worker = PodWorker(self._context, pod)
        self.workers[worker.uid] = worker
        if pod["metadata"].get("deletionTimestamp"):
            worker.update(pod)
        self._group.create_task(self._run(worker))

    async def _run(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("pod %s", key_of(worker.pod))
        finally:
            self.workers.pop(worker.uid, None)

    async def _remove_strays(self) -> None:
        """End what still runs of pods that were deleted while no kubelet looked."""
        known = self.workers.keys()
        for process in self.runtime.processes():
            uid = process["id"].partition("/")[0]
            if uid != "node" and uid not in known and process["running"]:
                self.runtime.signal(process["id"], 9)
        for uid in self.sandboxes.uids():
            if uid not in known:
                await self.plugins.remove(uid, gone=not self.sandboxes.is_alive(uid))
                await self.sandboxes.remove(uid)

    def _service_event(self, _kind: str, _object: Object) -> None:
        self._changed.set()

    def _source_event(self, _kind: str, source: Object) -> None:
        for worker in self.workers.values():
            if worker.pod["metadata"]["namespace"] == source["metadata"]["namespace"]:
                worker.poke_volumes()

    def _chains(self) -> list[nft.Chain]:
        ports = services.service_ports(self._services.objects.values(), self._slices.objects.values())
        return rules.service_chains(ports, self.config.service_cidr)

    async def _wire(self, namespace: str) -> None:
        await self.sandboxes.apply_services(self._chains(), only=namespace)

    async def _keep_services(self) -> None:
        """Rules and names after each change; changes that come together are one."""
        before = None
        while True:
            self._changed.clear()
            self._names = services.name_table(self._services.objects.values(), self._slices.objects.values())
            chains = self._chains()
            if chains != before:
                with contextlib.suppress(OSError):
                    await self.sandboxes.apply_services(chains)
                    before = chains
            await self._changed.wait()


def _wait_for_token(path: Path) -> str:
    """The token the API server writes when it first starts, which may be after us."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            token = path.read_text().strip()
            if token:
                return token
        time.sleep(0.05)


def main(arguments: list[str]) -> int:
    """`isthmus-lab-kubelet NODE_JSON`; the runtime forks this."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    config = load(Path(arguments[0]))
    code = 0
    try:
        asyncio.run(Kubelet(config).run())
    except* UnreachableError as errors:
        log.error("%s", errors.exceptions[0])
        code = 3
    return code
