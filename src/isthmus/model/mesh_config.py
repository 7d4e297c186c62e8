"""What ConfigMap `istio` says of the whole mesh. Only the config cluster's counts, as with all configuration (RS10)."""

from typing import ClassVar

import msgspec

from isthmus.model.locality import LocalitySetting, Warmup
from isthmus.model.rows import Labels, OutlierDetection, Row


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One matchExpression of a label selector: `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    label: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """True if the labels meet it; as in Kubernetes, NotIn holds for an absent label."""
        value = next((value for name, value in labels if name == self.label), None)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


class Selector(msgspec.Struct, frozen=True, gc=False):
    """A Kubernetes label selector: all labels and all expressions; an empty one matches everything."""

    labels: Labels = ()
    expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """True if an object with these labels is selected."""
        return all(pair in labels for pair in self.labels) and all(one.holds(labels) for one in self.expressions)


class ServiceSetting(msgspec.Struct, frozen=True, gc=False):
    """Hosts, or `*.<suffix>` patterns, and whether they stay in their cluster (CL2)."""

    hosts: tuple[str, ...]
    cluster_local: bool = False


class ScopeSelector(msgspec.Struct, frozen=True, gc=False):
    """Services that are global without a label of their own: by their labels and their namespace's (AM2).

    Entries of scope LOCAL exclude nothing, so they are no rows.
    """

    namespaces: Selector = Selector()
    services: Selector = Selector()


class MeshConfig(Row, frozen=True, kw_only=True, gc=False):
    """Key `mesh`. None and empty tuples are absent fields: what the control plane was started with holds there."""

    TABLE: ClassVar[str] = "mesh_configs"
    allow_any: bool | None = None
    trust_domain_aliases: tuple[str, ...] = ()
    service_settings: tuple[ServiceSetting, ...] = ()
    default_service_export_to: tuple[str, ...] = ()
    default_virtual_service_export_to: tuple[str, ...] = ()
    default_destination_rule_export_to: tuple[str, ...] = ()
    locality: LocalitySetting = LocalitySetting()
    outlier_detection: OutlierDetection | None = None
    warmup: Warmup | None = None
    discovery_selectors: tuple[Selector, ...] = ()
    global_services: tuple[ScopeSelector, ...] = ()


class NetworkEntry(msgspec.Struct, frozen=True, gc=False):
    """A gateway of a network: an address (IP or host name), or a Service of a cluster of the same network (NW7).

    `service` is `<name>.<namespace>.svc.<domain>` as written; exactly one of the two is set. `port` is for mutual TLS,
    `hbone_port` for HBONE; 0: not that way.
    """

    port: int
    address: str = ""
    service: str = ""
    hbone_port: int = 0


class NetworkDefinition(msgspec.Struct, frozen=True, gc=False):
    """One network of `meshNetworks`: which clusters and address ranges are in it, and how it is entered (NW3)."""

    name: str
    registries: tuple[str, ...] = ()
    cidrs: tuple[str, ...] = ()
    gateways: tuple[NetworkEntry, ...] = ()


class MeshNetworks(Row, frozen=True, kw_only=True, gc=False):
    """Key `meshNetworks`, networks in the order of their names: where two claim one cluster, the first has it (NW3)."""

    TABLE: ClassVar[str] = "mesh_networks"
    networks: tuple[NetworkDefinition, ...] = ()
