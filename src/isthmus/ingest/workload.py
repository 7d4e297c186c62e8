"""Pods as workloads."""

import re

from isthmus.base.labels import ADDRESSES_ANNOTATION, REDIRECTION_ANNOTATION, TLS_MODE_LABEL
from isthmus.ingest.ambient import check_mode
from isthmus.ingest.finding import Reader, Result, is_address
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.rows import SlicePort, Workload, labels

WORKLOAD_NAME_LABEL = "service.istio.io/workload-name"
TEMPLATE_HASH_LABEL = "pod-template-hash"
PROXY_CONTAINER = "istio-proxy"
PENDING = "pending"

_CRON_JOB = re.compile(r"(.+)-\d{8,10}")


def workload(place: Place, obj: objects.Pod) -> Result:
    """A pod that may carry traffic. One that has finished is none: its address may be another's by now."""
    read = Reader(place.cluster, "Pod", obj)
    meta, spec, status = obj.metadata, obj.spec or objects.PodSpec(), obj.status or objects.PodStatus()
    if status.phase in ("Succeeded", "Failed"):
        return (), ()
    found = meta.labels or {}
    check_mode(read, found)
    row = Workload(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        addresses=_addresses(read, status) or _given(meta),
        labels=labels(found),
        service_account=spec.service_account_name or "default",
        node=spec.node_name,
        # A pod that is to go says that it is ready until it is gone.
        ready=not meta.deletion_timestamp
        and any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
        tls_mode=found.get(TLS_MODE_LABEL, ""),
        ports=_ports(read, spec),
        workload_name=workload_name(meta),
        hostname=spec.hostname,
        subdomain=spec.subdomain,
        host_network=bool(spec.host_network),
        redirection=(meta.annotations or {}).get(REDIRECTION_ANNOTATION, ""),
    )
    return read.result(row)


def _addresses(read: Reader, status: objects.PodStatus) -> tuple[str, ...]:
    found = tuple(entry.ip for entry in status.pod_ips or () if entry.ip) or tuple(filter(None, (status.pod_ip,)))
    for address in found:
        if not is_address(address):
            read.error("status.podIPs", f"{address!r} is no IP address", "The node's kubelet sets it: see its log")
    return found


def _given(meta: objects.Metadata) -> tuple[str, ...]:
    """While its node's proxy takes it in, a pod has addresses that its kubelet does not tell yet."""
    annotations = meta.annotations or {}
    if annotations.get(REDIRECTION_ANNOTATION) != PENDING:
        return ()
    return tuple(filter(is_address, annotations.get(ADDRESSES_ANNOTATION, "").split(",")))


def _ports(read: Reader, spec: objects.PodSpec) -> tuple[SlicePort, ...]:
    """Ports that the application's containers name: a service's `targetPort` may be such a name."""
    ports: list[SlicePort] = []
    for group, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for i, container in enumerate(containers or ()):
            if container.name == PROXY_CONTAINER:
                continue
            for j, port in enumerate(container.ports or ()):
                number = read.port(port.container_port, f"spec.{group}[{i}].ports[{j}].containerPort")
                if port.protocol == "TCP":
                    ports.append(SlicePort(port.name, number))
    return tuple(ports)


def workload_name(meta: objects.Metadata) -> str:
    """Name of what made the pod, as users know it: the Deployment rather than its ReplicaSet, the CronJob."""
    found = meta.labels or {}
    if found.get(WORKLOAD_NAME_LABEL):
        return found[WORKLOAD_NAME_LABEL]
    owner = next((o for o in meta.owner_references or () if o.controller), None)
    if owner is None:
        return meta.name
    suffix = "-" + found.get(TEMPLATE_HASH_LABEL, "")
    if owner.kind == "ReplicaSet" and len(suffix) > 1:
        return owner.name.removesuffix(suffix)
    cron = _CRON_JOB.fullmatch(owner.name) if owner.kind == "Job" else None
    return cron.group(1) if cron else owner.name
