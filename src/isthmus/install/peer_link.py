"""The object that links a cluster to another one: what `isthmus multicluster link` writes or prints."""

from dataclasses import dataclass
from ipaddress import ip_address

from isthmus.base.labels import (
    CLUSTER_LABEL,
    GATEWAY_ACCOUNT_ANNOTATION,
    NETWORK_LABEL,
    TRUST_BUNDLE_ANNOTATION,
    TRUST_DOMAIN_ANNOTATION,
)
from isthmus.install.managed_gateway import API_VERSION
from isthmus.install.values import XDS_PORT, Manifest
from isthmus.model.managed import REMOTE_CLASS

HBONE_PORT = 15008


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerValues:
    """A cluster as others are linked to it. `addresses` and `account` are those of its east-west gateway.

    `roots` are PEM. Without `xds_port` the peer is only let in: nothing of it is asked for.
    """

    cluster: str
    network: str
    trust_domain: str
    roots: str
    addresses: tuple[str, ...]
    account: str = "istio-eastwest"
    hbone_port: int = HBONE_PORT
    xds_port: int = XDS_PORT


def link_name(cluster: str) -> str:
    """The name of the link to a cluster."""
    return f"istio-remote-peer-{cluster.lower()}"


def link_manifest(peer: PeerValues, namespace: str) -> Manifest:
    """The Gateway of class `istio-remote` that stands for the peer's."""
    tls = {"mode": "Passthrough"}
    listeners = [{"name": "cross-network", "port": peer.hbone_port, "protocol": "HBONE", "tls": tls}]
    if peer.xds_port:
        listeners.append({"name": "xds-tls", "port": peer.xds_port, "protocol": "TLS", "tls": tls})
    return {
        "apiVersion": API_VERSION,
        "kind": "Gateway",
        "metadata": {
            "name": link_name(peer.cluster),
            "namespace": namespace,
            "labels": {NETWORK_LABEL: peer.network, CLUSTER_LABEL: peer.cluster},
            "annotations": {
                GATEWAY_ACCOUNT_ANNOTATION: peer.account,
                TRUST_DOMAIN_ANNOTATION: peer.trust_domain,
                TRUST_BUNDLE_ANNOTATION: peer.roots,
            },
        },
        "spec": {
            "gatewayClassName": REMOTE_CLASS,
            "addresses": [{"type": _kind(address), "value": address} for address in peer.addresses],
            "listeners": listeners,
        },
    }


def _kind(address: str) -> str:
    try:
        ip_address(address)
    except ValueError:
        return "Hostname"
    return "IPAddress"
