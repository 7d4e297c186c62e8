"""Which Gateways a control plane looks after, and what it knows of what runs for them.

Those of its own cluster, and of clusters without a control plane that name it first in their system namespace: of
several that may write there one alone does, or they would write over each other where their settings differ.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import replace

from isthmus.app.settings import ServeSettings
from isthmus.base.clock import Clock
from isthmus.base.errors import Problem
from isthmus.derive.gateway_status import Seen
from isthmus.edge.gateway_controller import INTERVAL, SETTLE, GatewayController
from isthmus.edge.kube_client import KubeClient
from isthmus.graph.mesh import Mesh
from isthmus.install.values import CONTROL_PLANE_CLUSTERS, REVISION_LABEL, MeshValues
from isthmus.model.managed import ManagedGateway
from isthmus.model.rows import Cluster, Namespace, Service, Workload

GATEWAY_TABLES = frozenset((ManagedGateway.TABLE, Service.TABLE, Workload.TABLE))
"""What the status of Gateways is made of."""

PLACE_TABLES = frozenset((Cluster.TABLE, Namespace.TABLE))
"""What says whose Gateways are looked after."""


class Gateways:
    """A controller for each cluster whose Gateways are ours: one that hangs delays nobody else."""

    def __init__(
        self, settings: ServeSettings, mesh: Mesh, clock: Clock, client: Callable[[str], KubeClient | None]
    ) -> None:
        self._settings = settings
        self._mesh = mesh
        self._clock = clock
        self._client = client
        self._poked = asyncio.Event()
        self._controllers: dict[str, GatewayController] = {}

    def changed(self, changes: Collection[tuple[str, str]]) -> None:
        """Rows changed: (table, cluster) of each."""
        if any(table in PLACE_TABLES for table, _ in changes):
            self._poked.set()
        for cluster in {cluster for table, cluster in changes if table in GATEWAY_TABLES}:
            if cluster in self._controllers:
                self._controllers[cluster].poke()

    def problems(self) -> list[Problem]:
        """Gateways that cannot be run, and not be told so either."""
        return [problem for controller in self._controllers.values() for problem in controller.problems()]

    async def run(self) -> None:
        """Until cancelled."""
        tasks: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._poked.clear()
                wanted = self.in_charge()
                for gone in tasks.keys() - wanted:
                    tasks.pop(gone).cancel()
                    del self._controllers[gone]
                for cluster in sorted(wanted - tasks.keys()):
                    self._controllers[cluster] = self._controller(cluster)
                    tasks[cluster] = group.create_task(self._controllers[cluster].run(), name=f"gateways of {cluster}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL):
                        await self._poked.wait()
                await asyncio.sleep(SETTLE)

    def in_charge(self) -> set[str]:
        """The clusters whose Gateways are looked after: our own, and those that name it first."""
        sources, own = self._mesh.sources, self._settings.cluster
        found = {own}
        for _, cluster in sources.clusters.rows():
            system = sources.namespaces.get((cluster.name, "", self._settings.system_namespace))
            named = dict(system.annotations).get(CONTROL_PLANE_CLUSTERS, "") if system is not None else ""
            if named.partition(",")[0].strip() in (own, "*"):
                found.add(cluster.name)
        return found

    def _values(self, cluster: str) -> MeshValues:
        """What the pods of Gateways in a cluster are given."""
        if cluster == self._settings.cluster:
            return self._settings.injected
        home = self._mesh.graph.peek(self._mesh.meshwide.homes, cluster)
        domain = self._mesh.graph.peek(self._mesh.meshwide.trust_domain, cluster)
        return replace(self._settings.injected, cluster=cluster, network=home.network, trust_domain=domain)

    def _controller(self, cluster: str) -> GatewayController:
        sources = self._mesh.sources

        def rows() -> list[ManagedGateway]:
            known = (row for _, row in sources.managed_gateways.rows() if row.cluster == cluster)
            return [row for row in known if row.label(REVISION_LABEL) in ("", self._settings.revision)]

        def seen(row: ManagedGateway) -> Seen:
            pods = (sources.workloads.get(key) for key in sources.pods_of_gateway.get(row.key))
            at = (row.cluster, *_service_of(row)) if row.host else row.key
            return Seen(sources.services.get(at), tuple(pod for pod in pods if pod is not None))

        return GatewayController(
            lambda: self._values(cluster), self._clock, rows=rows, seen=seen, client=lambda: self._client(cluster)
        )


def _service_of(row: ManagedGateway) -> tuple[str, str]:
    """The Service that a Gateway names which others run: `<name>`, `<name>.<namespace>` or in full."""
    name, _, rest = row.host.partition(".")
    return (rest.partition(".")[0] or row.namespace, name)
