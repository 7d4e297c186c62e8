"""Who knows of which services: exportTo (TE1), Sidecar (TE3), and what gateways pass on (SN6)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.envoy.match import Connection
from isthmus.graph.mesh import Mesh
from isthmus.model.mesh_config import MeshConfig
from isthmus.model.routing import Sidecar
from isthmus.model.rows import Protocol, Proxy, Row
from isthmus.proto import nds_pb2
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS
from tests.envoy.acceptance import everything, validate
from tests.graph.calls import config
from tests.graph.test_mesh import follow
from tests.graph.test_routing import to, virtual_service
from tests.graph.world import SYSTEM, App, cluster, cross_network, drop, gateway, mesh, port, put, router
from tests.ingest.check import check

PORTS = (port(5000), port(9000, Protocol.TCP))


def app(name: str, namespace: str, ip: str, *exports: str, **fields: Any) -> App:
    """A service on HTTP and TCP, with its word on who sees it."""
    return App("east", name, [f"10.0.0.{ip}"], namespace=namespace, vip=f"10.96.0.{ip}", ports=PORTS,
               service={"export_to": exports}, **fields)  # fmt: skip


OPEN = app("open", "a", "11")
OWN = app("own", "a", "12", ".")
GIVEN = app("given", "a", "13", "b")
HIDDEN = app("hidden", "a", "14", "~")
THERE = app("there", "b", "15", "*")
APPS = (OPEN, OWN, GIVEN, HIDDEN, THERE)


def world(*rows: Row) -> Mesh:
    """One cluster with services of all sorts."""
    found = [row for one in APPS for row in one.rows()]
    return mesh("east", cluster("east", "net-east", config=True), found, list(rows))


def client(namespace: str, **fields: Any) -> Proxy:
    """The sidecar of a caller."""
    proxy = App("east", "sleep", ["10.0.0.2"], namespace=namespace).sidecar(network="net-east")
    return msgspec.structs.replace(proxy, **fields)


def seen(made: Mesh, proxy: Proxy) -> dict[str, set[str]]:
    """The services that a proxy knows of, by type of resource."""
    made.connect(proxy)
    held = {kind: made.resources(proxy.id, kind) for kind in (CDS, EDS, LDS, RDS, NDS)}
    by_address = {f"10.96.0.{one.ips[0].rpartition('.')[2]}": one.name for one in APPS}
    routes = config(made, proxy).routes("5000")
    table = held[NDS]["nds"].body if "nds" in held[NDS] else b""
    return {
        "clusters": {name.split("|")[3].partition(".")[0] for name in held[CDS] if name.startswith("outbound|")},
        "endpoints": {name.split("|")[3].partition(".")[0] for name in held[EDS]},
        "listeners": {found for name in held[LDS] if (found := by_address.get(name.rpartition("_")[0]))},
        "routes": {one.name.partition(".")[0] for one in routes.virtual_hosts if "." in one.name} if routes else set(),
        "names": {name.partition(".")[0] for name in nds_pb2.NameTable.FromString(table).table},
    }


def names(made: Mesh, proxy: Proxy) -> set[str]:
    """The services that a proxy knows of, whichever resource one looks at."""
    found = seen(made, proxy)
    assert len({frozenset(part) for part in found.values()}) == 1, found
    return found["clusters"]


@pytest.mark.parametrize(
    ("namespace", "expected"), [("a", "open own there"), ("b", "open given there"), ("c", "open there")]
)
def test_a_service_is_seen_where_it_is_exported_to_te1(namespace: str, expected: str) -> None:
    assert names(world(), client(namespace)) == set(expected.split())


def test_the_mesh_may_say_who_sees_what_says_nothing() -> None:
    row = MeshConfig(cluster="east", name="istio", default_service_export_to=(".",))
    made = world(row)
    assert names(made, client("c")) == {"there"}
    assert names(made, client("a")) == {"open", "own", "there"}


def test_all_clients_without_private_services_share_what_they_see() -> None:
    made = world()
    for namespace in ("a", "b", "c"):
        follow(made, client(namespace))
    outbound = [made.scopes(client(namespace).id)[-1] for namespace in ("a", "b", "c")]
    assert len(set(outbound)) == 1
    name = "outbound|5000||open.a.svc.cluster.local"
    held = [made.resource(client(namespace).id, CDS, name) for namespace in ("a", "b", "c")]
    assert held[0] is held[1] is held[2]


def test_a_private_service_concerns_nobody_else() -> None:
    made = world()
    own, other = follow(made, client("a")), follow(made, client("c"))
    dirty = made.apply([put(app("more", "a", "16", ".").service_row())])
    assert other not in dirty
    assert set(dirty[own]) >= {CDS, LDS, RDS, NDS}
    public = app("more", "a", "16").service_row()
    assert CDS in made.apply([put(public)])[other]
    gone = made.apply([drop(public)])
    assert set(gone) == {own, other}


def test_endpoints_of_a_private_service_change_for_its_clients_alone() -> None:
    made = world()
    own, other = follow(made, client("a")), follow(made, client("c"))
    dirty = made.apply([put(msgspec.structs.replace(OWN.slice_row(), endpoints=()))])
    assert set(dirty) == {own}
    assert other not in dirty


def sidecar(spec: dict[str, Any], **metadata: Any) -> Sidecar:
    """The row of a Sidecar in namespace `a`."""
    found = check("Sidecar", {"metadata": {"namespace": "a", "name": "s", **metadata}, "spec": spec})
    assert found.rows, found.problems
    (row,) = found.rows
    assert isinstance(row, Sidecar)
    return row


def lets(*hosts: str, **spec: Any) -> dict[str, Any]:
    """A Sidecar's spec with these egress hosts."""
    return {"egress": [{"hosts": list(hosts)}], **spec}


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["*/*"], "open own there"),
        (["./*"], "open own"),
        (["b/*"], "there"),
        (["b/*", "./own.a.svc.cluster.local"], "there own"),
        (["*/*.a.svc.cluster.local"], "open own"),
        (["*/own.a.svc.cluster.local"], "own"),
        (["~/*"], ""),
        (["b/open.a.svc.cluster.local"], ""),
    ],
)
def test_a_sidecar_bounds_what_proxies_know_of_te3(hosts: list[str], expected: str) -> None:
    made = world(sidecar(lets(*hosts)))
    assert names(made, client("a")) == set(expected.split())
    assert names(made, client("b")) == {"open", "given", "there"}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [({"app": "sleep"}, "there"), ({"app": "other"}, "open"), ({"app": "sleep", "x": "y"}, "open")],
)
def test_a_selector_comes_before_the_namespace_s_and_that_before_the_mesh_s(
    selector: dict[str, str], expected: str
) -> None:
    special = sidecar(lets("b/*", workloadSelector={"labels": selector}), name="z")
    own = sidecar(lets("./open.a.svc.cluster.local"))
    root = sidecar(lets("./*"), namespace=SYSTEM)
    made = world(special, own, root)
    assert names(made, client("a")) == {expected}
    assert names(made, client("b")) == {"there"}


def test_proxies_with_equal_sidecars_share_a_scope() -> None:
    made = world(sidecar(lets("b/*")), sidecar(lets("b/*"), namespace="c"))
    for namespace in ("a", "c"):
        made.connect(client(namespace))
    assert made.scopes(client("a").id)[-1] == made.scopes(client("c").id)[-1]


def test_a_sidecar_comes_and_goes() -> None:
    made = world()
    proxy = follow(made, client("a"))
    row = sidecar(lets("b/*"))
    dirty = made.apply([put(row)])
    assert {name.split("|")[3].partition(".")[0] for name in dirty[proxy][CDS]} == {"open", "own"}
    assert names(made, client("a")) == {"there"}
    made.apply([drop(row)])
    assert names(made, client("a")) == {"open", "own", "there"}


def test_routes_that_a_sidecar_lets_through_lead_somewhere() -> None:
    row = virtual_service({"hosts": ["there"], "http": [to("open.a.svc.cluster.local")]}, namespace="b")
    made = world(row, sidecar(lets("b/*")))
    caller = config(made, client("a"))
    verdict = caller.leaving(Connection(address="10.96.0.15", port=5000, http="http/1.1"), host="there.b")
    assert [one.address for one in verdict.targets] == ["10.0.0.11"]
    aside = msgspec.structs.replace(row, namespace="x")
    made = world(aside, sidecar(lets("b/*")))
    caller = config(made, client("a"))
    verdict = caller.leaving(Connection(address="10.96.0.15", port=5000, http="http/1.1"), host="there.b")
    assert [one.address for one in verdict.targets] == ["10.0.0.15"]


@pytest.mark.parametrize(("mode", "closed"), [("REGISTRY_ONLY", True), ("ALLOW_ANY", False)])
@pytest.mark.parametrize("mesh_allows", [True, False])
def test_a_sidecar_says_what_becomes_of_unknown_hosts(mode: str, closed: bool, mesh_allows: bool) -> None:
    row = sidecar({"outboundTrafficPolicy": {"mode": mode}})
    found = [row for one in APPS for row in one.rows()]
    made = mesh("east", cluster("east", "net-east", config=True), found, [row], allow_any=mesh_allows)
    caller, other = config(made, client("a")), config(made, client("b"))
    far = Connection(address="93.184.216.34", port=5000, http="http/1.1")
    assert bool(caller.leaving(far, host="example.com").closed) is closed
    assert bool(other.leaving(far, host="example.com").closed) is not mesh_allows
    raw = Connection(address="93.184.216.34", port=443, tls=True)
    assert (caller.leaving(raw).cluster == "BlackHoleCluster") is closed


def test_only_exported_services_pass_the_gateway_sn6() -> None:
    mine = app("inside", SYSTEM, "17", ".")
    made = world(cross_network("east"), *mine.rows())
    proxy = router("east", "net-east")
    made.connect(proxy)
    found = {name.split("_.")[3].partition(".")[0] for name in made.resources(proxy.id, CDS)}
    assert found == {"open", "there", "inside"}
    held = config(made, proxy)
    for one, passed in ((OPEN, True), (OWN, False), (GIVEN, False)):
        sni = f"outbound_.5000_._.{one.name}.a.svc.cluster.local"
        hello = Connection(address="x", port=15443, tls=True, sni=sni, alpn=("istio",))
        assert bool(held.arriving(hello).targets) is passed


def test_envoy_takes_what_is_bounded(tmp_path: Path) -> None:
    made = world(sidecar(lets("./*", "b/*", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})))
    proxy = client("a")
    made.connect(proxy)
    assert validate(tmp_path, everything(made, proxy.id)) == ""


@pytest.mark.parametrize(
    ("exports", "reached"), [((), True), (("*",), True), (("b",), False), (("b", SYSTEM), True), ((".",), False)]
)
def test_no_endpoint_is_used_that_its_gateway_would_not_pass_on(exports: tuple[str, ...], reached: bool) -> None:
    far = App(
        "west", "open", ["10.0.0.99"], namespace="a", vip="10.96.0.99", ports=PORTS, service={"export_to": exports}
    )
    rows = [*cluster("west", "net-west"), *gateway("west", "net-west", "172.18.0.2"), *far.rows()]
    made = world(*rows)
    caller = config(made, client("c"))
    verdict = caller.leaving(Connection(address="10.96.0.11", port=5000, http="http/1.1"), host="open.a")
    assert [one.address for one in verdict.targets] == ["10.0.0.11", *(["172.18.0.2"] if reached else [])]


def test_what_sidecars_let_through_is_made_once() -> None:
    """Two Sidecars that differ, one endpoint change: one assignment is made, and both views have it."""
    made = world(sidecar(lets("./*")), sidecar(lets("a/*", "b/*"), namespace="b"))
    ids = {follow(made, client("a")), follow(made, client("b"))}
    assert set(made.apply([put(msgspec.structs.replace(OPEN.slice_row(), endpoints=()))])) == ids
    again = [table for table, _ in made.recomputed]
    assert again.count("derive.assignments") == len(PORTS)
    assert again.count("envoy.shared_endpoints") == len(PORTS)
    name = "outbound|5000||open.a.svc.cluster.local"
    assert len({id(made.resource(one, EDS, name)) for one in ids}) == 1
