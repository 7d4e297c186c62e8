"""Services, with the addresses at which one cluster's workloads call them."""

from collections.abc import Iterable
from typing import NamedTuple

from isthmus.model import preference
from isthmus.model.external import Resolution
from isthmus.model.mesh import MeshService
from isthmus.model.rows import Protocol
from isthmus.proto import workload_pb2 as pb
from isthmus.ztunnel.build import Waypoint, app_protocol, encoded, network_address, waypoint_address

_LB = pb.LoadBalancing
_SCOPES = {
    preference.NETWORK: _LB.NETWORK,
    preference.REGION: _LB.REGION,
    preference.ZONE: _LB.ZONE,
    preference.SUBZONE: _LB.SUBZONE,
    preference.HOSTNAME: _LB.NODE,
    preference.CLUSTER: _LB.CLUSTER,
}


class Seen(NamedTuple):
    """A service as one cluster and network sees it.

    `addresses` are its virtual addresses there. `identities`: whom a client may meet behind it besides the identity
    of the workload that it chose; where that is in another network, nobody else is accepted (AM8). `ranks` are labels
    by which endpoints are preferred, most important first (AM10).
    """

    network: str
    addresses: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    ranks: tuple[str, ...] = ()
    waypoint: Waypoint | None = None
    publish_not_ready: bool = False
    targets: tuple[tuple[int, int], ...] = ()


def service(row: MeshService, seen: Seen) -> bytes:
    """The encoded Service. Kubernetes' own are canonical: clients of other namespaces find them first."""
    addresses = [found for text in seen.addresses if (found := network_address(seen.network, text)) is not None]
    targets = dict(seen.targets)
    message = pb.Service(
        name=row.name if row.resolution is None else row.host,
        namespace=row.namespace,
        hostname=row.host,
        addresses=addresses,
        ports=[
            pb.Port(service_port=port.port, target_port=targets.get(port.port, 0), app_protocol=app_protocol(port))
            for port in row.ports
            if port.protocol is not Protocol.UDP
        ],
        subject_alt_names=seen.identities,
        waypoint=waypoint_address(seen.waypoint),
        load_balancing=_load_balancing(row, seen),
        ip_families=_families(addresses),
        canonical=row.resolution is None,
        visibility=pb.Service.NAMESPACE if row.export_to == (".",) else pb.Service.PUBLIC,
    )
    return encoded(message)


def _load_balancing(row: MeshService, seen: Seen) -> pb.LoadBalancing | None:
    if row.resolution is Resolution.NONE:
        return _LB(mode=_LB.PASSTHROUGH, health_policy=_LB.ALLOW_ALL)
    health = _LB.ALLOW_ALL if seen.publish_not_ready else _LB.ONLY_HEALTHY
    if row.node_local:
        return _LB(routing_preference=[_LB.NODE], mode=_LB.STRICT, health_policy=health)
    scopes = list(_known(seen.ranks))
    if scopes:
        return _LB(routing_preference=scopes, mode=_LB.FAILOVER, health_policy=health)
    return _LB(health_policy=health) if seen.publish_not_ready else None


def _known(ranks: Iterable[str]) -> Iterable[pb.LoadBalancing.Scope]:
    """As far as ztunnel knows the labels: what comes after one that it does not know would count for too much."""
    for label in ranks:
        if label not in _SCOPES:
            return
        yield _SCOPES[label]


def _families(addresses: list[pb.NetworkAddress]) -> pb.IPFamilies:
    lengths = {len(found.address) for found in addresses}
    if lengths == {4}:
        return pb.IPV4_ONLY
    if lengths == {16}:
        return pb.IPV6_ONLY
    return pb.DUAL if lengths else pb.AUTOMATIC
