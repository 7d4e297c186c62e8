"""What links are told about themselves, and by which of several replicas."""

from typing import Any

import pytest

from isthmus.derive.link_status import LinkSeen, duplicate_status, leader, link_status
from isthmus.model.peering import PeerLink

NOW, BEFORE = "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"
LINK = PeerLink(cluster="east", namespace="gw", name="to-west", peer="west", addresses=("198.18.0.1", "ew.example"))


def programmed(seen: LinkSeen, before: dict[str, Any] | None = None, now: str = NOW) -> dict[str, Any]:
    status = link_status(LINK, seen, 1, before or {}, now)
    return next(one for one in status["conditions"] if one["type"] == "Programmed")


@pytest.mark.parametrize(
    ("seen", "status", "reason", "message"),
    [
        (
            LinkSeen("connected", "istiod-a", since=0.0, updated=1.0, round_trip=0.0021, services_in=2, services_out=1),
            "True",
            "Connected",
            "Connected since 1970-01-01T00:00:00Z; 2 services in; 1 services out; round trip 2.1 ms; "
            "last update 1970-01-01T00:00:01Z (says istiod-a)",
        ),
        (
            LinkSeen("error", "istiod-a", updated=1.0, error="no answer in time", services_in=2),
            "False",
            "NotConnected",
            "no answer in time; 2 services stay as last told at 1970-01-01T00:00:01Z (says istiod-a)",
        ),
        (LinkSeen("connecting", "istiod-a"), "False", "NotConnected", "Not connected yet (says istiod-a)"),
        (
            LinkSeen("inbound", "istiod-a", services_out=1),
            "True",
            "InboundOnly",
            "Cluster west is let in, nothing of it is asked for; 1 services out (says istiod-a)",
        ),
    ],
)
def test_what_a_link_says(seen: LinkSeen, status: str, reason: str, message: str) -> None:
    found = programmed(seen)
    assert (found["status"], found["reason"], found["message"]) == (status, reason, message)


def test_the_date_changes_with_the_status_alone() -> None:
    first = link_status(LINK, LinkSeen("connected", "a", since=0.0), 1, {}, BEFORE)
    again = programmed(LinkSeen("connected", "a", since=0.0, services_in=1), first)
    assert again["lastTransitionTime"] == BEFORE
    assert programmed(LinkSeen("error", "a"), first)["lastTransitionTime"] == NOW


def test_addresses_are_those_of_the_link() -> None:
    status = link_status(LINK, LinkSeen("connecting", "a"), 1, {}, NOW)
    assert [one["type"] for one in status["addresses"]] == ["IPAddress", "Hostname"]


def test_a_second_link_to_a_cluster_says_that_it_does_not_count() -> None:
    words = {
        one["type"]: one["status"] for one in duplicate_status(LINK, "is linked already", 1, {}, NOW)["conditions"]
    }
    assert words == {"Accepted": "False", "Programmed": "False"}


@pytest.mark.parametrize(
    ("replicas", "leads"),
    [
        ([], True),  # nobody was seen yet
        ([("b", True)], True),
        ([("a", True), ("b", True)], False),
        ([("a", False), ("b", True)], True),  # a is dead, or starts
        ([("b", True), ("c", True)], True),
        ([("a", True), ("b", False)], False),  # we are not ready yet
    ],
)
def test_of_several_replicas_one_has_the_word(replicas: list[tuple[str, bool]], leads: bool) -> None:
    assert leader("b", replicas) is leads
