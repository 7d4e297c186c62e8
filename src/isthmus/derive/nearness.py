"""How near an endpoint is to a client, and which share it gets by where it is (LB1-LB12).

Where Isthmus differs from Istio, on purpose:
* Failover without a rule of its own prefers the same network before everything else, then region, zone and sub-zone:
  a neighbour behind a gateway is farther than it looks. A `failover` or `failoverPriority` says otherwise.
* Endpoints behind a gateway are ranked by their own labels and places (Istio: by cluster and network only, LB11).
* `distribute` is exact: shares are in the weights of endpoints, in whole numbers (Istio rounds, LB7), so a gateway
  that stands for several places has the sum, and a place with fewer healthy endpoints gets less, not more each.
* Services may be ranked by PreferNetwork and PreferRegion (LB12).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import gcd, lcm

from isthmus.derive.networks import label
from isthmus.model import preference as labels
from isthmus.model.locality import Distribution, LocalitySetting
from isthmus.model.mesh import Endpoint
from isthmus.model.preference import NETWORK, REGION, SUBZONE, ZONE, Preference
from isthmus.model.rows import Labels, Locality, TrafficPolicy

NEAREST = (NETWORK, REGION, ZONE, SUBZONE)
"""The ranks of failover by default."""

BY_REGION = (REGION, ZONE, SUBZONE)
"""The ranks beside a `failover` rule, which is about places only (LB3)."""

OTHER_REGION = 3
"""The rank of other regions in `BY_REGION`; those that a failover rule does not name come after them."""

MAX_UNITS = 10_000_000
"""Weights of a distribution stay below this, so that with those of gateways they fit what Envoy takes."""


def prefer(policy: TrafficPolicy, distribution: str, mesh: LocalitySetting, *, spill_below: int = 0) -> Preference:
    """What clients go by: the rule's locality setting, else the service's trafficDistribution, else the mesh's (LB1).

    Ranks need outlier detection in the policy, unless trafficDistribution asked for them (LB2). `spill_below`: the
    healthy percentage below which traffic goes on to what is farther, 0 for Envoy's default.
    """
    spread = labels.DISTRIBUTIONS.get(distribution, ())
    setting = policy.locality if policy.locality is not None else mesh
    factor = round(10_000 / spill_below) if spill_below else labels.OVERPROVISIONING
    if policy.locality is None and spread:
        return Preference(labels=spread, overprovisioning=factor)
    if not setting.enabled:
        return labels.NO_PREFERENCE
    if setting.distribute:
        return Preference(distribute=setting.distribute)
    if policy.outlier_detection is None:
        return labels.NO_PREFERENCE
    ranks = setting.failover_priority or (BY_REGION if setting.failover else NEAREST)
    return Preference(labels=ranks, failover=setting.failover, overprovisioning=factor)


def place_of(endpoint: Endpoint, key: str) -> str:
    """The value of an endpoint's label; those that say where it is are known even if it does not carry them (LB15)."""
    known = _PLACE_OF.get(key)
    return (known(endpoint) if known is not None else "") or label(endpoint.labels, key)


_PLACE_OF: dict[str, Callable[[Endpoint], str]] = {
    labels.CLUSTER: lambda endpoint: endpoint.cluster,
    labels.NETWORK: lambda endpoint: endpoint.network,
    labels.REGION: lambda endpoint: endpoint.locality.region,
    labels.ZONE: lambda endpoint: endpoint.locality.zone,
    labels.SUBZONE: lambda endpoint: endpoint.locality.subzone,
    labels.HOSTNAME: lambda endpoint: endpoint.node,
}


class Nearness:
    """Ranks and shares of endpoints for clients with certain labels. Without a preference all are equally near."""

    def __init__(self, preference: Preference = labels.NO_PREFERENCE, place: Labels = ()) -> None:
        self._here = dict(place)
        self._preference = preference
        wanted = [text.partition("=") for text in preference.labels]
        self._wanted = [(key, value if override else self._here.get(key, "")) for key, override, value in wanted]
        self._network_first = bool(wanted) and preference.labels[0] == NETWORK
        region = self._here.get(REGION, "")
        self._failover = {there for here, there in preference.failover if here == region}

    @property
    def ranks(self) -> bool:
        """True if endpoints come in priorities."""
        return self._preference.ranks

    def rank(self, endpoint: Endpoint) -> int:
        """0 for the nearest; what is farther has more."""
        rank = _rank(endpoint, self._wanted)
        if self._network_first and rank == len(self._wanted):
            # The first label differs: rank by the others, after everything in the same network (LB5).
            rank += _rank(endpoint, self._wanted[1:])
        if not self._preference.failover:
            return rank
        by_place = self._by_region(endpoint)
        return by_place if self._preference.labels == BY_REGION else rank * 5 + by_place

    def _by_region(self, endpoint: Endpoint) -> int:
        """LB3, as far as the client's places are known; 4 for regions that its failover rule does not name."""
        rank = _rank(endpoint, [(key, self._here.get(key, "")) for key in BY_REGION])
        elsewhere = rank == OTHER_REGION and self._failover and endpoint.locality.region not in self._failover
        return OTHER_REGION + 1 if elsewhere else rank

    def shares(self, endpoints: Iterable[Endpoint]) -> Mapping[Locality, int] | None:
        """The weight of an endpoint in each place, 0 for none; None if the client's place has no distribution (LB7).

        `endpoints` are all that the client can use, each once: what they share is divided among them exactly.
        """
        here = Locality(self._here.get(REGION, ""), self._here.get(ZONE, ""), self._here.get(SUBZONE, ""))
        rule = next((one for one in self._preference.distribute if matches(one.source, here)), None)
        if rule is None:
            return None
        counts: Counter[Locality] = Counter()
        for endpoint in endpoints:
            counts[endpoint.locality] += endpoint.weight
        return _units(rule, counts)


def _rank(endpoint: Endpoint, wanted: Sequence[tuple[str, str]]) -> int:
    """How many of the labels are left from the first on that differs; 0 if all match (LB4)."""
    for index, (key, value) in enumerate(wanted):
        if place_of(endpoint, key) != value:
            return len(wanted) - index
    return 0


def matches(pattern: str, where: Locality) -> bool:
    """LB8: `*` matches anything, so do missing parts; a locality without region matches only `*`."""
    parts = [*pattern.split("/"), "*", "*"][:3]
    return all(
        part in ("*", found) for part, found in zip(parts, (where.region, where.zone, where.subzone), strict=True)
    )


def _units(rule: Distribution, counts: Mapping[Locality, int]) -> dict[Locality, int]:
    """The weight of an endpoint in each place, per unit of its own; of several patterns the most exact one counts."""
    patterns = sorted(rule.weights, key=lambda item: (-_exactness(item[0]), item[0]))
    chosen = {where: next((p for p in patterns if matches(p[0], where)), None) for where in counts}
    totals: Counter[tuple[str, int]] = Counter()
    for where, pattern in chosen.items():
        if pattern is not None:
            totals[pattern] += counts[where]
    whole = lcm(*totals.values()) if totals else 1
    whole = whole if whole * 100 <= MAX_UNITS else MAX_UNITS // 100
    units: dict[tuple[str, int], int] = {}
    for (name, percent), total in totals.items():
        units[name, percent] = max(1, round(percent * whole / total)) if percent else 0
    common = gcd(*units.values()) or 1
    return {where: units[pattern] // common if pattern is not None else 0 for where, pattern in chosen.items()}


def _exactness(pattern: str) -> int:
    return sum(part != "*" for part in pattern.split("/"))
