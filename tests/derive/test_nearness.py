"""What clients prefer (LB1, LB2), and how near something is (LB3-LB6)."""

import pytest

from isthmus.derive.nearness import BY_REGION, NEAREST, Nearness, matches, place_of, prefer
from isthmus.model.locality import Distribution, LocalitySetting
from isthmus.model.mesh import Endpoint
from isthmus.model.preference import HOSTNAME, NETWORK, NO_PREFERENCE, REGION, SUBZONE, ZONE, Preference
from isthmus.model.rows import Labels, Locality, OutlierDetection, TrafficPolicy, labels

OUTLIERS = OutlierDetection()
TO = (Distribution("r1/*", (("r1/*", 80), ("r2/*", 20))),)
MESH = LocalitySetting()


def policy(*, outliers: bool = True, **locality: object) -> TrafficPolicy:
    """A policy with a locality setting, if there are fields for one."""
    setting = LocalitySetting(**locality) if locality else None  # type: ignore[arg-type]
    return TrafficPolicy(outlier_detection=OUTLIERS if outliers else None, locality=setting)


@pytest.mark.parametrize(
    ("said", "distribution", "mesh", "expected"),
    [
        pytest.param(policy(outliers=False), "", MESH, NO_PREFERENCE, id="nothing said"),
        pytest.param(policy(), "", MESH, Preference(labels=NEAREST), id="LB2 outlier detection alone"),
        pytest.param(policy(), "", LocalitySetting(enabled=False), NO_PREFERENCE, id="LB1 off in the mesh"),
        pytest.param(policy(enabled=False), "", MESH, NO_PREFERENCE, id="LB1 off in the rule"),
        pytest.param(
            policy(enabled=False), "PreferSameZone", MESH, NO_PREFERENCE, id="LB1 the rule before the service"
        ),
        pytest.param(
            policy(outliers=False),
            "PreferSameZone",
            LocalitySetting(enabled=False),
            Preference(labels=(NETWORK, REGION, ZONE)),
            id="LB10 the service before the mesh, without outlier detection",
        ),
        pytest.param(
            policy(outliers=False),
            "PreferSameNode",
            MESH,
            Preference(labels=(NETWORK, REGION, ZONE, SUBZONE, HOSTNAME)),
            id="LB10",
        ),
        pytest.param(policy(), "PreferRegion", MESH, Preference(labels=(NETWORK, REGION)), id="LB12 region"),
        pytest.param(policy(), "PreferNetwork", MESH, Preference(labels=(NETWORK,)), id="LB12 network"),
        pytest.param(policy(), "Any", MESH, Preference(labels=NEAREST), id="LB9 Any says nothing"),
        pytest.param(policy(outliers=False, distribute=TO), "", MESH, Preference(distribute=TO), id="LB2 distribute"),
        pytest.param(
            policy(outliers=False), "", LocalitySetting(distribute=TO), Preference(distribute=TO), id="of the mesh"
        ),
        pytest.param(policy(outliers=False, failover=(("a", "b"),)), "", MESH, NO_PREFERENCE, id="LB2 needs outliers"),
        pytest.param(
            policy(failover=(("a", "b"),)), "", MESH, Preference(labels=BY_REGION, failover=(("a", "b"),)), id="LB3"
        ),
        pytest.param(
            policy(failover_priority=("k", ZONE), failover=(("a", "b"),)),
            "",
            MESH,
            Preference(labels=("k", ZONE), failover=(("a", "b"),)),
            id="LB6 both",
        ),
    ],
)
def test_what_clients_go_by(
    said: TrafficPolicy, distribution: str, mesh: LocalitySetting, expected: Preference
) -> None:
    assert prefer(said, distribution, mesh) == expected


@pytest.mark.parametrize(("below", "factor"), [(0, 140), (100, 100), (50, 200), (71, 141)])
def test_the_threshold_of_spilling_over(below: int, factor: int) -> None:
    assert prefer(policy(), "", MESH, spill_below=below).overprovisioning == factor
    assert prefer(policy(), "PreferRegion", MESH, spill_below=below).overprovisioning == factor


@pytest.mark.parametrize(
    ("preference", "keys"),
    [
        (NO_PREFERENCE, ()),
        (Preference(labels=(ZONE, NETWORK)), (NETWORK, ZONE)),
        (Preference(labels=("version=v2", "k")), ("k",)),
        (Preference(labels=("k",), failover=(("a", "b"),)), ("k", REGION)),
        (Preference(distribute=TO), (SUBZONE, REGION, ZONE)),
    ],
)
def test_the_labels_of_clients_that_matter(preference: Preference, keys: tuple[str, ...]) -> None:
    assert preference.keys == keys


def endpoint(where: str = "", *, network: str = "", node: str = "", **own: str) -> Endpoint:
    """An endpoint in region/zone/subzone."""
    parts = [*where.split("/"), "", ""][:3]
    return Endpoint(
        cluster="c", network=network, address="1.1.1.1", locality=Locality(*parts), node=node, labels=labels(own)
    )


CLIENT: Labels = ((NETWORK, "n"), (REGION, "r1"), (ZONE, "z1"), (SUBZONE, ""), (HOSTNAME, "h1"), ("version", "v1"))


@pytest.mark.parametrize(
    ("wanted", "ranked"),
    [
        pytest.param(
            NEAREST,
            [
                endpoint("r1/z1", network="n"),
                endpoint("r1/z1/s", network="n"),
                endpoint("r1/z2", network="n"),
                endpoint("r2/z1", network="n"),
                endpoint("r1/z1", network="m"),
                endpoint("r1/z2", network="m"),
                endpoint("r2/z1", network="m"),
            ],
            id="LB5 network first",
        ),
        pytest.param(
            (REGION, NETWORK),
            [endpoint("r1", network="n"), endpoint("r1", network="m"), endpoint("r2", network="n")],
            id="LB4 network second",
        ),
        pytest.param(
            ("version=v2", ZONE),
            [endpoint("r1/z1", version="v2"), endpoint("r1/z2", version="v2"), endpoint("r1/z1", version="v1")],
            id="LB4 a value of its own",
        ),
        pytest.param(
            ("version", HOSTNAME),
            [endpoint(version="v1", node="h1"), endpoint(version="v1", node="h2"), endpoint(node="h1")],
            id="LB4 the client's values",
        ),
        pytest.param(("absent",), [endpoint(), endpoint(absent="x")], id="LB4 absent on both sides is equal"),
    ],
)
def test_ranks(wanted: tuple[str, ...], ranked: list[Endpoint]) -> None:
    near = Nearness(Preference(labels=wanted), CLIENT)
    ranks = [near.rank(one) for one in ranked]
    assert ranks == sorted(set(ranks))


def test_other_regions_than_that_of_the_failover_rule_come_last_lb3() -> None:
    near = Nearness(Preference(labels=BY_REGION, failover=(("r1", "r3"), ("r2", "r9"))), CLIENT)
    places = ["r1/z1", "r1/z2", "r3/z1", "r2/z1", "r9", ""]
    assert [near.rank(endpoint(place)) for place in places] == [0, 2, 3, 4, 4, 4]
    elsewhere = Nearness(Preference(labels=BY_REGION, failover=(("r2", "r9"),)), CLIENT)
    assert [elsewhere.rank(endpoint(place)) for place in places] == [0, 2, 3, 3, 3, 3]


def test_failover_priority_and_failover_together_lb6() -> None:
    near = Nearness(Preference(labels=("version",), failover=(("r1", "r3"),)), CLIENT)
    ranked = [
        endpoint("r1/z1", version="v1"),
        endpoint("r3", version="v1"),
        endpoint("r2", version="v1"),
        endpoint("r1/z1", version="v2"),
        endpoint("r3", version="v2"),
    ]
    ranks = [near.rank(one) for one in ranked]
    assert ranks == sorted(set(ranks))


def test_without_a_preference_all_are_equally_near() -> None:
    near = Nearness()
    assert {near.rank(endpoint(place)) for place in ("", "r1", "r2/z1")} == {0}
    assert near.shares([endpoint("r1")]) is None


def test_what_the_mesh_knows_of_a_place_wins_over_labels_of_the_pod_lb15() -> None:
    claims = {REGION: "elsewhere", "topology.istio.io/cluster": "other", ZONE: "z7"}
    one = endpoint("r1", **claims)
    assert [place_of(one, key) for key in (*claims, "absent")] == ["r1", "c", "z7", ""]


@pytest.mark.parametrize(
    ("pattern", "where", "expected"),
    [
        ("*", "", True),
        ("*", "r1/z1", True),
        ("r1", "r1/z1", True),
        ("r1/*", "r1/z1/s1", True),
        ("r1/z1", "r1/z1/s1", True),
        ("r1/z1/*", "r1/z2", False),
        ("r1/*/s1", "r1/z2/s1", True),
        ("r1/z1/s1", "r1/z1", False),
        ("r1/*", "", False),
        ("r2/*", "r1", False),
    ],
)
def test_patterns_of_places_lb8(pattern: str, where: str, expected: bool) -> None:
    assert matches(pattern, endpoint(where).locality) is expected
