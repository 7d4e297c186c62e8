"""One cluster as the supervisor sees it: its API server, its nodes, whether its pods are ready."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus.base.labels import DATAPLANE_MODE_LABEL, REDIRECTION_ANNOTATION
from isthmus.install.node import NODE_NAME
from isthmus_lab.kubelet.client import ApiClient, ApiError, Object
from isthmus_lab.kubelet.config import NodeConfig, save
from isthmus_lab.kubelet.informer import Informer
from isthmus_lab.kubelet.sandbox import commit_in
from isthmus_lab.kubelet.services import service_ports
from isthmus_lab.net import nft, rules
from isthmus_lab.net.plan import API_SERVER_PORT, ClusterPlan, NetworkPlan, NodePlan
from isthmus_lab.supervisor.processes import Program
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import DataPlane

_POLL = 0.05
PROXY = "istio-proxy"


class ClusterControl:
    """One cluster of the lab; paths are inside ones."""

    def __init__(self, plan: ClusterPlan, network: NetworkPlan, state: StateDirectory) -> None:
        self.plan = plan
        self.network = network
        self.state = state
        self._client: ApiClient | None = None

    @property
    def client(self) -> ApiClient:
        """Speaks to the API server as the lab's own account. FileNotFoundError: it never started."""
        if self._client is None:
            name = self.plan.name
            self._client = ApiClient(str(self.state.api_socket(name)), self.state.system_token(name))
        return self._client

    def api_program(self, host_fd: int) -> Program:
        """The API server with the cluster's controllers."""
        plan, name = self.plan, self.plan.name
        argv = [
            sys.executable, "-m", "isthmus_lab.apiserver",
            "--cluster", name,
            "--data-dir", str(self.state.api_data(name)),
            "--host-fd", str(host_fd),
            "--listen", f"{plan.api_ip}:{API_SERVER_PORT}",
            "--listen", f"{plan.api_wan_ip}:{API_SERVER_PORT}",
            "--unix", str(self.state.api_socket(name)),
            "--advertise", f"https://{plan.api_wan_ip}:{API_SERVER_PORT}",
            "--advertise-network", f"https://{plan.api_ip}:{API_SERVER_PORT}",
            "--service-cidr", plan.service_cidr,
            "--pod-cidr", self.network.pod_cidr,
            "--kubelet-dir", str(self.state.cluster(name) / "nodes"),
            "--controllers",
        ]  # fmt: skip
        log = str(self.state.cluster(name) / "apiserver.log")
        return Program(name=self.api_name, argv=tuple(argv), netns=plan.api_netns, log=log, pass_fds=(host_fd,))

    @property
    def api_name(self) -> str:
        """The API server among the supervisor's children."""
        return f"{self.plan.name}/apiserver"

    def node_name(self, node: NodePlan) -> str:
        """A node among the supervisor's children."""
        return f"{self.plan.name}/node/{node.name}"

    def node_program(self, node: NodePlan) -> Program:
        """A node's container runtime, which starts the kubelet."""
        directory = self.state.node(self.plan.name, node.name)
        config = directory / "node.json"
        argv = (sys.executable, "-m", "isthmus_lab.kubelet.runtime", str(config))
        log = str(directory / "runtime.log")
        return Program(name=self.node_name(node), argv=argv, netns=node.netns, log=log, whole_node=True)

    def write_node_config(self, node: NodePlan, names: dict[str, list[str]]) -> None:
        """What the node is told; `names` are those that its name server knows beside the cluster's."""
        name = self.plan.name
        directory = self.state.node(name, node.name)
        config = NodeConfig(
            cluster=name,
            node=node,
            network=self.network,
            service_cidr=self.plan.service_cidr,
            api_socket=str(self.state.api_socket(name)),
            api_token_file=str(self.state.api_data(name) / "system.token"),
            api_service_ip=self.plan.api_service_ip,
            directory=str(directory),
            names=names,
        )
        save(config, directory / "node.json")

    async def wait_for_api(self) -> None:
        """Until the API server answers."""
        while True:
            with contextlib.suppress(UnreachableError, ApiError, FileNotFoundError):
                await self.client.get("/version")
                return
            await asyncio.sleep(_POLL)

    async def ensure_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """Create a namespace if it is missing."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        try:
            await self.client.post("/api/v1/namespaces", body)
        except ApiError as error:
            if error.code != 409:
                raise

    async def keep_services(self) -> None:
        """Make ClusterIPs work for the API server itself (webhooks), until cancelled."""
        changed = asyncio.Event()
        services = Informer(self.client, "/api/v1/services", lambda _k, _o: changed.set())
        slices_path = "/apis/discovery.k8s.io/v1/endpointslices"
        slices = Informer(self.client, slices_path, lambda _k, _o: changed.set())
        async with asyncio.TaskGroup() as group:
            for informer in (services, slices):
                group.create_task(informer.run())
                await informer.synced.wait()
            while True:
                changed.clear()
                ports = service_ports(services.objects.values(), slices.objects.values())
                chains = rules.service_chains(ports, self.plan.service_cidr)
                with contextlib.suppress(OSError):
                    commit_in([self.plan.api_netns], nft.table_messages(rules.SERVICE_TABLE, chains))
                await changed.wait()

    # Pods and kubelets.

    async def ask_kubelet(self, node: str, message: Object) -> Object:
        """One control request to a kubelet. UnreachableError: it does not run."""
        path = str(self.state.node(self.plan.name, node) / "kubelet.sock")
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
                try:
                    writer.write(json.dumps(message).encode() + b"\n")
                    answer: Object = json.loads(await reader.readline() or b'{"ok": false}')
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError) as error:
            raise UnreachableError(f"kubelet of {self.plan.name}/{node} does not answer") from error
        return answer

    async def pods_on_nodes(self) -> dict[str, dict[str, Any]]:
        """What the kubelets say of their pods, by uid; silent kubelets are left out."""
        found: dict[str, dict[str, Any]] = {}
        for node in self.plan.nodes:
            with contextlib.suppress(UnreachableError):
                for pod in (await self.ask_kubelet(node.name, {"pods": {}})).get("pods") or []:
                    found[pod["uid"]] = {**pod, "node": node.name}
        return found

    async def unready(self) -> list[str]:
        """What is not ready yet, in words; empty: everything is. UnreachableError, ApiError: the API server is away."""
        pods = (await self.client.get("/api/v1/pods"))["items"]
        kinds = ("deployment", "statefulset", "daemonset")
        sets = {kind: (await self.client.get(f"/apis/apps/v1/{kind}s"))["items"] for kind in kinds}
        words = unready_words(self.plan.name, pods, sets, await self.pods_on_nodes())
        if any(item["metadata"]["name"] == NODE_NAME for item in sets["daemonset"]):
            namespaces = (await self.client.get("/api/v1/namespaces"))["items"]
            words += uncaptured_words(self.plan.name, pods, namespaces)
        return words


def unready_words(
    cluster: str, pods: Iterable[Object], sets: Mapping[str, Iterable[Object]], local: dict[str, dict[str, Any]]
) -> list[str]:
    """Compare what the API server has with what the kubelets say; `sets` by the kind that people call them. Pure."""
    words = []
    for kind, item in ((kind, item) for kind, items in sets.items() for item in items):
        status = item.get("status") or {}
        current = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
        if kind == "daemonset":
            wanted, have = status.get("desiredNumberScheduled") or 0, status.get("numberReady") or 0
        else:
            wanted, have = (item.get("spec") or {}).get("replicas", 1), status.get("readyReplicas") or 0
        if not current or have < wanted:
            meta = item["metadata"]
            words.append(f"{cluster}: {kind} {meta['namespace']}/{meta['name']} has {have} of {wanted} ready")
    for pod in pods:
        meta = pod["metadata"]
        if _is_over(pod):
            continue
        known = local.get(meta["uid"])
        if known is None or not known["ready"]:
            why = "; ".join(known["troubles"]) if known else "not started by a kubelet yet"
            words.append(f"{cluster}: pod {meta['namespace']}/{meta['name']} is not ready ({why})")
    return words


def _is_over(pod: Object) -> bool:
    return bool(
        pod["metadata"].get("deletionTimestamp") or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    )


def uncaptured_words(cluster: str, pods: Iterable[Object], namespaces: Iterable[Object]) -> list[str]:
    """Pods that are to be captured by the proxy of their node and are not yet. Pure."""
    of_namespace = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in namespaces}
    words = []
    for pod in pods:
        meta, spec = pod["metadata"], pod["spec"]
        containers = [*spec["containers"], *(spec.get("initContainers") or [])]
        if _is_over(pod) or spec.get("hostNetwork") or any(item["name"] == PROXY for item in containers):
            continue
        labels = of_namespace.get(meta["namespace"], {}) | (meta.get("labels") or {})
        wanted = labels.get(DATAPLANE_MODE_LABEL) == DataPlane.AMBIENT
        if wanted and (meta.get("annotations") or {}).get(REDIRECTION_ANNOTATION) != "enabled":
            words.append(f"{cluster}: pod {meta['namespace']}/{meta['name']} is not captured by its node's proxy")
    return words


def remove_stale_sockets(directory: Path) -> None:
    """Sockets that a killed lab left: nobody listens there."""
    for path in directory.rglob("*.sock"):
        with contextlib.suppress(OSError):
            os.unlink(path)
