"""DestinationRule: which applies, and what it says of a port of a subset (SH13)."""

import pytest

from isthmus.derive import rules
from isthmus.derive.rules import Rule
from isthmus.model.rows import ConnectionPool, DestinationRule, OutlierDetection, Subset, TrafficPolicy

POOL, OTHER_POOL = ConnectionPool(max_connections=1), ConnectionPool(max_connections=2)


def row(name: str = "r", *, namespace: str = "ns", created: str = "1", **fields: object) -> DestinationRule:
    """A rule's row."""
    return DestinationRule(
        cluster="c",
        namespace=namespace,
        name=name,
        host="h",
        created=created,
        **fields,  # type: ignore[arg-type]
    )


def test_patterns_from_exact_to_any() -> None:
    assert list(rules.host_patterns("a.b.c")) == ["a.b.c", "*.b.c", "*.c", "*"]


@pytest.mark.parametrize(
    ("export_to", "own", "other"),
    [((), True, True), (("*",), True, True), ((".",), True, False), (("x",), False, False), (("client",), False, True)],
)
def test_visibility(export_to: tuple[str, ...], own: bool, other: bool) -> None:
    assert rules.visible(row(export_to=export_to), "ns") is own
    assert rules.visible(row(export_to=export_to), "client") is other


def test_rules_of_one_namespace_are_one() -> None:
    found = rules.merge(
        [
            row(
                "b",
                created="2",
                policy=TrafficPolicy(tls_mode="DISABLE"),
                subsets=(Subset("v1", (("v", "9"),)), Subset("v2")),
            ),
            row("a", created="1", subsets=(Subset("v1", (("v", "1"),)),)),
        ]
    )
    assert found.policy.tls_mode == "DISABLE"
    assert [(subset.name, subset.labels) for subset in found.subsets] == [("v1", (("v", "1"),)), ("v2", ())]
    assert found.names == ("a.ns", "b.ns")
    assert found.subset("v3") is None


RULE = Rule(
    TrafficPolicy(
        tls_mode="ISTIO_MUTUAL",
        sni="outer",
        load_balancer="RANDOM",
        connection_pool=POOL,
        port_policies=((80, TrafficPolicy(load_balancer="LEAST_REQUEST")),),
    ),
    (
        Subset("bare"),
        Subset("pool", (), TrafficPolicy(connection_pool=OTHER_POOL)),
        Subset("plain", (), TrafficPolicy(tls_mode="DISABLE", port_policies=((80, TrafficPolicy(sni="x")),))),
    ),
)


@pytest.mark.parametrize(
    ("subset", "port", "expected"),
    [
        ("", 90, TrafficPolicy(tls_mode="ISTIO_MUTUAL", sni="outer", load_balancer="RANDOM", connection_pool=POOL)),
        ("", 80, TrafficPolicy(load_balancer="LEAST_REQUEST")),
        ("bare", 80, TrafficPolicy(load_balancer="LEAST_REQUEST")),
        ("pool", 90, TrafficPolicy("ISTIO_MUTUAL", "outer", (), "RANDOM", None, OTHER_POOL)),
        ("plain", 90, TrafficPolicy("DISABLE", "", (), "RANDOM", None, POOL)),
        ("plain", 80, TrafficPolicy(load_balancer="LEAST_REQUEST")),
        ("unknown", 80, TrafficPolicy(load_balancer="LEAST_REQUEST")),
    ],
)
def test_what_a_rule_says(subset: str, port: int, expected: TrafficPolicy) -> None:
    found = rules.policy_for(RULE, subset, port)
    fields = ("tls_mode", "sni", "load_balancer", "outlier_detection", "connection_pool")
    assert [getattr(found, name) for name in fields] == [getattr(expected, name) for name in fields]


@pytest.mark.parametrize(
    ("policy", "detects"),
    [
        (None, False),
        (TrafficPolicy(), False),
        (TrafficPolicy(outlier_detection=OutlierDetection()), True),
        (TrafficPolicy(port_policies=((80, TrafficPolicy(outlier_detection=OutlierDetection())),)), True),
    ],
)
def test_rules_that_detect_outliers(policy: TrafficPolicy | None, detects: bool) -> None:
    assert rules.is_about_places(row(policy=policy)) is detects
    assert rules.is_about_places(row(subsets=(Subset("v1", (), policy),))) is detects
