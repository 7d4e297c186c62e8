"""How far services reach, as tables: labels, selectors, names, addresses, what is made of peers."""

from ipaddress import ip_address

import pytest

from isthmus.derive import scopes
from isthmus.derive.scope_problems import conflicts, no_effect, unreachable
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import Requirement, ScopeSelector, Selector
from isthmus.model.peering import PeerEndpoints, PeerService, ServiceScope, scope_said
from isthmus.model.rows import Locality, Protocol, Service, ServicePort, labels
from isthmus.model.settings import MeshSettings

SETTINGS = MeshSettings(config_cluster="east")
LOCAL, GLOBAL, ONLY = ServiceScope
HTTP = ServicePort("http", 80, Protocol.HTTP)
DNS = ServicePort("dns", 53, Protocol.UDP)
SCOPE, FLAG = "solo.io/service-scope", "istio.io/global"


def service(cluster: str = "east", **fields: object) -> Service:
    values: dict[str, object] = {"namespace": "app", "name": "web", "ports": (HTTP,)}
    return Service(cluster=cluster, **(values | fields))  # type: ignore[arg-type]


def peer(cluster: str = "west", **fields: object) -> PeerService:
    values: dict[str, object] = {"namespace": "app", "name": "web", "ports": (HTTP,)}
    return PeerService(cluster=cluster, **(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        ({SCOPE: "global"}, GLOBAL),
        ({SCOPE: "Global-Only"}, ONLY),
        ({SCOPE: "cluster"}, LOCAL),
        ({SCOPE: "planet"}, LOCAL),
        ({FLAG: "true"}, GLOBAL),
        ({FLAG: "false"}, LOCAL),
        ({FLAG: "maybe"}, LOCAL),
        ({SCOPE: "cluster", FLAG: "true"}, LOCAL),
        ({SCOPE: "global-only", FLAG: "true"}, ONLY),
        ({SCOPE: "", FLAG: "true"}, GLOBAL),
    ],
)
def test_what_labels_say(found: dict[str, str], expected: ServiceScope | None) -> None:
    assert scope_said(labels(found)) is expected


TEAM = ScopeSelector(services=Selector(expressions=(Requirement("team", "In", ("a", "b")),)))
PAID = ScopeSelector(namespaces=Selector(labels=labels({"plan": "paid"})))
BOTH = ScopeSelector(Selector(labels=labels({"plan": "paid"})), Selector(labels=labels({"team": "a"})))


@pytest.mark.parametrize(
    ("own", "namespace", "selectors", "expected"),
    [
        pytest.param({}, {}, [], LOCAL, id="default"),
        pytest.param({SCOPE: "global"}, {}, [], GLOBAL, id="the service"),
        pytest.param({}, {SCOPE: "global-only"}, [], ONLY, id="its namespace"),
        pytest.param({SCOPE: "cluster"}, {SCOPE: "global"}, [ScopeSelector()], LOCAL, id="the service wins"),
        pytest.param({FLAG: "false"}, {FLAG: "true"}, [], LOCAL, id="the service wins with the other label"),
        pytest.param({SCOPE: "global"}, {SCOPE: "cluster"}, [], GLOBAL, id="the service wins over an opt-out"),
        pytest.param({}, {SCOPE: "cluster"}, [ScopeSelector()], LOCAL, id="the namespace wins over selectors"),
        pytest.param({"team": "b"}, {}, [TEAM], GLOBAL, id="AM2 by service"),
        pytest.param({"team": "c"}, {}, [TEAM], LOCAL, id="AM2 not selected"),
        pytest.param({}, {"plan": "paid"}, [TEAM, PAID], GLOBAL, id="AM2 by namespace, any entry"),
        pytest.param({"team": "a"}, {}, [BOTH], LOCAL, id="AM2 both selectors of an entry"),
        pytest.param({"team": "a"}, {"plan": "paid"}, [BOTH], GLOBAL, id="AM2 both match"),
        pytest.param({}, {}, [ScopeSelector()], GLOBAL, id="AM2 absent selectors select all"),
    ],
)
def test_who_decides(
    own: dict[str, str], namespace: dict[str, str], selectors: list[ScopeSelector], expected: ServiceScope
) -> None:
    row = service(labels=labels(own))
    assert scopes.scope(row, labels(namespace), selectors, SETTINGS) is expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (service(external_name="db.example", labels=labels({SCOPE: "global"})), LOCAL),
        (service(ports=(DNS,), labels=labels({SCOPE: "global"})), LOCAL),
        (service(ports=(), labels=labels({SCOPE: "global"})), LOCAL),
        (service(namespace="kube-system"), LOCAL),
        (service(namespace="default", name="kubernetes"), LOCAL),
        (service(namespace="istio-system", name="istiod"), LOCAL),
        (service(namespace="kube-system", labels=labels({SCOPE: "global"})), GLOBAL),
        (service(), GLOBAL),
    ],
)
def test_selectors_do_not_mean_what_every_cluster_has_of_its_own(row: Service, expected: ServiceScope) -> None:
    assert scopes.scope(row, (), [ScopeSelector()], SETTINGS) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.app.mesh.internal", ("app", "web")),
        ("web.app.svc.cluster.local", None),
        ("web.mesh.internal", None),
        ("a.web.app.mesh.internal", None),
        ("mesh.internal", None),
    ],
)
def test_names(name: str, expected: tuple[str, str] | None) -> None:
    assert scopes.meaning(name) == expected
    if expected is not None:
        assert scopes.hostname(expected) == name


def test_an_address_does_not_depend_on_what_else_is_there() -> None:
    names = [f"web-{i}.app.mesh.internal" for i in range(300)]
    alone = {name: scopes.allocate([name])[name] for name in names}
    together = scopes.allocate(reversed(names))
    assert together == alone
    assert len(set(together.values())) == len(names)
    assert all(ip_address(address) in scopes.POOL for address in together.values())


def test_who_finds_an_address_taken_gets_the_next() -> None:
    first = scopes.allocate(["a"])["a"]
    moved = scopes.allocate(["a"], {first})["a"]
    assert ip_address(moved) == ip_address(first) + 1


def test_the_service_is_the_first_clusters_with_everybodys_ports() -> None:
    other = ServicePort("grpc", 81, Protocol.GRPC)
    rows = [service(export_to=(".",), ports=(HTTP, DNS)), service("north", ports=(ServicePort("x", 80), other))]
    peers = [peer(ports=(other, ServicePort("more", 82)), traffic_distribution="PreferRegion")]
    found = scopes.service(("app", "web"), rows, peers, address="243.0.0.9", settings=SETTINGS)
    assert (found.namespace, found.name, found.host) == ("app", "web.app.mesh.internal", "web.app.mesh.internal")
    assert [(port.port, port.protocol) for port in found.ports] == [
        (80, Protocol.HTTP), (81, Protocol.GRPC), (82, Protocol.TCP),
    ]  # fmt: skip
    assert (found.addresses, found.clusters) == ((("", ("243.0.0.9",)),), ("east", "north", "west"))
    assert (found.export_to, found.union_of, found.base) == ((".",), ("app", "web"), ("app", "web"))
    assert found.traffic_distribution == "PreferRegion"


def test_a_peers_endpoints_are_as_heavy_as_the_healthy_ones() -> None:
    places = (
        PeerEndpoints("n1", Locality("r1"), 3, 5),
        PeerEndpoints("n1", Locality("r2"), 0, 2),
        PeerEndpoints("n2", Locality(), 0, 0),
        PeerEndpoints("n2", Locality("r3"), 10**9, 10**9),
    )
    found = scopes.summarised(peer(endpoints=places, ports=(HTTP, DNS)))
    assert found.ports == (("80", 80),)
    assert [(one.network, one.locality.region, one.ready, one.weight) for one in found.endpoints] == [
        ("n1", "r1", True, 3), ("n1", "r2", False, 1), ("n2", "r3", True, scopes.MOST),
    ]  # fmt: skip
    assert all((one.address, one.hbone, one.cluster) == ("", True, "west") for one in found.endpoints)


TCP = ServicePort("http", 80)
EXTRA = ServicePort("more", 81)


@pytest.mark.parametrize(
    ("first", "second", "fields"),
    [
        (service(), peer(), []),
        (service(), peer(ports=(TCP,)), ["spec.ports[80]"]),
        (service(ports=(HTTP, EXTRA)), peer(), ["spec.ports[81]"]),
        (service(), peer(ports=(HTTP, EXTRA, DNS)), ["spec.ports[81]"]),
        (service(), service("west", ports=(TCP,)), []),
        (
            service(traffic_distribution="Any"),
            peer(traffic_distribution="PreferRegion"),
            ["metadata.annotations[networking.istio.io/traffic-distribution]"],
        ),
        (service(traffic_distribution="Any"), peer(), []),
    ],
)
def test_clusters_that_do_not_say_the_same(first: Service, second: Service | PeerService, fields: list[str]) -> None:
    found = list(conflicts([(first, GLOBAL), (second, GLOBAL)]))
    assert [problem.field for problem in found] == fields
    assert all(problem.where.cluster == "west" for problem in found)


@pytest.mark.parametrize(("one", "other", "wide"), [(GLOBAL, ONLY, "west"), (ONLY, GLOBAL, "east")])
def test_scopes_that_differ_are_told_with_what_follows(one: ServiceScope, other: ServiceScope, wide: str) -> None:
    (problem,) = conflicts([(service(), one), (peer(), other)])
    assert problem.field == f"metadata.labels[{SCOPE}]"
    assert problem.message == (
        f"the service is {other} here and {one} in cluster east: its own name reaches all clusters from cluster "
        f"{wide} only"
    )


@pytest.mark.parametrize(
    ("row", "wanted", "text"),
    [
        (service(external_name="x"), GLOBAL, "has no effect: the service stands for a host name"),
        (service(ports=(DNS,)), GLOBAL, "has no effect: the service has no TCP port"),
        (service(headless=True), ONLY, "a headless service's own name stays in its cluster: its callers choose pods by "
         "address"),
        (service(headless=True), GLOBAL, ""),
        (service(external_name="x"), LOCAL, ""),
        (service(), ONLY, ""),
    ],
)  # fmt: skip
def test_labels_without_effect(row: Service, wanted: ServiceScope, text: str) -> None:
    assert [problem.message for problem in no_effect(row, wanted)] == ([text] if text else [])


def test_a_peer_behind_no_gateway_is_told_once() -> None:
    one, other = PeerEndpoints("n1", Locality(), 1, 1), PeerEndpoints("n2", Locality(), 1, 1)
    gateways = {"n1": [NetworkGateway("n1", "west", "1.1.1.1", 15443)], "n2": [NetworkGateway("n2", "", "x", 0, 15008)]}
    rows = [peer(endpoints=(one, other)), peer(name="api", endpoints=(one, PeerEndpoints("n3", Locality(), 0, 1)))]
    (problem,) = set(unreachable(rows, gateways))
    assert problem.message.startswith("network n1 has no gateway for HBONE")
