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


def service_hostname(name: str, namespace: str, domain: str = DEFAULT_DOMAIN) -> Hostname:
    """The mesh-wide host name of a Kubernetes service (AG1): `<name>.<namespace>.svc.<domain>`."""
    return Hostname(f"{name}.{namespace}.svc.{domain}")


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> SpiffeId:
    """The only identity form of the mesh (TR13)."""
    return SpiffeId(f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
