"""The mesh's face: who is told of what, what is shared, what is recomputed, what is dropped."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.graph.mesh import Mesh
from isthmus.model.liveness import ClusterStanding
from isthmus.model.mesh_config import MeshConfig, MeshNetworks, NetworkDefinition, NetworkEntry, ServiceSetting
from isthmus.model.observed import OBSERVED
from isthmus.model.rows import (
    DestinationRule,
    EndpointSlice,
    MtlsMode,
    OutlierDetection,
    PeerAuthentication,
    Proxy,
    Row,
    TrafficPolicy,
    labels,
)
from isthmus.tables.changes import Change
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS, XdsResource
from tests.graph.world import (
    App,
    cluster,
    cross_network,
    drop,
    gateway,
    helloworld,
    mesh,
    port,
    put,
    puts,
    replace,
    router,
    sleep,
    two_networks,
)

HELLO = "outbound|5000||helloworld.sample.svc.cluster.local"
TYPES = (CDS, EDS, LDS, RDS, NDS)
SLEEP = "sleep-east-0.sample@east"


def follow(world: Mesh, proxy: Proxy) -> str:
    """Connect a proxy and subscribe it to everything, as Envoy and its agent do."""
    world.connect(proxy)
    for type_url in (CDS, LDS, NDS):
        world.subscribe(proxy.id, type_url, ["*"])
    for type_url in (EDS, RDS):
        world.subscribe(proxy.id, type_url, list(world.resources(proxy.id, type_url)))
    return proxy.id


def sleeper(index: int = 0, **fields: object) -> Proxy:
    """One of many alike sidecars."""
    row = sleep().sidecar(network="net-east")
    return msgspec.structs.replace(row, name=f"sleep-east-{index}", **fields)


def test_an_endpoint_change_concerns_its_subscribers_and_reruns_only_its_service() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    world.connect(sleeper(1))
    before = world.resource(SLEEP, EDS, HELLO)
    dirty = world.apply([put(helloworld("west", "10.0.0.11", ready=False).slice_row())])
    assert dirty == {SLEEP: {EDS: {HELLO}}}
    assert world.resource(SLEEP, EDS, HELLO) != before
    assert [table for table, _ in world.recomputed] == [
        "derive.endpoints",
        "derive.slice_identities",
        "derive.assignments",
        "envoy.endpoints",
    ]


def test_the_work_does_not_grow_with_services_or_proxies() -> None:
    world = mesh(
        "east", two_networks(), *[App("east", f"app{n}", [f"10.0.1.{n}"], vip=f"10.96.1.{n}").rows() for n in range(40)]
    )
    ids = [follow(world, sleeper(index)) for index in range(20)]
    dirty = world.apply([put(helloworld("west", "10.0.0.11", ready=False).slice_row())])
    assert set(dirty) == set(ids)
    assert len(world.recomputed) == 4


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda: put(helloworld("west", "10.0.0.11").slice_row()), id="the same row"),
        pytest.param(lambda: put(helloworld("west", "10.0.0.11").pod_rows()[0]), id="the same pod"),
        pytest.param(
            lambda: put(helloworld("west", "10.0.0.11", service={"created": "2030"}).service_row()), id="a detail"
        ),
    ],
)
def test_nothing_is_said_of_a_change_that_changes_nothing(again: object) -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    assert world.apply([again()]) == {}  # type: ignore[operator]


def test_a_new_service_is_new_names_and_one_more_route() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    extra = App("west", "extra", ["10.0.0.12"], vip="10.96.5.5")
    dirty = world.apply(puts(extra.rows()))
    name = "outbound|5000||extra.sample.svc.cluster.local"
    assert dirty == {SLEEP: {CDS: {name}, RDS: {"5000"}, NDS: {"nds"}}}
    world.subscribe(SLEEP, EDS, [name])
    assert world.resource(SLEEP, EDS, name) is not None
    gone = world.apply([drop(row) for row in extra.rows()])
    assert gone == {SLEEP: {CDS: {name}, EDS: {name}, RDS: {"5000"}, NDS: {"nds"}}}
    assert world.resource(SLEEP, EDS, name) is None
    assert world.resource(SLEEP, CDS, name) is None


def test_a_service_that_returns_is_told_of_to_who_still_asks_for_it() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    rows = [*helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13").rows(), *helloworld("west", "10.0.0.11").rows()]
    gone = world.apply([drop(row) for row in rows])
    assert gone[SLEEP][EDS] == {HELLO}
    back = world.apply(puts(rows))
    assert back[SLEEP][EDS] == {HELLO}
    assert world.resource(SLEEP, EDS, HELLO) is not None


def test_every_eds_cluster_has_an_assignment_and_every_route_is_there() -> None:
    world = mesh("east", two_networks(), App("east", "empty", [], vip="10.96.6.6").rows())
    for proxy in (sleeper(), router("east", "net-east")):
        follow(world, proxy)
        named = {name for name in world.resources(proxy.id, CDS) if name.startswith("outbound")}
        assert set(world.resources(proxy.id, EDS)) == named
    ports = {name.removeprefix("0.0.0.0_") for name in world.resources(SLEEP, LDS) if name.startswith("0.0.0.0_")}
    assert set(world.resources(SLEEP, RDS)) == ports | {"inbound|80||"}


def test_alike_proxies_share_their_resources() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper(0))
    evaluated = len(world.recomputed)
    follow(world, sleeper(1))
    assert {table for table, _ in world.recomputed} == {"derive.workload_mode", "derive.scopes"}
    assert evaluated > 20
    for type_url in TYPES:
        for name in world.resources(SLEEP, type_url):
            one = world.resource(SLEEP, type_url, name)
            assert world.resource("sleep-east-1.sample@east", type_url, name) is one


def test_nothing_stays_when_the_last_proxy_leaves() -> None:
    world = mesh("east", two_networks())
    for proxy in (sleeper(0), sleeper(1), router("east", "net-east")):
        follow(world, proxy)
    for proxy_id in (SLEEP, "sleep-east-1.sample@east", "gw-0.istio-system@east"):
        assert world.table("derive.scopes")
        world.disconnect(proxy_id)
    derived = [name for name in world.tables() if name.startswith(("derive.", "envoy."))]
    assert {name: world.table(name) for name in derived if world.table(name)} == {}
    assert world.proxies == []
    assert world.resource(SLEEP, EDS, HELLO) is None


def test_unsubscribed_names_are_dropped() -> None:
    world = mesh("east", two_networks())
    world.connect(sleeper())
    world.subscribe(SLEEP, EDS, [HELLO])
    assert len(world.table("envoy.endpoints")) == 1
    world.unsubscribe(SLEEP, EDS, [HELLO])
    assert world.table("envoy.endpoints") == []
    assert world.apply([put(helloworld("west", "10.0.0.11", ready=False).slice_row())]) == {}


def test_a_proxy_that_changes_its_mind_holds_what_it_asks_for() -> None:
    world = mesh("east", two_networks())
    world.connect(sleeper())
    world.subscribe(SLEEP, EDS, [HELLO])
    world.subscribe(SLEEP, EDS, ["*"])
    world.unsubscribe(SLEEP, EDS, ["*"])
    assert [name for (_, name), _ in world.table("envoy.endpoints")] == [HELLO]
    world.subscribe(SLEEP, EDS, ["no|such|thing", "outbound|5000||soon.sample.svc.cluster.local"])
    dirty = world.apply(puts(App("east", "soon", ["10.0.0.77"], vip="10.96.7.1").rows()))
    assert dirty == {SLEEP: {EDS: {"outbound|5000||soon.sample.svc.cluster.local"}}}


def test_other_labels_mean_other_scopes_and_the_usual_difference() -> None:
    strict = PeerAuthentication(
        cluster="east", namespace="sample", name="s", selector=labels({"tier": "strict"}), mode=MtlsMode.STRICT
    )
    world = mesh("east", two_networks(), strict)
    follow(world, sleeper())
    old = world.resource(SLEEP, LDS, "virtualInbound")
    dirty = world.apply([put(sleeper(labels=labels({"app": "sleep", "tier": "strict"})))])
    assert dirty == {SLEEP: {LDS: {"virtualInbound"}}}
    assert world.resource(SLEEP, LDS, "virtualInbound") != old
    moved = world.apply([put(sleeper(network="net-west"))])
    assert LDS in moved[SLEEP]
    assert HELLO in moved[SLEEP][EDS]


def test_a_policy_reaches_those_it_selects() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper(0))
    follow(world, sleeper(1, labels=labels({"app": "sleep", "tier": "strict"})))
    strict = PeerAuthentication(
        cluster="east", namespace="sample", name="s", selector=labels({"tier": "strict"}), mode=MtlsMode.STRICT
    )
    assert world.apply([put(strict)]) == {"sleep-east-1.sample@east": {LDS: {"virtualInbound"}}}
    assert world.apply([put(msgspec.structs.replace(strict, cluster="west", selector=()))]) == {}


def test_a_lost_cluster_is_one_replacement_of_each_table() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    dirty = world.apply([replace(EndpointSlice, "west")])
    assert dirty == {SLEEP: {EDS: {HELLO}}}
    again = world.apply([replace(EndpointSlice, "west", helloworld("west", "10.0.0.11").slice_row())])
    assert again == {SLEEP: {EDS: {HELLO}}}


def test_proxies_come_and_go_as_rows() -> None:
    world = mesh("east", two_networks())
    world.apply([put(sleeper(0)), put(sleeper(1))])
    assert sorted(proxy.id for proxy in world.proxies) == [SLEEP, "sleep-east-1.sample@east"]
    world.apply([replace(Proxy, "east", sleeper(1), sleeper(2))])
    assert sorted(proxy.name for proxy in world.proxies) == ["sleep-east-1", "sleep-east-2"]
    world.subscribe("sleep-east-2.sample@east", EDS, [HELLO])
    world.apply([drop(sleeper(2))])
    assert world.table("envoy.endpoints") == []


def test_rules_of_the_clients_namespace_count_for_its_clients_only() -> None:
    world = mesh("east", two_networks())
    own = msgspec.structs.replace(sleeper(), namespace="private")
    for proxy in (sleeper(), own):
        follow(world, proxy)
    rule = DestinationRule(
        cluster="east",
        namespace="private",
        name="r",
        host="helloworld.sample.svc.cluster.local",
        policy=TrafficPolicy(tls_mode="DISABLE"),
    )
    dirty = world.apply([put(rule)])
    assert dirty == {own.id: {CDS: {HELLO}, EDS: {HELLO}}}
    assert world.resource(own.id, CDS, HELLO) != world.resource(SLEEP, CDS, HELLO)
    assert world.apply([drop(rule)]) == {own.id: {CDS: {HELLO}, EDS: {HELLO}}}
    assert world.resource(own.id, CDS, HELLO) is world.resource(SLEEP, CDS, HELLO)


def test_outlier_detection_in_a_rule_makes_its_service_prefer_what_is_near() -> None:
    world = mesh("east", two_networks())
    follow(world, sleeper())
    rule = DestinationRule(
        cluster="east",
        namespace="sample",
        name="r",
        host="helloworld.sample.svc.cluster.local",
        policy=TrafficPolicy(outlier_detection=OutlierDetection(consecutive_5xx=7)),
    )
    assert world.apply([put(rule)]) == {SLEEP: {CDS: {HELLO}, EDS: {HELLO}}}
    ((_, assignment),) = [
        row for row in world.table("derive.assignments") if row[0][0].place and row[0][1][1] == "helloworld"
    ]
    assert [(member.cluster, member.priority) for member in assignment.members] == [
        ("east", 0),
        ("east", 0),
        ("east", 0),
        ("west", 1),
    ]


def test_services_of_the_own_node_stay_on_it() -> None:
    local = App("east", "local", ["10.0.0.91", "10.0.0.92"], vip="10.96.9.1", service={"internal_traffic_local": True})
    slices = local.slice_row()
    apart = tuple(msgspec.structs.replace(e, node=f"n{i}") for i, e in enumerate(slices.endpoints))
    world = mesh("east", two_networks(), local.rows(), msgspec.structs.replace(slices, endpoints=apart))
    name = "outbound|5000||local.sample.svc.cluster.local"
    for index in range(3):
        follow(world, sleeper(index, node=f"n{index}"))
    found = []
    for index in range(3):
        one = world.resource(f"sleep-east-{index}.sample@east", EDS, name)
        assert one is not None
        found.append([ip for ip in local.ips if ip.encode() in one.body])
    assert found == [["10.0.0.91"], ["10.0.0.92"], []]
    dirty = world.apply([put(msgspec.structs.replace(local.service_row(), internal_traffic_local=False))])
    assert all(types[EDS] == {name} for types in dirty.values())


def test_gateways_are_known_whether_used_or_not() -> None:
    world = mesh("east", two_networks(west_gateways=("172.18.0.2", "172.18.0.3")))
    assert [(gateway.network, gateway.address) for gateway in world.gateways()] == [
        ("net-east", "172.18.0.1"),
        ("net-west", "172.18.0.2"),
        ("net-west", "172.18.0.3"),
    ]
    assert world.table("derive.gateways") == []


def test_a_gateway_serves_when_its_gateway_object_comes() -> None:
    rows = [row for row in two_networks() if row.TABLE != "gateways"]
    world = mesh("east", rows)
    gateway_id = follow(world, router("east", "net-east"))
    assert world.resources(gateway_id, LDS) == {}
    dirty = world.apply([put(cross_network("east"))])
    assert dirty[gateway_id][LDS] == {"0.0.0.0_15443"}
    assert "outbound_.5000_._.helloworld.sample.svc.cluster.local" in dirty[gateway_id][CDS]


def test_unknown_types_proxies_and_tables() -> None:
    world = mesh("east", two_networks())
    assert world.resources(SLEEP, CDS) == {}
    world.connect(sleeper())
    assert world.resources(SLEEP, "type.googleapis.com/other") == {}
    assert world.resource(SLEEP, "type.googleapis.com/other", "x") is None
    with pytest.raises(KeyError):
        world.table("nothing")
    world.disconnect("nobody")


# -- oracle: random histories end where a fresh build of what is left begins ------------------------------------------

IPS = [f"10.0.0.{number}" for number in range(11, 15)]
NAMES = ("alpha", "beta")


@st.composite
def mesh_configs(draw: st.DrawFn) -> Row:
    """Mesh configuration or networks."""
    local = ServiceSetting((draw(st.sampled_from(("*.local", "alpha.sample.svc.cluster.local"))),), cluster_local=True)
    networks = (
        NetworkDefinition("net-west", gateways=(NetworkEntry(15443, address="9.9.9.9"),)),
        NetworkDefinition("other", ("west",)),
    )
    return draw(
        st.sampled_from(
            (
                MeshConfig(cluster="east", name="istio", allow_any=draw(st.booleans())),
                MeshConfig(cluster="east", name="istio", service_settings=(local,)),
                MeshNetworks(cluster="east", name="istio", networks=networks[: draw(st.integers(0, 2))]),
            )
        )
    )


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """One change of a small world, good for any history."""
    kind = draw(
        st.sampled_from(
            ("slice", "pods", "service", "policy", "gateway", "rule", "network", "proxy", "config", "standing")
        )
    )
    where = draw(st.sampled_from(("east", "west")))
    app = App(
        where,
        draw(st.sampled_from(NAMES)),
        draw(st.lists(st.sampled_from(IPS), unique=True, max_size=3)),
        vip=draw(st.sampled_from(("10.96.0.1", "10.96.0.2", ""))),
        ports=draw(st.sampled_from(((port(80),), (port(80), port(90)), (port(80, target="8080"),)))),
        mesh=draw(st.booleans()),
        ready=draw(st.booleans()),
    )
    choices: dict[str, list[Row]] = {
        "slice": [app.slice_row()],
        "pods": [*app.pod_rows()[:1]] or [app.slice_row()],
        "service": [app.service_row()],
        "policy": [
            PeerAuthentication(
                cluster=where,
                namespace="sample",
                name="p",
                mode=draw(st.sampled_from(tuple(MtlsMode))),
                selector=draw(st.sampled_from(((), labels({"app": "alpha"})))),
            )
        ],
        "gateway": gateway(where, f"net-{where}", *draw(st.sampled_from((("1.1.1.1",), ("1.1.1.1", "1.1.1.2"), ())))),
        "rule": [
            DestinationRule(
                cluster="east",
                namespace=draw(st.sampled_from(("sample", "other"))),
                name="r",
                host=draw(st.sampled_from(("alpha.sample.svc.cluster.local", "*.local"))),
                policy=TrafficPolicy(
                    tls_mode=draw(st.sampled_from(("", "DISABLE"))),
                    outlier_detection=draw(st.none() | st.just(OutlierDetection(interval=9.0))),
                ),
            )
        ],
        "network": cluster(where, draw(st.sampled_from((f"net-{where}", "", "shared"))))[1:2],
        "standing": [
            ClusterStanding(
                cluster=where,
                name=where,
                weight=draw(st.sampled_from((0, 50, 100))),
                demoted=draw(st.booleans()),
                declared=draw(st.booleans()),
            )
        ],
        "proxy": [sleeper(draw(st.integers(0, 2)), namespace=draw(st.sampled_from(("sample", "other"))))],
    }
    choices["config"] = [draw(mesh_configs())]
    row = draw(st.sampled_from(choices[kind]))
    return put(row) if draw(st.integers(0, 3)) else drop(row)


def test_the_oracle_of_random_histories() -> None:
    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(st.lists(st.lists(changes(), max_size=4), max_size=8))
    def check(history: list[list[Change]]) -> None:
        world = mesh("east", two_networks())
        watchers = [sleeper(7), sleeper(8, namespace="other"), router("east", "net-east")]
        held: dict[tuple[str, str], dict[str, XdsResource]] = {
            (follow(world, watcher), type_url): {} for watcher in watchers for type_url in TYPES
        }
        for proxy_id, type_url in held:
            held[proxy_id, type_url] = dict(world.resources(proxy_id, type_url))
        for step in history:
            dirty = world.apply(step)
            for (proxy_id, type_url), known in held.items():
                told = dirty.get(proxy_id, {}).get(type_url, set())
                now = world.resources(proxy_id, type_url)
                differ = {name for name in known.keys() | now.keys() if known.get(name) != now.get(name)}
                subscribed = known.keys() if type_url in (EDS, RDS) else known.keys() | now.keys()
                assert differ & subscribed <= told
                if type_url in (EDS, RDS):
                    world.subscribe(proxy_id, type_url, list(now))
                held[proxy_id, type_url] = dict(now)
        fresh = Mesh(world.settings)
        for kind in OBSERVED:
            fresh.apply(puts([row for _, row in world.table(kind.TABLE)]))
        for (proxy_id, type_url), known in held.items():
            assert known == fresh.resources(proxy_id, type_url)
        assert fresh.problems() == world.problems()

    check()
