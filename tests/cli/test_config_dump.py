"""Envoy's dump as the tables that people know; the inputs are cut out of real dumps."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from isthmus.base.errors import IsthmusError
from isthmus.cli import config_dump
from isthmus.cli.config_dump import ClusterFilter, ClusterName
from isthmus.trust.authority import from_pem, workload_names
from isthmus.trust.issue import Validity, make_root
from isthmus.trust.pem import new_key

NOW = 1_800_000_000.0
ADMIN = "type.googleapis.com/envoy.admin.v3."
HELLO = "outbound|5000||hello.sample.svc.cluster.local"


def section(kind: str, **groups: Any) -> dict[str, Any]:
    return {"configs": [{"@type": ADMIN + "BootstrapConfigDump"}, {"@type": ADMIN + kind, **groups}]}


def clusters(*found: Mapping[str, Any]) -> dict[str, Any]:
    entries = [{"version_info": "v", "cluster": cluster} for cluster in found]
    return section("ClustersConfigDump", static_clusters=entries[:1], dynamic_active_clusters=entries[1:])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (HELLO, ClusterName("outbound", "5000", "", "hello.sample.svc.cluster.local")),
        ("outbound|80|v1|a.b", ClusterName("outbound", "80", "v1", "a.b")),
        ("inbound|8080||", ClusterName("inbound", "8080", "", "")),
        ("outbound_.5000_.v1_.a.b", ClusterName("outbound", "5000", "v1", "a.b")),
        ("PassthroughCluster", ClusterName("", "", "", "PassthroughCluster")),
    ],
)
def test_the_names_of_clusters_have_parts(name: str, parts: ClusterName) -> None:
    """SN1"""
    assert config_dump.cluster_name(name) == parts


RULE = "/apis/networking.istio.io/v1/namespaces/ns/destination-rule/rule"
SHAPED = {"filter_metadata": {"istio": {"config": RULE}}}
CLUSTERS = clusters(
    {"name": "xds-grpc", "type": "STATIC"},
    {"name": HELLO, "type": "EDS"},
    {"name": "outbound|80|v1|a.b", "type": "EDS", "metadata": SHAPED},
    {"name": "outbound|9||a.b", "type": "EDS"},
    {"name": "inbound|8080||", "type": "ORIGINAL_DST"},
    {"name": "aggregate", "cluster_type": {"name": "envoy.clusters.aggregate"}},
)
ALL_CLUSTERS = [
    ("-", "8080", "-", "inbound", "ORIGINAL_DST", ""),
    ("a.b", "9", "-", "outbound", "EDS", ""),
    ("a.b", "80", "v1", "outbound", "EDS", "rule.ns"),
    ("aggregate", "-", "-", "-", "envoy.clusters.aggregate", ""),
    ("hello.sample.svc.cluster.local", "5000", "-", "outbound", "EDS", ""),
    ("xds-grpc", "-", "-", "-", "STATIC", ""),
]


@pytest.mark.parametrize(
    ("chosen", "hosts"),
    [
        (ClusterFilter(), [row[0] for row in ALL_CLUSTERS]),
        (ClusterFilter(fqdn="sample"), ["hello.sample.svc.cluster.local"]),
        (ClusterFilter(fqdn="a.b", port=80), ["a.b"]),
        (ClusterFilter(subset="v1"), ["a.b"]),
        (ClusterFilter(direction="inbound"), ["-"]),
        (ClusterFilter(port=1), []),
    ],
)
def test_clusters_are_filtered_and_sorted(chosen: ClusterFilter, hosts: list[str]) -> None:
    rows = config_dump.cluster_rows(CLUSTERS, chosen)
    assert [row[0] for row in rows] == hosts
    assert set(rows) <= set(ALL_CLUSTERS)


def socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


STATUSES = {
    "cluster_statuses": [
        {"name": "empty"},
        {
            "name": HELLO,
            "host_statuses": [
                {"address": socket("10.0.0.2", 5000), "health_status": {"eds_health_status": "HEALTHY"}},
                {
                    "address": socket("10.0.0.1", 5000),
                    "health_status": {"eds_health_status": "UNHEALTHY", "failed_outlier_check": True},
                    "priority": 1,
                    "weight": 30,
                    "locality": {"region": "r1", "zone": "z1"},
                },
                {"address": {"pipe": {"path": "/run/x.sock"}}, "health_status": {}},
                {"address": {"envoy_internal_address": {"server_listener_name": "inner", "endpoint_id": "e#1b"}}},
                {"address": socket("fd00::1", 5000)},
            ],
        },
    ]
}


def test_endpoints_show_what_the_proxy_thinks_of_them() -> None:
    rows = config_dump.endpoint_rows(STATUSES, lambda _: True)
    assert [row[:3] for row in rows] == [
        ("10.0.0.1:5000", "UNHEALTHY", "FAILED"),
        ("10.0.0.2:5000", "HEALTHY", "OK"),
        ("[fd00::1]:5000", "HEALTHY", "OK"),
        ("envoy://inner/e", "HEALTHY", "OK"),
        ("unix:///run/x.sock", "HEALTHY", "OK"),
    ]
    assert {row[3] for row in rows} == {HELLO}
    assert rows[0][4:] == ("1", "30", "r1/z1")
    assert rows[1][4:] == ("0", "1", "-")
    assert config_dump.endpoint_rows(STATUSES, lambda row: row[1] == "UNHEALTHY") == rows[:1]


PREFIXES = [{"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "::"}]


def http_filter(**config: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"name": "hcm", "typed_config": {"@type": kind, **config}}


def tcp_filter(**config: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {"name": "tcp", "typed_config": {"@type": kind, **config}}


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (None, "ALL"),
        ({}, "ALL"),
        ({"transport_protocol": "tls"}, "Trans: tls"),
        (
            {"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]},
            "Trans: raw_buffer; App: http/1.1,h2c",
        ),
        ({"server_names": ["a", "b"], "destination_port": 80}, "SNI: a,b; Port: 80"),
        ({"prefix_ranges": PREFIXES}, "Addr: 10.0.0.0/8,::/0"),
    ],
)
def test_what_a_filter_chain_takes(match: dict[str, Any] | None, text: str) -> None:
    assert config_dump.chain_match({} if match is None else {"filter_chain_match": match}) == text


INLINE = {"virtual_hosts": [{"routes": [{"route": {"cluster": "b"}}, {"route": {"cluster": "a"}}]}]}
HEALTH = {"virtual_hosts": [{"routes": [{"match": {"path": "/healthz/ready"}, "direct_response": {"status": 200}}]}]}


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ([http_filter(rds={"route_config_name": "80"})], "Route: 80"),
        ([http_filter(route_config=INLINE)], "Inline Route: a,b"),
        ([http_filter(route_config=HEALTH)], "Inline Route: /healthz/ready"),
        ([tcp_filter(cluster=HELLO)], f"Cluster: {HELLO}"),
        (
            [{"name": "rbac"}, tcp_filter(weighted_clusters={"clusters": [{"name": "a"}, {"name": "b"}]})],
            "Cluster: a,b",
        ),
        ([{"typed_config": {"@type": "x.SniCluster"}}, tcp_filter(cluster="x")], "Cluster: (SNI)"),
        ([], "Non-HTTP/Non-TCP"),
    ],
)
def test_where_a_filter_chain_leads_to(filters: list[Any], text: str) -> None:
    assert config_dump.chain_target({"filters": filters}) == text


LISTENERS = section(
    "ListenersConfigDump",
    static_listeners=[
        {
            "listener": {
                "address": socket("127.0.0.1", 15090),
                "additional_addresses": [{"address": socket("127.0.0.1", 15091)}, {"address": socket("::1", 15090)}],
                "filter_chains": [{"filters": [tcp_filter(cluster="stats")]}],
            }
        }
    ],
    dynamic_listeners=[
        {
            "name": "0.0.0.0_80",
            "active_state": {
                "version_info": "v1",
                "listener": {
                    "address": socket("0.0.0.0", 80),
                    "filter_chains": [{"filters": [http_filter(rds={"route_config_name": "80"})]}],
                    "default_filter_chain": {"filters": [tcp_filter(cluster="PassthroughCluster")]},
                },
            },
        },
        {"name": "broken", "error_state": {"details": "no"}},
        {"name": "in", "warming_state": {"version_info": "v2", "listener": {"address": socket("0.0.0.0", 9)}}},
    ],
)


def test_listeners_have_a_row_for_each_way() -> None:
    assert config_dump.listener_rows(LISTENERS) == [
        ("0.0.0.0", "80", "ALL", "Route: 80"),
        ("0.0.0.0", "80", "ALL", "Cluster: PassthroughCluster"),
        ("127.0.0.1,::1", "15090", "ALL", "Cluster: stats"),
    ]
    assert [row[1] for row in config_dump.listener_rows(LISTENERS, port=80)] == ["80", "80"]
    assert [row[1] for row in config_dump.listener_rows(LISTENERS, address="::1")] == ["15090"]


ROUTES = section(
    "RoutesConfigDump",
    static_route_configs=[{"route_config": {"virtual_hosts": [{"name": "health", "domains": ["*"]}]}}],
    dynamic_route_configs=[
        {
            "version_info": "v7",
            "route_config": {
                "name": "5000",
                "virtual_hosts": [
                    {
                        "name": "hello:5000",
                        "domains": ["hello", "hello.sample", "hello.sample.svc", "10.0.0.1"],
                        "routes": [
                            {"match": {"prefix": "/"}},
                            {"match": {"path": "/exact"}},
                            {"match": {"safe_regex": {"regex": "/a.*"}}},
                            {"match": {"path_separated_prefix": "/api"}},
                        ],
                    }
                ],
            },
        },
        {"version_info": "v8", "route_config": {"name": "80", "virtual_hosts": []}},
        {"version_info": ""},
    ],
)


def test_listeners_of_a_node_s_proxy_are_told_apart_by_their_pods() -> None:
    def bound(name: str, port: int) -> dict[str, Any]:
        address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
        return {"name": name, "address": address, "default_filter_chain": {}}

    inside = {"name": "to_hbone", "internal_listener": {}, "filter_chains": [{}]}
    found = (bound("pod/a/outbound", 15001), bound("pod/b/outbound", 15001), inside)
    dump = section("ListenersConfigDump", static_listeners=[{"listener": one} for one in found])
    assert [row[:2] for row in config_dump.listener_rows(dump)] == [
        ("envoy://to_hbone", "0"),
        ("pod/a/outbound", "15001"),
        ("pod/b/outbound", "15001"),
    ]
    assert [row[0] for row in config_dump.listener_rows(dump, pod="b")] == ["envoy://to_hbone", "pod/b/outbound"]


def test_routes_have_a_row_for_each_match() -> None:
    domains = "hello, hello.sample + 2 more..."
    assert config_dump.route_rows(ROUTES) == [
        ("", "health", "*", "/*", ""),
        ("5000", "hello:5000", domains, "/*", ""),
        ("5000", "hello:5000", domains, "/exact", ""),
        ("5000", "hello:5000", domains, "regex /a.*", ""),
        ("5000", "hello:5000", domains, "PathPrefix:/api", ""),
    ]
    assert config_dump.route_rows(ROUTES, name="80") == []


def test_secrets_show_dates_and_never_keys() -> None:
    root = make_root(new_key(), now=NOW - 1000, serial=0xABC)
    signer = from_pem(root.key, root.certificate, b"", now=NOW)
    issued = signer.issue(
        new_key().public_key(), workload_names("spiffe://t/ns/a/sa/b"), validity=Validity(NOW, 600), serial=0xDEF
    )
    chain = base64.b64encode(issued.leaf + issued.roots).decode()
    roots = base64.b64encode(issued.roots).decode()
    pair = {"certificate_chain": {"inline_bytes": chain}, "private_key": {"inline_bytes": "c2VjcmV0"}}
    dump = section(
        "SecretsConfigDump",
        dynamic_active_secrets=[
            {"name": "default", "secret": {"tls_certificate": pair}},
            {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": roots}}}},
        ],
        dynamic_warming_secrets=[{"name": "late", "secret": {}}, {"name": "odd", "secret": {"tls_certificate": {}}}],
    )
    rows = config_dump.secret_rows(dump, NOW)
    assert [row[:5] for row in rows] == [
        ("ROOTCA", "CA", "ACTIVE", "true", "abc"),
        ("default", "Cert Chain", "ACTIVE", "true", "def"),
        ("late", "-", "WARMING", "false", ""),
        ("odd", "Cert Chain", "WARMING", "false", ""),
    ]
    assert rows[1][5:] == ("2027-01-15T08:10:00Z", "2027-01-15T07:59:00Z")
    assert config_dump.secret_rows(dump, NOW + 700)[1][3] == "false"


def test_roots_by_trust_domain_have_a_row_each() -> None:
    """Where trust domains have roots of their own, they are in a validator beside an empty bundle."""
    roots = [make_root(new_key(), now=NOW - 1000, serial=serial).certificate.decode() for serial in (0xA, 0xB)]
    domains = [{"name": f"{i}.example", "trust_bundle": {"inline_string": one}} for i, one in enumerate(roots)]
    context = {"custom_validator_config": {"name": "spiffe", "typed_config": {"trust_domains": domains}}}
    secret = {"name": "ROOTCA", "secret": {"validation_context": context}}
    rows = config_dump.secret_rows(section("SecretsConfigDump", dynamic_active_secrets=[secret]), NOW)
    assert [row[:5] for row in rows] == [
        ("ROOTCA", "CA", "ACTIVE", "true", "a"),
        ("ROOTCA", "CA", "ACTIVE", "true", "b"),
    ]


def test_the_versions_in_a_dump_are_those_that_xds_gave() -> None:
    assert config_dump.versions(LISTENERS) == {"CDS": {}, "LDS": {"0.0.0.0_80": "v1", "in": "v2"}, "RDS": {}}
    assert config_dump.versions(ROUTES)["RDS"] == {"5000": "v7", "80": "v8"}
    assert config_dump.versions(CLUSTERS)["CDS"][HELLO] == "v"
    assert "xds-grpc" not in config_dump.versions(CLUSTERS)["CDS"], "static clusters came with the bootstrap"


@pytest.mark.parametrize("data", [b"", b"nope", b"[]"])
def test_what_is_no_dump_says_so(data: bytes) -> None:
    with pytest.raises(IsthmusError, match="the dump is no JSON") as refused:
        config_dump.parse(data, "the dump")
    assert refused.value.remedy
    assert config_dump.parse(json.dumps(ROUTES).encode(), "x") == ROUTES


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ({"connect_matcher": {}, "headers": [{"name": "a", "present_match": True}]}, "CONNECT a"),
        ({"prefix": "/", "headers": [{"name": "x", "string_match": {"exact": "a"}}]}, "/* x=a"),
        (
            {"prefix": "/", "headers": [{"name": "x", "string_match": {"prefix": "a"}, "invert_match": True}]},
            "/* !x=a*",
        ),
        ({"headers": [{"name": "x", "present_match": True}]}, "/* x"),
        (
            {"path": "/p", "query_parameters": [{"name": "q", "string_match": {"safe_regex": {"regex": "a+"}}}]},
            "/p q?a+",
        ),
    ],
)
def test_a_match_shows_what_else_it_looks_at(match: dict[str, Any], text: str) -> None:
    assert config_dump.route_match(match) == text
