"""Services and endpoint slices."""

from collections.abc import Iterable

from isthmus.ingest import exports
from isthmus.ingest.finding import Reader, Result, is_address
from isthmus.ingest.locality import distribution, spill_below
from isthmus.ingest.place import Place
from isthmus.ingest.scopes import check_labels
from isthmus.kube import objects
from isthmus.model.rows import (
    EndpointSlice,
    Protocol,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
    labels,
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_PROTOCOLS = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC,
    "https": Protocol.TLS,
    "tls": Protocol.TLS,
    "udp": Protocol.UDP,
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.TLS,
}


def port_protocol(name: str, app_protocol: str | None, transport: str) -> Protocol:
    """What a port speaks: `appProtocol`, else the port name's first part (`http-admin`), else plain TCP."""
    if transport == "UDP":
        return Protocol.UDP
    if app_protocol:
        return _PROTOCOLS.get(app_protocol.lower(), Protocol.TCP)
    prefix = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    return _PROTOCOLS.get(prefix.lower(), Protocol.TCP)


def service(place: Place, obj: objects.Service) -> Result:
    """A service of one cluster (AG1). Addresses of its load balancer are NW5's."""
    read = Reader(place.cluster, "Service", obj)
    meta, spec = obj.metadata, obj.spec or objects.ServiceSpec()
    balancer = obj.status.load_balancer if obj.status else None
    ingress = (balancer.ingress if balancer else None) or ()
    check_labels(read, meta.labels)
    row = Service(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        ports=tuple(_ports(read, spec)),
        cluster_ips=_cluster_ips(read, spec),
        headless=spec.cluster_ip == "None",
        external_name=_external_name(read, spec),
        selector=labels(spec.selector),
        labels=labels(meta.labels),
        annotations=labels(meta.annotations),
        type=spec.type,
        ingress_addresses=tuple(a.ip or a.hostname for a in ingress if a.ip or a.hostname),
        external_ips=tuple(spec.external_ips or ()),
        publish_not_ready=spec.publish_not_ready_addresses,
        internal_traffic_local=spec.internal_traffic_policy == "Local",
        traffic_distribution=distribution(read, meta.annotations, spec.traffic_distribution),
        spill_below=spill_below(read, meta.annotations),
        export_to=exports.of_annotation(read, (meta.annotations or {}).get(exports.ANNOTATION)),
        created=meta.creation_timestamp or "",
    )
    return read.result(row)


def _ports(read: Reader, spec: objects.ServiceSpec) -> Iterable[ServicePort]:
    seen: set[tuple[int, str]] = set()
    for i, port in enumerate(spec.ports or ()):
        field = f"spec.ports[{i}]"
        if port.protocol not in ("TCP", "UDP"):
            read.warn(
                f"{field}.protocol", f"{port.protocol!r} is not carried by the mesh", "Use TCP, or UDP without mTLS"
            )
            continue
        number = read.port(port.port, f"{field}.port")
        if (number, port.protocol) in seen:
            read.error(f"{field}.port", f"port {number} is there twice", "Give every port its own number")
        seen.add((number, port.protocol))
        target = port.target_port
        yield ServicePort(
            name=port.name,
            port=number,
            protocol=port_protocol(port.name, port.app_protocol, port.protocol),
            target="" if target is None else str(target),
            node_port=port.node_port,
        )


def _cluster_ips(read: Reader, spec: objects.ServiceSpec) -> tuple[str, ...]:
    wanted = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    found = tuple(address for address in wanted if address not in ("None", ""))
    for address in found:
        if not is_address(address):
            read.error("spec.clusterIP", f"{address!r} is no IP address", "Leave the field out: the cluster sets it")
    return found


def _external_name(read: Reader, spec: objects.ServiceSpec) -> str:
    if spec.type != "ExternalName":
        return ""
    if not spec.external_name:
        read.error(
            "spec.externalName", "is empty for a service of type ExternalName", "Give the host name it stands for"
        )
    return spec.external_name


def endpoint_slice(place: Place, obj: objects.EndpointSlice) -> Result:
    """A slice of a service's endpoints; one that belongs to no service, or holds host names, is none of the mesh's."""
    read = Reader(place.cluster, "EndpointSlice", obj)
    meta = obj.metadata
    owner = (meta.labels or {}).get(SERVICE_NAME_LABEL, "")
    if not owner or obj.address_type == "FQDN":
        return (), ()
    row = EndpointSlice(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        service=owner,
        ports=tuple(
            SlicePort(port.name or "", read.port(port.port, f"ports[{i}].port"))
            for i, port in enumerate(obj.ports or ())
            if port.port is not None
        ),
        endpoints=tuple(_endpoint(read, i, found) for i, found in enumerate(obj.endpoints or ())),
    )
    return read.result(row)


def _endpoint(read: Reader, index: int, found: objects.Endpoint) -> SliceEndpoint:
    for address in found.addresses:
        if not is_address(address):
            read.error(f"endpoints[{index}].addresses", f"{address!r} is no IP address", "Write IPv4 or IPv6 addresses")
    conditions = found.conditions or objects.EndpointConditions()
    ready = conditions.ready is not False
    target = found.target_ref
    return SliceEndpoint(
        addresses=tuple(found.addresses),
        ready=ready,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
        pod=target.name if target and target.kind == "Pod" else "",
        node=found.node_name or "",
        zone=found.zone or "",
        hostname=found.hostname or "",
    )
