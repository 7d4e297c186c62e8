"""How far services reach: `<name>.<namespace>.mesh.internal`, a service in all clusters where it is global (AM2, AM4).

* Its endpoints are those of the clusters where it is global, whichever cluster the caller is in: a cluster that runs
  the service and does not say so is not asked; one that does not run it calls the others.
* The service itself stays as it was, unless its cluster says `global-only`: there its own name reaches the same.
* Clusters that are read keep sameness of namespaces for a service's own name. Peers are known by what they export
  only: in summary, without addresses, so they are reached through the gateways of their networks.
* An address is a function of the name. So control planes agree without having talked, and an address stays whatever
  else becomes global, but for a clash of hashes: one in sixteen million for each pair of names.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from ipaddress import ip_network
from zlib import crc32

import msgspec

from isthmus.base.names import MESH_WIDE_ADDRESSES, MESH_WIDE_DOMAIN
from isthmus.derive.services import EVERY_CLUSTER
from isthmus.model.external import Resolution
from isthmus.model.mesh import Endpoint, HostKey, MeshService, SliceEndpoints
from isthmus.model.mesh_config import ScopeSelector
from isthmus.model.peering import PeerService, ServiceScope, scope_said
from isthmus.model.rows import Labels, Protocol, Service, ServicePort
from isthmus.model.settings import MeshSettings

DOMAIN = MESH_WIDE_DOMAIN

POOL = ip_network(MESH_WIDE_ADDRESSES)
"""Addresses of mesh-wide names: not those that hosts of ServiceEntries get, so that neither moves the other."""

MOST = 100_000
"""Endpoints that are believed of one place of a peer: weights must stay within what Envoy takes."""

DEFAULT_DISTRIBUTION = "PreferNetwork"
"""What clients of a global service prefer where nothing is said."""


def hostname(host: HostKey) -> str:
    """The name that means a service wherever it is global."""
    return f"{host[1]}.{host[0]}.{DOMAIN}"


def union(host: HostKey) -> HostKey:
    """The key of the mesh-wide service of a service."""
    return (host[0], hostname(host))


def meaning(name: str) -> HostKey | None:
    """The service that a mesh-wide name means; None for any other name."""
    base = name.removesuffix(f".{DOMAIN}")
    service, _, namespace = base.partition(".")
    return (namespace, service) if base != name and service and namespace and "." not in namespace else None


# -- which services -----------------------------------------------------------------------------------------------


def scope(row: Service, namespace: Labels, selectors: Iterable[ScopeSelector], settings: MeshSettings) -> ServiceScope:
    """How far a cluster's service reaches: its own label, else its namespace's, else the mesh's selectors (AM2).

    Selectors do not mean what Kubernetes and the mesh itself need in every cluster (CL1): an empty one selects all.
    """
    if row.external_name or all(port.protocol is Protocol.UDP for port in row.ports):
        return ServiceScope.LOCAL
    for said in (scope_said(row.labels), scope_said(namespace)):
        if said is not None:
            return said
    selected = any(one.services.matches(row.labels) and one.namespaces.matches(namespace) for one in selectors)
    return ServiceScope.GLOBAL if selected and not _belongs_to_cluster(row, settings) else ServiceScope.LOCAL


def _belongs_to_cluster(row: Service, settings: MeshSettings) -> bool:
    builtin = msgspec.structs.replace(settings, service_settings=())
    return builtin.is_cluster_local(f"{row.name}.{row.namespace}.svc.{settings.domain}")


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A cluster in which a service is global."""

    cluster: str
    scope: ServiceScope
    peer: bool = False


# -- what they are ------------------------------------------------------------------------------------------------


def allocate(names: Iterable[str], taken: Set[str] = frozenset()) -> dict[str, str]:
    """The address of each name: where its hash points, or the next free one from there, in the order of names."""
    size = POOL.num_addresses - 2
    used = set(taken)
    found: dict[str, str] = {}
    for name in sorted(names):
        start = crc32(name.encode()) % size
        address = next(text for step in range(size) if (text := str(POOL[1 + (start + step) % size])) not in used)
        used.add(address)
        found[name] = address
    return found


def service(
    host: HostKey, rows: Sequence[Service], peers: Sequence[PeerService], *, address: str, settings: MeshSettings
) -> MeshService:
    """The mesh-wide service: `rows` of the clusters that are read and have it global, the first says what it is; then
    `peers` that export it. A port is there if any of them has it; the first says what it speaks."""
    name = hostname(host)
    return MeshService(
        namespace=host[0],
        name=name,
        host=name,
        ports=tuple(_ports([*(row.ports for row in rows), *(peer.ports for peer in peers)])),
        cluster_local=settings.is_cluster_local(name),
        addresses=((EVERY_CLUSTER, (address,)),),
        clusters=(*(row.cluster for row in rows), *(peer.cluster for peer in peers)),
        traffic_distribution=next((peer.traffic_distribution for peer in peers if peer.traffic_distribution), ""),
        resolution=Resolution.STATIC,
        export_to=rows[0].export_to if rows else (),
        union_of=host,
    )


def _ports(lists: Iterable[Sequence[ServicePort]]) -> Iterator[ServicePort]:
    seen: set[int] = set()
    for ports in lists:
        for port in ports:
            if port.protocol is not Protocol.UDP and port.port not in seen:
                seen.add(port.port)
                yield port


def summarised(peer: PeerService) -> SliceEndpoints:
    """A peer's endpoints as far as they are known: one for each place, without address, as heavy as those that are
    healthy. Ports are by the service port's number, which is also what the far side knows them by."""
    numbers = tuple((str(port.port), port.port) for port in peer.ports if port.protocol is not Protocol.UDP)
    endpoints = tuple(
        Endpoint(
            cluster=peer.cluster,
            network=place.network,
            address="",
            locality=place.locality,
            ready=place.healthy > 0,
            weight=min(max(place.healthy, 1), MOST),
            workload=f";;;;{peer.cluster}",
            hbone=True,
        )
        for place in peer.endpoints
        if place.total > 0 or place.healthy > 0
    )
    return SliceEndpoints(peer.cluster, numbers, endpoints)
