"""Where traffic goes by place, through the whole of the mesh: what clients hold, and whom a change concerns."""

from typing import Any

import msgspec
import pytest

from isthmus.envoy.spread import nothing_gone, spread
from isthmus.graph.mesh import Mesh
from isthmus.model.external import EntryAddress, Resolution, ServiceEntry
from isthmus.model.locality import Distribution, LocalitySetting
from isthmus.model.mesh_config import MeshConfig
from isthmus.model.rows import (
    DestinationRule,
    Locality,
    Namespace,
    Node,
    OutlierDetection,
    Proxy,
    Row,
    TrafficPolicy,
)
from isthmus.xds.resource import CDS, EDS
from tests.graph.calls import config
from tests.graph.test_gateways import HTTP, at
from tests.graph.test_gateways import gateway as gateway_at
from tests.graph.test_routing import to
from tests.graph.world import App, cluster, cross_network, drop, gateway, helloworld, mesh, port, put, router, sleep

HELLO = "outbound|5000||helloworld.sample.svc.cluster.local"
OUTLIERS = OutlierDetection(interval=1)


def node(name: str, where: str) -> Node:
    """A node in region/zone."""
    region, _, zone = where.partition("/")
    return Node(cluster="east", name=name, locality=Locality(region, zone))


def spread_over(app: App, *nodes: str) -> list[Row]:
    """The rows of an app with its pods on these nodes, one after the other."""
    slice_row = app.slice_row()
    endpoints = [msgspec.structs.replace(e, node=n) for e, n in zip(slice_row.endpoints, nodes, strict=True)]
    pods: list[Row] = [msgspec.structs.replace(p, node=n) for p, n in zip(app.pod_rows(), nodes, strict=True)]
    return [app.service_row(), msgspec.structs.replace(slice_row, endpoints=tuple(endpoints)), *pods]


def world(*more: Row, **service: Any) -> Mesh:
    """East in two zones of r1 and one of r2, west behind two gateways in another network; a caller on any node."""
    east = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13", service=service)
    west = helloworld("west", "10.0.0.11", "10.0.0.12", "10.0.0.13", service=service)
    west_zones = [
        msgspec.structs.replace(node(name, where), cluster="west") for name, where in (("a", "r1/z1"), ("b", "r3/z9"))
    ]
    return mesh(
        "east",
        cluster("east", "net-east", config=True),
        cluster("west", "net-west"),
        [node("a", "r1/z1"), node("b", "r1/z2"), node("c", "r2/z1"), *west_zones],
        spread_over(east, "a", "b", "c"),
        spread_over(west, "a", "b", "b"),
        sleep().rows(),
        gateway("west", "net-west", "172.18.0.2", "172.18.0.3"),
        cross_network("east"),
        list(more),
    )


def caller(where: str = "a", **fields: Any) -> Proxy:
    """The sidecar of a caller on a node."""
    made = sleep().sidecar(network="net-east", node=where)
    return msgspec.structs.replace(made, **({"name": f"sleep-{where}"} | fields))


NAMES = {"10.0.0.11": "a", "10.0.0.12": "b", "10.0.0.13": "c", "172.18.0.2": "gateway", "172.18.0.3": "gateway"}


def shares(made: Mesh, proxy: Proxy, gone: str = "") -> dict[str, float]:
    """node, or gateway -> share of the proxy's traffic when some are gone."""
    assignment = config(made, proxy).assignment(HELLO)
    assert assignment is not None
    found: dict[str, float] = {}
    for one in spread(assignment, (lambda m: NAMES[m.address] in gone.split()) if gone else nothing_gone):
        if one.share:
            name = NAMES[one.member.address]
            found[name] = found.get(name, 0) + round(one.share, 4)
    return found


def rule(namespace: str = "sample", **fields: Any) -> DestinationRule:
    """A rule for helloworld."""
    return DestinationRule(
        cluster="east",
        namespace=namespace,
        name="near",
        host="helloworld.sample.svc.cluster.local",
        policy=TrafficPolicy(**fields),
    )


EVEN = {"a": 0.1667, "b": 0.1667, "c": 0.1667, "gateway": 0.5}


def test_without_a_preference_every_endpoint_counts_the_same_wherever_the_caller_is() -> None:
    made = world()
    assert {name: round(share, 3) for name, share in shares(made, caller("a")).items()} == pytest.approx(EVEN, abs=1e-3)
    assert made.scopes(caller("a").id) == made.scopes(caller("a").id)


def test_failover_prefers_the_network_then_the_place() -> None:
    made = world(rule(outlier_detection=OUTLIERS))
    assert shares(made, caller("a")) == {"a": 1}
    assert shares(made, caller("b")) == {"b": 1}
    assert shares(made, caller("a"), "a") == {"b": 1}
    assert shares(made, caller("a"), "a b") == {"c": 1}
    assert shares(made, caller("a"), "a b c") == {"gateway": 1}
    assert shares(made, caller("a"), "a b c gateway") == {}


def test_failover_by_region_takes_the_gateway_for_what_is_behind_it() -> None:
    made = world(rule(outlier_detection=OUTLIERS, locality=LocalitySetting(failover=(("r1", "r3"),))))
    # One of three behind the gateways is in the caller's zone.
    assert shares(made, caller("a")) == {"a": 0.5, "gateway": 0.5}
    assert shares(made, caller("c")) == {"c": 1}


def test_failover_priority_goes_by_the_clients_labels() -> None:
    made = world(
        rule(outlier_detection=OUTLIERS, locality=LocalitySetting(failover_priority=("topology.kubernetes.io/zone",)))
    )
    assert shares(made, caller("a")) == {"a": 0.3333, "c": 0.3333, "gateway": 0.3334}


def test_distribution_by_place_is_exact_over_zones_and_gateways() -> None:
    to = (("r1/z1/*", 50), ("r2/*", 30), ("r3/*", 20))
    made = world(rule(locality=LocalitySetting(distribute=(Distribution("r1/*", to),))))
    # 50 % are for two pods, one of them behind the gateways, as are the 20 % of r3.
    assert shares(made, caller("b")) == {"a": 0.25, "c": 0.3, "gateway": 0.45}
    assert shares(made, caller("c")) == pytest.approx(EVEN, abs=1e-3)


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("PreferSameZone", {"a": 1}),
        ("PreferSameNode", {"a": 1}),
        ("PreferRegion", {"a": 0.5, "b": 0.5}),
        ("PreferNetwork", {"a": 0.3333, "b": 0.3333, "c": 0.3333}),
    ],
)
def test_traffic_distribution_of_service_and_namespace_lb9(distribution: str, expected: dict[str, float]) -> None:
    said = world(traffic_distribution=distribution)
    assert shares(said, caller("a")) == expected
    sample = Namespace(cluster="east", name="sample", traffic_distribution=distribution)
    inherited = world(sample)
    assert shares(inherited, caller("a")) == expected
    hidden = world(sample, traffic_distribution="Any")
    assert shares(hidden, caller("a")) == shares(world(), caller("a"))


def test_the_mesh_says_it_for_all_and_a_rule_for_one() -> None:
    everywhere = MeshConfig(cluster="east", name="istio", outlier_detection=OUTLIERS)
    made = world(everywhere)
    assert shares(made, caller("a")) == {"a": 1}
    made.apply([put(rule(locality=LocalitySetting(enabled=False)))])
    assert shares(made, caller("a")) == pytest.approx(EVEN, abs=1e-3)
    made.apply([drop(rule())])
    assert shares(made, caller("a")) == {"a": 1}


def follow(made: Mesh, *proxies: Proxy) -> None:
    """Connect these and subscribe to helloworld's cluster and endpoints."""
    for proxy in proxies:
        made.connect(proxy)
        made.subscribe(proxy.id, CDS, ["*"])
        made.subscribe(proxy.id, EDS, [HELLO])


def test_a_rule_of_the_callers_namespace_counts_for_its_callers_only() -> None:
    made = world(rule("own", outlier_detection=OUTLIERS))
    assert shares(made, caller("a", namespace="own")) == {"a": 1}
    assert shares(made, caller("a")) == pytest.approx(EVEN, abs=1e-3)


def test_callers_in_one_place_share_what_they_see_and_others_are_not_split() -> None:
    other = App("east", "other", ["10.0.0.91"], vip="10.96.0.91", service={"traffic_distribution": "PreferSameNode"})
    made = world(*other.rows(), traffic_distribution="PreferSameZone")
    near, neighbour, far = caller("a", name="s1"), caller("a", name="s2"), caller("b", name="s3")
    made.apply([put(node("a2", "r1/z1"))])
    same_zone = caller("a2", name="s4")
    follow(made, near, neighbour, far, same_zone)
    assert made.resource(near.id, EDS, HELLO) is made.resource(same_zone.id, EDS, HELLO)
    assert made.resource(near.id, EDS, HELLO) != made.resource(far.id, EDS, HELLO)
    assert made.scopes(near.id) == made.scopes(neighbour.id)
    assert len(set(made.scopes(near.id)) & set(made.scopes(same_zone.id))) == len(made.scopes(near.id)) - 1


def test_work_follows_the_change() -> None:
    made = world(node("x", "r1/z1"), traffic_distribution="PreferSameZone")
    near, far = caller("x"), caller("c")
    follow(made, near, far)
    assert shares(made, near) == {"a": 1}
    assert made.apply([put(node("x", "r1/z2"))]) == {near.id: {EDS: {HELLO}}}
    assert shares(made, near) == {"b": 1}
    dirty = made.apply([put(rule(locality=LocalitySetting(enabled=False)))])
    assert {proxy: set(types) for proxy, types in dirty.items()} == {near.id: {CDS, EDS}, far.id: {CDS, EDS}}


def test_a_pod_that_is_not_ready_makes_its_zone_hand_on_what_it_cannot_carry() -> None:
    made = world(traffic_distribution="PreferRegion")
    assert shares(made, caller("a")) == {"a": 0.5, "b": 0.5}
    app = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13")
    slice_row = app.slice_row()
    endpoints = tuple(
        msgspec.structs.replace(e, node=n, ready=n != "b") for e, n in zip(slice_row.endpoints, "abc", strict=True)
    )
    made.apply([put(msgspec.structs.replace(slice_row, endpoints=endpoints))])
    assert shares(made, caller("a")) == {"a": 0.7, "c": 0.3}


def test_a_gateway_that_opens_requests_prefers_what_is_near_it() -> None:
    route = at({"http": [to("helloworld")]})
    made = world(gateway_at(HTTP), route, traffic_distribution="PreferSameZone")
    found = []
    for where in ("a", "c"):
        proxy = msgspec.structs.replace(
            router("east", "net-east", pod=f"gw-{where}"), node=where, requested_network_view=()
        )
        found.append(shares(made, proxy))
    assert found == [{"a": 1}, {"c": 1}]


@pytest.mark.parametrize("of", ["entry", "namespace"])
def test_traffic_distribution_of_a_service_entry_and_its_namespace_lb9(of: str) -> None:
    said: dict[str, Any] = {"traffic_distribution": "PreferRegion"}
    entry = ServiceEntry(
        cluster="east",
        namespace="sample",
        name="vms",
        hosts=("vms.example",),
        addresses=("240.0.0.9",),
        ports=(port(80),),
        internal=True,
        resolution=Resolution.STATIC,
        endpoints=tuple(
            EntryAddress(address=address, locality=Locality(region), network="net-east")
            for address, region in (("10.0.9.1", "r1"), ("10.0.9.2", "r2"))
        ),
        **(said if of == "entry" else {}),
    )
    made = world(entry, Namespace(cluster="east", name="sample", **(said if of == "namespace" else {})))
    found = config(made, caller("a")).assignment("outbound|80||vms.example")
    assert found is not None
    assert [(one.member.address, one.share) for one in spread(found)] == [("10.0.9.1", 1), ("10.0.9.2", 0)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"locality": LocalitySetting(failover=(("r1", "r3"),))}, True),
        ({"locality": LocalitySetting(failover_priority=("k",))}, True),
        ({"locality": LocalitySetting(failover_priority=("k",)), "outlier_detection": OUTLIERS}, False),
        ({"locality": LocalitySetting(failover_priority=("k",), enabled=False)}, False),
        ({"locality": LocalitySetting()}, False),
    ],
)
def test_failover_without_outlier_detection_is_told(said: dict[str, Any], told: bool) -> None:
    made = world(rule(**said))
    before = {problem.field for problem in made.problems()}
    assert ("spec.trafficPolicy.loadBalancer.localityLbSetting" in before) is told
    made.apply([put(MeshConfig(cluster="east", name="istio", outlier_detection=OUTLIERS))])
    assert "spec.trafficPolicy.loadBalancer.localityLbSetting" not in {problem.field for problem in made.problems()}


def test_readiness_is_told_both_ways() -> None:
    made = world(rule(outlier_detection=OUTLIERS))
    follow(made, caller("a"))
    slice_row = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13").slice_row()
    for ready, expected in ((False, {"b": 1}), (True, {"a": 1}), (False, {"b": 1}), (True, {"a": 1})):
        endpoints = tuple(
            msgspec.structs.replace(e, node=n, ready=ready or n != "a")
            for e, n in zip(slice_row.endpoints, "abc", strict=True)
        )
        dirty = made.apply([put(msgspec.structs.replace(slice_row, endpoints=endpoints))])
        assert dirty == {caller("a").id: {EDS: {HELLO}}}
        assert shares(made, caller("a")) == expected
