"""The agent of a node whose proxy is a ztunnel: it takes pods in and out, and hands them over; ztunnel does the rest.

ztunnel asks the control plane itself for what it must know and for certificates, and answers names in its pods.
"""

import asyncio
import contextlib
from functools import partial
from pathlib import Path

from isthmus.agent.ambient import AmbientPods, write_mark
from isthmus.agent.captured_pod import Tools
from isthmus.agent.log import AgentLog
from isthmus.agent.node_probes import NodeProbes
from isthmus.agent.node_proxy import RELEASE_PATIENCE, SOCKET, NodeSettings, is_removed, plugin_installer
from isthmus.base.clock import Clock
from isthmus.base.labels import REDIRECTION_ANNOTATION
from isthmus.edge.agent_socket import serve_lines
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.zds_server import ZdsServer
from isthmus.install.capture_rules import NodeCapture
from isthmus.kube.kubeconfig import Access


class ZtunnelNode:
    """Looks after the pods of a node for a ztunnel that connects at `socket`."""

    def __init__(self, settings: NodeSettings, access: Access, socket: Path, *, clock: Clock) -> None:
        self._settings = settings
        self._access = access
        self._clock = clock
        self._log = AgentLog().events
        self.server = ZdsServer(socket, self._log)

    async def run(self, stop: asyncio.Event) -> int:
        """Serve until `stop` is set; what is captured stays so, unless the DaemonSet is gone. Raises IsthmusError."""
        settings = self._settings
        settings.proxy.state_dir.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(await KubeClient.connect(self._access))
            pods = AmbientPods(
                client,
                self._tools(client),
                node=settings.node,
                netns_dir=settings.netns_dir,
                excluded=settings.excluded,
            )
            installer = plugin_installer(settings, self._log)
            await stack.enter_async_context(serve_lines(settings.proxy.state_dir / SOCKET, pods.handle))
            async with asyncio.TaskGroup() as group:
                work = [group.create_task(pods.run()), group.create_task(self.server.run())]
                if installer is not None:
                    work.append(group.create_task(installer.keep()))
                await stop.wait()
                if await is_removed(client, settings.proxy.namespace):
                    self._log.info("the node proxy is removed: all pods leave ambient")
                    if installer is not None:
                        work.pop().cancel()
                        with contextlib.suppress(OSError):
                            installer.remove()
                    await pods.release_all(RELEASE_PATIENCE)
                for task in work:
                    task.cancel()
        return 0

    def _tools(self, client: KubeClient) -> Tools:
        proxy = self._settings.proxy
        return Tools(
            mark=partial(write_mark, client, REDIRECTION_ANNOTATION),
            identities=None,
            names=None,
            capture=NodeCapture(dns_port=proxy.ports.dns if self._settings.dns_capture else None, keeps_source=True),
            probes=NodeProbes(self._log),
            trust_domain=proxy.trust_domain,
            drain=proxy.drain,
            clock=self._clock,
            log=self._log,
            ztunnel=self.server,
        )
