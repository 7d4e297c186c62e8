"""What all pods of a node share: configuration, clients, the objects they refer to; how container specs are made."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import env, images, volumes
from isthmus_lab.kubelet.agent import NodeAgent
from isthmus_lab.kubelet.client import ApiClient, ApiError, Object
from isthmus_lab.kubelet.config import NodeConfig
from isthmus_lab.kubelet.container import ContainerSpec
from isthmus_lab.kubelet.informer import Informer
from isthmus_lab.kubelet.plugins import Plugins
from isthmus_lab.kubelet.runtime_client import RuntimeClient
from isthmus_lab.kubelet.sandbox import Sandbox, Sandboxes
from isthmus_lab.kubelet.services import DOMAIN
from isthmus_lab.net import netns

COMPONENT = "kubelet"


@dataclass
class NodeContext:
    """Shared by all pods of a node."""

    config: NodeConfig
    client: ApiClient
    runtime: RuntimeClient
    agent: NodeAgent
    sandboxes: Sandboxes
    plugins: Plugins
    services: Informer
    config_maps: Informer
    secrets: Informer
    wire_services: Callable[[str], Awaitable[None]]
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def lookup(self, kind: str, namespace: str, name: str) -> Object | None:
        """A ConfigMap or Secret as last seen."""
        informer = {"ConfigMap": self.config_maps, "Secret": self.secrets}[kind]
        return informer.objects.get(f"{namespace}/{name}")

    def pod_directory(self, uid: str) -> Path:
        """Where a pod's volumes, logs and memory are."""
        return Path(self.config.directory, "pods", uid)

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Write an Event about the pod, without waiting for it."""
        task = asyncio.create_task(self._post_event(pod, kind, reason, message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _post_event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        meta = pod["metadata"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        reference = {k: meta[k] for k in ("name", "namespace", "uid")}
        source = {"component": COMPONENT, "host": self.config.node.name}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **reference},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": source,
            "reportingComponent": COMPONENT,
            "reportingInstance": self.config.node.name,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        with contextlib.suppress(ApiError, UnreachableError):
            await self.client.post(f"/api/v1/namespaces/{meta['namespace']}/events", body)


def resolv_conf(server: str, namespace: str = "") -> str:
    """How names are resolved: in a pod of that namespace, or on the node itself."""
    own = f"{namespace}.svc.{DOMAIN} " if namespace else ""
    return f"nameserver {server}\nsearch {own}svc.{DOMAIN} {DOMAIN}\noptions ndots:5\n"


def write_name_files(context: NodeContext, pod: Object, box: Sandbox) -> dict[str, str]:
    """/etc/resolv.conf and /etc/hosts of the pod, as files of its directory, by the path where they appear."""
    directory = context.pod_directory(pod["metadata"]["uid"]) / "etc"
    directory.mkdir(parents=True, exist_ok=True)
    resolv = resolv_conf(context.config.node.ip, pod["metadata"]["namespace"])
    (directory / "resolv.conf").write_text(resolv)
    name = pod["spec"].get("hostname") or pod["metadata"]["name"]
    (directory / "hosts").write_text(f"127.0.0.1 localhost\n{box.ip} {name}\n")
    return {"/etc/resolv.conf": str(directory / "resolv.conf"), "/etc/hosts": str(directory / "hosts")}


@dataclass(frozen=True)
class PodPlace:
    """A pod with its network and directories: enough to say how its containers are started."""

    context: NodeContext
    box: Sandbox
    files: dict[str, str]
    volume_directories: dict[str, Path]

    def environment(self, pod: Object, container: Object) -> dict[str, str]:
        """The container's environment. ConfigError: something is missing."""
        own = dict(images.find(container["image"]).environment)
        base = (
            images.base_environment()
            | own
            | {
                "HOSTNAME": pod["metadata"]["name"],
                "KUBERNETES_SERVICE_HOST": self.context.config.api_service_ip,
                "KUBERNETES_SERVICE_PORT": "443",
                "KUBERNETES_SERVICE_PORT_HTTPS": "443",
            }
        )
        return env.environment(container, pod, self.context.lookup, base)

    def log(self, pod: Object, container: Object, attempt: int) -> Path:
        """Where an attempt of the container writes."""
        return self.context.pod_directory(pod["metadata"]["uid"]).joinpath("logs", container["name"], f"{attempt}.log")

    def spec(self, pod: Object, container: Object, attempt: int) -> ContainerSpec:
        """The container as a process of the runtime. UnknownImageError, ConfigError: it cannot be started."""
        variables = self.environment(pod, container)
        command = [env.expand(str(c), variables) for c in container.get("command") or []]
        arguments = [env.expand(str(a), variables) for a in container.get("args") or []]
        argv, entry = images.command_line(images.find(container["image"]), command, arguments)
        meta = pod["metadata"]
        mounts = list(volumes.mounts_of(container, self.volume_directories))
        return ContainerSpec(
            id=f"{meta['uid']}/{container['name']}/{attempt}",
            argv=argv,
            entry=entry,
            env=variables,
            cwd=container.get("workingDir") or "/",
            netns=self.box.netns,
            mounts=mounts,
            files=self.files,
            hostname=str(pod["spec"].get("hostname") or meta["name"])[:63],
            log=str(self.log(pod, container, attempt)),
            meta={"namespace": meta["namespace"], "pod": meta["name"], "container": container["name"]},
        )

    def proxy_request(self, pod: Object, container: Object) -> dict[str, Any]:
        """The container as the node agent's `start` request."""
        variables = self.environment(pod, container)
        meta = pod["metadata"]
        return {
            "id": f"{meta['uid']}/{container['name']}",
            "namespace": meta["namespace"],
            "pod": meta["name"],
            "uid": meta["uid"],
            "ip": self.box.ip,
            "netns": netns.path(self.box.netns),
            "env": variables,
            "args": [env.expand(str(a), variables) for a in container.get("args") or []],
            "mounts": self.files
            | {mount.target: mount.source for mount in volumes.mounts_of(container, self.volume_directories)},
        }
