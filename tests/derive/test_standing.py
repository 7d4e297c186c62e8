"""What a cluster's standing does to its endpoints, and that it never takes the last of them."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.horizon import Candidate, Horizon, assign
from isthmus.derive.nearness import BY_REGION
from isthmus.model.liveness import ClusterStanding
from isthmus.model.mesh import Assignment, Endpoint, NetworkGateway
from isthmus.model.preference import Preference
from isthmus.model.rows import Locality

GATEWAYS = {
    "a-net": (NetworkGateway("a-net", "a", "9.9.9.1", 15443),),
    "b-net": (NetworkGateway("b-net", "b", "9.9.9.2", 15443), NetworkGateway("b-net", "b", "9.9.9.3", 15443)),
}


def at(cluster: str, address: str = "10.0.0.1", *, region: str = "") -> Candidate:
    """A ready endpoint of a cluster in its own network."""
    where = Locality(region or f"{cluster}-region")
    return Candidate(
        Endpoint(cluster=cluster, network=f"{cluster}-net", address=address, mtls=True, locality=where), 80, True
    )


def standing(cluster: str, **fields: object) -> ClusterStanding:
    """A row."""
    return ClusterStanding(cluster=cluster, name=cluster, **fields)  # type: ignore[arg-type]


def run(candidates: list[Candidate], *rows: ClusterStanding, **horizon: object) -> Assignment:
    """What cluster a's proxies get, unless `horizon` says where else they stand."""
    known = {row.cluster: row for row in rows}
    view = Horizon(**({"network": "a-net"} | horizon))  # type: ignore[arg-type]
    return assign(view, candidates, lambda network: GATEWAYS.get(network, ()), known.get, preference=NEAREST_FIRST)


def shares(assignment: Assignment) -> dict[tuple[int, str], Fraction]:
    """(priority, cluster) -> share of the traffic of that priority."""
    totals: dict[int, int] = {}
    for member in assignment.members:
        totals[member.priority] = totals.get(member.priority, 0) + member.weight
    found: dict[tuple[int, str], Fraction] = {}
    for member in assignment.members:
        key = (member.priority, member.cluster)
        found[key] = found.get(key, Fraction(0)) + Fraction(member.weight, totals[member.priority])
    return found


BOTH = [at("a"), at("b")]
HALF = {(0, "a"): Fraction(1, 2), (0, "b"): Fraction(1, 2)}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (standing("b"), HALF),
        (standing("b", weight=0), {(0, "a"): 1}),
        (standing("b", weight=50), {(0, "a"): Fraction(2, 3), (0, "b"): Fraction(1, 3)}),
        (standing("b", weight=25), {(0, "a"): Fraction(4, 5), (0, "b"): Fraction(1, 5)}),
        (standing("b", demoted=True), {(0, "a"): 1, (1, "b"): 1}),
        (standing("b", cordoned=True), HALF),
        (standing("c", weight=0), HALF),
    ],
    ids=["full", "out", "half", "quarter", "demoted", "cordoned keeps", "another cluster"],
)
def test_what_callers_of_another_cluster_get(row: ClusterStanding, expected: dict[tuple[int, str], Fraction]) -> None:
    assert shares(run(BOTH, row)) == expected


@pytest.mark.parametrize("fields", [{"weight": 0}, {"weight": 0, "declared": True}, {"demoted": True}, {"weight": 7}])
def test_the_last_path_stays(fields: dict[str, object]) -> None:
    """A service that runs nowhere else is served on, at the first priority."""
    assert shares(run([at("b"), at("b", "10.0.0.2")], standing("b", **fields))) == {(0, "b"): 1}


def test_all_clusters_out_is_none_out() -> None:
    assert shares(run(BOTH, standing("a", weight=0), standing("b", weight=0))) == HALF


def test_what_was_drained_serves_before_what_is_dead() -> None:
    dead = standing("a", demoted=True)
    assert shares(run(BOTH, dead, standing("b", weight=0, declared=True))) == {(0, "b"): 1, (1, "a"): 1}
    assert shares(run(BOTH, dead, standing("b", weight=0))) == {(0, "a"): 1}


def test_endpoints_that_cannot_be_used_are_no_other_home() -> None:
    """c's network has no gateway: what b has is all there is for a's proxies."""
    assert shares(run([at("b"), at("c")], standing("b", weight=0))) == {(0, "b"): 1}


NEAR = {"place": (("topology.kubernetes.io/region", "a-region"),)}
NEAREST_FIRST = Preference(labels=BY_REGION)


def test_a_cordoned_cluster_is_the_last_to_be_failed_over_to() -> None:
    members = [at("a"), at("b"), at("b", "10.0.0.2")]
    away = [*members, Candidate(Endpoint(cluster="d", network="a-net", address="10.0.0.9"), 80, False)]
    assert shares(run(away, **NEAR)) == {
        (0, "a"): 1,
        (1, "b"): Fraction(2, 3),
        (1, "d"): Fraction(1, 3),
    }
    assert shares(run(away, standing("b", cordoned=True), **NEAR)) == {(0, "a"): 1, (1, "d"): 1, (2, "b"): 1}


def test_demoted_comes_after_cordoned() -> None:
    far = [at("a"), at("b"), Candidate(Endpoint(cluster="d", network="a-net", address="10.0.0.9"), 80, False)]
    rows = standing("b", demoted=True), standing("d", cordoned=True)
    assert shares(run(far, *rows, **NEAR)) == {(0, "a"): 1, (1, "d"): 1, (2, "b"): 1}


@pytest.mark.parametrize(
    ("row", "horizon", "expected"),
    [
        (standing("a", weight=0), {}, HALF),
        (standing("a", weight=0, declared=True), {}, {(0, "b"): 1}),
        (standing("a", demoted=True), {}, HALF),
        (standing("a", weight=0, declared=True), {"mtls_only": True}, HALF),
    ],
    ids=["signals do not move its own callers", "the operator does", "demoted", "its gateway passes on"],
)
def test_how_a_cluster_is_seen_at_home(
    row: ClusterStanding, horizon: dict[str, object], expected: dict[tuple[int, str], Fraction]
) -> None:
    assert shares(run(BOTH, row, home="a", **horizon)) == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((0, 1, 33, 100)), st.booleans()), max_size=3),
)
def test_whatever_is_decided_something_serves_at_the_first_priority(
    clusters: list[str], decided: list[tuple[str, int, bool]]
) -> None:
    candidates = [at(cluster, f"10.0.0.{i}") for i, cluster in enumerate(clusters)]
    rows = [standing(cluster, weight=weight, demoted=demoted) for cluster, weight, demoted in decided]
    before, after = run(candidates), run(candidates, *rows)
    assert bool(before.members) == bool(after.members)
    if after.members:
        assert after.members[0].priority == 0
        assert all(member.weight > 0 for member in after.members)
        assert {member.cluster for member in after.members} <= {member.cluster for member in before.members}
