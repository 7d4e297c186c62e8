"""Playbooks of the incremental protocol: every odd rule once, with what the specification says of it.

A script is a list of steps. `ask` is a request of the client, `change` alters what exists, `ack`/`nack` answer the
last response of a type. After each step everything that may be sent is sent; `expect` is that, in order.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import CDS, EDS, HEALTH, LDS, NDS, RDS, XdsResource
from isthmus.xds.session import Accepted, Event, HealthReported, Push, Rejected, Subscribed
from isthmus.xds.subscription import SyncState

SPEC = "https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol"


class World:
    """A source that a script edits."""

    def __init__(self) -> None:
        self.exists: dict[str, dict[str, XdsResource]] = {}
        self.followed: dict[str, set[str]] = {}

    def put(self, type_url: str, **bodies: str) -> dict[str, set[str]]:
        table = self.exists.setdefault(type_url, {})
        for name, body in bodies.items():
            table[name] = XdsResource(type_url, name, body.encode(), version=body)
        return {type_url: set(bodies)}

    def drop(self, type_url: str, *names: str) -> dict[str, set[str]]:
        for name in names:
            del self.exists[type_url][name]
        return {type_url: set(names)}

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        return self.exists.get(type_url, {}).get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        return self.exists.get(type_url, {})

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        self.followed.setdefault(type_url, set()).update(names)

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        self.followed[type_url].difference_update(names)


class Client:
    """A client's end of one stream, answering nothing by itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = DeltaSession(world)
        self.nonces: dict[str, str] = {}
        self.events: list[Event] = []
        self.clock = 100.0

    def ask(self, type_url: str, subscribe: str = "", unsubscribe: str = "", **held: str) -> list[str]:
        """Subscribe and unsubscribe (names separated by blanks), with the versions held; returns what is sent."""
        return self.send(
            type_url=type_url,
            resource_names_subscribe=subscribe.split(),
            resource_names_unsubscribe=unsubscribe.split(),
            initial_resource_versions=held,
        )

    def ack(self, type_url: str, **more: Any) -> list[str]:
        return self.send(type_url=type_url, response_nonce=self.nonces[type_url], **more)

    def nack(self, type_url: str, message: str = "bad") -> list[str]:
        detail = status_pb2.Status(code=3, message=message)
        return self.send(type_url=type_url, response_nonce=self.nonces[type_url], error_detail=detail)

    def send(self, **fields: Any) -> list[str]:
        self.events = self.session.receive(discovery_pb2.DeltaDiscoveryRequest(**fields), self.clock)
        return self.sent()

    def changed(self, change: dict[str, set[str]]) -> list[str]:
        self.session.mark(change)
        return self.sent()

    def sent(self) -> list[str]:
        """All responses that may go now, each as `CDS a=1 b=1 -c` with versions and removals."""
        out = []
        while push := self.session.next(self.clock):
            out.append(self.read(push))
        return out

    def read(self, push: Push) -> str:
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(push.data)
        assert (response.type_url, response.nonce) == (push.type_url, push.nonce)
        assert (len(response.resources), len(response.removed_resources)) == (push.resources, push.removed)
        assert all(r.resource.type_url == push.type_url for r in response.resources)
        assert all(r.resource.value == r.version.encode() for r in response.resources)
        self.nonces[push.type_url] = push.nonce
        words = [f"{r.name}={r.version}" for r in response.resources] + [f"-{n}" for n in response.removed_resources]
        short = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS", NDS: "NDS"}[push.type_url]
        return " ".join([short, *words])


@pytest.fixture
def world() -> World:
    made = World()
    made.put(CDS, a="1", b="1")
    made.put(EDS, a="1", b="1")
    made.put(LDS, l="1")
    made.put(RDS, r="1")
    return made


@pytest.fixture
def client(world: World) -> Client:
    return Client(world)


def settled(world: World) -> Client:
    """A client that has everything, as Envoy asks for it."""
    client = Client(world)
    client.ask(CDS)
    client.ack(CDS)
    client.ask(EDS, "a b")
    client.ack(EDS)
    client.ask(LDS)
    client.ack(LDS)
    client.ask(RDS, "r")
    client.ack(RDS)
    assert client.session.idle
    return client


class TestWildcard:
    """SPEC#how-the-client-specifies-what-resources-to-return"""

    def test_an_empty_first_request_is_the_wildcard(self, client: Client) -> None:
        assert client.ask(CDS) == ["CDS a=1 b=1"]
        assert client.world.followed == {CDS: {"*"}}

    def test_the_star_is_the_wildcard(self, client: Client) -> None:
        assert client.ask(CDS, "*") == ["CDS a=1 b=1"]

    @pytest.mark.parametrize("type_url", [EDS, RDS])
    def test_an_empty_first_request_asks_nothing_of_types_that_are_always_named(
        self, client: Client, type_url: str
    ) -> None:
        assert client.ask(type_url) == []
        assert client.world.followed == {}

    def test_an_empty_wildcard_is_answered_or_the_client_waits_for_its_timeout(self, client: Client) -> None:
        client.world.drop(LDS, "l")
        assert client.ask(LDS) == ["LDS"]
        assert client.ack(LDS) == []

    def test_naming_something_after_the_empty_request_keeps_the_wildcard(self, client: Client) -> None:
        client.ask(CDS)
        client.ack(CDS)
        assert client.ask(CDS, "a") == ["CDS a=1"]
        client.ack(CDS)
        assert client.changed(client.world.put(CDS, b="2")) == ["CDS b=2"]

    def test_an_explicit_name_first_closes_the_legacy_meaning(self, client: Client) -> None:
        assert client.ask(CDS, "a") == ["CDS a=1"]
        assert client.ack(CDS) == []
        assert client.ask(CDS, unsubscribe="a") == []
        assert client.ask(CDS) == []
        assert client.world.followed == {CDS: set()}

    def test_the_wildcard_can_be_dropped_while_a_name_stays(self, client: Client) -> None:
        client.ask(CDS, "* a")
        client.ack(CDS)
        assert client.ask(CDS, unsubscribe="*") == []
        assert client.world.followed == {CDS: {"a"}}
        assert client.changed(client.world.put(CDS, b="2")) == []
        assert client.changed(client.world.put(CDS, a="2")) == ["CDS a=2"]

    def test_asking_for_the_wildcard_again_sends_everything_again(self, client: Client) -> None:
        client.ask(CDS, "*")
        client.ack(CDS)
        assert client.ask(CDS, "*") == ["CDS a=1 b=1"]

    def test_a_name_outside_the_wildcard_is_followed_beside_it(self, client: Client) -> None:
        client.ask(NDS, "*")
        client.ack(NDS)
        assert client.ask(NDS, "n") == ["NDS -n"]
        client.ack(NDS)
        assert client.changed(client.world.put(NDS, n="1")) == ["NDS n=1"]


class TestNames:
    """SPEC#subscribing-to-resources and SPEC#unsubscribing-from-resources"""

    def test_a_name_asked_again_is_answered_again(self, client: Client) -> None:
        client.ask(EDS, "a")
        client.ack(EDS)
        assert client.ask(EDS, "a") == ["EDS a=1"]

    def test_what_does_not_exist_is_said_to_be_absent(self, client: Client) -> None:
        assert client.ask(EDS, "a nowhere") == ["EDS a=1 -nowhere"]
        client.ack(EDS)
        assert client.changed(client.world.put(EDS, nowhere="1")) == ["EDS nowhere=1"]

    def test_an_unsubscription_needs_no_answer_and_ends_interest(self, client: Client) -> None:
        client.ask(EDS, "a b")
        client.ack(EDS)
        assert client.ask(EDS, unsubscribe="a") == []
        assert client.changed(client.world.put(EDS, a="2", b="2")) == ["EDS b=2"]

    def test_a_phantom_unsubscription_is_ignored(self, client: Client) -> None:
        client.ask(EDS, "a")
        client.ack(EDS)
        assert client.ask(EDS, unsubscribe="never") == []
        assert client.events == []

    def test_dropping_a_name_that_the_wildcard_covers_is_answered_with_it(self, client: Client) -> None:
        client.ask(CDS, "* a")
        client.ack(CDS)
        assert client.ask(CDS, unsubscribe="a") == ["CDS a=1"]

    def test_dropping_a_name_that_the_wildcard_does_not_cover_is_answered_with_its_absence(
        self, client: Client
    ) -> None:
        client.ask(CDS, "* other")
        client.ack(CDS)
        assert client.ask(CDS, unsubscribe="other") == ["CDS -other"]

    def test_unsubscribed_and_subscribed_again_is_sent_again(self, client: Client) -> None:
        client.ask(EDS, "a")
        client.ack(EDS)
        client.ask(EDS, unsubscribe="a")
        assert client.ask(EDS, "a") == ["EDS a=1"]

    def test_an_answer_may_carry_a_subscription(self, client: Client) -> None:
        client.ask(EDS, "a")
        assert client.ack(EDS, resource_names_subscribe=["b"]) == ["EDS b=1"]
        assert [type(event) for event in client.events] == [Accepted, Subscribed]


class TestReconnect:
    """SPEC#incremental-xds, initial_resource_versions"""

    def test_a_client_that_has_everything_gets_nothing(self, client: Client) -> None:
        assert client.ask(CDS, a="1", b="1") == []
        assert client.ask(EDS, "a b", a="1", b="1") == []
        assert client.session.idle
        assert [row.state for row in client.session.status()] == [SyncState.SYNCED, SyncState.SYNCED]

    def test_a_client_gets_what_differs_and_what_is_gone(self, client: Client) -> None:
        assert client.ask(CDS, a="1", b="0", old="1") == ["CDS b=1"]
        assert client.ack(CDS) == ["CDS -old"]

    def test_the_star_works_like_the_empty_request(self, client: Client) -> None:
        assert client.ask(CDS, "*", a="1", b="0") == ["CDS b=1"]

    def test_names_that_it_does_not_have_are_sent(self, client: Client) -> None:
        assert client.ask(EDS, "a b", a="1") == ["EDS b=1"]

    def test_a_name_it_had_and_that_vanished_is_removed(self, client: Client) -> None:
        assert client.ask(EDS, "a old", a="1", old="1") == ["EDS -old"]

    def test_versions_of_names_it_does_not_ask_for_are_ignored(self, client: Client) -> None:
        assert client.ask(EDS, "a", a="1", stranger="1") == []

    def test_versions_in_a_later_request_are_ignored(self, client: Client) -> None:
        client.ask(EDS, "a")
        client.ack(EDS)
        client.world.put(EDS, a="2")
        assert client.ask(EDS, "b", a="2") == ["EDS b=1"]
        assert client.changed({EDS: {"a"}}) == [], "the response for b waits for its answer"
        assert client.ack(EDS) == ["EDS a=2"]

    def test_a_cluster_that_changed_meanwhile_gets_its_endpoints_although_the_client_holds_them(
        self, client: Client
    ) -> None:
        assert client.ask(CDS, a="0", b="1") == ["CDS a=1"]
        assert client.ask(EDS, "a b", a="1", b="1") == ["EDS a=1"]

    def test_a_full_resynchronisation_sends_only_differences(self, world: World) -> None:
        client = settled(world)
        world.put(RDS, r="2")
        client.session.mark_all()
        assert client.sent() == ["RDS r=2"]


class TestOrder:
    """XD2, and SPEC#eventual-consistency-considerations: make before break"""

    def test_updates_go_in_push_order_and_removals_after_their_answers(self, world: World) -> None:
        client = settled(world)
        change = world.put(RDS, r="2") | world.put(LDS, l="2") | world.put(EDS, b="2") | world.put(CDS, c="1")
        change[CDS] |= world.drop(CDS, "a")[CDS]
        change[EDS] |= world.drop(EDS, "a")[EDS]
        assert client.changed(change) == ["CDS c=1", "EDS b=2", "LDS l=2", "RDS r=2"]
        assert [client.ack(url) for url in (CDS, EDS, LDS)] == [[], [], []]
        assert client.ack(RDS) == ["CDS -a"]
        assert client.ack(CDS) == ["EDS -a"]

    def test_a_removal_takes_what_refers_to_others_first(self, world: World) -> None:
        client = settled(world)
        change = world.drop(CDS, "a") | world.drop(LDS, "l")
        assert client.changed(change) == ["LDS -l"]
        assert client.ack(LDS) == ["CDS -a"]

    def test_what_comes_back_before_its_removal_was_sent_is_not_removed(self, world: World) -> None:
        client = settled(world)
        assert client.changed(world.put(LDS, l="2") | world.drop(CDS, "a")) == ["LDS l=2"]
        assert client.changed(world.put(CDS, a="1")) == []
        assert client.ack(LDS) == []

    def test_listeners_and_routes_wait_for_clusters_that_could_not_be_sent_yet(self, world: World) -> None:
        client = settled(world)
        assert client.changed(world.put(CDS, a="2")) == ["CDS a=2", "EDS a=1"]
        assert client.changed(world.put(CDS, c="1") | world.put(RDS, r="2")) == []
        assert client.ack(CDS) == ["CDS c=1", "RDS r=2"]

    def test_a_changed_cluster_is_followed_by_its_unchanged_endpoints(self, world: World) -> None:
        """XD7, SPEC#resource-warming"""
        client = settled(world)
        assert client.changed(world.put(CDS, a="2")) == ["CDS a=2", "EDS a=1"]

    def test_endpoints_that_were_sent_before_the_cluster_are_sent_after_it_too(self, world: World) -> None:
        client = settled(world)
        assert client.changed(world.put(CDS, b="2")) == ["CDS b=2", "EDS b=1"]
        client.ack(EDS)
        assert client.changed(world.put(CDS, a="2") | world.put(EDS, a="2")) == ["EDS a=2"]
        client.ack(EDS)
        assert client.ack(CDS) == ["CDS a=2", "EDS a=2"]

    def test_a_new_cluster_waits_for_its_own_subscription(self, world: World) -> None:
        client = settled(world)
        world.put(EDS, c="1")
        assert client.changed(world.put(CDS, c="1")) == ["CDS c=1"]
        assert client.ask(EDS, "c") == ["EDS c=1"]


class TestAnswers:
    """SPEC#ack-nack-and-resource-type-instance-version"""

    def test_nothing_of_a_type_is_sent_while_it_waits_and_then_only_the_latest(self, world: World) -> None:
        client = settled(world)
        assert client.changed(world.put(EDS, a="2")) == ["EDS a=2"]
        for body in "3456":
            assert client.changed(world.put(EDS, a=body)) == []
        assert client.ack(EDS) == ["EDS a=6"]

    def test_what_changed_back_while_waiting_is_not_sent(self, world: World) -> None:
        client = settled(world)
        client.changed(world.put(EDS, a="2"))
        client.changed(world.put(EDS, a="3"))
        client.changed(world.put(EDS, a="2"))
        assert client.ack(EDS) == []

    def test_a_mark_without_a_difference_sends_nothing(self, world: World) -> None:
        client = settled(world)
        assert client.changed({EDS: {"a"}, CDS: {"a", "b"}}) == []

    def test_a_rejection_is_kept_and_what_was_rejected_is_not_sent_again(self, world: World) -> None:
        client = settled(world)
        client.changed(world.put(LDS, l="bad"))
        assert client.nack(LDS, "no such filter") == []
        assert client.events == [Rejected(LDS, "no such filter", ("l",))]
        row = client.session.status()[2]
        assert (row.type, row.state, row.error) == ("LDS", SyncState.ERROR, "no such filter")
        assert client.changed({LDS: {"l"}}) == []
        assert client.changed(world.put(LDS, l="1")) == ["LDS l=1"]
        client.ack(LDS)
        assert client.session.status()[2].state is SyncState.SYNCED

    def test_a_rejection_of_one_type_does_not_stop_another(self, world: World) -> None:
        client = settled(world)
        client.changed(world.put(LDS, l="bad"))
        client.nack(LDS)
        assert client.changed(world.put(EDS, a="2")) == ["EDS a=2"]

    def test_a_stale_nonce_answers_nothing_but_its_subscription_counts(self, world: World) -> None:
        """SPEC#incremental-xds: the nonce "should not be used to reject stale requests"."""
        client = settled(world)
        old = client.nonces[EDS]
        client.changed(world.put(EDS, a="2"))
        assert client.send(type_url=EDS, response_nonce=old, resource_names_unsubscribe=["b"]) == []
        assert client.events == [Subscribed(EDS, 0, 1)]
        assert client.session.status()[1].state is SyncState.STALE

    def test_times_are_told(self, world: World) -> None:
        client = settled(world)
        client.changed(world.put(EDS, a="2"))
        client.clock = 102.5
        client.ack(EDS)
        assert client.events == [Accepted(EDS, 2.5)]
        row = client.session.status()[1]
        assert (row.sent_at, row.answered_at, row.held) == (100.0, 102.5, 2)


def test_health_is_reported_and_never_answered(client: Client) -> None:
    """Semantics 2.7: HealthInformation goes from client to server only."""
    assert client.send(type_url=HEALTH) == []
    assert client.events == [HealthReported("")]
    client.send(type_url=HEALTH, error_detail=status_pb2.Status(code=14, message="probe failed"))
    assert client.events == [HealthReported("probe failed")]


def test_an_unknown_type_is_answered_as_absent(client: Client) -> None:
    client.session.receive(
        discovery_pb2.DeltaDiscoveryRequest(type_url="example.com/Thing", resource_names_subscribe=["x"]), 0.0
    )
    push = client.session.next(0.0)
    assert push is not None
    assert (push.type_url, push.resources, push.removed) == ("example.com/Thing", 0, 1)


def test_a_mark_for_others_is_no_concern(world: World) -> None:
    client = settled(world)
    assert not client.session.mark({EDS: {"z"}, NDS: {"*"}})
    assert client.session.mark({EDS: {"z", "a"}})


def test_memory_of_a_slow_client_is_bounded(world: World) -> None:
    client = settled(world)
    client.changed(world.put(EDS, a="2"))
    for number in range(1000):
        client.changed(world.put(EDS, a=str(number), b=str(number)))
    assert client.session.subscriptions[EDS].dirty == {"a", "b"}
