"""Names for the ambient pods of a node: one table for all, a server in each pod's network namespace."""

import contextlib
from collections.abc import Callable

from isthmus.agent.enrolment import Pod
from isthmus.base.errors import IsthmusError
from isthmus.dns.names import NameTable, View
from isthmus.dns.resolv import ResolvConf
from isthmus.edge.dns_client import DnsClient
from isthmus.edge.dns_server import DnsServer
from isthmus.edge.netns import NetworkNamespace


class PodNames:
    """The name servers of a node's pods. Each answers as a sidecar's agent in that pod would (DN7, DN8)."""

    def __init__(self, resolv_conf: Callable[[], ResolvConf], *, domain: str, port: int) -> None:
        """`resolv_conf` is the agent's own, which names the cluster's servers; `domain` such as svc.cluster.local."""
        self._resolv_conf = resolv_conf
        self._domain = domain
        self._port = port
        self._table: NameTable | None = None
        self._servers: dict[str, DnsServer] = {}

    def update(self, table: NameTable) -> None:
        """The mesh's names from now on."""
        self._table = table
        for server in self._servers.values():
            server.table = table

    async def serve(self, pod: Pod, namespace: NetworkNamespace) -> None:
        """Answer in the pod's namespace. Raises IsthmusError. Once more for one that is served changes nothing."""
        if pod.uid in self._servers:
            return
        client = DnsClient(namespace, lambda: self._outside(pod))
        server = DnsServer(namespace, view=View(pod.namespace, self._domain), client=client, port=self._port)
        server.table = self._table
        self._servers[pod.uid] = server
        try:
            await server.start()
        except BaseException:
            del self._servers[pod.uid]
            raise

    async def stop(self, pod_uid: str) -> None:
        """Answer no more."""
        server = self._servers.pop(pod_uid, None)
        if server is not None:
            with contextlib.suppress(IsthmusError):
                await server.close()

    async def close(self) -> None:
        """All of them."""
        for uid in list(self._servers):
            await self.stop(uid)

    def _outside(self, pod: Pod) -> ResolvConf:
        """Whom the pod's other names are asked of: its own servers, if its definition names any."""
        return ResolvConf(servers=pod.name_servers) if pod.name_servers else self._resolv_conf()
