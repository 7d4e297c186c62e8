"""How far services reach, over the example `ambient`, linked: the states table, played with real calls.

Every state is reached by changing labels. All clusters prefer nothing (`Any`), so whoever is behind a name is seen;
each runs two pods, so those who are have equal shares.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import yaml

from tests.lab import scoped
from tests.lab.ambient import CLUSTERS, OUTSIDER, SCOPE, SLEEP, nobody_at_home
from tests.lab.harness import Lab, eventually
from tests.lab.scoped import ABSENT, FLAG, MESH, OWN, SHORT, SPACE, Labels, Meaning, linked

pytestmark = pytest.mark.lab

EXAMPLE = "ambient"
PLAIN: Labels = {}
GLOBAL: Labels = {SCOPE: "global"}
ONLY: Labels = {SCOPE: "global-only"}
WITHIN = 30
"""Seconds after which what labels say must hold."""

__all__ = ["linked"]


@pytest.fixture(scope="module")
def vip(linked: Lab) -> str:
    """The address of the mesh-wide name."""
    scoped.have_all(linked, [GLOBAL, ABSENT, ABSENT])
    found: Meaning = eventually(
        lambda: (one := scoped.meanings(linked, "north", MESH, count=1)[MESH]).answers and one,
        within=WITHIN, what="north reaches a service of east",
    )  # fmt: skip
    (address,) = found.addresses
    return address


class Row(NamedTuple):
    """What each cluster's service says, and who then answers: by the mesh-wide name, whoever calls it, and by the
    service's own name in each cluster. `?`: the name is not known."""

    east: Labels
    west: Labels
    north: Labels
    mesh: str
    own: tuple[str, str, str]

    @property
    def states(self) -> tuple[Labels, Labels, Labels]:
        """Of the clusters in their order."""
        return self.east, self.west, self.north


TABLE = [
    Row(ABSENT, ABSENT, ABSENT, "?", ("?", "?", "?")),
    Row(ABSENT, PLAIN, ABSENT, "?", ("?", "west", "?")),
    Row(PLAIN, ABSENT, ABSENT, "?", ("east", "?", "?")),
    Row(PLAIN, PLAIN, ABSENT, "?", ("east", "west", "?")),
    Row(ABSENT, GLOBAL, ABSENT, "west", ("?", "west", "?")),
    Row(PLAIN, GLOBAL, ABSENT, "west", ("east", "west", "?")),
    Row(ABSENT, ONLY, ABSENT, "west", ("?", "west", "?")),
    Row(PLAIN, ONLY, ABSENT, "west", ("east", "west", "?")),
    Row(GLOBAL, GLOBAL, ABSENT, "east west", ("east", "west", "?")),
    Row(GLOBAL, ONLY, ABSENT, "east west", ("east", "east west", "?")),
    Row(ONLY, GLOBAL, ABSENT, "east west", ("east west", "west", "?")),
    Row(ONLY, ONLY, ABSENT, "east west", ("east west", "east west", "?")),
    Row(GLOBAL, ABSENT, ABSENT, "east", ("east", "?", "?")),
    Row(GLOBAL, PLAIN, ABSENT, "east", ("east", "west", "?")),
    Row(ONLY, ABSENT, ABSENT, "east", ("east", "?", "?")),
    Row(ONLY, PLAIN, ABSENT, "east", ("east", "west", "?")),
    # Three clusters: who does not say so has no part in it, whoever calls.
    Row(GLOBAL, GLOBAL, GLOBAL, "east north west", ("east", "west", "north")),
    Row(ONLY, PLAIN, GLOBAL, "east north", ("east north", "west", "north")),
    Row(PLAIN, ONLY, ONLY, "north west", ("east", "north west", "north west")),
]


def told(row: Row) -> str:
    """How pytest names a row."""
    words = ("absent" if one is ABSENT else one.get(SCOPE, "unlabelled") for one in row.states)
    return " x ".join(words)


def differences(found: Mapping[str, Mapping[str, Meaning]], row: Row, vip: str) -> list[str]:
    """What is not as the row says."""
    differ = []
    for cluster, own in zip(CLUSTERS, row.own, strict=True):
        expected = {SHORT: own, OWN: own, MESH: row.mesh, vip: "-" if row.mesh == "?" else row.mesh}
        for name, said in expected.items():
            one = found[cluster][name]
            if one.said != said or uneven(one):
                differ.append(f"{name} in {cluster}: {one.said} with shares {one.shares()}, not {said}")
        if found[cluster][MESH].addresses not in ((), (vip,)):
            differ.append(f"{MESH} in {cluster} has {found[cluster][MESH].addresses}, not {vip}")
    return differ


def uneven(meaning: Meaning) -> bool:
    """True if somebody's share is far from that of the others, four times what chance does."""
    shares = meaning.shares().values()
    return any(abs(share - 100 / len(shares)) > 35 for share in shares)


@pytest.mark.parametrize("row", TABLE, ids=told)
def test_states_of_the_table(linked: Lab, vip: str, row: Row) -> None:
    scoped.have_all(linked, row.states, "Any")
    scoped.becomes(lambda: differences(scoped.everywhere(linked, SHORT, OWN, MESH, vip), row, vip), [])


# -- ways of saying it ------------------------------------------------------------------------------------------------

Entries = list[dict[str, Any]]

TEAM = {"team": "a"}
BY_SERVICE: Entries = [
    {"servicesSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}, "scope": "GLOBAL"}
]
BY_NAMESPACE: Entries = [{"namespaceSelector": {"matchLabels": TEAM}, "scope": "GLOBAL"}]
NOT_THIS: Entries = [{"servicesSelector": {"matchLabels": {"canary": "yes"}}, "scope": "GLOBAL"}]
CANARY = f"hello-world.{SPACE}.mesh.internal"
"""What shows that a namespace's word, or the mesh's, has been heard: the name of a service that says nothing itself."""


@pytest.fixture(scope="module")
def canary(linked: Lab) -> Iterator[Lab]:
    """East's hello-world is meant by every selector, and says nothing."""
    linked.kubectl("east", "label", "service", "hello-world", "-n", SPACE, "team=a", "canary=yes")
    yield linked
    linked.kubectl("east", "label", "service", "hello-world", "-n", SPACE, "team-", "canary-")


@contextmanager
def namespace(lab: Lab, labels: Mapping[str, str]) -> Iterator[None]:
    """East's namespace has labels while the body runs."""
    if not labels:
        yield
        return
    lab.kubectl(
        "east", "label", "namespace", SPACE, "--overwrite", *(f"{key}={value}" for key, value in labels.items())
    )
    try:
        yield
    finally:
        lab.kubectl("east", "label", "namespace", SPACE, *(f"{key}-" for key in labels))


@contextmanager
def selectors(lab: Lab, entries: Entries) -> Iterator[None]:
    """East's mesh has `serviceScopeConfigs` while the body runs."""
    if not entries:
        yield
        return
    before = lab.get("east", "configmap", "istio", "-n", "istio-system")["data"]["mesh"]

    def write(text: str) -> None:
        patch = yaml.safe_dump({"data": {"mesh": text}})
        lab.kubectl("east", "patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p", patch)

    write(yaml.safe_dump({**yaml.safe_load(before), "serviceScopeConfigs": entries}))
    try:
        yield
    finally:
        write(before)


class Way(NamedTuple):
    """What east says of its service, its namespace and in its mesh's configuration, and who answers by the mesh-wide
    name and in east by the service's own, where west's service is global."""

    service: Labels
    namespace: dict[str, str]
    selectors: Entries
    mesh: str
    own: str


WAYS = {
    "istio.io/global on the service": Way({FLAG: "true"}, {}, [], "east west", "east"),
    "the namespace": Way(PLAIN, {SCOPE: "global"}, [], "east west", "east"),
    "istio.io/global on the namespace": Way(PLAIN, {FLAG: "true"}, [], "east west", "east"),
    "the namespace, widened": Way(PLAIN, {SCOPE: "global-only"}, [], "east west", "east west"),
    "not in a namespace that is": Way({SCOPE: "cluster"}, {SCOPE: "global"}, [], "west", "east"),
    "another word of the service's": Way({FLAG: "false"}, {SCOPE: "global"}, [], "west", "east"),
    "a word that nobody knows": Way({SCOPE: "everywhere"}, {SCOPE: "global"}, [], "west", "east"),
    "the mesh, by the service's labels": Way(TEAM, {}, BY_SERVICE, "east west", "east"),
    "the mesh, by the namespace's": Way(PLAIN, {"team": "a"}, BY_NAMESPACE, "east west", "east"),
    "the mesh means another": Way(TEAM, {}, NOT_THIS, "west", "east"),
    "the service, whatever the mesh says": Way({**TEAM, SCOPE: "cluster"}, {}, BY_SERVICE, "west", "east"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_ways_of_saying_it(canary: Lab, way: Way) -> None:
    scoped.have_all(canary, [way.service, GLOBAL, ABSENT], "Any")
    beyond = bool(way.namespace or way.selectors)
    with namespace(canary, way.namespace), selectors(canary, way.selectors):

        def heard() -> tuple[str, str, str, bool]:
            here = scoped.meanings(canary, "east", OWN, MESH, CANARY)
            there = scoped.meanings(canary, "north", MESH)
            return here[OWN].said, here[MESH].said, there[MESH].said, here[CANARY].said == "east"

        scoped.becomes(heard, (way.own, way.mesh, way.mesh, beyond))


def test_a_word_that_nobody_knows_is_told(linked: Lab) -> None:
    scoped.have(linked, "east", {SCOPE: "everywhere"})

    def told() -> list[str]:
        found = json.loads(linked.ask("east", "/debug/problems"))
        return [one["message"] for one in found if "everywhere" in one["message"]]

    eventually(told, within=WITHIN, what="the label is a problem")


# -- who must not be reached ------------------------------------------------------------------------------------------


def test_nobody_outside_of_the_mesh_has_the_name_or_reaches_its_address(linked: Lab, vip: str) -> None:
    scoped.have_all(linked, [GLOBAL, GLOBAL, ABSENT], "Any")
    linked.answered_by(f"east/{SLEEP}", f"http://{vip}:5000/hello", {"east", "west"})
    found = scoped.meanings(linked, "east", MESH, vip, count=3, caller=OUTSIDER)
    assert {name: one.said for name, one in found.items()} == {MESH: "?", vip: "-"}


def test_names_have_no_short_forms(linked: Lab) -> None:
    scoped.have_all(linked, [GLOBAL, ABSENT, ABSENT])
    linked.answered_by(f"east/{SLEEP}", f"http://{MESH}:5000/hello", {"east"})
    short = (f"{SHORT}.mesh", "mesh.internal", f"other.{SPACE}.mesh.internal", f"{MESH}.example")
    found = scoped.meanings(linked, "east", *short, scoped.SERVICE, count=3)
    assert {name: one.said for name, one in found.items()} == {**dict.fromkeys(short, "?"), scoped.SERVICE: "east"}


def test_the_gateway_refuses_who_has_not_heard_that_a_service_is_global_no_more(linked: Lab, vip: str) -> None:
    """East's control plane is dead, so east's proxies go on believing; also: the name and its address outlive it."""
    scoped.have_all(linked, [ABSENT, GLOBAL, ABSENT])
    caller, url = f"east/{SLEEP}", f"http://{MESH}:5000/hello"
    linked.answered_by(caller, url, {"west"})
    with linked.killed("east/istiod"):
        linked.answered_by(caller, url, {"west"})
        scoped.have(linked, "west", PLAIN)
        linked.refused(caller, url)
        assert scoped.meanings(linked, "east", MESH, count=1)[MESH].addresses == (vip,)
        scoped.have(linked, "west", GLOBAL)
        linked.answered_by(caller, url, {"west"})
    assert scoped.meanings(linked, "east", MESH)[MESH].said == "west"


def test_the_address_outlives_the_service(linked: Lab, vip: str) -> None:
    def addresses() -> set[tuple[str, ...]]:
        return {one[MESH].addresses for one in scoped.everywhere(linked, MESH, count=1).values()}

    scoped.have_all(linked, [ABSENT, ABSENT, ABSENT])
    scoped.becomes(addresses, {()})
    scoped.have_all(linked, [ABSENT, ABSENT, GLOBAL])
    scoped.becomes(addresses, {(vip,)})


# -- the service's own name, widened ----------------------------------------------------------------------------------


def test_a_widened_service_is_answered_elsewhere_while_nobody_is_at_home_without_a_failed_request(linked: Lab) -> None:
    scoped.have_all(linked, [ONLY, GLOBAL, PLAIN])
    caller, url = f"east/{SLEEP}", f"http://{OWN}:5000/hello"
    linked.answered_by(caller, url, {"east"})
    with linked.under_load(caller, url, 15) as calls:
        with nobody_at_home(linked, "east"):
            linked.answered_by(caller, url, {"west"})
            # West's own name was not widened: its word is for its own name.
            linked.answered_by(f"west/{SLEEP}", url, {"west"})
        linked.answered_by(caller, url, {"east"})
    assert not calls.failures
    assert set(calls.clusters) == {"east", "west"}


# -- clusters that do not have the same -------------------------------------------------------------------------------


def test_a_headless_service_is_balanced_by_its_mesh_wide_name_and_stays_at_home_by_its_own(
    linked: Lab, vip: str
) -> None:
    scoped.have_all(linked, [ABSENT] * len(CLUSTERS))
    for cluster in ("east", "west"):
        scoped.have(linked, cluster, GLOBAL, "Any", clusterIP="None")

    def heard() -> tuple[dict[str, str], dict[str, str]]:
        here, there = (scoped.meanings(linked, cluster, OWN, MESH, vip) for cluster in ("east", "north"))
        return {name: one.said for name, one in here.items()}, {name: one.said for name, one in there.items()}

    both = {MESH: "east west", vip: "east west"}
    try:
        scoped.becomes(heard, ({OWN: "east", **both}, {OWN: "?", **both}))
        assert vip not in scoped.meanings(linked, "east", OWN, count=1)[OWN].addresses
    finally:
        scoped.have_all(linked, [ABSENT] * len(CLUSTERS))


def test_ports_that_differ_lead_to_who_has_them_and_are_told(linked: Lab) -> None:
    scoped.have(linked, "east", GLOBAL)
    scoped.have(linked, "west", GLOBAL, ports=[{"name": "http", "port": 5001, "targetPort": "http"}])

    def heard() -> tuple[str, ...]:
        return tuple(scoped.meanings(linked, "north", MESH, port=port)[MESH].said for port in (5000, 5001, 5002))

    scoped.becomes(heard, ("east", "west", "-"))
    found = [one for one in json.loads(linked.ask("east", "/debug/problems")) if one["where"]["name"] == scoped.SERVICE]
    assert [(one["where"]["cluster"], one["field"], one["remedy"]) for one in found] == [
        ("west", f"spec.ports[{port}]", "Give the service the same ports in all clusters") for port in (5000, 5001)
    ]
