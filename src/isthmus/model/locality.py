"""Where traffic should go by place: the setting that mesh configuration and DestinationRules have in common (§1.4)."""

import msgspec


class Distribution(msgspec.Struct, frozen=True, gc=False):
    """Callers in a locality spread over localities: `region/zone/subzone` patterns with weights that sum to 100."""

    source: str
    weights: tuple[tuple[str, int], ...]


class Warmup(msgspec.Struct, frozen=True, gc=False):
    """Slow start: for `duration` seconds an endpoint that joins gets from `minimum` per cent of its share to all of it.

    The share grows with time to the power of 1 / `aggression`; at 1 it grows evenly.
    """

    duration: float
    minimum: float = 10.0
    aggression: float = 1.0


class LocalitySetting(msgspec.Struct, frozen=True, gc=False):
    """`localityLbSetting`: `failover` pairs of regions; `failover_priority` labels, `key` or `key=value` (LB3-LB7)."""

    enabled: bool = True
    distribute: tuple[Distribution, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    failover_priority: tuple[str, ...] = ()
