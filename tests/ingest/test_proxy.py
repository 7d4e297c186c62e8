"""Proxies: every claim is held against the credentials (AU4, AU5)."""

from dataclasses import replace
from typing import Any

import pytest

from isthmus.ingest.proxy import Identity, NodeInfo, proxy
from isthmus.model.rows import Locality, Proxy

METADATA: dict[str, Any] = {
    "CLUSTER_ID": "west",
    "NETWORK": "net-2",
    "NAMESPACE": "a",
    "SERVICE_ACCOUNT": "sa",
    "NODE_NAME": "n1",
    "LABELS": {"app": "x"},
    "INSTANCE_IPS": "10.0.0.1,fd00::1",
    "DNS_CAPTURE": "true",
    "REQUESTED_NETWORK_VIEW": ["net-2", "net-3"],
}
NODE = NodeInfo("sidecar~10.0.0.1~pod.with.dots.a~a.svc.cluster.local", METADATA, Locality("r"))
IDENTITY = Identity("west", "a", "sa", "td.example")


def test_row() -> None:
    row, problems = proxy(NODE, IDENTITY)
    assert problems == []
    assert row == Proxy(
        cluster="west",
        namespace="a",
        name="pod.with.dots",
        type="sidecar",
        network="net-2",
        addresses=("10.0.0.1", "fd00::1"),
        labels=(("app", "x"),),
        service_account="sa",
        node="n1",
        domain="a.svc.cluster.local",
        dns_capture=True,
        requested_network_view=("net-2", "net-3"),
        locality=Locality("r"),
        trust_domain="td.example",
    )


def test_defaults_of_a_bare_node() -> None:
    node = NodeInfo("router~10.0.0.1~gw.a~a.svc.cluster.local", {"CLUSTER_ID": "west"})
    row, problems = proxy(node, IDENTITY)
    assert problems == []
    assert row == Proxy(
        cluster="west",
        namespace="a",
        name="gw",
        type="router",
        addresses=("10.0.0.1",),
        service_account="sa",
        domain="a.svc.cluster.local",
        trust_domain="td.example",
    )


def test_without_identity_the_claims_count_au3() -> None:
    row, _ = proxy(replace(NODE, metadata={}), None, default_cluster="east")
    assert row is not None
    assert (row.cluster, row.service_account, row.trust_domain) == ("east", "default", "cluster.local")


@pytest.mark.parametrize(
    ("identity", "field", "words"),
    [
        (replace(IDENTITY, cluster="east"), "CLUSTER_ID", "claims cluster 'west', but the token is of cluster 'east'"),
        (replace(IDENTITY, namespace="b"), "SERVICE_ACCOUNT", "claims a/sa, but the token is of b/sa"),
        (replace(IDENTITY, service_account="z"), "SERVICE_ACCOUNT", "claims a/sa, but the token is of a/z"),
    ],
)
def test_claims_that_the_credentials_do_not_cover_are_refused(identity: Identity, field: str, words: str) -> None:
    row, problems = proxy(NODE, identity)
    assert row is None
    assert [p.field for p in problems] == [field]
    assert words in problems[0].message
    assert problems[0].remedy


def test_another_cluster_may_not_be_claimed_by_silence() -> None:
    """Without CLUSTER_ID the server's own cluster is meant, which the token must be of too."""
    node = replace(NODE, metadata=METADATA | {"CLUSTER_ID": ""})
    assert proxy(node, IDENTITY, default_cluster="east")[0] is None
    assert proxy(node, IDENTITY, default_cluster="west")[0] is not None


@pytest.mark.parametrize(
    ("node_id", "metadata", "field"),
    [
        ("", {}, "node.id"),
        ("sidecar~10.0.0.1~pod~d", {}, "node.id"),
        ("sidecar~10.0.0.1~pod.a", {}, "node.id"),
        ("agentgateway~10.0.0.1~pod.a~d", {}, "node.id"),
        (NODE.id, {"NAMESPACE": "b"}, "NAMESPACE"),
        (NODE.id, {"INSTANCE_IPS": "x"}, "INSTANCE_IPS"),
    ],
)
def test_nonsense_is_refused(node_id: str, metadata: dict[str, Any], field: str) -> None:
    row, problems = proxy(NodeInfo(node_id, METADATA | metadata), IDENTITY)
    assert row is None
    assert [p.field for p in problems] == [field]


@pytest.mark.parametrize(
    ("value", "labels", "told"),
    [
        ('{"a": "1"}', (("a", "1"),), False),
        (None, (), False),
        ("", (), False),
        ("{", (), True),
        ({"a": 1}, (), True),
        ([], (), True),
    ],
)
def test_labels_as_agents_write_them(value: Any, labels: tuple[tuple[str, str], ...], told: bool) -> None:
    row, problems = proxy(replace(NODE, metadata=METADATA | {"LABELS": value}), IDENTITY)
    assert row is not None
    assert row.labels == labels
    assert [p.field for p in problems] == (["LABELS"] if told else [])
