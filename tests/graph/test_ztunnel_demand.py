"""Whole conversations with a client that speaks as ztunnel does: everything, on demand, and after a reconnect."""

from collections.abc import Iterable

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from msgspec.structs import replace as changed

from isthmus.edge.xds_streams import Stream, Streams
from isthmus.graph.mesh import Mesh
from isthmus.model.managed import WAYPOINT_CLASS, Listener, ManagedGateway
from isthmus.model.rows import Protocol, labels
from isthmus.tables.changes import Change
from isthmus.xds.delta import DeltaSession
from isthmus.xds.node import read_node
from isthmus.xds.resource import ADDRESS, AUTHORIZATION
from tests.graph.test_ztunnels import HELLO, MESH_HELLO, one_network, rules, two_networks, ztunnel
from tests.graph.world import App, drop, helloworld, port, put, sleep
from tests.ztunnel.client import Ztunnel

SLEEP = "east//Pod/sample/sleep-east-0"
HELLOS = {"east//Pod/sample/helloworld-east-0", "east//Pod/sample/helloworld-east-1"}
WEST = "west//Pod/sample/helloworld-west-0"


class Talk:
    """One stream between a mesh and a client, carried on until both have nothing more to say."""

    def __init__(self, world: Mesh, client: Ztunnel) -> None:
        self.world = world
        self.client = client
        self.streams = Streams(world)
        self.connect()

    def connect(self) -> None:
        opening = self.client.opening()
        row = changed(ztunnel(self.client.cluster, self.client.network), node=self.client.node)
        self.stream = Stream(0, row, read_node(opening[0].node), None, "test", 0.0)
        self.stream.kick = lambda: None
        self.streams.open(self.stream, DeltaSession)
        for request in opening:
            self.say(request)

    def say(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self.stream.session.receive(request, 0.0)
        self.settle()

    def settle(self) -> None:
        while (push := self.stream.session.next(0.0)) is not None:
            answer = self.client.take(discovery_pb2.DeltaDiscoveryResponse.FromString(push.data))
            self.stream.session.receive(answer, 0.0)
        assert not self.client.errors

    def change(self, *changes: Change) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        """What the client is sent because of a change."""
        before = len(self.client.received)
        self.streams.dispatch(self.world.apply(changes))
        self.settle()
        return self.client.received[before:]

    def reconnect(self, *changes: Change) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        """What it is sent after a reconnect, while something changed."""
        self.streams.close(self.stream)
        self.world.apply(changes)
        before = len(self.client.received)
        self.connect()
        return self.client.received[before:]

    def demand(self, name: str) -> set[str]:
        """The names that come because of one that is asked for; the client must not be left waiting."""
        before = len(self.client.received)
        self.say(self.client.demand(name))
        assert not self.client.waiting
        return {one.name for response in self.client.received[before:] for one in response.resources}


def names(responses: Iterable[discovery_pb2.DeltaDiscoveryResponse]) -> set[str]:
    return {one.name for response in responses for one in response.resources}


def removed(responses: Iterable[discovery_pb2.DeltaDiscoveryResponse]) -> set[str]:
    return {name for response in responses for name in response.removed_resources}


def test_a_policy_comes_before_the_workloads_that_name_it() -> None:
    """ztunnel ignores a policy that it does not know; Istio sends workloads first (XD2)."""
    talk = Talk(one_network(), Ztunnel())
    policy = rules(labels({"app": "helloworld"}), name="q")
    assert [one.type_url for one in talk.change(put(policy))] == [AUTHORIZATION, ADDRESS]
    assert not talk.client.admits(WEST, "spiffe://cluster.local/ns/sample/sa/sleep")
    last = talk.change(drop(policy))
    assert [(one.type_url, bool(one.removed_resources)) for one in last] == [(ADDRESS, False), (AUTHORIZATION, True)]


def test_everything_comes_first_and_then_only_what_changes() -> None:
    talk = Talk(one_network(), Ztunnel())
    assert set(talk.client.workloads) == {SLEEP, WEST, *HELLOS}
    new = sleep("east", "10.0.0.77")
    pod = changed(new.pod_rows()[0], name="late")
    assert names(talk.change(put(pod))) == {"east//Pod/sample/late"}
    assert removed(talk.change(drop(pod))) == {"east//Pod/sample/late"}
    assert "east//Pod/sample/late" not in talk.client.workloads


def test_a_reconnect_costs_what_changed_meanwhile() -> None:
    """XD8: unchanged versions are skipped, what is gone is removed."""
    talk = Talk(one_network(), Ztunnel())
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    assert talk.reconnect() == []
    found = talk.reconnect(put(changed(pod, redirection="enabled")), drop(sleep().pod_rows()[0]))
    assert (names(found), removed(found)) == ({"east//Pod/sample/helloworld-east-0"}, {SLEEP})


def on_demand(world: Mesh | None = None, node: str = "elsewhere") -> Talk:
    return Talk(world or one_network(), Ztunnel(on_demand=True, node=node))


def test_on_demand_asks_for_nothing_and_gets_the_pods_of_its_node() -> None:
    """XD8"""
    talk = on_demand()
    assert talk.client.workloads == {}
    assert talk.client.policies
    talk = on_demand(node="east-node")
    assert set(talk.client.workloads) == {SLEEP, *HELLOS}
    assert talk.client.services == {}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (SLEEP, {SLEEP}),
        ("n/10.0.0.2", {SLEEP, "n/10.0.0.2"}),
        ("n/10.96.0.1", {HELLO, WEST, *HELLOS, "n/10.96.0.1"}),
        (HELLO, {HELLO, WEST, *HELLOS}),
        ("n/10.0.9.9", set()),
        ("other/10.0.0.2", set()),
        ("sample/nobody.sample.svc.cluster.local", set()),
        ("east//Pod/sample/nobody", set()),
    ],
)
def test_what_is_asked_for_comes_with_what_belongs_to_it(asked: str, found: set[str]) -> None:
    """XD8: an address is another name; to a service belong its endpoints. What is not there is said not to be."""
    assert on_demand().demand(asked) == found


GATE, GATE_POD = "sample/gate.sample.svc.cluster.local", "east//Pod/sample/gate-east-0"


@pytest.mark.parametrize(("of", "found"), [("service", HELLO), ("pod", "east//Pod/sample/helloworld-east-0")])
def test_a_waypoint_comes_with_what_is_behind_it(of: str, found: str) -> None:
    """ztunnel asks for no waypoint: it refuses connections whose waypoint it does not know."""
    rows = helloworld("east", "10.0.0.11", "10.0.0.12")
    use = labels({"app": "helloworld", "istio.io/use-waypoint": "gate"})
    pod = changed(rows.pod_rows()[0], redirection="enabled", labels=use if of == "pod" else rows.pod_rows()[0].labels)
    service = changed(rows.service_row(), labels=use if of == "service" else ())
    entry = App("east", "gate", ["10.0.0.41"], vip="10.96.0.41", ports=(port(15008, Protocol.TCP),))
    gate = ManagedGateway(
        cluster="east",
        namespace="sample",
        name="gate",
        class_name=WAYPOINT_CLASS,
        listeners=(Listener("mesh", 15008, "HBONE"),),
        labels=labels({"istio.io/waypoint-for": "all"}),
    )
    talk = on_demand()
    talk.demand(found)
    assert GATE not in talk.client.services
    talk.change(*map(put, (gate, *entry.rows(), pod, service)))
    assert GATE in talk.client.services
    assert GATE_POD in talk.client.workloads
    assert on_demand(talk.world).demand(found) >= {found, GATE, GATE_POD}


def test_what_was_asked_for_is_followed() -> None:
    """XD8: a service that gets another pod, a pod that changes, and one that goes."""
    talk = on_demand()
    talk.demand("n/10.96.0.1")
    assert talk.change(put(changed(sleep().pod_rows()[0], ready=False))) == []
    more = helloworld("east", "10.0.0.11", "10.0.0.12", "10.0.0.13")
    new = "east//Pod/sample/helloworld-east-2"
    assert names(talk.change(*map(put, more.rows()))) >= {new}
    pod = more.pod_rows()[2]
    assert names(talk.change(put(changed(pod, ready=False)))) == {new}
    assert new in removed(talk.change(drop(pod)))
    assert new not in talk.client.workloads


def test_what_is_not_there_comes_when_it_is() -> None:
    talk = on_demand()
    late = App("east", "late", ["10.0.0.90"], vip="10.96.0.90")
    assert talk.demand("n/10.96.0.90") == set()
    assert names(talk.change(*map(put, late.rows()))) == {
        "n/10.96.0.90", "sample/late.sample.svc.cluster.local", "east//Pod/sample/late-east-0",
    }  # fmt: skip


def test_on_demand_after_a_reconnect_follows_what_it_holds() -> None:
    talk = on_demand()
    talk.demand("n/10.96.0.1")
    assert removed(talk.reconnect()) == set()
    pod = helloworld("east", "10.0.0.11").pod_rows()[0]
    found = talk.reconnect(
        put(changed(pod, redirection="enabled")), drop(helloworld("west", "10.0.1.11").pod_rows()[0])
    )
    assert names(found) == {"east//Pod/sample/helloworld-east-0"}
    assert removed(found) == {WEST}
    assert names(talk.change(put(changed(pod, ready=False)))) == {"east//Pod/sample/helloworld-east-0"}


def test_a_service_in_other_networks_comes_with_the_gateways() -> None:
    world = two_networks("172.18.0.2")
    talk = Talk(world, Ztunnel(on_demand=True, network="net-east", node="elsewhere"))
    talk.demand("net-east/10.0.0.2")
    talk.demand("net-east/10.96.0.1")
    assert sorted(one.to for one in talk.client.upstreams(SLEEP, "10.96.0.1", 5000)) == [
        "10.0.0.11:15008", "172.18.0.2:15008",
    ]  # fmt: skip


def test_a_mesh_wide_name_comes_with_what_is_behind_it_where_it_is_global() -> None:
    talk = Talk(two_networks("172.18.0.2"), Ztunnel(on_demand=True, network="net-east", node="elsewhere"))
    name = f"sample/{MESH_HELLO}"
    away = [f"net-west/SplitHorizonWorkload/west/15008/172.18.0.2/{name}", "NetworkGateway/net-west/172.18.0.2/15008"]
    assert talk.demand(name) == {name, "east//Pod/sample/helloworld-east-0", *away}


def test_it_leaves_nothing_behind() -> None:
    world = one_network()
    talk = on_demand(world, node="east-node")
    talk.demand("n/10.96.0.1")
    talk.streams.close(talk.stream)
    assert {name for name in world.tables() if name.startswith("ztunnel.") and world.table(name)} == set()
