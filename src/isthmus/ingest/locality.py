"""What objects say of places: `localityLbSetting` wherever it stands, and annotations."""

from collections.abc import Mapping
from typing import Any

from isthmus.base.labels import TRAFFIC_DISTRIBUTION_ANNOTATION
from isthmus.ingest.finding import Reader
from isthmus.model.locality import Distribution, LocalitySetting

_WHOLE = 100

SPILL_BELOW = "isthmus.dev/spill-below"
ANY = "Any"

_DISTRIBUTIONS = {
    "preferclose": "PreferSameZone",
    "prefersamezone": "PreferSameZone",
    "prefersamenode": "PreferSameNode",
    "prefernetwork": "PreferNetwork",
    "preferregion": "PreferRegion",
    "any": ANY,
}
"""What users write, lower case -> what the mesh does; PreferClose is the older name of PreferSameZone (LB9, LB12)."""

_SPEC_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode", "PreferNetwork", "PreferRegion", "Any")
"""Kubernetes' own words, then the mesh's, which only API servers take that do not check the field."""


def distribution(read: Reader, annotations: Mapping[str, str] | None, spec: str | None = None) -> str:
    """LB9: the spec, else the annotation, else "". What is unknown means Any, and so hides the namespace's."""
    annotated = (annotations or {}).get(TRAFFIC_DISTRIBUTION_ANNOTATION)
    if spec in _SPEC_DISTRIBUTIONS:
        return _DISTRIBUTIONS[spec.lower()]
    if annotated is None and not spec:
        return ""
    known = _DISTRIBUTIONS.get((annotated or "").lower(), "")
    if not known:
        annotation = f"metadata.annotations[{TRAFFIC_DISTRIBUTION_ANNOTATION}]"
        field = annotation if annotated is not None else "spec.trafficDistribution"
        text = annotated if annotated is not None else spec
        words = ", ".join(_SPEC_DISTRIBUTIONS)
        read.warn(field, f"{text!r} is not known and means Any", f"Use one of {words}")
    return known or ANY


def spill_below(read: Reader, annotations: Mapping[str, str] | None) -> int:
    """The healthy percentage below which traffic goes on to what is farther; 0 if the annotation is absent."""
    text = (annotations or {}).get(SPILL_BELOW, "").strip().removesuffix("%")
    if not text:
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= _WHOLE:
        read.warn(f"metadata.annotations[{SPILL_BELOW}]", f"{text!r} is no percentage", "Use a number from 1 to 100")
        return 0
    return int(text)


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
