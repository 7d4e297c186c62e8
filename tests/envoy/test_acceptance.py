"""The real Envoy takes everything the mesh makes, over a world that uses every builder."""

from pathlib import Path

import pytest

from isthmus.graph.mesh import Mesh
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry
from isthmus.model.rows import (
    ConnectionPool,
    DestinationRule,
    MtlsMode,
    OutlierDetection,
    PeerAuthentication,
    Protocol,
    Proxy,
    Row,
    ServicePort,
    Subset,
    TrafficPolicy,
    labels,
)
from isthmus.xds.resource import CDS, LDS, XdsResource
from tests.envoy.acceptance import everything, validate
from tests.envoy.policies import policy
from tests.graph.test_passthrough import exposed, passthrough_gateway, rows, tls_routes
from tests.graph.world import App, mesh, port, router, sleep, two_networks

PORTS = (
    port(80, Protocol.HTTP),
    port(81, Protocol.HTTP2),
    port(82, Protocol.GRPC),
    port(83, Protocol.TCP),
    port(84, Protocol.TLS),
    port(85, Protocol.UDP),
)
MIXED = App("east", "mixed", ["10.0.0.21", "10.0.0.22"], vip="10.96.0.21", ports=PORTS)
HEADLESS = App("east", "db", ["10.0.0.31", "10.0.0.32"], ports=PORTS)
REMOTE = App("west", "remote", ["10.0.0.41"], vip="10.96.0.21", ports=(port(80), port(9000, Protocol.TCP)))
PLAIN = App("east", "plain", ["10.0.0.51"], vip="fd00::51", ports=PORTS, mesh=False)
EMPTY = App("east", "empty", [], vip="10.96.0.61")

FULL_POLICY = TrafficPolicy(
    load_balancer="LEAST_REQUEST",
    outlier_detection=OutlierDetection(
        consecutive_5xx=3,
        consecutive_gateway_errors=0,
        consecutive_local_origin_failures=2,
        interval=0.5,
        base_ejection_time=30,
        max_ejection_percent=50,
        min_health_percent=40,
    ),
    connection_pool=ConnectionPool(
        max_connections=10,
        connect_timeout=0.25,
        max_requests_per_connection=100,
        http1_max_pending_requests=20,
        http2_max_requests=30,
        max_retries=5,
        idle_timeout=90,
    ),
)


def rules() -> list[Row]:
    """Rules of every kind, public and of the client's own namespace."""
    subsets = tuple(
        Subset(f"s{index}", labels({"app": "mixed"}), TrafficPolicy(tls_mode=mode, load_balancer=balancer))
        for index, (mode, balancer) in enumerate(
            [
                ("", "RANDOM"),
                ("ISTIO_MUTUAL", ""),
                ("DISABLE", "ROUND_ROBIN"),
                ("SIMPLE", "PASSTHROUGH"),
                ("MUTUAL", "?"),
            ]
        )
    )
    host = "mixed.sample.svc.cluster.local"
    return [
        DestinationRule(cluster="east", namespace="sample", name="all", host=host, policy=FULL_POLICY, subsets=subsets),
        DestinationRule(
            cluster="east", namespace="own", name="own", host=host, policy=TrafficPolicy(sni="example.com")
        ),
        PeerAuthentication(
            cluster="east",
            namespace="sample",
            name="some",
            selector=labels({"app": "mixed"}),
            mode=MtlsMode.STRICT,
            port_modes=(
                (80, MtlsMode.PERMISSIVE),
                (83, MtlsMode.DISABLE),
                (84, MtlsMode.DISABLE),
                (99, MtlsMode.DISABLE),
            ),
        ),
    ]


def policies() -> list[Row]:
    """A policy of every action with every kind of condition."""
    everything = {
        "from": [
            {
                "source": {
                    "principals": ["*", "a/ns/b/sa/c", "*/c", "a/*"],
                    "notNamespaces": ["x*", "y.z"],
                    "trustDomains": ["*", "a*", "*a"],
                    "ipBlocks": ["10.0.0.1", "fd00::/8"],
                    "notRemoteIpBlocks": ["0.0.0.0/0"],
                    "requestPrincipals": ["*", "https://i/s", "*/s", "i/*"],
                }
            },
            {"source": {"serviceAccounts": ["a", "b/c.d-e"]}},
        ],
        "to": [
            {
                "operation": {
                    "ports": ["80"],
                    "notMethods": ["GET", "P*"],
                    "hosts": ["*", "a", "*.b", "c*"],
                    "paths": ["*", "/a", "/b*", "*c", "/d/{*}/{**}"],
                }
            }
        ],
        "when": [
            {"key": "request.headers[:path]", "values": ["*", "/x"]},
            {"key": "request.auth.claims[a][b]", "notValues": ["*", "c*"]},
            {"key": "connection.sni", "values": ["*.a"]},
            {"key": "destination.ip", "values": ["10.0.0.0/8"]},
        ],
    }
    return [
        policy(f"{action}-{dry}".lower(), action=action, rules=[everything, {}], dry_run=dry)
        for action in ("ALLOW", "DENY", "AUDIT")
        for dry in (False, True)
    ]


def outside() -> list[Row]:
    """ServiceEntries of every kind: resolutions, locations, ranges, wildcards, hosts without address."""
    ports = tuple(ServicePort(one.name, one.port, one.protocol) for one in PORTS)
    there = EntryAddress(address="198.51.100.1", weight=3, network="net-west", service_account="x")
    endpoints = (EntryAddress(address="198.51.100.2", ports=(("http-80", 8080),)), there)
    made: list[Row] = []
    for resolution in Resolution:
        for internal in (False, True):
            name = f"{resolution.lower().replace('_', '-')}-{internal}".lower()
            listed = {Resolution.STATIC: endpoints, Resolution.DNS: (EntryAddress(address="o.net"), there)}
            hosts = (f"{name}.example.com", *([f"*.{name}.example.com"] if resolution is not Resolution.DNS else []))
            if resolution is Resolution.DNS_ROUND_ROBIN:
                hosts = hosts[:1]
            made.append(
                ServiceEntry(
                    cluster="east",
                    namespace="sample",
                    name=name,
                    hosts=hosts,
                    ports=ports,
                    internal=internal,
                    resolution=resolution,
                    endpoints=listed.get(resolution, ()),
                    addresses=("192.0.2.0/24", "192.0.2.7", "fd00::7") if internal else (),
                )
            )
    return made


def world(**settings: object) -> Mesh:
    """Every kind of service, rule and policy on two networks."""
    apps = [row for app in (MIXED, HEADLESS, REMOTE, PLAIN, EMPTY) for row in app.rows()]
    return mesh("east", two_networks(), apps, rules(), policies(), outside(), **settings)


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(sleep().sidecar(network="net-east"), id="caller"),
        pytest.param(MIXED.sidecar(network="net-east"), id="every protocol and mode"),
        pytest.param(HEADLESS.sidecar(network="net-east"), id="headless"),
        pytest.param(sleep().sidecar(namespace="own"), id="rules of its own"),
        pytest.param(router("east", "net-east"), id="gateway"),
    ],
)
def test_envoy_takes_it(proxy: Proxy, tmp_path: Path) -> None:
    made = world()
    made.connect(proxy)
    found = everything(made, proxy.id)
    assert sum(map(len, found.values())) > 15
    assert validate(tmp_path, found) == ""


def test_envoy_takes_what_a_gateway_passes_on_by_name(tmp_path: Path) -> None:
    routes = tls_routes("routes", (["a.example.com"], {"a": 1}), (["*.b.example.com"], {"a": 1, "b": 3}))
    more = rows(passthrough_gateway("secure", "*.example.com"), routes)
    made = mesh("east", *exposed(*more))
    made.connect(router("east", "net-east"))
    found = everything(made, router("east", "net-east").id)
    assert {"0.0.0.0_15012", "0.0.0.0_15017", "0.0.0.0_9443"} <= {one.name for one in found[LDS]}
    assert validate(tmp_path, found) == ""


def test_envoy_takes_it_where_nothing_unknown_is_allowed(tmp_path: Path) -> None:
    made = world(allow_any=False)
    made.connect(sleep().sidecar(network="net-east"))
    assert validate(tmp_path, everything(made, "sleep-east-0.sample@east")) == ""


def test_envoy_would_say_what_is_wrong(tmp_path: Path) -> None:
    broken = XdsResource(CDS, "broken", b"\x0a\x06broken\x10\x03")
    assert "EDS cluster without an EDS config" in validate(tmp_path, {CDS: [broken]})
