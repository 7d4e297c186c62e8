"""The agent of a node proxy: one Envoy for all ambient pods of the node, and everything that brings pods to it."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from isthmus.agent.ambient import PATIENCE, AmbientPods, write_mark
from isthmus.agent.captured_pod import Tools
from isthmus.agent.identities import Identities
from isthmus.agent.log import AgentLog
from isthmus.agent.node_probes import NodeProbes
from isthmus.agent.pod_names import PodNames
from isthmus.agent.proxy import Proxy
from isthmus.agent.settings import Mounts, ProxySettings, ReadText, parse_settings
from isthmus.base.clock import Clock
from isthmus.base.errors import IsthmusError, UsageError
from isthmus.base.labels import REDIRECTION_ANNOTATION
from isthmus.dns.resolv import ResolvConf
from isthmus.edge.agent_socket import serve_lines
from isthmus.edge.cni_installer import CniInstaller
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.netns import NetworkNamespace
from isthmus.install.capture_rules import NodeCapture
from isthmus.install.cni_conf import plugin_entry
from isthmus.install.node import NETNS_DIR, NODE_NAME, RUN_DIR
from isthmus.kube.kubeconfig import Access
from isthmus.kube.requests import Resource

SOCKET = "cni.sock"
"""Where the plugin asks, in the agent's directory."""

SPARE = 15.0
"""Seconds that the plugin waits longer than the agent lets a pod wait, so that it hears why."""

RELEASE_PATIENCE = 20.0
"""Seconds for all pods of the node to leave when the node proxy is removed."""

RESTARTS = 5
"""How often Envoy may end at once after its start, one time after the other, before that is the kubelet's to tell."""

SHORT_LIFE = 10.0
"""Seconds of life below which an end counts as one of these."""

FIRST_PAUSE = 0.1
"""Seconds before the second attempt, doubling with each further one; the first is made at once."""

GRACE = 10.0
"""Seconds that Envoy has for what is open when it is stopped."""

DAEMON_SETS = Resource("apps", "v1", "daemonsets")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Everything the agent of a node proxy must know. `cni_net_dir` None: the plugin is installed by somebody else."""

    proxy: ProxySettings
    node: str
    netns_dir: Path
    dns_capture: bool = True
    cni_net_dir: Path | None = None
    cni_bin_dir: Path | None = None
    excluded: tuple[str, ...] = ()


def parse_node_settings(args: Sequence[str], env: Mapping[str, str], *, mounts: Mounts, read: ReadText) -> NodeSettings:
    """Settings from what the container was given. Raises UsageError that names the variable."""
    node = env.get("NODE_NAME")
    if not node:
        raise UsageError("environment variable NODE_NAME is not set", "Set it from the field spec.nodeName")
    net_dir, bin_dir = env.get("CNI_NET_DIR"), env.get("CNI_BIN_DIR")
    if bool(net_dir) != bool(bin_dir):
        raise UsageError("only one of CNI_NET_DIR and CNI_BIN_DIR is set", "Set both, or none to install no plugin")
    netns_dir = env.get("ISTIO_META_NETNS_DIR") or NETNS_DIR
    return NodeSettings(
        proxy=parse_settings(["proxy", "node", *args], env, mounts=mounts, read=read),
        node=node,
        netns_dir=mounts.path(netns_dir),
        dns_capture=env.get("ISTIO_META_DNS_CAPTURE", "true") == "true",
        cni_net_dir=mounts.path(net_dir) if net_dir else None,
        cni_bin_dir=mounts.path(bin_dir) if bin_dir else None,
        excluded=tuple(filter(None, env.get("CNI_EXCLUDE_NAMESPACES", "").split(","))),
    )


class NodeProxy:
    """Looks after the node's Envoy and its pods for as long as `run` runs."""

    def __init__(self, settings: NodeSettings, access: Access, *, clock: Clock) -> None:
        self._settings = settings
        self._access = access
        self._clock = clock
        self._log = AgentLog().events
        self._capture = NodeCapture(dns_port=settings.proxy.ports.dns if settings.dns_capture else None)
        self._names: PodNames | None = None
        if settings.dns_capture:
            self._names = PodNames(
                self._resolv_conf,
                domain=settings.proxy.cluster_suffix,
                port=settings.proxy.ports.dns,
            )
        self.proxy = Proxy(
            settings.proxy,
            namespace=NetworkNamespace(),
            log_file=None,
            clock=clock,
            log=self._log,
            on_names=self._names.update if self._names is not None else None,
        )

    def _resolv_conf(self) -> ResolvConf:
        return self.proxy.resolv_conf()

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until `stop` is set, or Envoy ends again and again; Envoy's exit code. Raises IsthmusError.

        What is captured stays captured, without a proxy until the next agent is there, unless the DaemonSet is gone.
        """
        await self.proxy.start()
        try:
            return await self._serve(stop)
        except BaseException:
            await self.proxy.stop(0)
            raise

    async def _serve(self, stop: asyncio.Event) -> int:
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(await KubeClient.connect(self._access))
            identities = self._identities()
            stack.push_async_callback(identities.close)
            if self._names is not None:
                stack.push_async_callback(self._names.close)
            pods = AmbientPods(
                client,
                self._tools(client, identities),
                node=self._settings.node,
                netns_dir=self._settings.netns_dir,
                excluded=self._settings.excluded,
            )
            installer = plugin_installer(self._settings, self._log)
            await stack.enter_async_context(serve_lines(self._settings.proxy.state_dir / SOCKET, pods.handle))
            await self._until(stop, pods, installer, client)
            # Names are answered until nobody can call any more.
            return await self.proxy.stop(GRACE)

    async def _until(
        self, stop: asyncio.Event, pods: AmbientPods, installer: CniInstaller | None, client: KubeClient
    ) -> None:
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(pods.run())]
            if installer is not None:
                work.append(group.create_task(installer.keep()))
            ends = [group.create_task(stop.wait()), group.create_task(keep_running(self.proxy, self._clock, self._log))]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and await is_removed(client, self._settings.proxy.namespace):
                self._log.info("the node proxy is removed: all pods leave ambient")
                if installer is not None:
                    work[-1].cancel()
                    self._remove(installer)
                await pods.release_all(RELEASE_PATIENCE)
            for task in (*work, *ends):
                task.cancel()

    def _remove(self, installer: CniInstaller) -> None:
        try:
            installer.remove()
        except (OSError, IsthmusError) as error:
            self._log.error("CNI plugin not removed", reason=str(error))

    def _identities(self) -> Identities:
        return Identities(
            self.proxy.authorities(),
            self.proxy.secrets,
            settings=self._settings.proxy,
            clock=self._clock,
            log=self._log,
            signer=self.proxy.signer,
        )

    def _tools(self, client: KubeClient, identities: Identities) -> Tools:
        return Tools(
            mark=partial(write_mark, client, REDIRECTION_ANNOTATION),
            identities=identities,
            names=self._names,
            capture=self._capture,
            probes=NodeProbes(self._log),
            trust_domain=self._settings.proxy.trust_domain,
            drain=self._settings.proxy.drain,
            clock=self._clock,
            log=self._log,
        )


class Ending(Protocol):
    """A process that may end, and can be started again."""

    async def ended(self) -> int:
        """Its exit code, once it ended."""

    async def revive(self, log_file: Path | None) -> None:
        """Start it again."""


async def keep_running(proxy: Ending, clock: Clock, log: FilteringBoundLogger) -> None:
    """Start the node's Envoy again whenever it ends: all its pods wait for it, and everything else is still there.

    Returns when it does not stay: then there is more wrong than a new process mends. Raises IsthmusError.
    """
    failures, begun = 0, clock.monotonic()
    while True:
        code = await proxy.ended()
        failures = failures + 1 if clock.monotonic() - begun < SHORT_LIFE else 0
        log.error("envoy ended", exit_code=code, soon_after_its_start=failures)
        if failures >= RESTARTS:
            return
        if failures > 1:
            await asyncio.sleep(FIRST_PAUSE * 2.0 ** (failures - 2))
        begun = clock.monotonic()
        await proxy.revive(None)


async def is_removed(client: KubeClient, namespace: str) -> bool:
    """True if the DaemonSet is gone, or going; while that is not known nothing is taken back."""
    try:
        found = await client.find(DAEMON_SETS, namespace, NODE_NAME)
    except (IsthmusError, KubeError):
        return False
    return found is None or bool(found["metadata"].get("deletionTimestamp"))


def plugin_installer(settings: NodeSettings, log: FilteringBoundLogger) -> CniInstaller | None:
    """What keeps the CNI plugin on the node, if that is ours to do."""
    if settings.cni_net_dir is None or settings.cni_bin_dir is None:
        return None
    entry = plugin_entry(socket=f"{RUN_DIR}/{SOCKET}", excluded=settings.excluded, patience=PATIENCE + SPARE)
    return CniInstaller(net_dir=settings.cni_net_dir, bin_dir=settings.cni_bin_dir, entry=entry, log=log)
