"""Namespace sameness: what has the same name in several clusters must be the same thing."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from isthmus.base.labels import DATAPLANE_MODE_LABEL
from isthmus.checks.finding import Category, Finding
from isthmus.checks.snapshot import Object, Snapshot, labels_of, name_of, namespace_of, spec_of

NAMESPACES = Category("namespaces")
SERVICES = Category("services")
POLICIES = Category("configuration")

_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease", "default"})
FAIL_CLOSED = frozenset({"AuthorizationPolicy", "PeerAuthentication"})
_SHOWN_AS = {"KubernetesGateway": "Gateway"}
"""Names of kinds that control planes tell apart by, and users do not know."""

_MEMBERSHIP = ("istio-injection", "istio.io/rev", DATAPLANE_MODE_LABEL)
CONFIGURATION = (
    "peerauthentications", "authorizationpolicies", "destinationrules", "virtualservices", "serviceentries",
    "sidecars", "gateways",
)  # fmt: skip
"""Kinds that each control plane reads from its own cluster, so that primaries may drift apart."""


def namespaces(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """A namespace is in the mesh everywhere, or nowhere; by which data plane is each cluster's own affair."""
    found = [{name_of(obj): _membership(obj) for obj in one.all("namespaces")} for one in snapshots]
    differing = 0
    for (a, left), (b, right) in combinations(zip(snapshots, found, strict=True), 2):
        for name in sorted((left.keys() & right.keys()) - _SYSTEM - {a.system_namespace}):
            if not _alike(left[name], right[name]):
                differing += 1
                yield NAMESPACES.warning(
                    f"namespace {name} is {left[name] or 'not in the mesh'} in {a.name} and "
                    f"{right[name] or 'not in the mesh'} in {b.name}",
                    a.name,
                    b.name,
                    effect="pods of one cluster have no identity there and are not reached across networks",
                    remedy="Give the namespace the same labels in both clusters",
                )
    if len(snapshots) > 1 and not differing:
        yield NAMESPACES.good("namespaces are in the mesh alike", *(one.name for one in snapshots))


def services(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """The same namespace and name is one service: the same ports, the same kind."""
    found = [{_key(obj): obj for obj in one.all("services") if namespace_of(obj) not in _SYSTEM} for one in snapshots]
    shared, differing = set(), 0
    for (a, left), (b, right) in combinations(zip(snapshots, found, strict=True), 2):
        for key in sorted(left.keys() & right.keys()):
            shared.add(key)
            for difference in _differences(left[key], right[key]):
                differing += 1
                yield SERVICES.warning(
                    f"{key[0]}/{key[1]}: {difference.format(a=a.name, b=b.name)}",
                    a.name,
                    b.name,
                    effect="callers see the first cluster's shape; endpoints of the other may be left out",
                    remedy="Make the Service the same in both clusters, or give it another name",
                )
    if len(snapshots) > 1 and not differing:
        yield SERVICES.good(
            f"{len(shared)} services are in several clusters, of one shape", *(one.name for one in snapshots)
        )


def configuration(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """Every control plane reads its own cluster: primaries of one mesh should say the same."""
    primaries = [one for one in snapshots if one.planes]
    differing = 0
    for a, b in combinations(primaries, 2):
        for plural in CONFIGURATION:
            for text in _drift(a, b, plural):
                differing += 1
                yield POLICIES.warning(
                    text,
                    a.name,
                    b.name,
                    effect="proxies of the two clusters go by different rules",
                    remedy="Apply the same objects to both; put what is meant for one cluster into its own namespace",
                )
    if len(primaries) > 1 and not differing:
        yield POLICIES.good("policies and routes of all control planes are the same", *(one.name for one in primaries))


def problems(snapshots: Sequence[Snapshot]) -> Iterator[Finding]:
    """What control planes report of broken objects, each once."""
    seen = set()
    for one in snapshots:
        for plane in one.planes:
            for problem in plane.pages.get("problems") or ():
                where = problem["where"]
                key = (where["cluster"], where["kind"], where["namespace"], where["name"], problem["field"])
                if key in seen:
                    continue
                seen.add(key)
                place = f"{where['namespace']}/{where['name']}" if where["namespace"] else where["name"]
                kind = _SHOWN_AS.get(where["kind"], where["kind"])
                text = f"{kind} {place}, {problem['field']}: {problem['message']}"
                broken = problem.get("severity") == "error"
                yield (POLICIES.error if broken else POLICIES.warning)(
                    text,
                    str(where["cluster"]),
                    effect=_effect(str(where["kind"])) if broken else "",
                    remedy=str(problem["remedy"]),
                )


def _effect(kind: str) -> str:
    """What a broken object of this kind means for the mesh."""
    if kind in FAIL_CLOSED:
        return "it fails closed: what it guards is refused until it is corrected"
    return "the object has no effect, or the last good one is in force"


def _membership(namespace: Object) -> str:
    labels = labels_of(namespace)
    return ", ".join(f"{key}={labels[key]}" for key in _MEMBERSHIP if labels.get(key) not in (None, "disabled", "none"))


def _alike(one: str, other: str) -> bool:
    """True for the same membership, and for sidecars here and ambient there."""
    mixed = (DATAPLANE_MODE_LABEL in one) != (DATAPLANE_MODE_LABEL in other)
    return one == other or bool(one and other and mixed)


def _key(obj: Object) -> tuple[str, str]:
    return namespace_of(obj), name_of(obj)


def _differences(left: Object, right: Object) -> Iterator[str]:
    """Sentences with {a} and {b} for the clusters' names."""
    one, two = spec_of(left), spec_of(right)
    if (one.get("clusterIP") == "None") != (two.get("clusterIP") == "None"):
        yield "it is headless in one of {a} and {b} only"
    mine, theirs = _ports(one), _ports(two)
    for number in sorted(mine.keys() | theirs.keys()):
        if number not in theirs:
            yield f"port {number} is missing in {{b}}"
        elif number not in mine:
            yield f"port {number} is missing in {{a}}"
        elif mine[number] != theirs[number]:
            yield f"port {number} is {mine[number]} in {{a}} and {theirs[number]} in {{b}}"


def _ports(spec: Mapping[str, Any]) -> dict[int, str]:
    return {
        int(port["port"]): "/".join(
            str(port.get(name) or "") for name in ("name", "appProtocol", "protocol") if port.get(name)
        )
        for port in spec.get("ports") or []
    }


def _drift(a: Snapshot, b: Snapshot, plural: str) -> Iterator[str]:
    if plural not in a.objects or plural not in b.objects:
        return
    left, right = ({_key(obj): obj for obj in one.all(plural)} for one in (a, b))
    for key in sorted(left.keys() | right.keys()):
        about = f"{plural} {key[0]}/{key[1]}"
        if key not in right:
            yield f"{about} is in {a.name} only"
        elif key not in left:
            yield f"{about} is in {b.name} only"
        elif spec_of(left[key]) != spec_of(right[key]):
            yield f"{about} differs between {a.name} and {b.name}"
