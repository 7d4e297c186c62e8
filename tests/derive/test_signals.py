"""Signals: how looks become health, and how proxies vote."""

from typing import Any

import pytest

from isthmus.derive.signals import (
    HEARD_WITHIN,
    REPORT_WINDOW,
    Report,
    Track,
    Upstream,
    Votes,
    api_server,
    ballot,
    data_plane,
    gateways,
    votes,
)
from isthmus.model.liveness import Health

GOOD, BAD, UNKNOWN = Health.GOOD, Health.BAD, Health.UNKNOWN


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("", UNKNOWN),
        ("+", GOOD),
        ("-----", UNKNOWN),
        ("+-", GOOD),
        ("+--", BAD),
        ("+-+-+-+-", GOOD),
        ("+--+", BAD),
        ("+--++", GOOD),
        ("+--+-+-+", BAD),
        ("--+--", BAD),
    ],
)
def test_a_thing_turns_after_looks_that_agree(looks: str, expected: Health) -> None:
    track = Track()
    for second, look in enumerate(looks):
        track.saw(look == "+", float(second), look)
    assert track.reading.health is expected


def test_what_was_reached_before_a_restart_can_be_dead() -> None:
    track = Track(reached=True)
    track.saw(False, 1.0, "refused")
    assert track.saw(False, 2.0, "refused").health is BAD


def test_since_is_when_the_signal_turned() -> None:
    track = Track()
    for second, good in enumerate((True, True, False, False, False)):
        track.saw(good, 10.0 + second, "")
    assert track.reading.since == 13.0


def test_one_gateway_that_serves_is_enough() -> None:
    dead, alive, new = Track(reached=True), Track(), Track()
    for _ in range(2):
        dead.saw(False, 1.0, "refused")
    alive.saw(True, 1.0, "serves in 2 ms")
    assert gateways({"1.1.1.1:15443": dead, "1.1.1.2:15443": alive}) == (GOOD, "1.1.1.2:15443: serves in 2 ms")
    assert gateways({"1.1.1.1:15443": dead})[0] is BAD
    assert gateways({"1.1.1.1:15443": dead, "1.1.1.3:15443": new})[0] is UNKNOWN
    assert gateways({}) == (UNKNOWN, "no gateway")


@pytest.mark.parametrize(
    ("contact", "error", "expected"),
    [
        (None, "", (UNKNOWN, "never reached")),
        (None, "no route", (UNKNOWN, "no route")),
        (100.0, "", (GOOD, "answers")),
        (100.0 - HEARD_WITHIN - 1, "", (BAD, "no answer for 7 s")),
        (90.0, "connection refused", (BAD, "connection refused")),
    ],
)
def test_api_servers(contact: float | None, error: str, expected: tuple[Health, str]) -> None:
    assert api_server(contact, error, 100.0) == expected


PLACES = {("e", "10.0.0.1"): "east", ("e", "9.9.9.9"): "west", ("w", "10.0.0.1"): "west"}


def report(cluster: str, *upstreams: tuple[Any, ...], at: float = 100.0) -> Report:
    """A report of a proxy in the network that has the cluster's first letter: (address, worked, failed, errors)."""
    return Report(cluster, cluster[0], at, tuple(Upstream(address, 80, *counts) for address, *counts in upstreams))


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], {}),
        ([report("east", ("9.9.9.9", 5, 0))], {"west": Votes(1, 0, 1, 0)}),
        ([report("east", ("9.9.9.9", 2, 3))], {"west": Votes(1, 1, 1, 1)}),
        ([report("east", ("9.9.9.9", 3, 3))], {"west": Votes(1, 0, 1, 1)}),
        ([report("east", ("9.9.9.9", 9, 1))], {"west": Votes(1, 0, 1, 0)}),
        ([report("east", ("9.9.9.9", 8, 0, 1))], {"west": Votes(1, 0, 1, 1)}),
        ([report("east", ("9.9.9.9", 0, 0, 9))], {"west": Votes(1, 0, 1, 1)}),
        ([report("west", ("10.0.0.1", 0, 3))], {"west": Votes(0, 0, 1, 1)}),
        ([report("east", ("10.0.0.1", 1, 0), ("8.8.8.8", 9, 9))], {"east": Votes(0, 0, 1, 0)}),
        ([report("east", ("9.9.9.9", 0, 0))], {}),
        ([report("east", ("9.9.9.9", 1, 0), at=100.0 - REPORT_WINDOW - 1)], {}),
        (
            [report("east", ("9.9.9.9", 0, 10_000)), *[report("east", ("9.9.9.9", 1, 0))] * 2],
            {"west": Votes(3, 1, 3, 1)},
        ),
    ],
    ids=[
        "none",
        "works",
        "fails",
        "a tie works, with trouble",
        "a tenth is no trouble",
        "errors are trouble",
        "errors are an answer",
        "at home",
        "unknown address",
        "idle",
        "old",
        "one loud voice",
    ],
)
def test_each_proxy_has_one_vote(reports: list[Report], expected: dict[str, Votes]) -> None:
    ballots = [ballot(one, lambda network, address: PLACES.get((network, address), "")) for one in reports]
    assert votes(ballots, 100.0) == expected


def test_most_of_the_others_decide() -> None:
    assert data_plane(None)[0] is UNKNOWN
    assert data_plane(Votes(callers=9, troubled=9))[0] is UNKNOWN
    assert data_plane(Votes(far=2, far_failing=1)) == (GOOD, "1 of 2 calling proxies succeed")
    assert data_plane(Votes(far=3, far_failing=2))[0] is BAD
