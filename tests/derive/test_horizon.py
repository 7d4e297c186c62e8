"""Split horizon: the rules SH1-SH27, and where Isthmus is better on purpose."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.horizon import Candidate, Gateways, Horizon, assign
from isthmus.derive.nearness import BY_REGION, NEAREST
from isthmus.model.locality import Distribution
from isthmus.model.mesh import Assignment, Endpoint, Hidden, NetworkGateway
from isthmus.model.preference import Preference
from isthmus.model.rows import Locality

R1 = Locality("r1", "z1", "s1")


def endpoint(network: str, address: str = "10.0.0.1", **fields: object) -> Candidate:
    """A ready endpoint that takes mTLS, on port 80."""
    mtls = bool(fields.pop("mtls", True))
    port = int(str(fields.pop("port", 80)))
    values: dict[str, object] = {"cluster": f"cluster-{network}", "network": network, "address": address}
    return Candidate(Endpoint(**(values | fields)), port, mtls)  # type: ignore[arg-type]


def gateway(network: str, address: str, cluster: str = "") -> NetworkGateway:
    """A gateway of a network, of its own cluster unless said otherwise."""
    return NetworkGateway(network, cluster or f"cluster-{network}", address, 15443)


def run(horizon: Horizon, candidates: list[Candidate], *gateways: NetworkGateway) -> Assignment:
    """The assignment, given all gateways of the mesh."""
    return assign(horizon, candidates, lambda network: tuple(one for one in gateways if one.network == network))


def shown(assignment: Assignment) -> list[tuple[str, int, int]]:
    """(address, port, weight) of the members in order."""
    return [(member.address, member.port, member.weight) for member in assignment.members]


G1, G2 = gateway("b", "9.9.9.1"), gateway("b", "9.9.9.2")
A = Horizon(network="a")


@pytest.mark.parametrize(
    ("horizon", "candidates", "gateways", "expected"),
    [
        pytest.param(A, [endpoint("a")], [], [("10.0.0.1", 80, 1)], id="SH9 same network"),
        pytest.param(A, [endpoint("")], [G1], [("10.0.0.1", 80, 1)], id="SH9 endpoint without network"),
        pytest.param(Horizon(), [endpoint("b")], [], [("10.0.0.1", 80, 1)], id="SH9 view without network"),
        pytest.param(Horizon(), [endpoint("b")], [G1], [("9.9.9.1", 15443, 1)], id="SH10 force gateway"),
        pytest.param(A, [endpoint("b")], [G1], [("9.9.9.1", 15443, 1)], id="through the gateway"),
        pytest.param(
            A,
            [endpoint("a"), endpoint("b"), endpoint("b", "10.0.0.2")],
            [G1, G2],
            [("10.0.0.1", 80, 2), ("9.9.9.1", 15443, 2), ("9.9.9.2", 15443, 2)],
            id="SH3 scaled",
        ),
        pytest.param(A, [endpoint("b")], [], [], id="no gateway: hidden, never direct"),
        pytest.param(
            A,
            [endpoint("b", cluster="one")],
            [gateway("b", "1.1.1.1", "one"), gateway("b", "2.2.2.2", "two")],
            [("1.1.1.1", 15443, 1)],
            id="SH6 gateways of the endpoint's cluster first",
        ),
        pytest.param(
            A,
            [endpoint("b", cluster="three")],
            [gateway("b", "1.1.1.1", "one"), gateway("b", "2.2.2.2", "two")],
            [("1.1.1.1", 15443, 1), ("2.2.2.2", 15443, 1)],
            id="SH6 else all of the network",
        ),
        pytest.param(
            Horizon(network="a", families=(4,)),
            [endpoint("b")],
            [gateway("b", "fd00::1"), G1],
            [("9.9.9.1", 15443, 1)],
            id="SH8 family",
        ),
        pytest.param(
            Horizon(network="a", families=(6,)), [endpoint("b")], [G1], [], id="SH8 no reachable gateway: dropped"
        ),
        pytest.param(A, [endpoint("b", mtls=False)], [G1], [], id="SH12 not mTLS"),
        pytest.param(A, [endpoint("a", mtls=False)], [G1], [("10.0.0.1", 80, 1)], id="SH12 not mTLS but near"),
        pytest.param(A, [endpoint("a", ready=False)], [], [], id="not ready"),
        pytest.param(
            Horizon(network="a", networks=("a",)),
            [endpoint("a"), endpoint("b"), endpoint("", "10.0.0.3")],
            [G1],
            [("10.0.0.1", 80, 1), ("10.0.0.3", 80, 1)],
            id="SH24 requested network view",
        ),
        pytest.param(
            Horizon(network="a", mtls_only=True),
            [endpoint("a"), endpoint("a", "10.0.0.2", mtls=False)],
            [],
            [("10.0.0.1", 80, 1)],
            id="SH27 SNI-DNAT",
        ),
        pytest.param(
            Horizon(network="a", only_cluster="cluster-a"),
            [endpoint("a"), endpoint("a", "10.0.0.2", cluster="x"), endpoint("b")],
            [G1],
            [("10.0.0.1", 80, 1)],
            id="CL4 cluster-local",
        ),
        pytest.param(
            Horizon(network="a", only_node="n1"),
            [endpoint("a", node="n1"), endpoint("a", "10.0.0.2", node="n2"), endpoint("b")],
            [G1],
            [("10.0.0.1", 80, 1)],
            id="SH19 node-local",
        ),
        pytest.param(A, [endpoint("a"), endpoint("a")], [], [("10.0.0.1", 80, 1)], id="one address counts once"),
        pytest.param(
            A,
            [endpoint("a"), endpoint("a", port=81)],
            [],
            [("10.0.0.1", 80, 1), ("10.0.0.1", 81, 1)],
            id="ports differ",
        ),
    ],
)
def test_who_is_reached_how(
    horizon: Horizon, candidates: list[Candidate], gateways: list[NetworkGateway], expected: list[tuple[str, int, int]]
) -> None:
    assert shown(run(horizon, candidates, *gateways)) == expected


@pytest.mark.parametrize(
    ("candidates", "gateways", "families", "hidden"),
    [
        ([endpoint("b"), endpoint("b", "10.0.0.2")], [], (), [Hidden("no-gateway", "cluster-b", "b", 2)]),
        ([endpoint("b", mtls=False)], [G1], (), [Hidden("not-mtls", "cluster-b", "b", 1)]),
        ([endpoint("b")], [G1], (6,), [Hidden("gateway-family", "cluster-b", "b", 1)]),
        ([endpoint("b", ready=False), endpoint("a")], [], (), []),
    ],
)
def test_what_is_hidden_is_said(
    candidates: list[Candidate], gateways: list[NetworkGateway], families: tuple[int, ...], hidden: list[Hidden]
) -> None:
    assert list(run(Horizon(network="a", families=families), candidates, *gateways).hidden) == hidden


def test_gateways_come_after_direct_endpoints_and_say_where_they_lead() -> None:
    found = run(A, [endpoint("b", locality=R1), endpoint("a", "10.0.0.9")], G1)
    assert [member.gateway for member in found.members] == [False, True]
    through = found.members[1]
    assert (through.network, through.cluster, through.workload) == ("b", "cluster-b", ";;;;cluster-b")
    assert (through.mtls, through.locality) == (True, R1)


def test_a_gateway_appears_once_with_what_its_localities_have_in_common() -> None:
    two_zones = [endpoint("b", "10.0.0.1", locality=R1), endpoint("b", "10.0.0.2", locality=Locality("r1", "z2"))]
    assert [m.locality for m in run(A, two_zones, G1).members] == [Locality("r1")]
    two_regions = [endpoint("b", "10.0.0.1", locality=R1), endpoint("b", "10.0.0.2", locality=Locality("r2"))]
    assert [(m.locality, m.weight) for m in run(A, two_regions, G1).members] == [(Locality(), 2)]


HERE = (
    ("topology.istio.io/network", "a"),
    ("topology.kubernetes.io/region", "r1"),
    ("topology.kubernetes.io/zone", "z1"),
    ("topology.istio.io/subzone", "s1"),
)
NEAR_R1 = Horizon(network="a", place=HERE)
BY_PLACE = Preference(labels=BY_REGION)
NETWORK_FIRST = Preference(labels=NEAREST)


def spread_over(preference: Preference, *where: Locality) -> dict[str, int]:
    """The priorities of direct endpoints in these places."""
    candidates = [endpoint("a", f"10.0.0.{index}", locality=place) for index, place in enumerate(where)]
    found = assign(NEAR_R1, candidates, lambda _: (), preference=preference)
    return {member.address: member.priority for member in found.members}


@pytest.mark.parametrize(
    ("where", "priorities"),
    [
        pytest.param([R1, Locality("r1", "z1", "s2"), Locality("r1", "z2"), Locality("r2")], [0, 1, 2, 3], id="LB3"),
        pytest.param([Locality("r2"), Locality("r3", "z1")], [0, 0], id="compacted"),
        pytest.param([Locality(), R1], [1, 0], id="unknown counts as elsewhere"),
    ],
)
def test_priority_by_locality(where: list[Locality], priorities: list[int]) -> None:
    assert spread_over(BY_PLACE, *where) == {f"10.0.0.{i}": p for i, p in enumerate(priorities)}
    assert spread_over(NETWORK_FIRST, *where) == spread_over(BY_PLACE, *where)


def lines(assignment: Assignment) -> list[tuple[str, int, int]]:
    """(network, priority, weight) of the members in order."""
    return [(member.network, member.priority, member.weight) for member in assignment.members]


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        pytest.param(BY_PLACE, [("b", 0, 3), ("a", 1, 1)], id="nearest first"),
        pytest.param(NETWORK_FIRST, [("a", 0, 1), ("b", 1, 3)], id="same network first"),
    ],
)
def test_a_near_gateway_comes_after_far_pods_unless_the_rule_is_about_places(
    preference: Preference, expected: list[tuple[str, int, int]]
) -> None:
    behind = [endpoint("b", f"10.0.0.{n}", locality=R1) for n in range(3)]
    far = endpoint("a", locality=Locality("r9"))
    assert lines(assign(NEAR_R1, [*behind, far], lambda _: (G1,), preference=preference)) == expected


def test_a_gateway_comes_with_the_nearest_behind_it_and_with_the_weight_of_those() -> None:
    behind = [endpoint("b", "10.0.0.1", locality=Locality("r1", "z1", "s1"))]
    behind += [endpoint("b", f"10.0.1.{n}", locality=Locality("r9")) for n in range(9)]
    other = [endpoint("c", f"10.0.0.{n}", locality=R1) for n in range(4)]
    gateways = {"b": (G1,), "c": (gateway("c", "8.8.8.8"),)}
    found = assign(NEAR_R1, [*behind, *other, endpoint("a", locality=R1)], lambda n: gateways[n], preference=BY_PLACE)
    assert sorted(lines(found)) == [("a", 0, 1), ("b", 0, 1), ("c", 0, 4)]
    beside = endpoint("a", "10.0.2.1", locality=Locality("r8"))
    found = assign(NEAR_R1, [*behind, *other, beside], lambda n: gateways[n], preference=BY_PLACE)
    assert [(m.address, m.priority, m.weight) for m in found.members if m.network != "c"] == [
        ("9.9.9.1", 0, 1),
        ("10.0.2.1", 1, 1),
        ("::ffff:9.9.9.1", 1, 9),
    ]
    plain = assign(A, [*behind, *other, endpoint("a", locality=R1)], lambda n: gateways[n], preference=BY_PLACE)
    assert sorted(lines(plain)) == [("a", 0, 1), ("b", 0, 10), ("c", 0, 4)]


def test_ranked_endpoints_that_are_not_ready_are_told_so_that_the_rest_is_not_overloaded() -> None:
    candidates = [
        endpoint("a", "10.0.0.1", locality=R1, ready=False),
        endpoint("a", "10.0.0.1", locality=R1),
        endpoint("a", "10.0.0.2", locality=R1, ready=False),
        endpoint("a", "10.0.0.3", locality=R1, ready=False, terminating=True),
        endpoint("b", "10.0.0.4", ready=False),
        endpoint("b", "10.0.0.5"),
    ]
    found = assign(NEAR_R1, candidates, lambda _: (G1,), preference=NETWORK_FIRST)
    assert [(m.address, m.priority, m.healthy) for m in found.members] == [
        ("10.0.0.1", 0, True),
        ("10.0.0.2", 0, False),
        ("9.9.9.1", 1, True),
    ]
    assert [m.address for m in run(A, candidates, G1).members] == ["10.0.0.1", "9.9.9.1"]


def test_a_place_where_nothing_is_ready_is_not_told_at_all() -> None:
    """What is told and not ready counts among the n-1 of n that may stay when others are ejected."""
    lost = [endpoint("a", f"10.0.0.{n}", locality=R1, ready=False) for n in range(3)]
    found = assign(NEAR_R1, [*lost, endpoint("b", "10.0.0.5")], lambda _: (G1,), preference=NETWORK_FIRST)
    assert [(m.address, m.priority, m.healthy) for m in found.members] == [("9.9.9.1", 0, True)]
    assert assign(NEAR_R1, lost, lambda _: (G1,), preference=NETWORK_FIRST).members == ()


def test_shares_of_places_are_exact_whatever_the_zones_and_gateways_behind_them() -> None:
    """istio#56355: a remote cluster with several zones and several gateways."""
    near = [endpoint("a", f"10.0.0.{n}", locality=Locality("r1", "z1")) for n in range(3)]
    far = [endpoint("b", f"10.0.1.{n}", locality=Locality("r2", f"z{n % 2}")) for n in range(5)]
    gateways = tuple(gateway("b", f"9.9.9.{n}") for n in range(3))
    to = (("r1/*", 70), ("r2/z0/*", 20), ("r2/z1/*", 10))
    rule = Preference(distribute=(Distribution("r1/*", to),))
    found = assign(NEAR_R1, [*near, *far], lambda _: gateways, preference=rule)
    weights = [(m.network, m.weight) for m in found.members]
    total = sum(weight for _, weight in weights)
    assert {network: Fraction(sum(w for n, w in weights if n == network), total) for network in "ab"} == {
        "a": Fraction(7, 10),
        "b": Fraction(3, 10),
    }
    assert len({weight for network, weight in weights if network == "b"}) == 1
    assert {m.priority for m in found.members} == {0}


@pytest.mark.parametrize(
    ("to", "shares"),
    [
        pytest.param([("r2/*", 100)], {"10.0.0.1": 1}, id="only there"),
        pytest.param([("*", 10), ("r2/*", 90)], {"10.0.0.0": 0.1, "10.0.0.1": 0.9}, id="the most exact one counts"),
        pytest.param([("r3/*", 100)], {"10.0.0.0": 0.5, "10.0.0.1": 0.5}, id="better somewhere else than nowhere"),
        pytest.param([("r1/*", 0), ("r2/*", 100)], {"10.0.0.1": 1}, id="nothing"),
        pytest.param([("r1/*", 50), ("r2/*", 30), ("r3/*", 20)], {"10.0.0.0": 0.625, "10.0.0.1": 0.375}, id="empty"),
    ],
)
def test_distribution(to: list[tuple[str, int]], shares: dict[str, float]) -> None:
    candidates = [endpoint("a", f"10.0.0.{n}", locality=Locality(f"r{n + 1}")) for n in range(2)]
    for source in ("r1/z1/*", "r1", "*", "r1/z1/s1"):
        rule = Preference(distribute=(Distribution("r7/*", (("*", 100),)), Distribution(source, tuple(to))))
        found = assign(NEAR_R1, candidates, lambda _: (), preference=rule)
        total = sum(m.weight for m in found.members)
        assert {m.address: m.weight / total for m in found.members} == shares
    elsewhere = Preference(distribute=(Distribution("r7/*", tuple(to)),))
    assert shown(assign(NEAR_R1, candidates, lambda _: (), preference=elsewhere)) == shown(run(A, candidates))


NETWORKS = ("a", "b", "c")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    counts=st.fixed_dictionaries({network: st.integers(0, 6) for network in NETWORKS}),
    gateways=st.fixed_dictionaries({network: st.integers(1, 5) for network in NETWORKS[1:]}),
)
def test_every_network_gets_exactly_the_share_of_its_endpoints(
    counts: dict[str, int], gateways: dict[str, int]
) -> None:
    candidates = [endpoint(network, f"10.0.0.{n}") for network in NETWORKS for n in range(counts[network])]
    known: Gateways = tuple(
        gateway(network, f"{network}.{n}") for network in gateways for n in range(gateways[network])
    )
    found = run(A, candidates, *known)
    total = sum(member.weight for member in found.members)
    for network in NETWORKS:
        weight = sum(member.weight for member in found.members if member.network == network)
        if total:
            assert Fraction(weight, total) == Fraction(counts[network], sum(counts.values()))


BOTH = Horizon(network="a", hbone=True)
NODE = Horizon(network="a", hbone=True, mtls=False)
PASSES = Horizon(network="a", networks=("a",), mtls=False, hbone_only=True)
GB = NetworkGateway("b", "cluster-b", "9.9.9.1", 15443, 15008)
G15008 = NetworkGateway("b", "cluster-b", "9.9.9.2", 0, 15008)


def ambient(network: str, address: str = "10.0.0.1", **fields: object) -> Candidate:
    """A ready endpoint that takes HBONE and no mutual TLS by SNI."""
    return endpoint(network, address, **({"mtls": False, "hbone": True} | fields))


@pytest.mark.parametrize(
    ("horizon", "candidates", "gateways", "expected"),
    [
        pytest.param(A, [ambient("a")], [], [("10.0.0.1", 80, "")], id="a plain sidecar speaks plaintext"),
        pytest.param(NODE, [ambient("a")], [], [("10.0.0.1", 80, "hbone")], id="HBONE within a network"),
        pytest.param(NODE, [endpoint("a")], [], [("10.0.0.1", 80, "")], id="no other mTLS than HBONE"),
        pytest.param(BOTH, [endpoint("a", hbone=True)], [], [("10.0.0.1", 80, "mtls")], id="SH16 mTLS first"),
        pytest.param(A, [endpoint("b")], [G15008], [], id="SH7 a plain sidecar and a gateway for HBONE only"),
        pytest.param(A, [endpoint("b")], [GB, G15008], [("9.9.9.1", 15443, "mtls")], id="SH7 of two gateways one"),
        pytest.param(NODE, [ambient("b")], [G1], [], id="SH11 no gateway for HBONE"),
        pytest.param(NODE, [ambient("b")], [GB], [("9.9.9.1", 15008, "double_hbone")], id="double HBONE"),
        pytest.param(NODE, [endpoint("b")], [GB], [], id="what takes no HBONE is not behind a gateway for it"),
        pytest.param(
            BOTH, [endpoint("b", hbone=True)], [G15008], [("9.9.9.2", 15008, "double_hbone")], id="whichever there is"
        ),
        pytest.param(
            BOTH,
            [endpoint("b"), ambient("b", "10.0.0.2")],
            [GB],
            [("9.9.9.1", 15008, "double_hbone"), ("9.9.9.1", 15443, "mtls")],
            id="both ways at once",
        ),
        pytest.param(
            NODE,
            [ambient("b", "", weight=3), ambient("b", "", weight=1, cluster="x")],
            [GB],
            [("9.9.9.1", 15008, "double_hbone")],
            id="endpoints that a peer tells of have no address",
        ),
        pytest.param(
            NODE,
            [ambient("a", "")],
            [NetworkGateway("a", "peer", "9.9.9.3", 0, 15008)],
            [("9.9.9.3", 15008, "double_hbone")],
            id="nor are they direct in the own network",
        ),
        pytest.param(
            PASSES,
            [ambient("a"), endpoint("a", "10.0.0.2"), ambient("b", "10.0.0.3"), ambient("a", "")],
            [GB],
            [("10.0.0.1", 15008, "")],
            id="what a gateway passes on to: the HBONE port of its own network's endpoints",
        ),
    ],
)
def test_who_is_reached_with_hbone(
    horizon: Horizon, candidates: list[Candidate], gateways: list[NetworkGateway], expected: list[tuple[str, int, str]]
) -> None:
    found = run(horizon, candidates, *gateways).members
    assert [(one.address, one.port, one.tunnel or ("mtls" if one.mtls else "")) for one in found] == expected


def test_shares_behind_gateways_for_hbone_follow_the_endpoints() -> None:
    mixed = [ambient("a"), ambient("b", "", weight=3), endpoint("b", "10.0.0.2")]
    found = {(one.address, one.port): one.weight for one in run(BOTH, mixed, GB, G15008).members}
    assert found == {("10.0.0.1", 80): 2, ("9.9.9.1", 15008): 3, ("9.9.9.2", 15008): 3, ("9.9.9.1", 15443): 2}
