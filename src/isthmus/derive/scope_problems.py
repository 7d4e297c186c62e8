"""What is wrong with services that are global: clusters that do not say the same, and what nobody can reach."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.base.labels import SERVICE_SCOPE_LABEL, TRAFFIC_DISTRIBUTION_ANNOTATION
from isthmus.derive import scopes
from isthmus.derive.problems import port_difference
from isthmus.model.external import ServiceEntry
from isthmus.model.mesh import HostKey, NetworkGateway
from isthmus.model.peering import PeerService, ServiceScope
from isthmus.model.rows import Protocol, Service

Member = tuple[Service | PeerService, ServiceScope]
"""A service of one cluster, as it was read or as a peer tells it, and how far it reaches."""

_SCOPE_FIELD = f"metadata.labels[{SERVICE_SCOPE_LABEL}]"
_SAME = "Say the same of the service in all clusters"


def conflicts(members: Sequence[Member]) -> Iterator[Problem]:
    """Clusters where the service is global and that say different things of it; the first one's word counts."""
    if not members:
        return
    first, reach = members[0]
    for row, other in members[1:]:
        if other is not reach:
            both = f"{other} here and {reach} in cluster {first.cluster}"
            only = row.cluster if other is ServiceScope.GLOBAL_ONLY else first.cluster
            message = f"the service is {both}: its own name reaches all clusters from cluster {only} only"
            yield _warning(row, _SCOPE_FIELD, message, _SAME)
        said, here = first.traffic_distribution, row.traffic_distribution
        if said and here and said != here:
            message = f"{here} here and {said} in cluster {first.cluster}, which counts"
            yield _warning(row, f"metadata.annotations[{TRAFFIC_DISTRIBUTION_ANNOTATION}]", message, _SAME)
        # Clusters that are read are one service by name, whatever their scope: that their ports differ is told anyhow.
        if isinstance(row, PeerService):
            yield from _ports(first, row)


def _ports(first: Service | PeerService, row: PeerService) -> Iterator[Problem]:
    known = {port.port: port for port in first.ports if port.protocol is not Protocol.UDP}
    theirs = {port.port: port for port in row.ports if port.protocol is not Protocol.UDP}
    for number in sorted(known.keys() | theirs.keys()):
        text: str | None = f"cluster {first.cluster} does not have this port, so calls to it go to others only"
        if number in known:
            text = port_difference(known[number], theirs.get(number), first.cluster)
        if text is not None:
            yield _warning(row, f"spec.ports[{number}]", text, "Give the service the same ports in all clusters")


def no_effect(row: Service, wanted: ServiceScope) -> Iterator[Problem]:
    """A label that cannot be followed: `wanted` is what it asks for."""
    if wanted is ServiceScope.LOCAL:
        return
    if row.external_name or all(port.protocol is Protocol.UDP for port in row.ports):
        what = "stands for a host name" if row.external_name else "has no TCP port"
        yield _warning(row, _SCOPE_FIELD, f"has no effect: the service {what}", "Take the label off")
    elif row.headless and wanted is ServiceScope.GLOBAL_ONLY:
        message = "a headless service's own name stays in its cluster: its callers choose pods by address"
        remedy = f"Call {scopes.hostname((row.namespace, row.name))}, or give the service a ClusterIP"
        yield _warning(row, _SCOPE_FIELD, message, remedy)


def taken_name(host: HostKey, entry: ServiceEntry) -> Problem:
    """A mesh-wide name that somebody wrote a ServiceEntry for."""
    return Problem(
        where=ObjectRef(entry.cluster, "ServiceEntry", entry.namespace, entry.name),
        field="spec.hosts",
        message=f"{scopes.hostname(host)} means the global service {host[0]}/{host[1]}, which this object hides",
        remedy="Remove the host from the ServiceEntry: the mesh finds the endpoints itself",
        severity=Severity.WARNING,
    )


def unreachable(peers: Iterable[PeerService], gateways: Mapping[str, Sequence[NetworkGateway]]) -> Iterator[Problem]:
    """Networks of peers that cannot be entered: one problem of the peer, not one of each service."""
    for peer in peers:
        for place in peer.endpoints:
            if place.healthy and not any(one.hbone_port for one in gateways.get(place.network, ())):
                yield Problem(
                    where=ObjectRef(peer.cluster, "Peer", "", peer.cluster),
                    field="network",
                    message=f"network {place.network or '(none)'} has no gateway for HBONE, so what the peer exports "
                    "there cannot be reached",
                    remedy="Once its east-west gateway has an address, link it again: isthmus multicluster link",
                )


def plain_sidecars(cluster: str, namespace: str) -> Problem:
    """Sidecars that cannot do HBONE, in a mesh with peers; `namespace` is the control plane's."""
    return Problem(
        where=ObjectRef(cluster, "Deployment", namespace, "istiod"),
        field="ENABLE_HBONE",
        message="sidecars here cannot do HBONE, so they do not reach what linked peers export",
        remedy="Install the control plane with --hbone, and restart the pods",
        severity=Severity.WARNING,
    )


def _warning(row: Service | PeerService, field: str, message: str, remedy: str) -> Problem:
    where = ObjectRef(row.cluster, "Service", row.namespace, row.name)
    return Problem(where, field, message, remedy, Severity.WARNING)
