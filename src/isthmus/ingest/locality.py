"""`localityLbSetting`, wherever it stands."""

from typing import Any

from isthmus.ingest.finding import Reader
from isthmus.model.locality import Distribution, LocalitySetting

_WHOLE = 100


def locality_setting(read: Reader, value: Any, field: str) -> LocalitySetting:
    """The setting; absent means enabled without rules (LB1)."""
    spec = read.mapping(value, field)
    enabled = read.typed(spec.get("enabled"), bool, f"{field}.enabled")
    found = LocalitySetting(
        enabled=True if enabled is None else enabled,
        distribute=tuple(
            _distribution(read, item, f"{field}.distribute[{i}]")
            for i, item in enumerate(read.items(spec.get("distribute"), f"{field}.distribute"))
        ),
        failover=tuple(
            _failover(read, item, f"{field}.failover[{i}]")
            for i, item in enumerate(read.items(spec.get("failover"), f"{field}.failover"))
        ),
        failover_priority=read.strings(spec.get("failoverPriority"), f"{field}.failoverPriority"),
    )
    if found.distribute and (found.failover or found.failover_priority):
        read.error(f"{field}.distribute", "excludes failover and failoverPriority", "Keep one of them (LB2)")
    return found


def _distribution(read: Reader, value: Any, field: str) -> Distribution:
    item = read.mapping(value, field)
    source = read.text(item.get("from"), f"{field}.from")
    if not source:
        read.error(f"{field}.from", "is missing", "Name the callers' locality, such as region1/zone1/*")
    weights: list[tuple[str, int]] = []
    for name, weight in read.mapping(item.get("to"), f"{field}.to").items():
        number = read.natural(weight, f"{field}.to.{name}", most=_WHOLE)
        weights.append((str(name), number or 0))
    if sum(weight for _, weight in weights) != _WHOLE and not read.is_refused():
        read.error(f"{field}.to", "the weights do not sum to 100", "Make the weights percentages of the whole")
    return Distribution(source, tuple(sorted(weights)))


def _failover(read: Reader, value: Any, field: str) -> tuple[str, str]:
    item = read.mapping(value, field)
    here, there = read.text(item.get("from"), f"{field}.from"), read.text(item.get("to"), f"{field}.to")
    if (not here or not there) and not read.is_refused():
        read.error(field, "needs both from and to", "Name two regions")
    return here, there
