"""Links to other control planes: Gateways of class `istio-remote`.

The object says where the peer's network is entered, who it must prove to be, and by which roots. It holds no
credentials: control planes know each other by their certificates.
"""

from collections.abc import Iterator
from typing import Any

from isthmus.base.errors import IsthmusError
from isthmus.base.labels import (
    CLUSTER_LABEL,
    GATEWAY_ACCOUNT_ANNOTATION,
    NETWORK_LABEL,
    TRUST_BUNDLE_ANNOTATION,
    TRUST_DOMAIN_ANNOTATION,
)
from isthmus.base.names import spiffe_id
from isthmus.ingest.finding import Reader, Result, is_address, is_host
from isthmus.ingest.place import Place
from isthmus.kube import objects
from isthmus.model.managed import REMOTE_CLASS
from isthmus.model.peering import PeerLink
from isthmus.trust.pem import load_certificates

EAST_WEST_ACCOUNT = "istio-eastwest"
"""Account of a gateway whose link does not say it."""

XDS_LISTENER = "xds-tls"
HBONE = "HBONE"


def is_remote(obj: objects.Custom) -> bool:
    """True if the Gateway stands for one elsewhere."""
    return isinstance(obj.spec, dict) and obj.spec.get("gatewayClassName") == REMOTE_CLASS


def peer_link(place: Place, obj: objects.Custom) -> Result:
    """The link of a Gateway of class `istio-remote` that speaks HBONE, leads to a control plane or says who is there.

    Others only enter a network. The peer's cluster is named like its network unless a label says otherwise.
    """
    if not is_remote(obj):
        return (), ()
    read = Reader(place.cluster, "KubernetesGateway", obj)
    spec = read.mapping(obj.spec, "spec")
    hbone, xds = _ports(read, spec.get("listeners"))
    found, notes = obj.metadata.labels or {}, obj.metadata.annotations or {}
    network = found.get(NETWORK_LABEL, "")
    if not (hbone or xds or TRUST_DOMAIN_ANNOTATION in notes):
        return (), ()
    peer = found.get(CLUSTER_LABEL, "") or network
    if not peer:
        read.warn(
            f"metadata.labels[{NETWORK_LABEL}]",
            "a remote gateway without network leads nowhere",
            "Name the network behind it",
        )
        return (), read.problems
    if peer == place.cluster:
        read.error(f"metadata.labels[{CLUSTER_LABEL}]", f"links {peer} to itself", "Name another cluster")
    domain = notes.get(TRUST_DOMAIN_ANNOTATION, "")
    if "/" in domain:
        read.error(
            f"metadata.annotations[{TRUST_DOMAIN_ANNOTATION}]", f"{domain!r} is no trust domain", "Give a DNS name"
        )
    account = notes.get(GATEWAY_ACCOUNT_ANNOTATION, EAST_WEST_ACCOUNT)
    row = PeerLink(
        cluster=place.cluster,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        peer=peer,
        network=network or peer,
        trust_domain=domain,
        addresses=tuple(_addresses(read, spec.get("addresses"))),
        hbone_port=hbone,
        xds_port=xds,
        roots=_roots(read, notes.get(TRUST_BUNDLE_ANNOTATION, "")),
        gateway_identity=spiffe_id(domain, obj.metadata.namespace, account) if domain else "",
        created=obj.metadata.creation_timestamp or "",
    )
    return read.result(row)


def _ports(read: Reader, value: Any) -> tuple[int, int]:
    """(port for HBONE, port for the control plane), 0 if there is none."""
    hbone = xds = 0
    for i, item in enumerate(read.items(value, "spec.listeners")):
        field = f"spec.listeners[{i}]"
        listener = read.mapping(item, field)
        port = read.port(listener.get("port"), f"{field}.port") or 0
        if listener.get("protocol") == HBONE:
            hbone = hbone or port
        elif listener.get("name") == XDS_LISTENER:
            xds = xds or port
    return hbone, xds


def _addresses(read: Reader, value: Any) -> Iterator[str]:
    for i, item in enumerate(read.items(value, "spec.addresses")):
        field = f"spec.addresses[{i}]"
        part = read.mapping(item, field)
        kind, address = part.get("type"), read.text(part.get("value"), f"{field}.value")
        if (kind != "Hostname" and is_address(address)) or (kind != "IPAddress" and is_host(address)):
            yield address
        else:
            read.error(f"{field}.value", f"{address!r} is no {kind or 'address'}", "Write an IP address or a DNS name")


def _roots(read: Reader, text: str) -> str:
    """The bundle, if every certificate of it can be read: half a bundle would refuse some of its holders."""
    if not text:
        return ""
    try:
        certificates = load_certificates(text.encode())
    except IsthmusError as error:
        certificates, why = (), error.message
    else:
        why = "there is no certificate in it"
    if not certificates:
        read.error(f"metadata.annotations[{TRUST_BUNDLE_ANNOTATION}]", why, "Give the peer's roots as PEM")
    return text
