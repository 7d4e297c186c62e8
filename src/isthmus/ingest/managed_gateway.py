"""Gateways of the classes that this mesh runs proxies for."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL, WAYPOINT_FOR_LABEL
from isthmus.ingest.api_gateway import passes_mtls
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.managed import (
    CLASS_ALIASES,
    EAST_WEST_CLASS,
    EVERYWHERE,
    HOSTNAME_CONFLICT,
    MANAGED_CLASSES,
    PROTOCOL_CONFLICT,
    REMOTE_CLASS,
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
UNSUPPORTED_ADDRESS, INVALID_PARAMETERS = "UnsupportedAddress", "InvalidParameters"

_TRAFFIC = ("service", "workload", "all", "none")
"""Whose calls a waypoint takes."""

_OWN_PORTS = (15000, 15001, 15006, 15020, 15021, 15053, 15090)
"""Where the proxy listens itself."""


def managed_gateway(place: Place, obj: objects.Custom) -> Result:
    """What a Gateway of a managed class asks for; no row for any other."""
    read = Reader(place.cluster, "KubernetesGateway", obj)
    spec = read.mapping(obj.spec, "spec")
    said = read.text(spec.get("gatewayClassName"), "spec.gatewayClassName")
    kind = managed_class(said)
    if not kind and said.startswith("istio-") and said != REMOTE_CLASS:
        known = ", ".join((*MANAGED_CLASSES, *CLASS_ALIASES, REMOTE_CLASS))
        read.warn("spec.gatewayClassName", f"{said!r} is no class of this mesh: nothing runs for it", f"Use {known}")
        return read.result()
    if not kind:
        return (), ()
    meta = obj.metadata
    marks, notes = meta.labels or {}, meta.annotations or {}
    _check_traffic(read, kind, marks)
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
        listeners=tuple(_apart(read, [_listener(read, value, i, kind, marks) for i, value in enumerate(found)])),
        service_type=_service_type(read, notes.get(SERVICE_TYPE)),
        extra_labels=read.labels(infrastructure.get("labels"), "spec.infrastructure.labels"),
        extra_annotations=read.labels(infrastructure.get("annotations"), "spec.infrastructure.annotations"),
        **_gateway_fault(read, spec.get("addresses"), infrastructure),
        unready=kind == WAYPOINT_CLASS and not read.mapping(obj.status, "status").get("addresses"),
    )
    return read.result(row)


def _check_traffic(read: Reader, kind: str, marks: Mapping[str, str]) -> None:
    """A waypoint for traffic that nobody knows of runs, and nobody goes through it."""
    said = marks.get(WAYPOINT_FOR_LABEL, "")
    if kind == WAYPOINT_CLASS and said and said not in _TRAFFIC:
        message = f"{said!r} is not known, so nobody goes through this waypoint"
        read.warn(f"metadata.labels[{WAYPOINT_FOR_LABEL}]", message, f"Use one of {', '.join(_TRAFFIC)}")


def _gateway_fault(read: Reader, addresses: Any, infrastructure: dict[str, Any]) -> dict[str, str]:
    """Where it shall be reached, what is laid over what is made for it, and what is wrong with either."""
    made: dict[str, str] = {}
    found = [read.mapping(one, f"spec.addresses[{i}]") for i, one in enumerate(read.items(addresses, "spec.addresses"))]
    if len(found) > 1:
        made |= {
            "fault": UNSUPPORTED_ADDRESS,
            "message": "spec.addresses: one address is supported; make more Gateways",
        }
    elif found:
        made |= _address(found[0])
    reference = read.mapping(infrastructure.get("parametersRef"), "spec.infrastructure.parametersRef")
    if reference:
        made["parameters"] = read.text(reference.get("name"), "spec.infrastructure.parametersRef.name")
        if (reference.get("group") or "", reference.get("kind")) != ("", "ConfigMap") or not made["parameters"]:
            text = "spec.infrastructure.parametersRef: name a ConfigMap (group empty) of this namespace"
            made |= {"fault": INVALID_PARAMETERS, "message": text}
    if "fault" in made:
        field, _, message = made["message"].partition(": ")
        read.warn(field, message, "Correct it; nothing is run for the Gateway")
    return made


def _address(part: dict[str, Any]) -> dict[str, str]:
    """One entry of `spec.addresses`: an address for the load balancer, or where somebody else runs the gateway."""
    kind, value = part.get("type") or "IPAddress", str(part.get("value") or "")
    if kind == "IPAddress" and is_address(value):
        return {"address": value}
    if kind == "Hostname" and is_host(value):
        return {"host": value}
    text = f"spec.addresses[0]: {kind} {value!r} is not supported; write an IPAddress, or the Hostname of a Service"
    return {"fault": UNSUPPORTED_ADDRESS, "message": text}


def _apart(read: Reader, found: list[Listener]) -> Iterator[Listener]:
    """Of listeners in each other's way the first has its effect."""
    taken: dict[int, str] = {}
    names: set[tuple[int, str]] = set()
    for i, one in enumerate(found):
        fault = ""
        if not one.fault and taken.setdefault(one.port, one.protocol) != one.protocol:
            fault, message = PROTOCOL_CONFLICT, f"port {one.port} is taken by a listener for {taken[one.port]}"
        elif not one.fault and (one.port, one.hostname) in names:
            fault, message = HOSTNAME_CONFLICT, f"port {one.port} is taken by another listener for the same names"
        if fault:
            read.warn(f"spec.listeners[{i}]", message, "Correct the listener; the others count")
            yield msgspec.structs.replace(one, fault=fault, message=message)
            continue
        if not one.fault:
            names.add((one.port, one.hostname))
        yield one


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
        refs=bool(tls.get("certificateRefs")),
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
