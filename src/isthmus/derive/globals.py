"""`<name>.<namespace>.global`: a service wherever it runs, in clusters whose control planes do not know each other.

A ServiceEntry names the host and, as its endpoints, the gateways of the clusters that run the service. Such a name
means the service of that name and namespace here first, and the others where none is ready here:

* a sidecar goes to the local endpoints, else to the egress port of its own cluster's gateway;
* the gateway's egress port leads out, to the other gateways, by the SNI and without opening anything;
* the port that others come in by leads to local endpoints only, so that nothing goes round in circles.
"""

from collections.abc import Iterable, Sequence

import msgspec

from isthmus.base.labels import EGRESS_LABEL
from isthmus.derive import networks
from isthmus.model.mesh import Assignment, Endpoint, HostKey, LbEndpoint, MeshService
from isthmus.model.rows import EndpointSlice, Service

SUFFIX = "global"
"""On a Service in front of a gateway: the port by which the cluster's own pods go out to other clusters."""


def hostname(name: str, namespace: str) -> str:
    """The name that means a service in any cluster."""
    return f"{name}.{namespace}.{SUFFIX}"


def alias(service: MeshService) -> str:
    """The global name of a Kubernetes service, by which other clusters may mean it; none of a ServiceEntry's host."""
    return hostname(service.name, service.namespace) if service.resolution is None else ""


def meaning(host: str) -> HostKey | None:
    """The service that a global name means; None for any other name."""
    parts = host.split(".")
    return (parts[1], parts[0]) if len(parts) == 3 and parts[2] == SUFFIX and all(parts) else None


def egress_port(service: Service) -> int:
    """The port of a Service that leads out; 0 if it has none."""
    text = networks.label(service.labels, EGRESS_LABEL)
    return int(text) if text.isdecimal() and any(port.port == int(text) for port in service.ports) else 0


class Hop(msgspec.Struct, frozen=True, gc=False, order=True):
    """An address that takes the traffic on: a pod of the own egress gateway, or the gateway of another cluster."""

    address: str
    port: int
    network: str = ""
    cluster: str = ""
    weight: int = 1


def egress_hops(service: Service, slices: Iterable[EndpointSlice]) -> tuple[Hop, ...]:
    """The ready pods of the own cluster's egress gateways, with the port that they listen on."""
    name = next((port.name for port in service.ports if port.port == egress_port(service)), None)
    return tuple(
        sorted(
            Hop(endpoint.addresses[0], port.port, cluster=service.cluster)
            for piece in slices
            for port in piece.ports
            for endpoint in piece.endpoints
            if port.name == name and endpoint.addresses and endpoint.ready and not endpoint.terminating
        )
    )


def ways_out(
    entries: Iterable[tuple[Endpoint, int]], network: str, families: Sequence[int], resolve: networks.Resolve
) -> tuple[Hop, ...]:
    """The gateways of other clusters; those that a ServiceEntry places in the own network lead back here."""
    found: dict[tuple[str, int], Hop] = {}
    for endpoint, port in entries:
        if endpoint.network and endpoint.network == network:
            continue
        for address in networks.resolved((endpoint.address,), resolve):
            if not families or networks.family(address) in families:
                found.setdefault((address, port), Hop(address, port, endpoint.network, weight=endpoint.weight))
    return tuple(sorted(found.values()))


def behind(near: Assignment, hops: Sequence[Hop]) -> Assignment:
    """The near endpoints, and the hops for what they cannot carry: a priority of its own below all of theirs."""
    level = max((member.priority for member in near.members), default=-1) + 1
    far = tuple(
        LbEndpoint(
            address=hop.address,
            port=hop.port,
            weight=hop.weight,
            mtls=True,
            network=hop.network,
            cluster=hop.cluster,
            workload=f";;;;{hop.cluster}",
            priority=level,
            gateway=True,
        )
        for hop in hops
    )
    return msgspec.structs.replace(near, members=(*near.members, *far))
