"""`networking.istio.io` ServiceEntries, WorkloadEntries and WorkloadGroups."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Network, ip_network
from typing import Any

import msgspec

from isthmus.base.names import MESH_WIDE_ADDRESSES, MESH_WIDE_DOMAIN
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.locality import distribution
from isthmus.ingest.place import Place
from isthmus.ingest.service import port_protocol
from isthmus.kube import objects
from isthmus.model.external import (
    CONNECTED_AT,
    CONTROLLER,
    DISCONNECTED_AT,
    GROUP,
    HEALTH_CHECKS,
    EntryAddress,
    Resolution,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
)
from isthmus.model.rows import Labels, Locality, ServicePort, labels

LOCATIONS = ("MESH_EXTERNAL", "MESH_INTERNAL")
RESOLUTIONS = tuple(Resolution)
ALLOCATE_LABEL = "networking.istio.io/enable-autoallocate-ip"
_MESH_WIDE = IPv4Network(MESH_WIDE_ADDRESSES)
HEALTHY = "Healthy"
"""Type of the status condition that says what a machine's agent found (VM6)."""


def service_entry(place: Place, obj: objects.Custom) -> Result:
    """Hosts outside of Kubernetes, and where they are."""
    read = Reader(place.cluster, "ServiceEntry", obj)
    meta, spec = obj.metadata, read.mapping(obj.spec, "spec")
    resolution = Resolution(read.choice(spec.get("resolution"), "spec.resolution", RESOLUTIONS) or Resolution.NONE)
    selector = read.mapping(spec.get("workloadSelector"), "spec.workloadSelector")
    entries = [
        _entry(read, item, f"spec.endpoints[{i}]", resolution)
        for i, item in enumerate(read.items(spec.get("endpoints"), "spec.endpoints"))
    ]
    row = ServiceEntry(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        hosts=_hosts(read, spec, meta.namespace),
        addresses=_addresses(read, spec),
        ports=_ports(read, spec),
        internal=read.choice(spec.get("location"), "spec.location", LOCATIONS) == "MESH_INTERNAL",
        resolution=resolution,
        endpoints=tuple(entry for entry in entries if entry is not None),
        selector=read.labels(selector.get("labels"), "spec.workloadSelector.labels"),
        export_to=read.strings(spec.get("exportTo"), "spec.exportTo"),
        subject_alt_names=read.strings(spec.get("subjectAltNames"), "spec.subjectAltNames"),
        allocates=(meta.labels or {}).get(ALLOCATE_LABEL, "true").lower() != "false",
        allocated=_allocated(obj.status),
        traffic_distribution=distribution(read, meta.annotations),
        created=meta.creation_timestamp or "",
    )
    _check_together(read, row, has_selector=bool(selector))
    return read.result(row)


def _hosts(read: Reader, spec: Mapping[str, Any], namespace: str) -> tuple[str, ...]:
    hosts = read.strings(spec.get("hosts"), "spec.hosts")
    if not hosts and not read.is_refused():
        read.error("spec.hosts", "is empty", "Name at least one host, such as api.example.com")
    for i, host in enumerate(hosts):
        if host == "*" or not is_host(host):
            read.error(f"spec.hosts[{i}]", f"{host!r} is no host name", "Write a DNS name, or one like *.example.com")
        elif _of_another_namespace(host.lower(), namespace):
            read.error(f"spec.hosts[{i}]", f"{host!r} is a mesh-wide name of another namespace", "Take another domain")
    return tuple(dict.fromkeys(host.lower() for host in hosts))


def _of_another_namespace(host: str, namespace: str) -> bool:
    """Who may write ServiceEntries in one namespace must not answer for services of another one."""
    base = host.removesuffix(f".{MESH_WIDE_DOMAIN}")
    return base != host and base.rpartition(".")[2] != namespace


def _addresses(read: Reader, spec: Mapping[str, Any]) -> tuple[str, ...]:
    found = read.strings(spec.get("addresses"), "spec.addresses")
    for i, text in enumerate(found):
        if not is_address(text) and not _is_range(text):
            read.error(
                f"spec.addresses[{i}]", f"{text!r} is no IP address or CIDR range", "Write 10.1.2.3 or 10.1.0.0/16"
            )
        elif _is_mesh_wide(text):
            message = f"{text} is among {MESH_WIDE_ADDRESSES}, where mesh-wide names have theirs"
            read.error(f"spec.addresses[{i}]", message, "Leave addresses out, or take others")
    return tuple(dict.fromkeys(found))


def _is_mesh_wide(text: str) -> bool:
    """Wider ranges may be written: the exact address goes first."""
    found = ip_network(text, strict=False)
    return isinstance(found, IPv4Network) and found.subnet_of(_MESH_WIDE)


def _is_range(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _ports(read: Reader, spec: Mapping[str, Any]) -> tuple[ServicePort, ...]:
    found: list[ServicePort] = []
    for i, item in enumerate(read.items(spec.get("ports"), "spec.ports")):
        field = f"spec.ports[{i}]"
        part = read.mapping(item, field)
        if "number" not in part:
            read.error(f"{field}.number", "is missing", "Give the port's number")
        number = read.port(part.get("number"), f"{field}.number")
        target = read.port(part.get("targetPort"), f"{field}.targetPort")
        name = read.text(part.get("name"), f"{field}.name")
        said = read.text(part.get("protocol"), f"{field}.protocol")
        if any(known.port == number for known in found):
            read.error(f"{field}.number", f"port {number} is there twice", "Give every port its own number")
        if name and any(known.name == name for known in found):
            read.error(f"{field}.name", f"{name!r} is there twice", "Give every port its own name")
        protocol = port_protocol(name, said.lower(), "UDP" if said.upper() == "UDP" else "TCP")
        found.append(ServicePort(name=name, port=number, protocol=protocol, target=str(target) if target else ""))
    if not found and not read.is_refused():
        read.warn("spec.ports", "is empty, so no traffic is recognised", "List the ports that the hosts serve")
    return tuple(found)


def _check_together(read: Reader, row: ServiceEntry, *, has_selector: bool) -> None:
    """What is right by itself and wrong together."""
    if row.endpoints and has_selector:
        read.error("spec.endpoints", "stands beside spec.workloadSelector", "Use one of the two")
    if row.endpoints and row.resolution is Resolution.NONE:
        read.error("spec.endpoints", "has no meaning with resolution NONE", "Use resolution STATIC or DNS")
    if row.resolution.by_dns and not row.endpoints and not has_selector:
        for i, host in enumerate(row.hosts):
            if host.startswith("*"):
                read.error(
                    f"spec.hosts[{i}]", f"{host!r} cannot be asked for in DNS", "List endpoints, or use resolution NONE"
                )
    if row.resolution is Resolution.DNS_ROUND_ROBIN and len(row.endpoints) > 1:
        read.error("spec.endpoints", "DNS_ROUND_ROBIN takes one endpoint at most", "Use resolution DNS for several")


def _entry(read: Reader, item: Any, field: str, resolution: Resolution | None) -> EntryAddress | None:
    """A written endpoint. `resolution` None: that of a WorkloadEntry, whose address may be a name only for DNS."""
    part = read.mapping(item, field)
    address = read.text(part.get("address"), f"{field}.address")
    network = read.text(part.get("network"), f"{field}.network")
    if not address:
        if not read.is_refused():
            read.error(f"{field}.address", "is missing", "Write the IP address")
    elif address.startswith("unix://"):
        read.warn(f"{field}.address", "Unix sockets are not reached through the mesh", "Write an IP address and port")
        return None
    elif not is_address(address):
        if resolution is not None and not resolution.by_dns:
            read.error(f"{field}.address", f"{address!r} is no IP address", "Write one, or use resolution DNS")
        elif not is_host(address) or "*" in address:
            read.error(f"{field}.address", f"{address!r} is no IP address or host name", "Correct the address")
    ports = read.mapping(part.get("ports"), f"{field}.ports")
    weight = read.natural(part.get("weight"), f"{field}.weight")
    return EntryAddress(
        address=address,
        ports=tuple(sorted((str(name), read.port(number, f"{field}.ports.{name}")) for name, number in ports.items())),
        labels=read.labels(part.get("labels"), f"{field}.labels"),
        network=network,
        locality=locality(read.text(part.get("locality"), f"{field}.locality")),
        weight=weight or 1,
        service_account=read.text(part.get("serviceAccount"), f"{field}.serviceAccount"),
    )


def locality(text: str) -> Locality:
    """`region/zone/subzone`, of which the last may be absent."""
    return Locality(*text.split("/")[:3]) if text else Locality()


def _allocated(status: Any) -> tuple[tuple[str, str], ...]:
    """status.addresses (DN9): written by control planes, so what is malformed there is as good as absent."""
    found = status.get("addresses") if isinstance(status, dict) else None
    pairs = [(item.get("host"), item.get("value")) for item in found or () if isinstance(item, dict)]
    return tuple((host, value) for host, value in pairs if isinstance(host, str) and isinstance(value, str))


def workload_entry(place: Place, obj: objects.Custom) -> Result:
    """A workload that is no pod. One with health checks counts as healthy only when its agent said so (VM6)."""
    read = Reader(place.cluster, "WorkloadEntry", obj)
    meta = obj.metadata
    entry = _entry(read, obj.spec if obj.spec is not None else {}, "spec", None)
    notes = meta.annotations or {}
    checked = notes.get(HEALTH_CHECKS, "").lower() == "true"
    row = WorkloadEntry(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        endpoint=entry or EntryAddress(address=""),
        labels=_all_labels(entry, meta),
        healthy=not checked or is_healthy(obj.status),
        health_checked=checked,
        group=notes.get(GROUP, ""),
        controller=notes.get(CONTROLLER, ""),
        connected_at=from_rfc3339(notes.get(CONNECTED_AT, "")),
        disconnected_at=from_rfc3339(notes.get(DISCONNECTED_AT, "")),
    )
    return read.result(row) if entry is not None else ((), read.problems)


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch of a time such as 2026-11-21T10:00:00.123Z, also with nanoseconds; 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def workload_group(place: Place, obj: objects.Custom) -> Result:
    """What machines that register themselves become. Its template has no address: that is the machine's."""
    read = Reader(place.cluster, "WorkloadGroup", obj)
    spec = read.mapping(obj.spec, "spec")
    template = read.mapping(spec.get("template"), "spec.template")
    given = read.mapping(spec.get("metadata"), "spec.metadata")
    if template.get("address"):
        read.warn("spec.template.address", "has no effect", "Each machine registers with its own address")
    entry = _entry(read, {**template, "address": "0.0.0.0"}, "spec.template", None) or EntryAddress(address="")
    probe = read.mapping(spec.get("probe"), "spec.probe")
    if probe and not {"httpGet", "tcpSocket", "exec", "grpc"} & set(probe):
        read.error("spec.probe", "says nothing to do", "Give one of httpGet, tcpSocket, exec")
    row = WorkloadGroup(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        uid=obj.metadata.uid,
        service_account=entry.service_account or "default",
        template=msgspec.json.encode(template, order="deterministic").decode(),
        network=entry.network,
        template_labels=entry.labels,
        labels=read.labels(given.get("labels"), "spec.metadata.labels"),
        annotations=read.labels(given.get("annotations"), "spec.metadata.annotations"),
        health_checked=bool(probe),
    )
    return read.result(row)


def _all_labels(entry: EntryAddress | None, meta: objects.Metadata) -> Labels:
    """Those of the object, overridden by those of its spec: selectors may mean either, as in Istio."""
    return labels({**(meta.labels or {}), **dict(entry.labels if entry is not None else ())})


def is_healthy(status: Any) -> bool:
    """True if the status says that the machine's agent found its workload healthy."""
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(
        isinstance(one, dict) and one.get("type") == HEALTHY and one.get("status") == "True" for one in conditions or ()
    )
