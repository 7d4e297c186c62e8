"""DestinationRules."""

from typing import Any

import pytest

from isthmus.base.errors import Severity
from isthmus.model.locality import Distribution, LocalitySetting, Warmup
from isthmus.model.rows import ConnectionPool, DestinationRule, OutlierDetection, Subset, TrafficPolicy
from tests.ingest.check import check, complaints


def only(spec: dict[str, Any]) -> DestinationRule:
    """The row of a rule without problems."""
    found = check("DestinationRule", {"spec": spec})
    assert found.problems == ()
    assert found.rows is not None
    (row,) = found.rows
    assert isinstance(row, DestinationRule)
    return row


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("reviews", "reviews.a.svc.cluster.local"),
        ("Reviews", "reviews.a.svc.cluster.local"),
        ("reviews.b.svc.cluster.local", "reviews.b.svc.cluster.local"),
        ("api.example.com", "api.example.com"),
        ("*.b.svc.cluster.local", "*.b.svc.cluster.local"),
        ("*", "*"),
    ],
)
def test_host_is_made_fully_qualified(host: str, expected: str) -> None:
    assert only({"host": host}).host == expected


def test_everything_that_has_effect() -> None:
    policy = {
        "tls": {"mode": "ISTIO_MUTUAL", "sni": "s", "subjectAltNames": ["spiffe://x"]},
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "outlierDetection": {
            "consecutive5xxErrors": 5,
            "consecutiveGatewayErrors": 0,
            "consecutiveLocalOriginFailures": 3,
            "splitExternalLocalOriginErrors": True,
            "interval": "10s",
            "baseEjectionTime": "1m30s",
            "maxEjectionPercent": 100,
            "minHealthPercent": 10,
        },
        "connectionPool": {
            "tcp": {"maxConnections": 10, "connectTimeout": "500ms", "idleTimeout": "1h"},
            "http": {
                "http1MaxPendingRequests": 1,
                "http2MaxRequests": 2,
                "maxRequestsPerConnection": 3,
                "maxRetries": 4,
                "idleTimeout": "5s",
            },
        },
        "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}],
    }
    spec = {
        "host": "h",
        "trafficPolicy": policy,
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "trafficPolicy": {"loadBalancer": {}}}],
        "exportTo": [".", "b"],
    }
    row = only(spec)
    assert row.policy == TrafficPolicy(
        tls_mode="ISTIO_MUTUAL",
        sni="s",
        subject_alt_names=("spiffe://x",),
        load_balancer="ROUND_ROBIN",
        outlier_detection=OutlierDetection(5, 0, 3, True, 10.0, 90.0, 100, 10),
        connection_pool=ConnectionPool(10, 0.5, 3, 1, 2, 4, 5.0),
        port_policies=((80, TrafficPolicy(tls_mode="DISABLE")),),
    )
    assert row.subsets == (Subset("v1", (("version", "v1"),)), Subset("v2", policy=TrafficPolicy()))
    assert row.export_to == (".", "b")


def test_tcp_idle_timeout_counts_where_http_has_none() -> None:
    row = only({"host": "h", "trafficPolicy": {"connectionPool": {"tcp": {"idleTimeout": "7s"}}}})
    assert row.policy is not None
    assert row.policy.connection_pool == ConnectionPool(idle_timeout=7.0)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"trafficPolicy": {"proxyProtocol": {}}}, "spec.trafficPolicy.proxyProtocol"),
        ({"trafficPolicy": {"loadBalancer": {"consistentHash": {}}}}, "spec.trafficPolicy.loadBalancer.consistentHash"),
        ({"trafficPolicy": {"tls": {"caCertificates": "f"}}}, "spec.trafficPolicy.tls.caCertificates"),
        ({"typo": 1}, "spec.typo"),
    ],
)
def test_what_has_no_effect_is_told_and_the_rest_counts(spec: dict[str, Any], field: str) -> None:
    found = check("DestinationRule", {"spec": {"host": "h"} | spec})
    assert found.rows
    assert complaints(found) == [(field, "has no effect")]
    assert found.problems[0].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.host"),
        ({"host": 5}, "spec.host"),
        ({"host": "a b"}, "spec.host"),
        ({"host": "h", "workloadSelector": {"matchLabels": {"a": "b"}}}, "spec.workloadSelector"),
        ({"host": "h", "subsets": [{}]}, "spec.subsets[0].name"),
        ({"host": "h", "subsets": [{"name": "a"}, {"name": "a"}]}, "spec.subsets[1].name"),
        ({"host": "h", "subsets": {"name": "a"}}, "spec.subsets"),
        ({"host": "h", "trafficPolicy": {"tls": {"mode": "MTLS"}}}, "spec.trafficPolicy.tls.mode"),
        (
            {"host": "h", "trafficPolicy": {"loadBalancer": {"simple": "BEST"}}},
            "spec.trafficPolicy.loadBalancer.simple",
        ),
        (
            {"host": "h", "trafficPolicy": {"outlierDetection": {"interval": "soon"}}},
            "spec.trafficPolicy.outlierDetection.interval",
        ),
        (
            {"host": "h", "trafficPolicy": {"outlierDetection": {"maxEjectionPercent": 101}}},
            "spec.trafficPolicy.outlierDetection.maxEjectionPercent",
        ),
        (
            {"host": "h", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": "many"}}}},
            "spec.trafficPolicy.connectionPool.tcp.maxConnections",
        ),
        (
            {"host": "h", "trafficPolicy": {"portLevelSettings": [{"tls": {"mode": "DISABLE"}}]}},
            "spec.trafficPolicy.portLevelSettings[0].port.number",
        ),
    ],
)
def test_malformed_rules_are_refused_and_told(spec: dict[str, Any], field: str) -> None:
    found = check("DestinationRule", {"spec": spec})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [field]


def test_where_traffic_goes_by_place() -> None:
    setting = {"distribute": [{"from": "r1/*", "to": {"r1/*": 80, "r2/*": 20}}]}
    balancer = {
        "localityLbSetting": setting,
        "warmup": {"duration": "30s", "minimumPercent": 5, "aggression": 1.5},
    }
    policy = only({"host": "a", "trafficPolicy": {"loadBalancer": balancer}}).policy
    assert policy is not None
    assert policy.locality == LocalitySetting(distribute=(Distribution("r1/*", (("r1/*", 80), ("r2/*", 20))),))
    assert policy.warmup == Warmup(30, 5, 1.5)
    older = only({"host": "a", "trafficPolicy": {"loadBalancer": {"warmupDurationSecs": "10s"}}}).policy
    assert older is not None
    assert (older.warmup, older.locality) == (Warmup(10), None)


def test_zone_aware_balancing_is_told_to_have_no_effect() -> None:
    balancer = {"localityLbSetting": {"enabled": False}, "zoneAwareLbSetting": {"enabled": True}}
    found = check("DestinationRule", {"spec": {"host": "a", "trafficPolicy": {"loadBalancer": balancer}}})
    assert [field for field, _ in complaints(found)] == ["spec.trafficPolicy.loadBalancer.zoneAwareLbSetting"]
    assert found.rows


@pytest.mark.parametrize(
    ("balancer", "field"),
    [
        ({"warmup": {"minimumPercent": 5}}, "warmup.duration"),
        ({"warmup": {"duration": "1s", "minimumPercent": 101}}, "warmup.minimumPercent"),
        ({"warmup": {"duration": "1s", "aggression": 0.5}}, "warmup.aggression"),
        ({"localityLbSetting": {"failover": [{"from": "a"}]}}, "localityLbSetting.failover[0]"),
        (
            {"localityLbSetting": {"failoverPriority": ["a"], "distribute": [{"from": "a", "to": {"b": 100}}]}},
            "localityLbSetting.distribute",
        ),
    ],
)
def test_broken_settings_of_places_are_refused(balancer: dict[str, Any], field: str) -> None:
    found = check("DestinationRule", {"spec": {"host": "a", "trafficPolicy": {"loadBalancer": balancer}}})
    assert found.rows is None
    assert [name for name, _ in complaints(found)] == [f"spec.trafficPolicy.loadBalancer.{field}"]


@pytest.mark.parametrize(("text", "percent", "warned"), [("90", 90, 0), ("50%", 50, 0), ("0", 0, 1), ("much", 0, 1)])
def test_threshold_of_spilling_over(text: str, percent: int, warned: int) -> None:
    metadata = {"annotations": {"isthmus.dev/spill-below": text}}
    for kind, spec in (("DestinationRule", {"host": "a"}), ("Service", {})):
        found = check(kind, {"metadata": metadata, "spec": spec})
        assert len(found.problems) == warned
        assert found.rows is not None
        assert found.rows[0].spill_below == percent  # type: ignore[attr-defined]
