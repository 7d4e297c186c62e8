"""Lets the node's own processes, which probe pods, reach the applications of captured pods.

Their connections get an address that only they have, and that a pod's rules let pass; what others send through the
node, such as traffic of a NodePort, keeps its own and is captured (as in Istio's in-pod redirection).
"""

from structlog.typing import FilteringBoundLogger

from isthmus.agent.enrolment import Pod
from isthmus.base.errors import IsthmusError
from isthmus.edge import netfilter
from isthmus.edge.netns import NetworkNamespace
from isthmus.install.capture_rules import PROBE_TABLE, probe_chains
from isthmus.install.netfilter import delete_messages, table_messages


class NodeProbes:
    """The rules in the node's own network namespace; one set for all captured pods."""

    def __init__(self, log: FilteringBoundLogger, node: NetworkNamespace | None = None) -> None:
        self._log = log
        self._node = node or NetworkNamespace()
        self._addresses: dict[str, tuple[str, ...]] = {}

    async def allow(self, pod: Pod, namespace: NetworkNamespace) -> None:
        """The pod is captured from now on. One whose answers do not come back by the node itself is left out."""
        try:
            gateway = await namespace.default_gateway()
            own = gateway.startswith("169.254.") or await self._node.has_addresses([gateway])
            if not gateway or not own or self._addresses.get(pod.uid) == pod.addresses:
                return
            self._addresses[pod.uid] = tuple(address for address in pod.addresses if ":" not in address)
            await self._write()
        except (IsthmusError, OSError) as error:
            self._log.warning("probes of the node are captured, too", pod=pod.key, reason=str(error))

    async def forbid(self, pod_uid: str) -> None:
        """The pod is captured no more."""
        if self._addresses.pop(pod_uid, None) is not None:
            try:
                await self._write()
            except OSError as error:
                self._log.warning("rules for probes not changed", reason=str(error))

    async def close(self) -> None:
        """No pod is captured any more, or nobody looks after them."""
        self._addresses.clear()
        try:
            await self._node.run(lambda: netfilter.commit(delete_messages(PROBE_TABLE)))
        except OSError as error:
            self._log.warning("rules for probes not removed", reason=str(error))

    async def _write(self) -> None:
        addresses = sorted(address for found in self._addresses.values() for address in found)
        messages = table_messages(PROBE_TABLE, probe_chains(addresses))
        await self._node.run(lambda: netfilter.commit(messages))
