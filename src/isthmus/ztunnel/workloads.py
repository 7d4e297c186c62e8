"""Workloads: pods, and what stands for them where there are none."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from isthmus.model.external import EntryAddress, WorkloadEntry
from isthmus.model.rows import Locality, Workload
from isthmus.proto import workload_pb2 as pb
from isthmus.ztunnel.build import (
    Waypoint,
    encoded,
    packed_ip,
    trust_domain_field,
    waypoint_address,
)

NO_HBONE, HBONE, NATIVE = "", "hbone", "native"
"""How a workload takes tunnels: not at all, through the node's proxy, or itself (a sidecar, a waypoint)."""

Ports = tuple[tuple[int, int], ...]
"""(port of the service, port of the workload)."""


class Around(NamedTuple):
    """What else is known of a workload.

    `services`: the resource name of each service that it serves, with its ports. `policies`: names of the policies
    that select it by labels; those of a whole namespace and of the mesh are known to ztunnel without (§2.1).
    """

    network: str
    trust_domain: str
    services: tuple[tuple[str, Ports], ...] = ()
    policies: tuple[str, ...] = ()
    locality: Locality = Locality()
    waypoint: Waypoint | None = None
    healthy: bool = True
    tunnel: str = NO_HBONE
    canonical: tuple[str, str] = ("", "")


class PodName(NamedTuple):
    """What the name of a pod's resource is made of."""

    cluster: str
    namespace: str
    name: str


def pod_uid(cluster: str, namespace: str, name: str) -> str:
    """The name of a pod's resource (AM9)."""
    return f"{cluster}//Pod/{namespace}/{name}"


def pod_of(uid: str) -> PodName | None:
    """The pod that a resource name means."""
    match uid.split("/"):
        case [cluster, "", "Pod", namespace, name]:
            return PodName(cluster, namespace, name)
    return None


def entry_uid(cluster: str, namespace: str, name: str) -> str:
    """The name of a WorkloadEntry's resource (AM9)."""
    return f"{cluster}/networking.istio.io/WorkloadEntry/{namespace}/{name}"


def listed_uid(cluster: str, namespace: str, name: str, address: str) -> str:
    """The name of an endpoint that a ServiceEntry lists (AM9)."""
    return f"{cluster}/networking.istio.io/ServiceEntry/{namespace}/{name}/{address}"


def slice_uid(cluster: str, namespace: str, name: str, address: str) -> str:
    """The name of an address in an EndpointSlice that no pod has."""
    return f"{cluster}/discovery.k8s.io/EndpointSlice/{namespace}/{name}/{address}"


def pod(row: Workload, around: Around) -> bytes:
    """The encoded Workload of a pod."""
    return encoded(
        _message(
            around,
            uid=pod_uid(row.cluster, row.namespace, row.name),
            name=row.name,
            namespace=row.namespace,
            addresses=_addresses(row.addresses),
            service_account=_account(row.service_account),
            node=row.node,
            network_mode=pb.HOST_NETWORK if row.host_network else pb.STANDARD,
            workload_type=pb.POD,
            workload_name=row.workload_name or row.name,
            cluster_id=row.cluster,
        )
    )


def entry(row: WorkloadEntry, around: Around) -> bytes:
    """The encoded Workload of a WorkloadEntry."""
    uid = entry_uid(row.cluster, row.namespace, row.name)
    return encoded(_message(around, **_endpoint(uid, row.name, row.namespace, row.cluster, row.endpoint)))


def listed(owner: tuple[str, str, str], endpoint: EntryAddress, around: Around) -> bytes:
    """The encoded Workload of an endpoint that a ServiceEntry (cluster, namespace, name) lists."""
    cluster, namespace, name = owner
    uid = listed_uid(cluster, namespace, name, endpoint.address)
    return encoded(_message(around, **_endpoint(uid, name, namespace, cluster, endpoint)))


def bare(owner: tuple[str, str, str], address: str, around: Around) -> bytes:
    """The encoded Workload of an address that only an EndpointSlice (cluster, namespace, name) knows: it has no
    identity."""
    cluster, namespace, name = owner
    uid = slice_uid(cluster, namespace, name, address)
    return encoded(
        _message(around, uid=uid, name=name, namespace=namespace, cluster_id=cluster, addresses=_addresses((address,)))
    )


def _endpoint(uid: str, name: str, namespace: str, cluster: str, endpoint: EntryAddress) -> dict[str, object]:
    fields: dict[str, object] = {
        "uid": uid,
        "name": name,
        "namespace": namespace,
        "service_account": _account(endpoint.service_account),
        "workload_name": name,
        "workload_type": pb.POD,
        "cluster_id": cluster,
    }
    addresses = _addresses((endpoint.address,))
    if addresses:
        fields["addresses"] = addresses
    elif endpoint.address:
        fields["hostname"] = endpoint.address
    if endpoint.weight != 1:
        fields["capacity"] = {"value": endpoint.weight}
    return fields


def _message(around: Around, **fields: object) -> pb.Workload:
    name, revision = around.canonical
    return pb.Workload(
        network=around.network,
        trust_domain=trust_domain_field(around.trust_domain),
        tunnel_protocol=pb.HBONE if around.tunnel else pb.NONE,
        native_tunnel=around.tunnel == NATIVE,
        status=pb.HEALTHY if around.healthy else pb.UNHEALTHY,
        canonical_name=name,
        canonical_revision=revision,
        services=services_field(around.services),
        authorization_policies=around.policies,
        waypoint=waypoint_address(around.waypoint),
        locality=_locality(around.locality),
        **fields,  # type: ignore[arg-type]
    )


def services_field(services: Iterable[tuple[str, Ports]]) -> Mapping[str, pb.PortList]:
    """Ports by service."""
    return {
        name: pb.PortList(ports=[pb.Port(service_port=port, target_port=target) for port, target in ports])
        for name, ports in services
    }


def _addresses(found: Iterable[str]) -> list[bytes]:
    return [packed for text in found if (packed := packed_ip(text))]


def _account(name: str) -> str:
    """The default is left out."""
    return "" if name == "default" else name


def _locality(where: Locality) -> pb.Locality | None:
    if not where.region and not where.zone and not where.subzone:
        return None
    return pb.Locality(region=where.region, zone=where.zone, subzone=where.subzone)
