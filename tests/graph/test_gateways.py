"""Gateways that open nothing, open TLS, or route requests: seen through Envoy's own matching."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.envoy.match import Config, Connection
from isthmus.graph.mesh import Mesh
from isthmus.install.eastwest import exposed_control_plane
from isthmus.install.values import MeshValues
from isthmus.model.rows import Gateway, Protocol, Row, Service, labels
from isthmus.trust.authority import from_pem, workload_names
from isthmus.trust.issue import Validity, make_root
from isthmus.trust.pem import key_to_pem, new_key
from isthmus.xds.resource import LDS, RDS
from tests.envoy.acceptance import everything, validate
from tests.graph.calls import config
from tests.graph.test_mesh import follow
from tests.graph.test_routing import HELLO, VIP, clusters, subsets, to, virtual_service
from tests.graph.world import SYSTEM, App, cluster, mesh, port, put, router
from tests.ingest.check import check

NOW = 1_700_000_000
APPS = (
    App("east", "helloworld", ["10.0.0.11"], vip=VIP, pod_labels={"version": "v1"}),
    App("east", "other", ["10.0.0.21"], vip="10.96.0.21"),
    App("east", "istiod", ["10.0.0.31"], namespace=SYSTEM, vip="10.96.0.31", mesh=False,
        ports=(port(15012, Protocol.TCP), port(443, Protocol.TLS, target="15017"))),
)  # fmt: skip
HTTP = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
MUTUAL = {
    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
    "hosts": ["*"],
    "tls": {"mode": "ISTIO_MUTUAL"},
}


def gateway(*servers: dict[str, Any], **metadata: Any) -> Gateway:
    """The row of a Gateway `gw` in `sample` with these servers."""
    spec = {"selector": {"istio": "eastwestgateway"}, "servers": list(servers)}
    found = check("Gateway", {"metadata": {"namespace": "sample", "name": "gw", **metadata}, "spec": spec})
    assert found.rows, found.problems
    (row,) = found.rows
    assert isinstance(row, Gateway)
    return row


def at(spec: dict[str, Any], **metadata: Any) -> Row:
    """A VirtualService for every host at the gateway, unless it says otherwise."""
    return virtual_service({"hosts": ["*"], "gateways": ["gw"], **spec}, **metadata)


def world(*rows: Row) -> Mesh:
    """One cluster with services, a control plane, and a gateway that listens where Gateways say."""
    apps = [row for app in APPS for row in app.rows()]
    return mesh("east", cluster("east", "net-east", config=True), apps, list(rows))


def held(made: Mesh) -> Config:
    """What the gateway holds."""
    return config(made, router("east", "net-east"))


def test_the_control_plane_is_exposed_without_being_opened_sn7() -> None:
    values = MeshValues(cluster="east", mesh_id="m", network="net-east")
    rows = [found.rows[0] for one in exposed_control_plane(values) if (found := check(one["kind"], one)).rows]
    assert len(rows) == 2
    made = held(world(*rows))
    for number, address, target in ((15012, "10.0.0.31", 15012), (15017, "10.0.0.31", 15017)):
        for sni in ("istiod.istio-system.svc", "x.example", ""):
            verdict = made.arriving(Connection(address="10.0.0.9", port=number, tls=True, sni=sni, alpn=("h2",)))
            assert [(one.address, one.port, one.tls) for one in verdict.targets] == [(address, target, None)]
        assert made.arriving(Connection(address="10.0.0.9", port=number)).closed == "no filter chain matches"


def test_the_control_plane_of_another_cluster_is_never_meant() -> None:
    values = MeshValues(cluster="east", mesh_id="m", network="net-east")
    rows = [found.rows[0] for one in exposed_control_plane(values) if (found := check(one["kind"], one)).rows]
    far = App("west", "istiod", ["10.0.0.41"], namespace=SYSTEM, vip="10.96.0.41", mesh=False, ports=APPS[2].ports)
    made = held(world(*rows, *cluster("west", "net-east"), *far.rows()))
    verdict = made.arriving(Connection(address="10.0.0.9", port=15012, tls=True))
    assert [one.address for one in verdict.targets] == ["10.0.0.31"]


TLS_ROUTES = [
    {"match": [{"sniHosts": ["a.example"]}], **to("helloworld", port={"number": 5000})},
    {"match": [{"sniHosts": ["*.example"]}], **to("other", port={"number": 5000})},
]
PASS = {
    "port": {"number": 8443, "name": "tls", "protocol": "TLS"},
    "hosts": ["*.example"],
    "tls": {"mode": "PASSTHROUGH"},
}


@pytest.mark.parametrize(
    ("sni", "expected"),
    [
        ("a.example", "helloworld"),
        ("A.Example", "helloworld"),
        ("b.example", "other"),
        ("a.b.example", "other"),
        ("x", ""),
    ],
)
def test_tls_is_passed_on_by_its_sni(sni: str, expected: str) -> None:
    made = held(world(gateway(PASS), at({"tls": TLS_ROUTES})))
    verdict = made.arriving(Connection(address="x", port=8443, tls=True, sni=sni))
    assert list(clusters(verdict)) == ([expected] if expected else [])


def test_a_server_takes_only_names_of_its_own() -> None:
    route = {"match": [{"sniHosts": ["*", "b.other"]}], **to("other", port={"number": 5000})}
    made = held(world(gateway(PASS), at({"tls": [route]})))
    assert clusters(made.arriving(Connection(address="x", port=8443, tls=True, sni="a.example")))
    assert made.arriving(Connection(address="x", port=8443, tls=True, sni="b.other")).closed


def test_requests_are_routed_and_spoken_to_with_mesh_mtls() -> None:
    row = at({"http": [{"match": [{"uri": {"prefix": "/h"}}], **to("helloworld", subset="v1")}, to("other")]})
    made = held(world(gateway(HTTP), row, subsets()))
    verdict = made.arriving(Connection(address="x", port=80, http="http/1.1"), host="any.example", path="/h")
    assert clusters(verdict) == {"helloworld/v1": 1}
    (target,) = verdict.targets
    assert target.tls is not None
    assert target.tls.sni == f"outbound_.5000_.v1_.{HELLO}"
    assert clusters(made.arriving(Connection(address="x", port=80, http="http/1.1"), host="a", path="/")) == {
        "other": 1
    }


def test_objects_for_one_host_are_joined_the_oldest_first() -> None:
    first = at({"http": [{"match": [{"uri": {"exact": "/a"}}], **to("helloworld")}]}, name="a", creationTimestamp="1")
    second = at({"http": [to("other")]}, name="b", creationTimestamp="2")
    made = held(world(gateway(HTTP), second, first))
    asked = {path: made.arriving(Connection(address="x", port=80), host="h", path=path) for path in ("/a", "/b")}
    assert {path: clusters(verdict) for path, verdict in asked.items()} == {"/a": {"helloworld": 1}, "/b": {"other": 1}}


@pytest.mark.parametrize(
    ("servers", "spec", "namespace", "routed"),
    [
        (["*"], {}, "sample", True),
        (["*.example"], {"hosts": ["a.example"]}, "sample", True),
        (["*.other"], {"hosts": ["a.example"]}, "sample", False),
        (["*.other"], {"hosts": ["*"]}, "sample", False),
        (["./*"], {}, "sample", True),
        (["./*"], {"gateways": ["sample/gw"]}, "x", False),
        (["x/*"], {"gateways": ["sample/gw"]}, "x", True),
        (["*"], {"gateways": ["sample/gw"]}, "x", True),
        (["*"], {"gateways": ["gw"]}, "x", False),
        (["*"], {"gateways": ["mesh"], "hosts": ["a.example"]}, "sample", False),
        (["*"], {"exportTo": [SYSTEM]}, "sample", True),
        (["*"], {"exportTo": ["."]}, "sample", False),
    ],
)
def test_who_may_bind_to_a_server(servers: list[str], spec: dict[str, Any], namespace: str, routed: bool) -> None:
    route = to("other.sample.svc.cluster.local")
    row = at({"http": [route], **spec}, namespace=namespace)
    made = held(world(gateway({**HTTP, "hosts": servers}), row))
    verdict = made.arriving(Connection(address="x", port=80, http="http/1.1"), host="a.example")
    assert (clusters(verdict) == {"other": 1}) is routed
    assert bool(verdict.closed) is not routed


def test_https_of_the_mesh_is_opened() -> None:
    made = held(world(gateway(MUTUAL), at({"http": [to("other")]})))
    verdict = made.arriving(Connection(address="x", port=443, tls=True, sni="any"), host="a")
    assert verdict.server_tls is not None
    assert verdict.server_tls.client_certificate
    assert clusters(verdict) == {"other": 1}
    assert made.arriving(Connection(address="x", port=443), host="a").closed == "no filter chain matches"


def test_bytes_are_carried_by_weight() -> None:
    route = [
        {"destination": {"host": "helloworld", "port": {"number": 5000}}, "weight": 3},
        {"destination": {"host": "other", "port": {"number": 5000}}, "weight": 1},
    ]
    server = {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
    made = held(world(gateway(server), at({"tcp": [{"match": [{"port": 9000}], "route": route}]})))
    assert clusters(made.arriving(Connection(address="x", port=9000))) == {"helloworld": 0.75, "other": 0.25}


def test_a_server_listens_where_its_service_leads() -> None:
    entry = Service(
        cluster="east", namespace=SYSTEM, name="gw", selector=labels({"istio": "eastwestgateway"}),
        ports=(port(80, target="8080"),),
    )  # fmt: skip
    match = [{"port": 80}]
    made = held(world(gateway(HTTP), at({"http": [{"match": match, **to("other")}]}), entry))
    assert clusters(made.arriving(Connection(address="x", port=8080, http="http/1.1"), host="a")) == {"other": 1}
    assert made.arriving(Connection(address="x", port=80)).closed == "nothing listens on port 80"


def test_plain_requests_are_sent_to_https() -> None:
    server = {**HTTP, "hosts": ["a.example"], "tls": {"httpsRedirect": True}}
    resources = world(gateway(server))
    proxy = router("east", "net-east")
    resources.connect(proxy)
    found = Config({kind: resources.resources(proxy.id, kind) for kind in (LDS, RDS)}).routes("http.80")
    assert found is not None
    assert [(one.name, one.require_tls) for one in found.virtual_hosts] == [("a.example:80", 2)]


def test_a_change_of_a_route_concerns_the_gateway_alone() -> None:
    made = world(gateway(HTTP), at({"http": [to("other")]}))
    name = follow(made, router("east", "net-east"))
    side = follow(made, APPS[0].sidecar())
    assert made.apply([put(at({"http": [{"timeout": "1s", **to("other")}]}))]) == {name: {RDS: {"http.80"}}}
    dirty = made.apply([put(at({"http": [to("helloworld")]}))])
    assert side not in dirty
    assert {kind.rpartition(".")[2] for kind in dirty[name]} == {
        "RouteConfiguration",
        "Cluster",
        "ClusterLoadAssignment",
    }


def test_envoy_takes_all_of_it(tmp_path: Path) -> None:
    tcp = {"port": {"number": 9000, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
    auto = {
        "port": {"number": 8443, "name": "auto", "protocol": "TLS"},
        "hosts": ["*.local"],
        "tls": {"mode": "AUTO_PASSTHROUGH"},
    }
    opened = {
        "port": {"number": 9443, "name": "t", "protocol": "TLS"},
        "hosts": ["a.b"],
        "tls": {"mode": "ISTIO_MUTUAL"},
    }
    secured = {**HTTP, "hosts": ["r.example"], "tls": {"httpsRedirect": True}}
    rows = [
        gateway(HTTP, secured, MUTUAL, PASS, auto, tcp, opened),
        at({"http": [to("helloworld")], "tls": TLS_ROUTES, "tcp": [to("other", port={"number": 5000})]}),
        at({"http": [to("other")], "hosts": ["*.example", "r.example"]}, name="second"),
    ]
    made = world(*rows, subsets())
    proxy = msgspec.structs.replace(router("east", "net-east"))
    made.connect(proxy)
    found = everything(made, proxy.id)
    assert {one.name for one in found[LDS]} == {f"0.0.0.0_{n}" for n in (80, 443, 8443, 9000, 9443)}
    assert validate(tmp_path, found) == ""


def test_tls_ends_with_certificates_of_the_pod(tmp_path: Path) -> None:
    root, key = make_root(new_key(), now=NOW, serial=1), new_key()
    signer = from_pem(root.key, root.certificate, b"", now=NOW)
    names = workload_names("spiffe://t/ns/a/sa/b")
    issued = signer.issue(key.public_key(), names, validity=Validity(NOW, 600), serial=2)
    (tmp_path / "key.pem").write_bytes(key_to_pem(key))
    (tmp_path / "cert.pem").write_bytes(issued.leaf)
    (tmp_path / "ca.pem").write_bytes(root.certificate)
    files = {"serverCertificate": str(tmp_path / "cert.pem"), "privateKey": str(tmp_path / "key.pem")}
    simple = {
        "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
        "hosts": ["a.example"],
        "tls": {"mode": "SIMPLE", **files},
    }
    tls = {"mode": "MUTUAL", **files, "caCertificates": str(tmp_path / "ca.pem"), "subjectAltNames": ["x.example"]}
    mutual = {**simple, "hosts": ["b.example"], "tls": tls}
    closed = {**simple, "hosts": ["c.example"], "tls": {"mode": "SIMPLE", "credentialName": "c"}}
    made = world(gateway(simple, mutual, closed), at({"http": [to("other")]}))
    proxy = router("east", "net-east")
    made.connect(proxy)
    assert validate(tmp_path, everything(made, proxy.id)) == ""
    gate = held(made)
    asked = {
        name: gate.arriving(Connection(address="x", port=443, tls=True, sni=f"{name}.example"), host=f"{name}.example")
        for name in "abc"
    }
    assert {name: verdict.closed for name, verdict in asked.items()} == {
        "a": "",
        "b": "",
        "c": "no filter chain matches",
    }
    demanded = {name: v.server_tls.client_certificate for name, v in asked.items() if v.server_tls is not None}
    assert demanded == {"a": False, "b": True}
