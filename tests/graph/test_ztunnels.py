"""What ztunnels are told, and what a change costs: workloads, services and policies through the mesh."""

import sys
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from msgspec.structs import replace as changed

from isthmus.graph.mesh import Mesh
from isthmus.model.liveness import ClusterStanding
from isthmus.model.managed import WAYPOINT_CLASS, Listener, ManagedGateway
from isthmus.model.mesh_config import MeshConfig, ServiceSetting
from isthmus.model.peering import PeerEndpoints, PeerLink, PeerService
from isthmus.model.policy import EVERYTHING, AuthorizationPolicy, PolicyAction
from isthmus.model.rows import (
    Locality,
    MtlsMode,
    Namespace,
    PeerAuthentication,
    Protocol,
    Proxy,
    Row,
    SliceEndpoint,
    labels,
)
from isthmus.proto import workload_pb2
from isthmus.xds.resource import ADDRESS, AUTHORIZATION, XdsResource
from isthmus.xds.wire import delta_response
from tests.graph.test_service_scopes import FOREIGN, exported, link
from tests.graph.world import SYSTEM, App, cluster, drop, helloworld, mesh, port, put, sleep
from tests.ztunnel.client import Ztunnel

LB = workload_pb2.LoadBalancing
HELLO = "sample/helloworld.sample.svc.cluster.local"
MESH_HELLO = "helloworld.sample.mesh.internal"


def pod_name(app: App, index: int = 0) -> str:
    return f"{app.cluster}//Pod/{app.namespace}/{app.pod(index)}"


def ztunnel(name: str = "east", network: str = "") -> Proxy:
    return Proxy(
        cluster=name, namespace=SYSTEM, name=f"ztunnel-{name}", type="ztunnel", network=network, node=f"{name}-node"
    )


def follow(world: Mesh, proxy: Proxy | None = None) -> str:
    proxy = proxy or ztunnel()
    world.connect(proxy)
    for type_url in (ADDRESS, AUTHORIZATION):
        world.subscribe(proxy.id, type_url, ["*"])
    return proxy.id


def one_network(*more: Row) -> Mesh:
    """Two clusters on one network."""
    return mesh(
        "east",
        [*cluster("east", "n", config=True), *cluster("west", "n")],
        [Namespace(cluster=name, name="sample") for name in ("east", "west")],
        helloworld("east", "10.0.0.11", "10.0.0.12").rows(),
        helloworld("west", "10.0.1.11", vip="10.97.0.1").rows(),
        sleep().rows(),
        list(more),
    )


def workload(world: Mesh, name: str, proxy: str = "ztunnel-east.istio-system@east") -> workload_pb2.Workload:
    found = world.resource(proxy, ADDRESS, name)
    assert found is not None, f"{name} is not among {sorted(world.resources(proxy, ADDRESS))}"
    return workload_pb2.Address.FromString(found.body).workload


def service(world: Mesh, name: str = HELLO, proxy: str = "ztunnel-east.istio-system@east") -> workload_pb2.Service:
    found = world.resource(proxy, ADDRESS, name)
    assert found is not None, f"{name} is not among {sorted(world.resources(proxy, ADDRESS))}"
    return workload_pb2.Address.FromString(found.body).service


def test_pods_of_all_clusters_on_the_network_are_workloads() -> None:
    """AM5, AM9"""
    world = one_network()
    follow(world)
    names = set(world.resources("ztunnel-east.istio-system@east", ADDRESS))
    assert names == {
        "east//Pod/sample/helloworld-east-0",
        "east//Pod/sample/helloworld-east-1",
        "west//Pod/sample/helloworld-west-0",
        "east//Pod/sample/sleep-east-0",
        HELLO,
        "sample/sleep.sample.svc.cluster.local",
    }
    found = workload(world, "west//Pod/sample/helloworld-west-0")
    assert dict(found.services) == {
        HELLO: workload_pb2.PortList(ports=[workload_pb2.Port(service_port=5000, target_port=5000)])
    }
    assert (found.cluster_id, found.network, found.service_account, found.node) == (
        "west", "n", "helloworld", "west-node",
    )  # fmt: skip
    assert found.locality.region == "west-region"
    assert list(found.addresses) == [bytes((10, 0, 1, 11))]


def test_a_captured_pod_takes_hbone() -> None:
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    world = one_network(changed(pod, redirection="enabled"))
    follow(world)
    assert workload(world, "east//Pod/sample/helloworld-east-0").tunnel_protocol == workload_pb2.HBONE
    assert workload(world, "east//Pod/sample/helloworld-east-1").tunnel_protocol == workload_pb2.NONE
    world.apply([put(changed(pod, redirection="pending"))])
    assert workload(world, "east//Pod/sample/helloworld-east-0").tunnel_protocol == workload_pb2.NONE


@pytest.mark.parametrize(
    ("serves", "redirection", "through"),
    [("all", "enabled", True), ("workload", "enabled", True), ("service", "enabled", False), ("all", "", False)],
)
def test_a_captured_pods_own_address_is_behind_its_waypoint(serves: str, redirection: str, through: bool) -> None:
    listener = Listener("mesh", 15008, "HBONE")
    marks = labels({"istio.io/waypoint-for": serves})
    gate = ManagedGateway(
        cluster="east", namespace="sample", name="gate", class_name=WAYPOINT_CLASS, listeners=(listener,), labels=marks
    )
    entry = App("east", "gate", ["10.0.0.41"], vip="10.96.0.41", ports=(port(15008, Protocol.TCP),))
    pod = changed(
        helloworld("east", "10.0.0.11").pod_rows()[0],
        redirection=redirection,
        labels=labels({"app": "helloworld", "istio.io/use-waypoint": "gate"}),
    )
    world = one_network(gate, *entry.rows(), pod)
    follow(world)
    found = workload(world, "east//Pod/sample/helloworld-east-0")
    assert found.waypoint.hostname.hostname == ("gate.sample.svc.cluster.local" if through else "")
    assert not service(world).waypoint.hostname.hostname


def test_a_pod_of_the_nodes_own_network_is_not_found_by_its_address() -> None:
    pod = changed(sleep().pod_rows()[0], host_network=True)
    world = one_network(pod)
    follow(world)
    assert workload(world, "east//Pod/sample/sleep-east-0").network_mode == workload_pb2.HOST_NETWORK


def test_a_service_has_the_addresses_of_the_viewers_cluster() -> None:
    """Ranges of clusters may overlap: each is told only what its own workloads call."""
    world = one_network()
    follow(world)
    follow(world, ztunnel("west"))
    east, west = (service(world, HELLO, f"ztunnel-{name}.istio-system@{name}") for name in ("east", "west"))
    assert [bytes(one.address) for one in east.addresses] == [bytes((10, 96, 0, 1))]
    assert [bytes(one.address) for one in west.addresses] == [bytes((10, 97, 0, 1))]
    assert {one.network for one in (*east.addresses, *west.addresses)} == {"n"}
    assert east.canonical


def test_one_pod_that_changes_costs_one_workload() -> None:
    world = one_network()
    me = follow(world)
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    assert world.apply([put(changed(pod, ready=False))]) == {me: {ADDRESS: {"east//Pod/sample/helloworld-east-0"}}}
    ours = [table for table, _ in world.recomputed if table.startswith("ztunnel.")]
    assert ours == ["ztunnel.workloads", "ztunnel.wrapped", "ztunnel.addresses"]
    assert workload(world, "east//Pod/sample/helloworld-east-0").status == workload_pb2.UNHEALTHY


def calls_of_adding_a_pod(others: int) -> int:
    """How many functions are called for one more pod, where there are so many."""
    pod = sleep().pod_rows()[0]
    rows: list[Row] = [
        changed(pod, name=f"p{number}", addresses=(f"10.1.{number >> 8}.{number & 255}",)) for number in range(others)
    ]
    world = mesh("east", [*cluster("east", "n", config=True)], [Namespace(cluster="east", name="sample")], rows)
    me = follow(world)
    count = 0

    def counting(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        found = world.apply([put(changed(pod, name="new", addresses=("10.9.0.1",)))])
    finally:
        sys.setprofile(None)
    assert found == {me: {ADDRESS: {"east//Pod/sample/new"}}}
    return count


def test_one_pod_more_costs_the_same_among_many() -> None:
    few, many = calls_of_adding_a_pod(1000), calls_of_adding_a_pod(8000)
    assert many < few * 1.3


# -- other networks ---------------------------------------------------------------------------------------------------


def tunnel_gateway(name: str, *addresses: str) -> list[Row]:
    """A labelled Service that takes HBONE, and the pod behind it."""
    app = App(name, "eastwest", ["10.0.0.200"], namespace=SYSTEM, ports=(port(15008, Protocol.TCP, name="hbone"),))
    network = {"topology.istio.io/network": f"net-{name}"}
    service = changed(app.service_row(), type="LoadBalancer", labels=labels(network), ingress_addresses=addresses)
    return [service, app.slice_row(), *app.pod_rows()]


def captured(app: App) -> list[Row]:
    """An app of captured pods."""
    return [
        app.service_row(), app.slice_row(), *(changed(pod, redirection="enabled") for pod in app.pod_rows()),
    ]  # fmt: skip


def two_networks(*gateways: str, west: tuple[str, ...] = ("10.0.0.11", "10.0.0.12", "10.0.0.13")) -> Mesh:
    """Both clusters use the same addresses and have their services global; west has a trust domain of its own."""
    is_global = labels({"istio.io/global": "true"})
    return mesh(
        "east",
        [*cluster("east", "net-east", config=True), *cluster("west", "net-west", trust_domain="west.example")],
        [Namespace(cluster=name, name="sample", labels=is_global) for name in ("east", "west")],
        captured(helloworld("east", "10.0.0.11")),
        captured(helloworld("west", *west)),
        captured(sleep()),
        tunnel_gateway("west", *gateways),
    )


def ztunnel_of(world: Mesh, name: str = "east", network: str = "net-east") -> Ztunnel:
    """A ztunnel that was told everything there is now."""
    row = ztunnel(name)
    follow(world, row)
    client = Ztunnel(node=f"{name}-node", cluster=name, network=network, pod=row.name)
    for type_url in (ADDRESS, AUTHORIZATION):
        found = world.resources(row.id, type_url).values()
        client.take(response(type_url, found))
    assert not client.errors
    return client


def response(type_url: str, found: Iterable[XdsResource]) -> discovery_pb2.DeltaDiscoveryResponse:
    data = delta_response(type_url, [one.framed for one in found], nonce="1")
    return discovery_pb2.DeltaDiscoveryResponse.FromString(data)


def test_what_is_behind_gateways_is_reached_through_all_of_them_by_the_number_of_endpoints() -> None:
    """AM5 without AM6: two gateways share three endpoints; the local one has its own part."""
    client = ztunnel_of(two_networks("172.18.0.2", "172.18.0.3"))
    found = client.upstreams("east//Pod/sample/sleep-east-0", "10.96.0.1", 5000)
    assert [(one.protocol, one.to, one.authority, one.capacity) for one in sorted(found)] == [
        ("hbone", "10.0.0.11:15008", "10.0.0.11:5000", 1),
        ("double hbone", "172.18.0.2:15008", "helloworld.sample.svc.cluster.local:5000", 2),
        ("double hbone", "172.18.0.3:15008", "helloworld.sample.svc.cluster.local:5000", 1),
    ]


def test_both_tunnels_know_whom_they_must_meet() -> None:
    """AM7, AM8: the gateway by its account; behind it those of the service, each in its cluster's trust domain."""
    client = ztunnel_of(two_networks("172.18.0.2"))
    [away] = [one for one in client.upstreams("east//Pod/sample/sleep-east-0", "10.96.0.1", 5000) if one.inner]
    assert away.outer == {"spiffe://west.example/ns/istio-system/sa/eastwest"}
    assert away.inner == {
        "spiffe://cluster.local/ns/sample/sa/helloworld",
        "spiffe://west.example/ns/sample/sa/helloworld",
    }


def test_no_address_of_another_network_is_told() -> None:
    """Both networks use 10.0.0.11: who is asked for it here is here."""
    client = ztunnel_of(two_networks("172.18.0.2"))
    assert {one.network for one in client.workloads.values() if one.addresses} == {"net-east", "net-west"}
    away = [uid for uid, one in client.workloads.items() if one.addresses and one.network == "net-west"]
    assert away == ["NetworkGateway/net-west/172.18.0.2/15008"]


def test_without_a_gateway_nothing_of_the_other_network_is_there() -> None:
    client = ztunnel_of(two_networks())
    [only] = client.upstreams("east//Pod/sample/sleep-east-0", "10.96.0.1", 5000)
    assert only.to == "10.0.0.11:15008"


def test_a_network_does_not_reach_itself_by_its_gateway() -> None:
    client = ztunnel_of(two_networks("172.18.0.2"), "west", "net-west")
    assert not any("SplitHorizon" in uid or "NetworkGateway" in uid for uid in client.workloads)


def test_endpoints_that_are_gone_take_their_share_with_them() -> None:
    world = two_networks("172.18.0.2", west=("10.0.0.11", "10.0.0.12"))
    me = follow(world)
    split = f"net-west/SplitHorizonWorkload/west/15008/172.18.0.2/{HELLO}"
    split_by_mesh_wide_name = split.replace("helloworld.sample.svc.cluster.local", MESH_HELLO)
    assert workload(world, split).capacity.value == 2
    one = changed(helloworld("west", "10.0.0.11", "10.0.0.12").slice_row())
    gone = tuple(changed_endpoint(end, ready=i == 0) for i, end in enumerate(one.endpoints))
    assert world.apply([put(changed(one, endpoints=gone))]) == {me: {ADDRESS: {split, split_by_mesh_wide_name}}}
    assert workload(world, split).capacity.value == 1
    dirty = world.apply([put(helloworld("west", "10.0.0.11", "10.0.0.12", ready=False).slice_row())])
    assert split in dirty[me][ADDRESS]
    assert world.resource(me, ADDRESS, split) is None


# -- policies ---------------------------------------------------------------------------------------------------------


def peer(mode: MtlsMode, namespace: str = "sample", name: str = "pa", **fields: Any) -> PeerAuthentication:
    return PeerAuthentication(cluster="east", namespace=namespace, name=name, mode=mode, **fields)


APP = labels({"app": "helloworld"})
TARGET = "east//Pod/sample/helloworld-east-0"
CALLER = "spiffe://cluster.local/ns/sample/sa/sleep"


@pytest.mark.parametrize(
    ("rows", "plain"),
    [
        ([], {5000, 5001}),
        ([peer(MtlsMode.STRICT)], set()),
        ([peer(MtlsMode.STRICT, SYSTEM)], set()),
        ([peer(MtlsMode.STRICT, SYSTEM), peer(MtlsMode.PERMISSIVE)], {5000, 5001}),
        ([peer(MtlsMode.STRICT, selector=APP)], set()),
        ([peer(MtlsMode.STRICT, selector=labels({"app": "other"}))], {5000, 5001}),
        ([peer(MtlsMode.STRICT, selector=APP, port_modes=((5001, MtlsMode.DISABLE),))], {5001}),
        ([peer(MtlsMode.PERMISSIVE, selector=APP, port_modes=((5001, MtlsMode.STRICT),))], {5000}),
        (
            [
                peer(MtlsMode.STRICT, SYSTEM),
                peer(MtlsMode.UNSET, selector=APP, port_modes=((5001, MtlsMode.PERMISSIVE),)),
            ],
            {5001},
        ),
        (
            [
                peer(MtlsMode.STRICT, name="older", selector=APP, created="1"),
                peer(MtlsMode.DISABLE, name="newer", selector=APP, created="2"),
            ],
            set(),
        ),
        ([changed(peer(MtlsMode.STRICT), cluster="west")], {5000, 5001}),
    ],
)
def test_peer_authentication_reaches_ztunnel_as_policies(rows: list[Row], plain: set[int]) -> None:
    """AM19, TE5"""
    client = ztunnel_of(one_network(*rows), network="n")
    assert {number for number in (5000, 5001) if client.admits(TARGET, "", port=number)} == plain
    assert all(client.admits(TARGET, CALLER, port=number) for number in (5000, 5001))


def rules(selector: Any = (), namespace: str = "sample", **fields: Any) -> AuthorizationPolicy:
    values = {"name": "p", "selector": selector, "action": PolicyAction.DENY, "rules": EVERYTHING} | fields
    return AuthorizationPolicy(cluster="east", namespace=namespace, **values)


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        (rules(), True),
        (rules(namespace=SYSTEM), True),
        (rules(namespace="other"), False),
        (rules(APP), True),
        (rules(APP, SYSTEM), True),
        (rules(labels({"app": "other"})), False),
        (rules(action=PolicyAction.ALLOW, rules=()), True),
        (rules(action=PolicyAction.CUSTOM), True),
        (rules(action=PolicyAction.AUDIT), False),
        (rules(dry_run=True), False),
        (rules(targets=(("Gateway", "waypoint"),)), False),
        (changed(rules(), cluster="west"), False),
    ],
)
def test_authorization_policies_reach_their_workloads(row: Row, refused: bool) -> None:
    """Those of the config cluster, by selector, namespace or mesh; those for waypoints are not ztunnel's (§2.2)."""
    client = ztunnel_of(one_network(row), network="n")
    assert client.admits(TARGET, CALLER) is not refused


def test_a_new_policy_of_a_namespace_concerns_no_workload_and_one_with_a_selector_only_its_own() -> None:
    world = one_network()
    me = follow(world)
    assert world.apply([put(rules())]) == {me: {AUTHORIZATION: {"sample/p"}}}
    dirty = world.apply([put(rules(APP, name="q"))])
    assert dirty[me][AUTHORIZATION] == {"sample/q"}
    assert dirty[me][ADDRESS] == {
        "east//Pod/sample/helloworld-east-0", "east//Pod/sample/helloworld-east-1",
        "west//Pod/sample/helloworld-west-0",
    }  # fmt: skip
    assert set(world.apply([drop(rules())])) == {me}


# -- what is preferred, and what stays at home ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "mode", "scopes"),
    [
        ({}, LB.UNSPECIFIED_MODE, []),
        ({"traffic_distribution": "PreferSameZone"}, LB.FAILOVER, [LB.NETWORK, LB.REGION, LB.ZONE]),
        (
            {"traffic_distribution": "PreferSameNode"}, LB.FAILOVER,
            [LB.NETWORK, LB.REGION, LB.ZONE, LB.SUBZONE, LB.NODE],
        ),
        ({"traffic_distribution": "PreferNetwork"}, LB.FAILOVER, [LB.NETWORK]),
        ({"internal_traffic_local": True}, LB.STRICT, [LB.NODE]),
    ],
)  # fmt: skip
def test_preferences(fields: dict[str, Any], mode: int, scopes: list[int]) -> None:
    """AM10"""
    app = helloworld("east", "10.0.0.11", service=fields)
    world = one_network(app.service_row())
    follow(world)
    found = service(world).load_balancing
    assert (found.mode, list(found.routing_preference)) == (mode, scopes)


def test_unready_endpoints_count_only_where_the_service_says_so() -> None:
    """AM10"""
    app = helloworld("east", "10.0.0.11", service={"publish_not_ready": True})
    pod = changed(app.pod_rows()[0], ready=False)
    world = one_network(app.service_row(), pod)
    client = ztunnel_of(world, network="n")
    assert "10.0.0.11:5000" in {one.to for one in client.upstreams(SLEEPER, "10.96.0.1", 5000)}
    client = ztunnel_of(one_network(pod), network="n")
    assert "10.0.0.11:5000" not in {one.to for one in client.upstreams(SLEEPER, "10.96.0.1", 5000)}


SLEEPER = "east//Pod/sample/sleep-east-0"


def test_what_is_local_to_a_cluster_is_not_balanced_over_others() -> None:
    """CL4: the pods of both are there, but the other cluster's serve nobody here."""
    local = ServiceSetting(("helloworld.sample.svc.cluster.local",), cluster_local=True)
    world = one_network(MeshConfig(cluster="east", name="istio", service_settings=(local,)))
    client = ztunnel_of(world, network="n")
    assert {one.to for one in client.upstreams(SLEEPER, "10.96.0.1", 5000)} == {"10.0.0.11:5000", "10.0.0.12:5000"}


def test_a_terminating_pod_gets_nothing_new() -> None:
    app = helloworld("east", "10.0.0.11", "10.0.0.12")
    row = app.slice_row()
    leaving = (changed_endpoint(row.endpoints[0], terminating=True), row.endpoints[1])
    client = ztunnel_of(one_network(changed(row, endpoints=leaving)), network="n")
    assert "10.0.0.11:5000" not in {one.to for one in client.upstreams(SLEEPER, "10.96.0.1", 5000)}


def changed_endpoint(end: SliceEndpoint, **fields: Any) -> SliceEndpoint:
    return changed(end, **fields)


def test_a_mesh_wide_name_prefers_its_network_and_leads_where_it_is_global_am3_am11() -> None:
    world = two_networks("172.18.0.2")
    ztunnel_of(world)
    (address,) = dict(world.table("derive.mesh_services"))["sample", MESH_HELLO].addresses[0][1]

    def upstreams(to: str) -> list[str]:
        return [one.to for one in ztunnel_of(world).upstreams(SLEEPER, to, 5000)]

    assert upstreams(address) == ["10.0.0.11:15008"]
    gone = helloworld("east", "10.0.0.11", ready=False)
    world.apply([put(gone.slice_row()), *(put(changed(pod, ready=False)) for pod in gone.pod_rows())])
    assert upstreams(address) == upstreams("10.96.0.1") == ["172.18.0.2:15008"]
    world.apply([put(Namespace(cluster="west", name="sample"))])
    assert upstreams(address) == upstreams("10.96.0.1") == []


def peered(gateway_identity: str) -> Mesh:
    """East is read, west is a peer that exports helloworld, entered by a link."""
    link = PeerLink(
        cluster="east", namespace=SYSTEM, name="west", peer="west", network="net-west", addresses=("172.18.0.2",),
        hbone_port=15008, gateway_identity=gateway_identity,
    )  # fmt: skip
    exported = PeerService(
        cluster="west", namespace="sample", name="helloworld", ports=(port(5000),),
        identities=("spiffe://west.example/ns/sample/sa/helloworld",),
        endpoints=(PeerEndpoints("net-west", Locality("west-region"), 3, 4),),
    )  # fmt: skip
    return mesh(
        "east",
        cluster("east", "net-east", config=True),
        [Namespace(cluster="east", name="sample", labels=labels({"istio.io/global": "true"})), link, exported],
        captured(helloworld("east", "10.0.0.11")),
        captured(sleep()),
    )


def test_what_a_peer_exports_is_reached_through_its_gateway_by_the_number_of_healthy_endpoints() -> None:
    """AM5, AM8: known by the peer's word alone."""
    world = peered("spiffe://west.example/ns/istio-gateways/sa/istio-eastwest")
    client = ztunnel_of(world)
    [address] = [
        str(ip_address(bytes(one.addresses[0].address)))
        for one in client.services.values()
        if one.hostname == MESH_HELLO
    ]
    gone = helloworld("east", "10.0.0.11")
    world.apply([put(changed(pod, ready=False)) for pod in gone.pod_rows()])
    [away] = ztunnel_of(world).upstreams(SLEEPER, address, 5000)
    assert (away.to, away.authority, away.capacity) == ("172.18.0.2:15008", f"{MESH_HELLO}:5000", 3)
    assert away.outer == {"spiffe://west.example/ns/istio-gateways/sa/istio-eastwest"}
    assert "spiffe://west.example/ns/sample/sa/helloworld" in away.inner
    own = ztunnel_of(world).upstreams(SLEEPER, "10.96.0.1", 5000)
    assert own == [], "a peer serves the mesh-wide name only"


# -- clusters that are drained or lost --------------------------------------------------------------------------------


def standing(name: str = "west", **fields: Any) -> ClusterStanding:
    return ClusterStanding(cluster=name, name=name, **fields)


@pytest.mark.parametrize(
    ("row", "served"),
    [
        (standing(weight=0, declared=True), ["10.0.0.11", "10.0.0.12"]),
        (standing(weight=0), ["10.0.0.11", "10.0.0.12"]),
        (standing(demoted=True), ["10.0.0.11", "10.0.0.12"]),
        (standing(weight=50, declared=True), ["10.0.0.11", "10.0.0.12", "10.0.1.11"]),
        (standing(cordoned=True), ["10.0.0.11", "10.0.0.12", "10.0.1.11"]),
        (standing("east", weight=0, declared=True), ["10.0.1.11"]),
        (standing("east", weight=0), ["10.0.0.11", "10.0.0.12", "10.0.1.11"]),
    ],
)
def test_a_cluster_that_is_drained_serves_nobody_while_there_are_others(row: Row, served: list[str]) -> None:
    """A cluster's own callers are moved by the operator's word only."""
    client = ztunnel_of(one_network(row), network="n")
    assert sorted(one.to.removesuffix(":5000") for one in client.upstreams(SLEEPER, "10.96.0.1", 5000)) == served


def test_no_standing_takes_the_last_path() -> None:
    world = one_network(standing(weight=0, declared=True))
    gone = helloworld("east", "10.0.0.11", "10.0.0.12", ready=False)
    world.apply([put(gone.slice_row()), *(put(changed(pod, ready=False)) for pod in gone.pod_rows())])
    [only] = ztunnel_of(world, network="n").upstreams(SLEEPER, "10.96.0.1", 5000)
    assert only.to == "10.0.1.11:5000"


def test_a_drained_cluster_behind_gateways_is_left_out_too() -> None:
    world = two_networks("172.18.0.2")
    assert len(ztunnel_of(world).upstreams(SLEEPER, "10.96.0.1", 5000)) == 2
    world.apply([put(standing(weight=0, declared=True))])
    [only] = ztunnel_of(world).upstreams(SLEEPER, "10.96.0.1", 5000)
    assert only.to == "10.0.0.11:15008"


@pytest.mark.parametrize(("scope", "expected"), [("global", []), ("global-only", ["172.18.0.2:15008"])])
def test_a_services_own_name_reaches_peers_where_it_is_global_only(scope: str, expected: list[str]) -> None:
    said = {"labels": labels({"solo.io/service-scope": scope})}
    world = mesh(
        "east",
        [*cluster("east", "net-east", config=True), Namespace(cluster="east", name="sample")],
        captured(helloworld("east", "10.0.0.11", ready=False, service=said)),
        captured(sleep()),
        [link(), *exported()],
    )
    world.apply([put(changed(pod, ready=False)) for pod in helloworld("east", "10.0.0.11").pod_rows()])
    client = ztunnel_of(world)
    found = client.upstreams(SLEEPER, "10.96.0.1", 5000)
    assert [one.to for one in found] == expected
    assert all(FOREIGN in one.inner for one in found if one.inner)
