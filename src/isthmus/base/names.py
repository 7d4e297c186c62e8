"""Distinct types for the strings that name things, so that a checker tells a cluster from a network."""

from typing import NewType

ClusterId = NewType("ClusterId", str)
NetworkId = NewType("NetworkId", str)
NamespaceName = NewType("NamespaceName", str)
TrustDomain = NewType("TrustDomain", str)
SpiffeId = NewType("SpiffeId", str)
Hostname = NewType("Hostname", str)
ProxyId = NewType("ProxyId", str)
TypeUrl = NewType("TypeUrl", str)

DEFAULT_DOMAIN = "cluster.local"
"""DNS suffix of Kubernetes services and the default trust domain."""

MESH_WIDE_DOMAIN = "mesh.internal"
"""DNS suffix of services in all clusters where they are global (AM4): `<name>.<namespace>.mesh.internal`."""
MESH_WIDE_ADDRESSES = "243.0.0.0/8"
"""Where the addresses of these names are; nothing else has one of them."""


def service_hostname(name: str, namespace: str, domain: str = DEFAULT_DOMAIN) -> Hostname:
    """The mesh-wide host name of a Kubernetes service (AG1): `<name>.<namespace>.svc.<domain>`."""
    return Hostname(f"{name}.{namespace}.svc.{domain}")


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
    """The only identity form of the mesh (TR13)."""
    return SpiffeId(f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")


CONTROL_PLANE_ACCOUNT = "istiod"
"""Service account of control planes, in their system namespace: the identity that peers show each other."""

PEERS_PORT = 15013
"""Where a control plane takes other control planes: mutual TLS only."""


def peers_host(namespace: str) -> Hostname:
    """What peers call a control plane: the name in its certificate there, and the SNI by which gateways find it."""
    return Hostname(f"istiod-peers.{namespace}.svc")
