"""Where an object is read: what its meaning depends on besides itself."""

from dataclasses import dataclass

from isthmus.base.names import DEFAULT_DOMAIN

SYSTEM_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster, the DNS suffix of its services, and the namespace of the control plane."""

    cluster: str
    domain: str = DEFAULT_DOMAIN
    system_namespace: str = SYSTEM_NAMESPACE
