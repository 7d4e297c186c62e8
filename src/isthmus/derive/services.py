"""One service over many clusters: namespace sameness, addresses, and which services stay at home."""

from collections.abc import Callable, Iterable, Sequence

from isthmus.base.names import service_hostname
from isthmus.model.mesh import HostKey, MeshService, ServiceView
from isthmus.model.rows import Protocol, Service
from isthmus.model.settings import MeshSettings


def merge(rows: Iterable[Service], settings: MeshSettings) -> MeshService | None:
    """The service that these rows of one namespace and name are together (AG1); None if there is none.

    ExternalName services are names, not services: a client that resolves them reaches what they point to.
    """
    ranked = sorted((row for row in rows if not row.external_name), key=lambda row: rank(row.cluster, settings))
    if not ranked:
        return None
    first = ranked[0]
    host = service_hostname(first.name, first.namespace, settings.domain)
    return MeshService(
        namespace=first.namespace,
        name=first.name,
        host=host,
        ports=first.ports,
        headless=first.headless,
        cluster_local=settings.is_cluster_local(host),
        node_local=first.internal_traffic_local,
        addresses=tuple((row.cluster, row.cluster_ips) for row in ranked if row.cluster_ips and not row.headless),
        clusters=tuple(row.cluster for row in ranked),
        export_to=first.export_to,
    )


def rank(cluster: str, settings: MeshSettings) -> tuple[bool, str]:
    """Order of clusters where one must come first: the config cluster, then by name (AG1)."""
    return (cluster != settings.config_cluster, cluster)


EVERY_CLUSTER = ""
"""Owner of addresses that somebody wrote for all clusters: they borrow, too, and never win over a cluster's own."""


def addresses_for(service: MeshService, cluster: str) -> tuple[str, ...]:
    """This cluster's addresses, else the first other cluster's (DN2, AG5); none of others for a cluster-local one."""
    for owner, addresses in service.addresses:
        if owner in (cluster, EVERY_CLUSTER):
            return addresses
    if service.cluster_local or not service.addresses:
        return ()
    return service.addresses[0][1]


def view(service: MeshService, cluster: str, claimants: Callable[[str], Sequence[MeshService]]) -> ServiceView:
    """The service as seen in one cluster. `claimants(address)` are all services with that address in some cluster.

    A borrowed address is blocked on the ports where a service that is at home there, or else one that sorts first,
    listens at it too: Kubernetes keeps addresses apart within a cluster only.
    """
    addresses = addresses_for(service, cluster)
    if any(owner == cluster for owner, _ in service.addresses):
        return ServiceView(service, addresses)
    blocked: set[tuple[str, int]] = set()
    for address in addresses:
        for other in claimants(address):
            if _goes_first(other, service, cluster=cluster, address=address):
                blocked.update((address, port.port) for port in other.ports if port.protocol is not Protocol.UDP)
    return ServiceView(service, addresses, tuple(sorted(blocked)))


def _goes_first(other: MeshService, service: MeshService, *, cluster: str, address: str) -> bool:
    if host_key(other) == host_key(service) or address not in addresses_for(other, cluster):
        return False
    at_home = any(owner == cluster for owner, _ in other.addresses)
    return at_home or host_key(other) < host_key(service)


def host_key(service: MeshService) -> HostKey:
    """The key by which the mesh knows the service."""
    return (service.namespace, service.name)
