"""Could the clusters be read, do their clocks agree, and do versions fit?"""

from collections.abc import Iterator, Sequence

from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Snapshot

ACCESS = Category("access")
CLOCKS = Category("clocks")
VERSIONS = Category("versions")

OLDEST_KUBERNETES = (1, 28)
SKEW_WARNING, SKEW_ERROR = 5.0, 60.0
"""Seconds by which clocks may differ: certificates are valid from a little before they were made."""


def access(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Every cluster answers and lets us read."""
    for one in snapshots:
        if not one.errors:
            yield ACCESS.good(f"{one.server} answers (Kubernetes {one.version or 'of unknown version'})", one.name)
        for error in one.errors:
            yield ACCESS.error(
                error, one.name, effect="What could not be read was not checked", remedy="Check address and credentials"
            )


def clocks(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Clocks differ by little: tokens and certificates have a beginning and an end."""
    known = [(one.name, one.skew) for one in snapshots if one.skew is not None]
    if not known:
        return
    slow, fast = min(known, key=lambda pair: pair[1]), max(known, key=lambda pair: pair[1])
    apart = fast[1] - slow[1]
    if apart < SKEW_WARNING:
        yield CLOCKS.good(f"clocks of all API servers are within {apart:.0f} s", *(name for name, _ in known))
        return
    message = f"the clock of {fast[0]} is {apart:.0f} s ahead of that of {slow[0]}"
    effect = f"certificates and tokens made in {fast[0]} are refused in {slow[0]} as not valid yet"
    say = CLOCKS.error if apart >= SKEW_ERROR else CLOCKS.warning
    yield say(message, slow[0], fast[0], effect=effect, remedy="Set both clocks by NTP")


def versions(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Kubernetes is new enough; control planes and proxies are of one version, or one apart."""
    for one in snapshots:
        number = _number(one.version)
        if number and number < OLDEST_KUBERNETES:
            oldest = ".".join(map(str, OLDEST_KUBERNETES))
            yield VERSIONS.error(
                f"Kubernetes {one.version} is older than {oldest}",
                one.name,
                effect="sidecars are not started before the application's containers",
                remedy=f"Upgrade the cluster to {oldest} or newer",
            )
    found: dict[str, list[str]] = {}
    for one in snapshots:
        for plane in one.planes:
            if plane.version:
                found.setdefault(plane.version, []).append(one.name)
    if len(found) == 1:
        (version, clusters), *_ = found.items()
        yield VERSIONS.good(f"all control planes are Isthmus {version}", *dict.fromkeys(clusters))
    elif found:
        listed = "; ".join(
            f"{version} in {', '.join(dict.fromkeys(names))}" for version, names in sorted(found.items())
        )
        yield VERSIONS.warning(
            f"control planes of different versions: {listed}",
            *dict.fromkeys(name for names in found.values() for name in names),
            effect="the same resources may mean different things in different clusters",
            remedy="Finish the upgrade",
        )
    for one in snapshots:
        yield from _proxies(one)


def _proxies(one: Snapshot) -> Iterator[Finding]:
    for plane in one.planes:
        proxies = (plane.pages.get("syncz") or {}).get("proxies") or []
        other = sorted({str(p["proxy"]) for p in proxies if p.get("version") and p["version"] != plane.version})
        if other and plane.version:
            yield VERSIONS.warning(
                f"{len(other)} of {len(proxies)} proxies are of another version than {plane.pod} ({plane.version}): "
                f"{', '.join(other[:3])}{' …' if len(other) > 3 else ''}",
                one.name,
                effect="they lack what the newer version can do",
                remedy="Restart their workloads: kubectl rollout restart …",
            )


def _number(version: str) -> tuple[int, int] | None:
    parts = version.lstrip("v").split(".")
    digits = ["".join(c for c in part if c.isdigit()) for part in parts[:2]]
    return (int(digits[0]), int(digits[1])) if len(digits) == 2 and all(digits) else None
