"""Which Gateways a control plane looks after, and what it knows of what runs for them."""

from collections.abc import Callable

from isthmus.app.settings import ServeSettings
from isthmus.base.clock import Clock
from isthmus.derive.gateway_status import Seen
from isthmus.edge.gateway_controller import GatewayController
from isthmus.edge.kube_client import KubeClient
from isthmus.graph.mesh import Mesh
from isthmus.install.values import REVISION_LABEL
from isthmus.model.managed import ManagedGateway
from isthmus.model.rows import Service, Workload

GATEWAY_TABLES = frozenset((ManagedGateway.TABLE, Service.TABLE, Workload.TABLE))
"""What the status of Gateways is made of."""


def gateway_controller(
    settings: ServeSettings, mesh: Mesh, clock: Clock, client: Callable[[], KubeClient | None]
) -> GatewayController:
    """The controller of the Gateways of our own cluster that are of our revision, or of none."""
    sources = mesh.sources

    def rows() -> list[ManagedGateway]:
        known = (row for _, row in sources.managed_gateways.rows() if row.cluster == settings.cluster)
        return [row for row in known if row.label(REVISION_LABEL) in ("", settings.revision)]

    def seen(row: ManagedGateway) -> Seen:
        pods = (sources.workloads.get(key) for key in sources.pods_of_gateway.get(row.key))
        return Seen(sources.services.get(row.key), tuple(pod for pod in pods if pod is not None))

    return GatewayController(settings.injected, clock, rows=rows, seen=seen, client=client)
