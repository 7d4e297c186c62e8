"""`gateway.networking.k8s.io` Gateways, as far as they say how a network is entered."""

from collections.abc import Iterator
from typing import Any

from isthmus.base.labels import GATEWAY_PORT_LABEL, NETWORK_LABEL
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.mesh_config import NetworkEntry
from isthmus.model.networks import ApiGateway

PROTOCOL_OPTION = "gateway.istio.io/listener-protocol"
REMOTE_CLASS = "istio-remote"
DEFAULT_PORT = 15443

_TYPES = ("IPAddress", "Hostname")


def api_gateway(place: Place, obj: objects.Custom) -> Result:
    """The gateways of a network: each address with each listener that passes mutual TLS on (NW9, NW10).

    Listeners for HBONE are left out: sidecars do not speak it (Istio takes them for mutual TLS, NW11).
    """
    network = (obj.metadata.labels or {}).get(NETWORK_LABEL, "")
    if not network:
        return (), ()
    read = Reader(place.cluster, "KubernetesGateway", obj)
    spec = read.mapping(obj.spec, "spec")
    ports = list(_ports(read, spec.get("listeners"), (obj.metadata.labels or {}).get(GATEWAY_PORT_LABEL, "")))
    addresses = list(_addresses(read, spec.get("addresses")))
    row = ApiGateway(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        network=network,
        remote=read.text(spec.get("gatewayClassName"), "spec.gatewayClassName") == REMOTE_CLASS,
        entries=tuple(NetworkEntry(port, address=address) for address in addresses for port in ports),
    )
    return read.result(row)


def _ports(read: Reader, value: Any, labelled: str) -> Iterator[int]:
    """NW10: a listener with `tls` that says so, or that has the port by which gateways of networks are known."""
    for i, item in enumerate(read.items(value, "spec.listeners")):
        field = f"spec.listeners[{i}]"
        listener = read.mapping(item, field)
        port = read.port(listener.get("port"), f"{field}.port")
        tls = read.mapping(listener.get("tls"), f"{field}.tls")
        options = read.mapping(tls.get("options"), f"{field}.tls.options")
        known = port == DEFAULT_PORT or str(port) == labelled
        passes = known or options.get(PROTOCOL_OPTION) == "auto-passthrough"
        if port and tls and passes and listener.get("protocol") != "HBONE":
            yield port


def _addresses(read: Reader, value: Any) -> Iterator[str]:
    """Addresses with an explicit type; what else there is, the status included, is none of the mesh's (NW9)."""
    for i, item in enumerate(read.items(value, "spec.addresses")):
        field = f"spec.addresses[{i}]"
        part = read.mapping(item, field)
        kind, address = read.text(part.get("type"), f"{field}.type"), read.text(part.get("value"), f"{field}.value")
        if kind not in _TYPES:
            read.warn(f"{field}.type", f"{kind!r} makes no gateway of a network", f"Use one of {', '.join(_TYPES)}")
        elif not (is_address(address) if kind == "IPAddress" else is_host(address)):
            read.error(f"{field}.value", f"{address!r} is no {kind}", "Write an IP address or a DNS name")
        else:
            yield address
