"""What the mesh cannot do as somebody might expect: reported, never silent."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.derive import networks
from isthmus.derive.services import rank
from isthmus.model.external import ServiceEntry
from isthmus.model.mesh import MeshService, NetworkGateway, ServiceView, SliceEndpoints
from isthmus.model.mesh_config import MeshConfig, NetworkDefinition, NetworkEntry
from isthmus.model.rows import DestinationRule, Protocol, Service, ServicePort, Workload
from isthmus.model.settings import MeshSettings


class Reach(msgspec.Struct, frozen=True, order=True):
    """How many ready endpoints a slice has in one network, and how many of them take no mutual TLS on some port."""

    cluster: str
    network: str
    ready: int
    plain: int


def reach(endpoints: SliceEndpoints) -> tuple[Reach, ...]:
    """The slice's endpoints by network."""
    counts: dict[str, list[int]] = {}
    for endpoint in endpoints.endpoints:
        if endpoint.ready:
            count = counts.setdefault(endpoint.network, [0, 0])
            count[0] += 1
            count[1] += not (endpoint.hbone or all(endpoint.takes_mtls(number) for _, number in endpoints.ports))
    return tuple(Reach(endpoints.cluster, network, *counts[network]) for network in sorted(counts))


def _about(kind: str, row: Service | MeshService, cluster: str) -> ObjectRef:
    if isinstance(row, MeshService) and row.resolution is not None:
        kind = "ServiceEntry"
    return ObjectRef(cluster, kind, row.namespace, row.name)


def taken_host(row: ServiceEntry, service: MeshService) -> Problem:
    """A ServiceEntry for a host that a Kubernetes Service has."""
    return Problem(
        where=ObjectRef(row.cluster, "ServiceEntry", row.namespace, row.name),
        field="spec.hosts",
        message=f"{service.host} is the Service {service.namespace}/{service.name}, so this object has no effect on it",
        remedy="Give the host another name; for more endpoints of the Service write WorkloadEntries with its labels",
        severity=Severity.WARNING,
    )


def out_of_reach(
    service: MeshService, home: str, found: Iterable[Reach], gateways: Mapping[str, Sequence[NetworkGateway]]
) -> Iterator[Problem]:
    """Endpoints that proxies of the network `home` cannot use: no gateway leads there, or no mTLS (SH12).

    `gateways` has every network that is not `home`. A network without gateway is one problem of its cluster, not one
    of each service.
    """
    totals: dict[tuple[str, str], list[int]] = {}
    for part in found:
        total = totals.setdefault((part.cluster, part.network), [0, 0])
        total[0] += part.ready
        total[1] += part.plain
    for (cluster, network), (ready, plain) in sorted(totals.items()):
        if network not in gateways:
            continue
        if ready and not gateways[network]:
            yield no_gateway(cluster, network, home)
        elif plain:
            yield Problem(
                where=_about("Service", service, cluster),
                field="endpoints",
                message=f"{plain} of {ready} ready endpoints in network {network} take no mutual TLS on some port, "
                f"so network {home} cannot reach them there",
                remedy="Inject sidecars into these pods, give endpoints that are none a serviceAccount, "
                "or remove the PeerAuthentication that disables mutual TLS",
                severity=Severity.WARNING,
            )


def headless_apart(service: MeshService, home: str, found: Iterable[Reach]) -> Iterator[Problem]:
    """Pods of a headless service in other networks: callers choose a pod's address, which means nothing here (DN3)."""
    totals: Counter[tuple[str, str]] = Counter()
    for part in found:
        totals[part.cluster, part.network] += part.ready
    for (cluster, network), ready in sorted(totals.items()):
        if ready and network and network != home:
            yield Problem(
                where=_about("Service", service, cluster),
                field="spec.clusterIP",
                message=f"{ready} ready pods in network {network} have no names in network {home}: a headless service "
                "does not cross networks",
                remedy="Where any of them will do, make the service global and call its mesh-wide name; for single "
                "pods of a StatefulSet, give each a Service with selector statefulset.kubernetes.io/pod-name",
                severity=Severity.WARNING,
            )


def no_gateway(cluster: str, network: str, home: str) -> Problem:
    """A network that cannot be entered."""
    return Problem(
        where=ObjectRef(cluster, "Namespace", "", "istio-system"),
        field=f"metadata.labels[{NETWORK_LABEL}]",
        message=f"network {network} has no east-west gateway, so network {home} cannot reach its endpoints",
        remedy=f"Install an east-west gateway: a Service with label {NETWORK_LABEL}={network} that has an "
        "address and port 15443. If both networks are one, give both clusters the same label",
    )


def differences(rows: Sequence[Service], settings: MeshSettings) -> Iterator[Problem]:
    """The same service said differently in two clusters: the first cluster's word counts (AG1)."""
    ranked = sorted((row for row in rows if not row.external_name), key=lambda row: rank(row.cluster, settings))
    for row in ranked[1:]:
        first = ranked[0]
        if row.export_to != first.export_to:
            who = ", ".join(first.export_to) or "everybody"
            field = "metadata.annotations[networking.istio.io/exportTo]"
            yield _difference(row, field, f"cluster {first.cluster} exports the service to {who}, and that counts")
        if row.headless != first.headless:
            yield _difference(row, "spec.clusterIP", f"headless in one of the clusters {first.cluster}, {row.cluster}")
            continue
        for known in first.ports:
            if known.protocol is Protocol.UDP:
                continue
            other = next((port for port in row.ports if port.port == known.port), None)
            if (text := port_difference(known, other, first.cluster)) is not None:
                yield _difference(row, f"spec.ports[{known.port}]", text)
        extra = {port.port for port in row.ports} - {port.port for port in first.ports}
        for number in sorted(extra):
            yield _difference(row, f"spec.ports[{number}]", f"cluster {first.cluster} does not have this port")


def port_difference(known: ServicePort, other: ServicePort | None, cluster: str) -> str | None:
    """How a port differs from the one that `cluster` knows, which counts."""
    if other is None:
        return f"the port is missing here, and cluster {cluster} has it"
    if other.protocol is not known.protocol:
        return f"the port speaks {other.protocol} here and {known.protocol} in cluster {cluster}"
    return None


def _difference(row: Service, field: str, message: str) -> Problem:
    return Problem(
        where=_about("Service", row, row.cluster),
        field=field,
        message=message,
        remedy="Make the Service the same in all clusters: namespace and name make it one service",
        severity=Severity.WARNING,
    )


def borrowed(view: ServiceView, cluster: str) -> Iterator[Problem]:
    """A service without address in this cluster, whose address elsewhere belongs to another service here."""
    for address in view.addresses:
        ports = [str(port) for blocked, port in view.blocked if blocked == address]
        mine = [port for port in view.service.ports if (address, port.port) in view.blocked]
        if mine and not all(port.protocol.is_http for port in mine):
            yield Problem(
                where=_about("Service", view.service, cluster),
                field="spec.clusterIP",
                message=f"address {address}, borrowed from another cluster, is another service's here on port "
                f"{', '.join(ports)}",
                remedy=f"Create the Service in cluster {cluster}, too: it then has an address of its own",
                severity=Severity.WARNING,
            )


def idle_failover(row: DestinationRule, config: MeshConfig) -> Iterator[Problem]:
    """Failover that cannot happen: nothing says when an endpoint fails (LB2)."""
    policies = [("spec.trafficPolicy", row.policy)]
    policies += [(f"spec.subsets[{i}].trafficPolicy", subset.policy) for i, subset in enumerate(row.subsets)]
    for field, policy in policies:
        setting = policy.locality if policy is not None else None
        outer = row.policy.outlier_detection if row.policy is not None else None
        if policy is None or setting is None or policy.outlier_detection or outer or config.outlier_detection:
            continue
        if setting.enabled and (setting.failover or setting.failover_priority):
            yield Problem(
                where=ObjectRef(row.cluster, "DestinationRule", row.namespace, row.name),
                field=f"{field}.loadBalancer.localityLbSetting",
                message="failover has no effect without outlier detection",
                remedy="Add outlierDetection to the same policy; outlierDetection: {} takes the defaults",
                severity=Severity.WARNING,
            )


def gateway_service(row: Service, gateways: Sequence[NetworkGateway]) -> Iterator[Problem]:
    """A Service with the network label that is no usable gateway (NW4, NW5)."""
    port = networks.gateway_port(row)
    if all(known.port not in (port, networks.HBONE_PORT) for known in row.ports):
        yield Problem(
            where=_about("Service", row, row.cluster),
            field="spec.ports",
            message=f"the label {NETWORK_LABEL} makes this a gateway, but it has no port {port}",
            remedy=f"Add port {port} (or {networks.HBONE_PORT} for HBONE), or name the right one in the label "
            f"{GATEWAY_PORT_LABEL}",
        )
    elif networks.by_node_port(row) and networks.node_selector(row) is None:
        yield Problem(
            where=_about("Service", row, row.cluster),
            field=f"metadata.annotations[{networks.NODE_SELECTOR}]",
            message="is no JSON object of labels, so the gateway is not reached by its nodes",
            remedy='Write the labels of the nodes, as {"kubernetes.io/os": "linux"}, or {} for all nodes',
        )
    elif not gateways:
        names = [*row.ingress_addresses, *row.external_ips]
        yield Problem(
            where=_about("Service", row, row.cluster),
            field="status.loadBalancer",
            message=f"the gateway has no IP address{': ' + ', '.join(names) + ' means none' if names else ' yet'}",
            remedy="Give the Service a load balancer or externalIPs with an address that other networks can reach",
        )


def lost_entry(where: ObjectRef, network: NetworkDefinition, entry: NetworkEntry, rows: Sequence[Service]) -> Problem:
    """A gateway of `meshNetworks` without address: `rows` are the Services that it names (NW7)."""
    if entry.address:
        message = f"host name {entry.address} means no address"
        remedy = "See that the name servers of the control plane know it"
    elif not network.registries:
        message = f"Service {entry.service} is looked for nowhere: no cluster is in the network"
        remedy = "Name the cluster: endpoints: [{fromRegistry: <cluster>}]"
    elif rows:
        message, remedy = f"Service {entry.service} has no address", "Give it a load balancer or externalIPs"
    else:
        clusters = ", ".join(network.registries)
        message = f"Service {entry.service} is in none of the network's clusters: {clusters}"
        remedy = "Correct the name, or create the Service"
    return Problem(where, f"data.meshNetworks.networks.{network.name}.gateways", message, remedy)


def lost_name(entry: ServiceEntry, name: str) -> Problem:
    """A gateway in the entry of a global name that leads nowhere."""
    return Problem(
        where=ObjectRef(entry.cluster, "ServiceEntry", entry.namespace, entry.name),
        field="spec.endpoints",
        message=f"host name {name} means no address, so nothing goes out to that gateway",
        remedy="See that the name servers of the control plane know it",
    )


def overlaps(rows: Iterable[tuple[str, Workload]]) -> Iterator[Problem]:
    """Two pods with one address in one network: (network, pod) pairs. Pods on the host's network share by intent."""
    seen: dict[tuple[str, str], Workload] = {}
    for network, pod in rows:
        for address in pod.addresses[:1]:
            other = seen.setdefault((network, address), pod)
            if other is not pod and other.cluster != pod.cluster:
                yield Problem(
                    where=ObjectRef(pod.cluster, "Pod", pod.namespace, pod.name),
                    field="status.podIP",
                    message=f"address {address} is also that of pod {other.namespace}/{other.name} in cluster "
                    f"{other.cluster}, and both clusters say they are on network {network or '(none)'}",
                    remedy=f"Give the clusters different networks: label {NETWORK_LABEL} on istio-system",
                )


def shadowed(pods: Iterable[tuple[str, Workload]], services: Iterable[tuple[str, Service]]) -> Iterator[Problem]:
    """A ClusterIP that is another cluster's pod on the same network: callers here never reach that pod directly."""
    by_address = {(network, address): pod for network, pod in pods for address in pod.addresses[:1]}
    for network, service in services:
        for address in service.cluster_ips:
            pod = by_address.get((network, address))
            if pod is not None and pod.cluster != service.cluster:
                yield Problem(
                    where=_about("Service", service, service.cluster),
                    field="spec.clusterIP",
                    message=f"address {address} is also that of pod {pod.namespace}/{pod.name} in cluster "
                    f"{pod.cluster} on the same network {network or '(none)'}: calls from cluster {service.cluster} "
                    "to that pod end here",
                    remedy="Give the clusters of a network ranges of services that no pod range of it overlaps",
                )
