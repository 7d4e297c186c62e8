"""Names for the ambient pods of a node: one table for all, a server in each pod's network namespace."""

import asyncio
import contextlib
from collections.abc import Callable

from isthmus.agent.enrolment import Pod
from isthmus.base.errors import IsthmusError
from isthmus.dns.names import NameTable, View
from isthmus.dns.resolv import ResolvConf
from isthmus.edge import netfilter
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.dns_server import DnsServer
from isthmus.edge.netns import NetworkNamespace

NAME_PORT = 53

LINGER = 60.0
"""Seconds; the kernel keeps a translation of UDP for 30 s after its last packet (nf_conntrack_udp_timeout)."""


class PodNames:
    """The name servers of a node's pods. Each answers as a sidecar's agent in that pod would (DN7, DN8)."""

    def __init__(self, resolv_conf: Callable[[], ResolvConf], *, domain: str, port: int) -> None:
        """`resolv_conf` is the agent's own, which names the cluster's servers; `domain` such as svc.cluster.local."""
        self._resolv_conf = resolv_conf
        self._domain = domain
        self._port = port
        self._table: NameTable | None = None
        self._servers: dict[str, DnsServer] = {}
        self._namespaces: dict[str, NetworkNamespace] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}

    def update(self, table: NameTable) -> None:
        """The mesh's names from now on."""
        self._table = table
        for server in self._servers.values():
            server.table = table

    async def serve(self, pod: Pod, namespace: NetworkNamespace) -> None:
        """Answer in the pod's namespace. Raises IsthmusError. Once more for one that is served changes nothing."""
        self._cancel_stop(pod.uid)
        if pod.uid in self._servers:
            return
        client = DnsClient(namespace, lambda: self._outside(pod))
        server = DnsServer(namespace, view=View(pod.namespace, self._domain), client=client, port=self._port)
        server.table = self._table
        self._servers[pod.uid], self._namespaces[pod.uid] = server, namespace
        try:
            await server.start()
        except BaseException:
            del self._servers[pod.uid], self._namespaces[pod.uid]
            raise

    async def stop(self, pod_uid: str) -> None:
        """Answer no more."""
        self._cancel_stop(pod_uid)
        server = self._servers.pop(pod_uid, None)
        self._namespaces.pop(pod_uid, None)
        if server is not None:
            with contextlib.suppress(IsthmusError):
                await server.close()

    def stop_later(self, pod_uid: str) -> None:
        """Answer no more after a while: the kernel still redirects queries from ports that have asked before."""
        if pod_uid in self._servers and pod_uid not in self._stops:
            self._stops[pod_uid] = asyncio.get_running_loop().create_task(self._linger(pod_uid))

    async def _linger(self, pod_uid: str) -> None:
        await asyncio.sleep(LINGER)
        with contextlib.suppress(IsthmusError, OSError):
            # What is still translated is so for ever: an application that asks from one socket all the time.
            await self._namespaces[pod_uid].run(lambda: netfilter.forget_udp(NAME_PORT, answered=False))
        del self._stops[pod_uid]
        await self.stop(pod_uid)

    def _cancel_stop(self, pod_uid: str) -> None:
        task = self._stops.pop(pod_uid, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """All of them."""
        for uid in list(self._servers):
            await self.stop(uid)

    def _outside(self, pod: Pod) -> ResolvConf:
        """Whom the pod's other names are asked of: its own servers, if its definition names any."""
        return ResolvConf(servers=pod.name_servers) if pod.name_servers else self._resolv_conf()
