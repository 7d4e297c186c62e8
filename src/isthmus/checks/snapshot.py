"""What is read of a cluster before anything is judged: objects as plain data, and what its control planes answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.labels import NETWORK_LABEL
from isthmus.install.values import SYSTEM_NAMESPACE

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """One istiod: its pod, the debug pages it answered (by name), and what went wrong where it did not."""

    pod: str
    version: str = ""
    pages: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One attempt to reach a gateway from where a control plane runs; `error` is empty if it answered."""

    source: str
    cluster: str
    address: str
    milliseconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A cluster as it was found. `skew` is its clock minus ours in seconds, None if its server told no time.

    `objects` are lists by plural; a plural is missing where it could not be read, which `errors` then names.
    """

    context: str
    server: str
    version: str = ""
    skew: float | None = None
    objects: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    planes: tuple[ControlPlane, ...] = ()
    probes: tuple[Probe, ...] = ()
    roots: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    system_namespace: str = SYSTEM_NAMESPACE

    def all(self, plural: str) -> Sequence[Object]:
        """The objects of a kind, none if it could not be read."""
        return self.objects.get(plural, ())

    @property
    def name(self) -> str:
        """The cluster's own name if a control plane here says it, else the context's."""
        for plane in self.planes:
            for cluster in (plane.pages.get("clusterz") or {}).get("clusters", ()):
                if cluster.get("config"):
                    return str(cluster["id"])
        return self.context

    @property
    def network(self) -> str:
        """The network of the system namespace, empty if it has none."""
        for namespace in self.all("namespaces"):
            if name_of(namespace) == self.system_namespace:
                return labels_of(namespace).get(NETWORK_LABEL, "")
        return ""

    @property
    def gateways(self) -> list[Object]:
        """Services that stand for an east-west gateway (NW4)."""
        return [service for service in self.all("services") if NETWORK_LABEL in labels_of(service)]


def name_of(obj: Object) -> str:
    """metadata.name."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    """metadata.namespace."""
    return str(obj["metadata"].get("namespace") or "")


def labels_of(obj: Object) -> Mapping[str, str]:
    """metadata.labels."""
    return obj["metadata"].get("labels") or {}


def spec_of(obj: Object) -> Mapping[str, Any]:
    """spec."""
    return obj.get("spec") or {}


def status_of(obj: Object) -> Mapping[str, Any]:
    """status."""
    return obj.get("status") or {}


def addresses_of(service: Object) -> list[str]:
    """Where a Service of type LoadBalancer, or with external IPs, is reached."""
    ingress = (status_of(service).get("loadBalancer") or {}).get("ingress") or []
    found = [str(one.get("ip") or one.get("hostname") or "") for one in ingress]
    return [one for one in [*found, *(spec_of(service).get("externalIPs") or [])] if one]
