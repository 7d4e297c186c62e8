"""`gateway.networking.k8s.io` Gateways, as far as they say how a network is entered."""

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.managed import EAST_WEST_CLASS, REMOTE_CLASS, managed_class
from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.networks import ApiGateway

PROTOCOL_OPTION = "gateway.istio.io/listener-protocol"
DEFAULT_PORT = 15443
HBONE = "HBONE"

_TYPES = ("IPAddress", "Hostname")


def api_gateway(place: Place, obj: objects.Custom) -> Result:
    """The gateways of a network: each address with each listener that passes mutual TLS on (NW9, NW10), or takes HBONE.

    Sidecars do not speak HBONE, so that listeners for it are no gateways for mutual TLS, as Istio takes them (NW11).
    Where a peer takes HBONE its link says. The addresses of an east-west gateway are those of its status (NW18).
    """
    network = (obj.metadata.labels or {}).get(NETWORK_LABEL, "")
    if not network:
        return (), ()
    read = Reader(place.cluster, "KubernetesGateway", obj)
    spec = read.mapping(obj.spec, "spec")
    kind = read.text(spec.get("gatewayClassName"), "spec.gatewayClassName")
    labelled = (obj.metadata.labels or {}).get(GATEWAY_PORT_LABEL, "")
    ports = list(_ports(read, spec.get("listeners"), labelled, hbone=kind != REMOTE_CLASS))
    if managed_class(kind) == EAST_WEST_CLASS:
        status = read.mapping(obj.status, "status")
        addresses = list(_addresses(read, status.get("addresses"), "status.addresses"))
    else:
        addresses = list(_addresses(read, spec.get("addresses"), "spec.addresses"))
    row = ApiGateway(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        network=network,
        remote=kind == REMOTE_CLASS,
        entries=tuple(
            NetworkEntry(mtls, address=address, hbone_port=tunnel) for address in addresses for mtls, tunnel in ports
        ),
    )
    return read.result(row)


def passes_mtls(port: int, protocol: str, tls: Mapping[str, Any], *, labelled: str) -> bool:
    """NW10: a listener with `tls` that says so, or that has the port by which gateways of networks are known."""
    options = tls.get("options")
    said = isinstance(options, dict) and options.get(PROTOCOL_OPTION) == "auto-passthrough"
    known = port == DEFAULT_PORT or str(port) == labelled
    return bool(port and tls and (known or said) and protocol != HBONE)


def _ports(read: Reader, value: Any, labelled: str, *, hbone: bool) -> Iterator[tuple[int, int]]:
    """(port for mutual TLS, port for HBONE) of each listener that has one of them."""
    for i, item in enumerate(read.items(value, "spec.listeners")):
        field = f"spec.listeners[{i}]"
        listener = read.mapping(item, field)
        port = read.port(listener.get("port"), f"{field}.port")
        tls = read.mapping(listener.get("tls"), f"{field}.tls")
        read.mapping(tls.get("options"), f"{field}.tls.options")
        protocol = read.text(listener.get("protocol"), f"{field}.protocol")
        if passes_mtls(port, protocol, tls, labelled=labelled):
            yield port, 0
        elif port and protocol == HBONE and hbone:
            yield 0, port


def _addresses(read: Reader, value: Any, where: str) -> Iterator[str]:
    """Addresses with an explicit type; what else there is, is none of the mesh's (NW9)."""
    for i, item in enumerate(read.items(value, where)):
        field = f"{where}[{i}]"
        part = read.mapping(item, field)
        kind, address = read.text(part.get("type"), f"{field}.type"), read.text(part.get("value"), f"{field}.value")
        if kind not in _TYPES:
            read.warn(f"{field}.type", f"{kind!r} makes no gateway of a network", f"Use one of {', '.join(_TYPES)}")
        elif not (is_address(address) if kind == "IPAddress" else is_host(address)):
            read.error(f"{field}.value", f"{address!r} is no {kind}", "Write an IP address or a DNS name")
        else:
            yield address
