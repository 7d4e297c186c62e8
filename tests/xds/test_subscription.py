"""One type's memory of one stream, where the playbooks do not reach."""

import pytest

from isthmus.xds.holdings import Pool
from isthmus.xds.resource import CDS, ECDS, EDS, LDS, NDS, RDS, SDS
from isthmus.xds.subscription import Subscription, SyncState


def subscription(type_url: str = CDS) -> Subscription:
    return Subscription(type_url, Pool())


@pytest.mark.parametrize(
    ("type_url", "opens"),
    [(CDS, True), (LDS, True), (NDS, True), (EDS, False), (RDS, False), (SDS, False), (ECDS, False)],
)
def test_only_some_types_have_a_wildcard_by_silence(type_url: str, opens: bool) -> None:
    assert subscription(type_url).legacy_open is opens


def test_what_was_asked_for_is_known_by_name() -> None:
    made = subscription()
    assert (made.asked_for("*"), made.asked_for("a"), set(made.asked)) == (False, False, set())
    made.subscribe(["*", "a"])
    assert (made.asked_for("*"), made.asked_for("a"), made.asked_for("b")) == (True, True, False)
    assert set(made.asked) == {"*", "a"}
    assert (made.wants("b"), made.active) == (True, True)


def test_new_names_and_dropped_names_are_told_once() -> None:
    made = subscription(EDS)
    assert made.subscribe(["a", "b"]) == ["a", "b"]
    assert made.subscribe(["b", "c"]) == ["c"]
    assert made.unsubscribe(["a", "nobody"]) == ["a"]
    assert made.unsubscribe(["*"]) == []


def test_states_in_their_order() -> None:
    made = subscription(EDS)
    states = [made.state]
    made.subscribe(["a"])
    states.append(made.state)
    made.dirty.clear()
    made.sent("1", 10.0)
    states.append(made.state)
    assert not made.answered("0", "", 11.0)
    assert made.answered("1", "", 11.0)
    states.append(made.state)
    assert not made.answered("1", "late", 12.0), "answered already"
    made.sent("2", 13.0)
    made.answered("2", "bad", 14.0)
    states.append(made.state)
    assert states == [SyncState.NOT_SENT, SyncState.STALE, SyncState.STALE, SyncState.SYNCED, SyncState.ERROR]
    assert (made.error, made.sent_at, made.acked_at) == ("bad", 13.0, 14.0)
