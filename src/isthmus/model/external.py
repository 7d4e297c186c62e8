"""Rows of what is no pod: ServiceEntries, WorkloadEntries, WorkloadGroups (Istio's `networking.istio.io`)."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from isthmus.model.rows import Labels, Locality, Row, ServicePort

GROUP = "istio.io/autoRegistrationGroup"
CONTROLLER = "istio.io/workloadController"
CONNECTED_AT = "istio.io/connectedAt"
DISCONNECTED_AT = "istio.io/disconnectedAt"
HEALTH_CHECKS = "proxy.istio.io/health-checks-enabled"
"""Annotations of WorkloadEntries (VM3)."""


class Resolution(StrEnum):
    """How a proxy finds the endpoints of a ServiceEntry's host."""

    NONE = "NONE"
    """The caller has the address already."""
    STATIC = "STATIC"
    """The object lists addresses."""
    DNS = "DNS"
    """The proxy asks DNS, and uses every address that it is told."""
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    """The proxy asks DNS, and uses one address at a time."""

    @property
    def by_dns(self) -> bool:
        """True if the proxy asks DNS."""
        return self in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


class EntryAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An endpoint that somebody wrote down. `ports`: port name -> number here; `network` empty if not said.

    `service_account` is the workload's identity in the namespace of the object; empty means no sidecar (SH14).
    """

    address: str
    ports: tuple[tuple[str, int], ...] = ()
    labels: Labels = ()
    network: str = ""
    locality: Locality = Locality()
    weight: int = 1
    service_account: str = ""

    def port(self, name: str) -> int:
        """The number that is given for a port name, 0 if none is."""
        for known, number in self.ports:
            if known == name:
                return number
        return 0


class ServiceEntry(Row, frozen=True, kw_only=True, gc=False):
    """Hosts that are no Kubernetes Services. `internal`: part of the mesh (MESH_INTERNAL), so it may take mesh mTLS.

    `addresses` may hold CIDR ranges. `allocated`: (host, address) as the object's status says (DN9).
    `allocates` is False if the object does not want addresses of its own (DN10).
    """

    TABLE: ClassVar[str] = "service_entries"
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    internal: bool = False
    resolution: Resolution = Resolution.NONE
    endpoints: tuple[EntryAddress, ...] = ()
    selector: Labels = ()
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    allocates: bool = True
    allocated: tuple[tuple[str, str], ...] = ()
    traffic_distribution: str = ""
    created: str = ""


class WorkloadEntry(Row, frozen=True, kw_only=True, gc=False):
    """A workload that is no pod, such as a machine. `healthy` is False if it has health checks and fails (VM6).

    `group`: the WorkloadGroup it was registered by, empty if somebody wrote it; then `controller` is the instance of
    the control plane that it is or was connected to, and the times are those of its annotations, as seconds since the
    epoch, 0 if absent (VM3).
    """

    TABLE: ClassVar[str] = "workload_entries"
    endpoint: EntryAddress = EntryAddress(address="")
    labels: Labels = ()
    healthy: bool = True
    health_checked: bool = False
    group: str = ""
    controller: str = ""
    connected_at: float = 0.0
    disconnected_at: float = 0.0


class WorkloadGroup(Row, frozen=True, kw_only=True, gc=False):
    """What auto-registered WorkloadEntries are made from (VM2): `template` is a WorkloadEntry's spec as JSON text."""

    TABLE: ClassVar[str] = "workload_groups"
    uid: str = ""
    service_account: str = "default"
    template: str = "{}"
    network: str = ""
    template_labels: Labels = ()
    labels: Labels = ()
    annotations: Labels = ()
    health_checked: bool = False
