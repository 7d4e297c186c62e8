"""What clients of a destination prefer: the outcome of DestinationRule, trafficDistribution and mesh configuration."""

import msgspec

from isthmus.base.labels import CLUSTER_LABEL, NETWORK_LABEL
from isthmus.model.locality import Distribution

CLUSTER = CLUSTER_LABEL
NETWORK = NETWORK_LABEL
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
HOSTNAME = "kubernetes.io/hostname"
"""Labels that say where something is; every endpoint and every proxy has them beside its own (LB15)."""

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "PreferSameZone": (NETWORK, REGION, ZONE),
    "PreferSameNode": (NETWORK, REGION, ZONE, SUBZONE, HOSTNAME),
    "PreferRegion": (NETWORK, REGION),
    "PreferNetwork": (NETWORK,),
}
"""What a trafficDistribution means, as failoverPriority labels (LB10, LB12)."""

OVERPROVISIONING = 140
"""Envoy's factor in per cent: a priority takes everything while more than 71 % of it is healthy."""


class Preference(msgspec.Struct, frozen=True, cache_hash=True):
    """How a destination's endpoints are ranked, or weighted, by where the client is. An empty one prefers nothing.

    `labels`: the longer the matching prefix, the nearer; `key` or `key=value` (LB4). `failover`: pairs of regions: of
    other regions that one comes first (LB3). `distribute`: shares by place, which exclude ranks (LB7).
    `overprovisioning`: per cent; 10000 divided by the healthy percentage below which traffic spills over.
    """

    labels: tuple[str, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    distribute: tuple[Distribution, ...] = ()
    overprovisioning: int = OVERPROVISIONING

    @property
    def ranks(self) -> bool:
        """True if endpoints have priorities."""
        return bool(self.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        """The labels of a client that matter, sorted: clients with the same values see the same endpoints."""
        if self.distribute:
            return tuple(sorted((REGION, ZONE, SUBZONE)))
        needed = {label for label in self.labels if "=" not in label}
        return tuple(sorted(needed | ({REGION} if self.failover else set())))


NO_PREFERENCE = Preference()
