"""Gateways of the classes that this mesh runs proxies for."""

from typing import Any

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.ingest.api_gateway import passes_mtls
from isthmus.ingest.finding import Reader, Result
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.managed import (
    EAST_WEST_CLASS,
    EVERYWHERE,
    SAME,
    SELECTED,
    WAYPOINT_CLASS,
    Listener,
    ManagedGateway,
    managed_class,
)
from isthmus.model.rows import labels

HBONE = "HBONE"
HBONE_PORT = 15008

SERVICE_TYPE = "networking.istio.io/service-type"
_SERVICE_TYPES = ("ClusterIP", "LoadBalancer", "NodePort")

UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
PORT_UNAVAILABLE = "PortUnavailable"

_OWN_PORTS = (15000, 15001, 15006, 15020, 15021, 15053, 15090)
"""Where the proxy listens itself."""


def managed_gateway(place: Place, obj: objects.Custom) -> Result:
    """What a Gateway of a managed class asks for; no row for any other."""
    read = Reader(place.cluster, "KubernetesGateway", obj)
    spec = read.mapping(obj.spec, "spec")
    kind = managed_class(read.text(spec.get("gatewayClassName"), "spec.gatewayClassName"))
    if not kind:
        return (), ()
    meta = obj.metadata
    marks, notes = meta.labels or {}, meta.annotations or {}
    infrastructure = read.mapping(spec.get("infrastructure"), "spec.infrastructure")
    found = read.items(spec.get("listeners"), "spec.listeners")
    row = ManagedGateway(
        cluster=place.cluster,
        namespace=meta.namespace,
        name=meta.name,
        class_name=kind,
        uid=meta.uid,
        network=marks.get(NETWORK_LABEL, ""),
        labels=labels(marks),
        listeners=tuple(_listener(read, value, i, kind, marks) for i, value in enumerate(found)),
        service_type=_service_type(read, notes.get(SERVICE_TYPE)),
        extra_labels=read.labels(infrastructure.get("labels"), "spec.infrastructure.labels"),
        extra_annotations=read.labels(infrastructure.get("annotations"), "spec.infrastructure.annotations"),
        unready=kind == WAYPOINT_CLASS and not read.mapping(obj.status, "status").get("addresses"),
    )
    return read.result(row)


def _service_type(read: Reader, value: Any) -> str:
    if value is None or value in _SERVICE_TYPES:
        return value or ""
    known = ", ".join(_SERVICE_TYPES)
    read.warn(f"metadata.annotations[{SERVICE_TYPE}]", f"{value!r} is no type of a Service", f"Use one of {known}")
    return ""


def _listener(read: Reader, value: Any, index: int, kind: str, marks: dict[str, str]) -> Listener:
    field = f"spec.listeners[{index}]"
    listener = read.mapping(value, field)
    port = read.port(listener.get("port"), f"{field}.port")
    protocol = read.text(listener.get("protocol"), f"{field}.protocol")
    tls = read.mapping(listener.get("tls"), f"{field}.tls")
    mode = read.text(tls.get("mode"), f"{field}.tls.mode") or ("Terminate" if tls else "")
    fault, message = _fault(kind, port, protocol, mode)
    if fault:
        read.warn(field, message, "Correct the listener; the others count")
    return Listener(
        name=read.text(listener.get("name"), f"{field}.name"),
        port=port,
        protocol=protocol,
        tls=mode,
        hostname=read.text(listener.get("hostname"), f"{field}.hostname"),
        auto=passes_mtls(port, protocol, tls, labelled=marks.get(GATEWAY_PORT_LABEL, ""))
        and bool(marks.get(NETWORK_LABEL)),
        fault=fault,
        message=message,
        **_attaching(read, listener.get("allowedRoutes"), f"{field}.allowedRoutes"),
    )


def _attaching(read: Reader, value: Any, field: str) -> dict[str, Any]:
    """From which namespaces something may be attached. Expressions are not read: such a selector selects nothing."""
    said = read.mapping(read.mapping(value, field).get("namespaces"), f"{field}.namespaces")
    where = read.choice(said.get("from"), f"{field}.namespaces.from", (SAME, EVERYWHERE, SELECTED)) or SAME
    if where != SELECTED:
        return {"allowed": where}
    selector = read.mapping(said.get("selector"), f"{field}.namespaces.selector")
    if selector.get("matchExpressions"):
        at = f"{field}.namespaces.selector.matchExpressions"
        read.warn(at, "is not supported, so no namespace is selected", "Use matchLabels")
        return {"allowed": SAME}
    return {"allowed": where, "selector": read.labels(selector.get("matchLabels"), f"{field}.namespaces.selector")}


def _fault(kind: str, port: int, protocol: str, mode: str) -> tuple[str, str]:
    """Why a listener has no effect (NW16): as a word of the Gateway API, and in full. Empty if it has one.

    The mode of TLS for HBONE may be either word: the outer TLS ends here, the inner one passes.
    """
    if port in _OWN_PORTS:
        return PORT_UNAVAILABLE, f"port {port} is used by the proxy itself"
    if (port == HBONE_PORT) != (protocol == HBONE):
        return UNSUPPORTED_PROTOCOL, f"protocol HBONE is for port {HBONE_PORT}, and nothing else is"
    if kind != EAST_WEST_CLASS or protocol == HBONE:
        return "", ""
    if protocol != "TLS" or mode != "Passthrough":
        return UNSUPPORTED_PROTOCOL, "an east-west gateway takes HBONE, and TLS with mode Passthrough"
    return "", ""
