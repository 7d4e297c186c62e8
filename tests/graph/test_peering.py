"""What peers are told, and which roots proxies are told of: what changes, for whom, and what is not evaluated."""

from isthmus.graph.mesh import Mesh
from isthmus.graph.settings import MeshSettings
from isthmus.model.peering import PeerBundle
from isthmus.model.rows import Namespace, Proxy, Row, Service, ServicePort
from isthmus.proto import peering_pb2
from isthmus.tables.changes import Drop, Put
from isthmus.xds.resource import PEER_SERVICE, TRUST_BUNDLE, WILDCARD

SETTINGS = MeshSettings(config_cluster="east", trust_domain="east.test", strict_engine=True)


def world(*rows: Row) -> Mesh:
    mesh = Mesh(SETTINGS)
    mesh.apply([Put(row.TABLE, row.key, row) for row in rows])
    return mesh


def put(mesh: Mesh, row: Row) -> dict[str, dict[str, set[str]]]:
    return mesh.apply([Put(row.TABLE, row.key, row)])


def service(name: str, scope: str, cluster: str = "east") -> Service:
    labels = (("solo.io/service-scope", scope),) if scope else ()
    return Service(cluster=cluster, namespace="app", name=name, ports=(ServicePort("http", 80),), labels=labels)


def proxy(name: str) -> Proxy:
    return Proxy(cluster="east", namespace="app", name=name, addresses=("10.0.0.1",))


def bundles(mesh: Mesh, who: str) -> dict[str, tuple[str, bool]]:
    found = mesh.resources(who, TRUST_BUNDLE).items()
    messages = ((name, peering_pb2.TrustBundle.FromString(one.body)) for name, one in found)
    return {name: (message.roots, message.own) for name, message in messages}


def test_only_services_of_the_own_cluster_that_are_global_are_told() -> None:
    mesh = world(service("a", "global"), service("b", ""), service("c", "global", "west"), service("d", "global-only"))
    assert set(mesh.exports.resources(PEER_SERVICE)) == {"app/a", "app/d"}


def test_who_follows_is_told_of_what_differs_and_nobody_else_is() -> None:
    mesh = world(service("a", "global"))
    mesh.exports.follow("west#1", PEER_SERVICE)
    put(mesh, service("b", ""))
    assert mesh.take_peers_dirty() == {}
    put(mesh, service("b", "global"))
    assert mesh.take_peers_dirty() == {"west#1": {PEER_SERVICE: {"app/b"}}}
    mesh.apply([Drop(Service.TABLE, ("east", "app", "a"))])
    put(mesh, service("b", "global-only"))
    assert mesh.take_peers_dirty() == {"west#1": {PEER_SERVICE: {"app/a", "app/b"}}}
    mesh.exports.leave_all("west#1")
    put(mesh, service("c", "global"))
    assert mesh.take_peers_dirty() == {}


def test_a_namespace_that_becomes_global_exports_its_services() -> None:
    mesh = world(service("a", ""))
    mesh.exports.follow("west#1", PEER_SERVICE)
    put(mesh, Namespace(cluster="east", name="app", labels=(("istio.io/global", "true"),)))
    assert mesh.take_peers_dirty() == {"west#1": {PEER_SERVICE: {"app/a"}}}


def test_without_followers_nothing_is_derived() -> None:
    mesh = world(service("a", "global"))
    assert mesh.table("peering.exports") == []
    mesh.exports.follow("west#1", PEER_SERVICE)
    assert len(mesh.table("peering.encoded")) == 1
    mesh.exports.leave_all("west#1")
    mesh.apply([])
    assert mesh.table("peering.encoded") == []


def test_proxies_hear_of_roots_once_some_are_not_the_meshs_own() -> None:
    mesh = world(proxy("one"))
    who = "one.app@east"
    mesh.subscribe(who, TRUST_BUNDLE, [WILDCARD])
    put(mesh, PeerBundle(cluster="north", name="north.test"))
    assert bundles(mesh, who) == {}
    dirty = put(mesh, PeerBundle(cluster="west", name="west.test", roots="W"))
    assert dirty[who][TRUST_BUNDLE] == {"east.test", "north.test", "west.test"}
    assert bundles(mesh, who) == {"east.test": ("", True), "north.test": ("", True), "west.test": ("W\n", False)}
    dirty = put(mesh, PeerBundle(cluster="west", name="west.test", roots="WX"))
    assert dirty[who] == {TRUST_BUNDLE: {"west.test"}}
    dirty = mesh.apply([Drop(PeerBundle.TABLE, ("west", "", "west.test"))])
    assert dirty[who][TRUST_BUNDLE] == {"east.test", "north.test", "west.test"}
    assert bundles(mesh, who) == {}


def test_two_peers_of_one_trust_domain_are_believed_by_the_roots_of_both() -> None:
    mesh = world(
        proxy("one"),
        PeerBundle(cluster="west", name="far.test", roots="W"),
        PeerBundle(cluster="north", name="far.test", roots="N"),
    )
    assert bundles(mesh, "one.app@east")["far.test"] == ("N\nW\n", False)


def test_a_proxy_that_asks_for_nothing_is_told_nothing() -> None:
    mesh = world(proxy("one"))
    assert TRUST_BUNDLE not in put(mesh, PeerBundle(cluster="west", name="w", roots="W")).get("one.app@east", {})
    mesh.disconnect("one.app@east")
    assert mesh.table("peering.bundles") == []
