"""What a control plane tells its peers of a service: endpoints in summary, by network and place."""

from collections.abc import Iterable

from isthmus.model.mesh import Endpoint
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope
from isthmus.model.rows import Locality, Protocol, Service, ServicePort


def exported(
    service: Service,
    scope: ServiceScope,
    endpoints: Iterable[Endpoint],
    *,
    network: str,
    traffic_distribution: str,
) -> PeerService | None:
    """The service of one cluster as its peers may know it; None if it stays at home.

    Peers come in through the gateway of `network`, and from there only to what takes HBONE: what does not counts, but
    never as healthy. Endpoints elsewhere are theirs to tell who are there.
    """
    if scope is ServiceScope.LOCAL or service.external_name:
        return None
    counts: dict[Locality, list[int]] = {}
    identities = set()
    for endpoint in endpoints:
        if endpoint.network != network or endpoint.terminating:
            continue
        count = counts.setdefault(endpoint.locality, [0, 0])
        count[0] += endpoint.ready and endpoint.hbone
        count[1] += 1
        if endpoint.identity:
            identities.add(endpoint.identity)
    return PeerService(
        cluster=service.cluster,
        namespace=service.namespace,
        name=service.name,
        scope=scope,
        ports=tuple(
            ServicePort(port.name, port.port, port.protocol)
            for port in service.ports
            if port.protocol is not Protocol.UDP
        ),
        identities=tuple(sorted(identities)),
        endpoints=tuple(
            PeerEndpoints(network, place, healthy, total) for place, (healthy, total) in sorted(counts.items())
        ),
        traffic_distribution=traffic_distribution,
    )
