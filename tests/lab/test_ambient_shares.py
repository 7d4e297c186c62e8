"""Where calls of a global service go, over the example `ambient`, linked: what is near, and shares by what is healthy.

East has two nodes in two zones and a pod on each; west and north have two pods each, behind their gateways.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.lab import scoped
from tests.lab.ambient import CLUSTERS, SCOPE, SLEEP, pods
from tests.lab.harness import Lab, eventually
from tests.lab.scoped import ABSENT, MESH, SPACE, SPREAD, Labels, Meaning, linked

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
GLOBAL: Labels = {SCOPE: "global"}
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
URL = f"http://{MESH}:5000/hello"
MANY = 240

__all__ = ["linked"]


def where(lab: Lab, app: str) -> str:
    """The node of an application's one pod in east."""
    (pod,) = pods(lab, "east", SPACE, app)
    return str(pod["spec"]["nodeName"])


class East(NamedTuple):
    """Who is where in east: the pod on the caller's node, and the other one."""

    near: str
    far: str


@pytest.fixture(scope="module")
def east(linked: Lab) -> East:
    """Both pods of the service in east."""
    found = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods(linked, "east", SPACE, "hello-world")}
    near = found.pop(where(linked, "sleep"))
    (far,) = found.values()
    return East(near, far)


@pytest.fixture(scope="module")
def everywhere(linked: Lab) -> Iterator[Lab]:
    """The service is global in all clusters."""
    scoped.have_all(linked, [GLOBAL] * len(CLUSTERS))
    yield linked
    scoped.have_all(linked, [ABSENT] * len(CLUSTERS))


Shares = dict[str, int]
"""Percent of the answers: of east's pods `near` and `far`, and of the other clusters."""


def shares(meaning: Meaning, east: East) -> Shares:
    """Who answered, or nothing if a call failed."""
    if meaning.failures:
        return {}
    names = {f"east/{east.near}": "near", f"east/{east.far}": "far"}
    found: Counter[str] = Counter()
    for pod, count in meaning.answers.items():
        found[names.get(pod, pod.partition("/")[0])] += count
    return {name: round(100 * count / found.total()) for name, count in found.items()}


def becomes(lab: Lab, east: East, expected: Shares, *, count: int = 120, within: float = 30) -> None:
    """Wait until those who are meant answer a pod of east, and nobody else, each in its share.

    Of 120 calls a share is off by more than 15 % once in a thousand times, of 240 by more than 10 %.
    """
    margin = 15 if count < MANY else 10

    def fits() -> bool:
        seen.append(shares(scoped.meanings(lab, "east", MESH, count=count)[MESH], east))
        same = seen[-1].keys() == expected.keys()
        return same and all(abs(seen[-1][name] - share) <= margin for name, share in expected.items())

    seen: list[Shares] = []
    try:
        eventually(fits, within=within, what="")
    except AssertionError:
        raise AssertionError(f"after {within} s: {seen[-1]}, not {expected}") from None


# -- who comes first --------------------------------------------------------------------------------------------------

BOTH: Shares = {"near": 50, "far": 50}
NEAR: Shares = {"near": 100}
ALL: Shares = {"near": 17, "far": 17, "west": 33, "north": 33}


class Saying(NamedTuple):
    """What east says of the service: by its annotation, its spec, and the namespace's annotation."""

    expected: Shares
    service: str = ""
    spec: str = ""
    namespace: str = ""


# None is followed by one of the same outcome, so that each is waited for.
SAYINGS = [
    Saying(BOTH),
    Saying(ALL, "Any"),
    Saying(BOTH, "PreferNetwork"),
    Saying(NEAR, "PreferClose"),
    Saying(BOTH, "PreferRegion"),
    Saying(NEAR, "prefersamezone"),
    Saying(ALL, "PreferMoon"),
    Saying(NEAR, "PreferSameNode"),
    Saying(ALL, namespace="Any"),
    Saying(NEAR, spec="PreferClose"),
    Saying(BOTH, "PreferNetwork", namespace="Any"),
    Saying(NEAR, "Any", spec="PreferSameZone"),
    Saying(ALL, "Any", namespace="PreferSameZone"),
    Saying(NEAR, namespace="PreferSameZone"),
    Saying(ALL, "PreferMoon", namespace="PreferSameZone"),
    Saying(NEAR, spec="PreferSameNode"),
]


def told(saying: Saying) -> str:
    """How pytest names it."""
    words = zip(("", "spec ", "namespace "), saying[1:], strict=True)
    return ", ".join(f"{where}{word}" for where, word in words if word) or "nothing"


def annotate(lab: Lab, value: str) -> None:
    """East's namespace says this, or nothing."""
    words = ("--overwrite", f"{SPREAD}={value}") if value else (f"{SPREAD}-",)
    lab.kubectl("east", "annotate", "namespace", SPACE, *words)


@pytest.mark.parametrize("saying", SAYINGS, ids=told)
def test_what_comes_first(everywhere: Lab, east: East, saying: Saying) -> None:
    annotate(everywhere, saying.namespace)
    spec = {"trafficDistribution": saying.spec} if saying.spec else {}
    try:
        scoped.have(everywhere, "east", GLOBAL, saying.service, **spec)
        becomes(everywhere, east, saying.expected)
    finally:
        annotate(everywhere, "")


@contextmanager
def labelled(lab: Lab, cluster: str, node: str, key: str, value: str) -> Iterator[None]:
    """A node is somewhere else while the body runs."""
    before = lab.get(cluster, "node", node)["metadata"]["labels"][key]
    lab.kubectl(cluster, "label", "node", node, "--overwrite", f"{key}={value}")
    try:
        yield
    finally:
        lab.kubectl(cluster, "label", "node", node, "--overwrite", f"{key}={before}")


def test_two_nodes_of_one_zone_are_equally_near_and_the_own_one_is_nearer(everywhere: Lab, east: East) -> None:
    zones = {
        node["metadata"]["name"]: node["metadata"]["labels"][ZONE] for node in everywhere.get("east", "nodes")["items"]
    }
    ours = where(everywhere, "sleep")
    (other,) = zones.keys() - {ours}
    scoped.have(everywhere, "east", GLOBAL, "PreferSameZone")
    becomes(everywhere, east, NEAR)
    with labelled(everywhere, "east", other, ZONE, zones[ours]):
        becomes(everywhere, east, BOTH)
        scoped.have(everywhere, "east", GLOBAL, "PreferSameNode")
        becomes(everywhere, east, NEAR)


def test_of_other_networks_those_in_the_own_region_come_first_if_anybody_says_so(everywhere: Lab, east: East) -> None:
    """East does not have the service, so the word of those who do counts."""
    scoped.have_all(everywhere, [ABSENT, GLOBAL, GLOBAL], "PreferRegion")
    try:
        becomes(everywhere, east, {"west": 50, "north": 50})
        with labelled(everywhere, "north", "north-1", REGION, "eu-east"):
            becomes(everywhere, east, {"north": 100})
            scoped.have_all(everywhere, [ABSENT, GLOBAL, GLOBAL], "PreferNetwork")
            becomes(everywhere, east, {"west": 50, "north": 50})
    finally:
        scoped.have_all(everywhere, [GLOBAL] * len(CLUSTERS))


# -- what is healthy --------------------------------------------------------------------------------------------------


@contextmanager
def not_ready(lab: Lab, pod: str) -> Iterator[None]:
    """A pod of east answers nobody's probe while the body runs; calls it answers still."""

    def switch(word: str) -> None:
        url = f"http://127.0.0.1:5000/readiness/{word}"
        post = f"import urllib.request as u; u.urlopen(u.Request('{url}', method='POST'))"
        lab.exec(f"east/{SPACE}/{pod}", sys.executable, "-c", post)

    switch("off")
    try:
        yield
    finally:
        switch("on")


def test_what_is_near_fails_over_step_by_step_and_back_without_a_failed_request(everywhere: Lab, east: East) -> None:
    scoped.have_all(everywhere, [GLOBAL] * len(CLUSTERS), "PreferClose")
    becomes(everywhere, east, NEAR)
    with everywhere.under_load(f"east/{SLEEP}", URL, 15, rate=30) as calls:
        with not_ready(everywhere, east.near):
            becomes(everywhere, east, {"far": 100})
            with not_ready(everywhere, east.far):
                becomes(everywhere, east, {"west": 50, "north": 50})
            becomes(everywhere, east, {"far": 100})
        becomes(everywhere, east, NEAR)
    assert not calls.failures
    assert set(calls.clusters) == set(CLUSTERS)


def test_shares_through_gateways_follow_what_is_healthy_behind_them(everywhere: Lab, east: East) -> None:
    scoped.have_all(everywhere, [GLOBAL] * len(CLUSTERS), "Any")
    becomes(everywhere, east, ALL, count=MANY)
    try:
        with everywhere.under_load(f"east/{SLEEP}", URL, 15, rate=20) as calls:
            for count, expected in (
                (6, {"near": 10, "far": 10, "west": 60, "north": 20}),
                (1, {"near": 20, "far": 20, "west": 20, "north": 40}),
                (0, {"near": 25, "far": 25, "north": 50}),
            ):
                scale(everywhere, "west", count)
                becomes(everywhere, east, expected, count=MANY)
        assert not calls.failures
        with not_ready(everywhere, east.far):
            becomes(everywhere, east, {"near": 33, "north": 67}, count=MANY)
    finally:
        scale(everywhere, "west", 2)
    becomes(everywhere, east, ALL, count=MANY)


def scale(lab: Lab, cluster: str, count: int) -> None:
    """So many pods are behind the service in a cluster."""
    lab.kubectl(cluster, "scale", "-n", SPACE, "deployment/hello-world", f"--replicas={count}")
