"""Playbooks of the state-of-the-world protocol."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from isthmus.xds.resource import CDS, EDS, HEALTH, LDS, RDS, XdsResource
from isthmus.xds.session import Accepted, Event, HealthReported, Rejected
from isthmus.xds.sotw import SotwSession
from isthmus.xds.subscription import SyncState

SPEC = "https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol"


class Client:
    """A client's end of one stream, and what exists for it."""

    def __init__(self) -> None:
        self.exists: dict[str, dict[str, XdsResource]] = {}
        self.followed: dict[str, set[str]] = {}
        self.session = SotwSession(self)
        self.last: dict[str, discovery_pb2.DiscoveryResponse] = {}
        self.events: list[Event] = []

    def resource(self, type_url: str, name: str) -> XdsResource | None:
        return self.exists.get(type_url, {}).get(name)

    def resources(self, type_url: str) -> Mapping[str, XdsResource]:
        return self.exists.get(type_url, {})

    def subscribe(self, type_url: str, names: Collection[str]) -> None:
        self.followed.setdefault(type_url, set()).update(names)

    def unsubscribe(self, type_url: str, names: Collection[str]) -> None:
        self.followed[type_url].difference_update(names)

    def put(self, type_url: str, **bodies: str) -> list[str]:
        table = self.exists.setdefault(type_url, {})
        table.update({name: XdsResource(type_url, name, body.encode(), body) for name, body in bodies.items()})
        self.session.mark({type_url: set(bodies)})
        return self.sent()

    def drop(self, type_url: str, name: str) -> list[str]:
        del self.exists[type_url][name]
        self.session.mark({type_url: {name}})
        return self.sent()

    def ask(self, type_url: str, names: str = "", nonce: str = "", **more: Any) -> list[str]:
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url, resource_names=names.split(), response_nonce=nonce, **more
        )
        self.events = self.session.receive(request, 0.0)
        return self.sent()

    def ack(self, type_url: str, names: str = "") -> list[str]:
        last = self.last[type_url]
        return self.ask(type_url, names, last.nonce, version_info=last.version_info)

    def nack(self, type_url: str, names: str = "") -> list[str]:
        return self.ask(type_url, names, self.last[type_url].nonce, error_detail=status_pb2.Status(message="bad"))

    def sent(self) -> list[str]:
        out = []
        while push := self.session.next(0.0):
            response = discovery_pb2.DiscoveryResponse.FromString(push.data)
            assert all(item.type_url == push.type_url for item in response.resources)
            self.last[push.type_url] = response
            short = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS"}[push.type_url]
            out.append(" ".join([short, *(item.value.decode() for item in response.resources)]))
        return out


@pytest.fixture
def client() -> Client:
    made = Client()
    made.put(CDS, a="a1", b="b1")
    made.put(EDS, a="A1", b="B1")
    made.put(LDS, l="l1")
    return made


class TestNames:
    """SPEC#how-the-client-specifies-what-resources-to-return, in its order of examples"""

    def test_an_empty_first_request_is_the_wildcard_and_later_ones_keep_it(self, client: Client) -> None:
        assert client.ask(CDS) == ["CDS a1 b1"]
        assert client.ack(CDS) == []
        assert client.followed == {CDS: {"*"}}

    def test_the_wildcard_is_continued_beside_a_name_then_dropped_then_all_is_dropped(self, client: Client) -> None:
        client.ask(CDS)
        client.ack(CDS)
        assert client.ack(CDS, "* a") == ["CDS a1 b1"], "a newly requested name is sent even if it was sent before"
        assert client.ack(CDS, "a") == []
        assert client.followed[CDS] == {"a"}
        assert client.ack(CDS, "") == []
        assert client.followed[CDS] == set()
        assert client.put(CDS, a="a2") == []

    @pytest.mark.parametrize("type_url", [EDS, RDS])
    def test_an_empty_request_asks_nothing_of_named_types(self, client: Client, type_url: str) -> None:
        assert client.ask(type_url) == []

    def test_an_acknowledgement_that_adds_a_name_gets_a_response(self, client: Client) -> None:
        """XD6"""
        assert client.ask(EDS, "a") == ["EDS A1"]
        assert client.ack(EDS, "a b") == ["EDS B1"]
        assert client.ack(EDS, "a b") == []

    def test_no_names_ends_a_named_subscription(self, client: Client) -> None:
        """XD6"""
        client.ask(EDS, "a")
        assert client.ack(EDS) == []
        assert client.put(EDS, a="A2") == []

    def test_a_name_asked_again_after_it_was_dropped_is_sent_again(self, client: Client) -> None:
        client.ask(EDS, "a b")
        client.ack(EDS, "a")
        assert client.ack(EDS, "a b") == ["EDS B1"]

    def test_what_does_not_exist_is_sent_when_it_comes(self, client: Client) -> None:
        assert client.ask(EDS, "c") == []
        assert client.put(EDS, c="C1") == ["EDS C1"]


class TestGrouping:
    """SPEC#grouping-resources-into-responses and SPEC#deleting-resources"""

    def test_clusters_and_listeners_are_always_whole(self, client: Client) -> None:
        client.ask(CDS)
        client.ack(CDS)
        assert client.put(CDS, a="a2") == ["CDS a2 b1"]

    def test_endpoints_are_sent_alone(self, client: Client) -> None:
        client.ask(EDS, "a b")
        client.ack(EDS, "a b")
        assert client.put(EDS, a="A2") == ["EDS A2"]

    def test_a_deleted_cluster_is_missing_from_the_whole(self, client: Client) -> None:
        client.ask(CDS)
        client.ack(CDS)
        assert client.drop(CDS, "a") == ["CDS b1"]
        client.ack(CDS)
        assert client.drop(CDS, "b") == ["CDS"]

    def test_deleted_endpoints_are_not_told(self, client: Client) -> None:
        client.ask(EDS, "a")
        client.ack(EDS, "a")
        assert client.drop(EDS, "a") == []
        assert client.put(EDS, a="A1") == ["EDS A1"]

    def test_an_empty_whole_is_sent_once(self, client: Client) -> None:
        client.drop(LDS, "l")
        assert client.ask(LDS) == ["LDS"]
        assert client.ack(LDS) == []


class TestAnswers:
    """SPEC#ack-nack-and-resource-type-instance-version and SPEC#resource-updates"""

    def test_a_stale_request_is_ignored_whole(self, client: Client) -> None:
        """XD5"""
        client.ask(EDS, "a")
        client.ack(EDS, "a")
        stale = client.last[EDS].nonce
        client.put(EDS, a="A2")
        assert client.ask(EDS, "a b", stale) == []
        assert client.events == []
        assert client.ack(EDS, "a b") == ["EDS B1"]

    def test_a_reconnecting_client_always_gets_a_response(self, client: Client) -> None:
        """XD6: its nonce is of another stream."""
        assert client.ask(CDS, "", "nonce-of-before", version_info="7") == ["CDS a1 b1"]
        assert client.ask(EDS, "a", "nonce-of-before", version_info="7") == ["EDS A1"]

    def test_a_rejection_gets_no_response_until_something_changes(self, client: Client) -> None:
        client.ask(LDS)
        assert client.nack(LDS) == []
        assert client.events == [Rejected(LDS, "bad", ("l",))]
        assert client.session.status()[0].state is SyncState.ERROR
        assert client.put(LDS, l="l2") == ["LDS l2"]
        client.ack(LDS)
        assert client.session.status()[0].state is SyncState.SYNCED

    def test_a_request_after_a_rejection_is_no_acceptance(self, client: Client) -> None:
        client.ask(LDS)
        client.nack(LDS)
        assert client.ack(LDS) == []
        assert client.session.status()[0].state is SyncState.ERROR

    def test_nothing_is_sent_while_a_response_waits(self, client: Client) -> None:
        assert client.ask(EDS, "a") == ["EDS A1"]
        assert client.put(EDS, a="A2") == []
        assert client.put(EDS, a="A3") == []
        assert client.ack(EDS, "a") == ["EDS A3"]
        assert client.events == [Accepted(EDS, 0.0)]

    def test_the_version_follows_the_content(self, client: Client) -> None:
        client.ask(CDS)
        first = client.last[CDS].version_info
        client.ack(CDS)
        client.put(CDS, a="a2")
        second = client.last[CDS].version_info
        client.ack(CDS)
        client.put(CDS, a="a1")
        assert (client.last[CDS].version_info == first, first == second) == (True, False)

    def test_a_changed_cluster_is_followed_by_its_endpoints(self, client: Client) -> None:
        """XD7"""
        client.ask(CDS)
        client.ack(CDS)
        client.ask(EDS, "a b")
        client.ack(EDS, "a b")
        assert client.put(CDS, a="a2") == ["CDS a2 b1", "EDS A1"]


def test_health_is_reported_and_never_answered(client: Client) -> None:
    assert client.ask(HEALTH, error_detail=status_pb2.Status(message="probe failed")) == []
    assert client.events == [HealthReported("probe failed")]
