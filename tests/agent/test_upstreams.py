"""What an agent reports of the addresses that its Envoy calls, and when."""

import asyncio
import json
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from isthmus.agent.log import AgentLog
from isthmus.agent.upstreams import MOST, REPORT_EVERY, Counters, Tally, UpstreamWatch, read_counters, request
from isthmus.base.errors import UnreachableError
from isthmus.edge.agent_admin import Answer
from isthmus.xds.delta import DeltaSession
from isthmus.xds.resource import UPSTREAMS
from isthmus.xds.session import UpstreamsReported

A, B = ("10.0.0.1", 80), ("9.9.9.9", 15443)


def host(address: str, port: int, **stats: int) -> dict[str, Any]:
    """One endpoint as the admin port shows it: numbers are texts, zeros are left out."""
    shown = [{"type": "COUNTER", "name": name, "value": str(value)} for name, value in stats.items()]
    shown.append({"type": "GAUGE", "name": "cx_active"})
    return {"address": {"socket_address": {"address": address, "port_value": port}}, "stats": shown}


def clusters(**hosts: list[dict[str, Any]]) -> bytes:
    """The admin port's answer."""
    return json.dumps({"cluster_statuses": [{"name": n, "host_statuses": h} for n, h in hosts.items()]}).encode()


def test_counters_are_summed_by_address_over_destinations() -> None:
    body = clusters(
        **{
            "outbound|80||a": [host(*A, cx_total=3, cx_connect_fail=1, rq_success=5, rq_error=2)],
            "outbound_.80_._.b": [host(*A, cx_total=1), host(*B, cx_connect_fail=4, cx_total=4, rq_timeout=1)],
            "PassthroughCluster": [host("8.8.8.8", 443, cx_total=9)],
            "xds-grpc": [{"address": {"pipe": {"path": "x"}}, "stats": []}],
        }
    )
    assert read_counters(body) == {A: Counters(4, 1, 5, 0, 2, used=2), B: Counters(4, 4, 0, 1, 0, used=1)}


def test_an_address_that_envoy_took_out_fails_whatever_worked_before() -> None:
    out = host(*A, cx_total=9, rq_success=5) | {"health_status": {"failed_outlier_check": True}}
    one = read_counters(clusters(**{"outbound|80||a": [out]}))
    assert one[A].ejected == one[A].used == 1
    tally = Tally()
    tally.look({A: Counters(9, 0, 0, used=1)}, 0.0)
    assert tally.look(one, 2.0) == [(*A, 0, 1, 0)]
    some = clusters(**{"outbound|80||a": [out], "outbound|80||b": [host(*A, cx_total=1, rq_success=4)]})
    assert tally.look(read_counters(some), 4.0) == [(*A, 4, 0, 0)], "one destination of two is not most of them"


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b'{"cluster_statuses": 7}'])
def test_what_cannot_be_read_is_nothing(body: bytes) -> None:
    assert read_counters(body) == {}


def answered(count: int, **fields: int) -> Counters:
    return Counters(answered=count, **fields)


def test_a_report_goes_at_once_when_an_address_turns_and_else_now_and_then() -> None:
    tally = Tally()
    looks = [
        (0.0, {A: answered(100)}, []),
        (2.0, {A: answered(105)}, [(*A, 5, 0, 0)]),
        (4.0, {A: answered(110)}, []),
        (6.0, {A: answered(110, unanswered=3)}, [(*A, 5, 3, 0)]),
        (8.0, {A: answered(110, unanswered=9)}, []),
        (10.0, {A: answered(110, unanswered=9)}, []),
        (6.0 + REPORT_EVERY, {A: answered(111, unanswered=9)}, [(*A, 1, 6, 0)]),
    ]
    assert [tally.look(counts, now) for now, counts, _ in looks] == [expected for _, _, expected in looks]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(0, 0), (2, 0), (2, 0)], (2, 0)),
        ([(0, 0), (2, 0), (2, 2)], (0, 2)),
        ([(5, 0), (7, 0), (7, 2), (9, 2), (9, 4)], (0, 4)),
        ([(5, 1), (9, 1), (12, 2), (12, 4)], (4, 3)),
    ],
    ids=["they came up", "they failed", "each attempt fails late", "some of each"],
)
def test_a_connection_counts_when_it_is_known_how_it_went(
    looks: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    """A connect takes up to a second to fail: one that was only begun has not worked yet."""
    tally = Tally()
    reports = [
        tally.look({A: Counters(begun=begun, refused=refused)}, REPORT_EVERY * (n + 1))
        for n, (begun, refused) in enumerate(looks)
    ]
    told = [entry for report in reports for entry in report]
    assert (sum(entry[2] for entry in told), sum(entry[3] for entry in told)) == expected


def test_without_traffic_there_is_no_report() -> None:
    tally = Tally()
    assert [tally.look({A: answered(7)}, now * REPORT_EVERY) for now in range(5)] == [[]] * 5


def test_an_address_that_came_back_counts_from_nothing() -> None:
    tally = Tally()
    tally.look({A: answered(100)}, 0.0)
    assert tally.look({}, 2.0) == []
    assert tally.look({A: answered(3)}, 4.0) == [(*A, 3, 0, 0)]
    assert tally.look({A: answered(1)}, 4.0 + REPORT_EVERY) == [(*A, 1, 0, 0)], "and while nobody looked"


def test_a_report_is_bounded_and_has_what_fails() -> None:
    tally = Tally()
    tally.look({}, 0.0)
    many = {(f"10.0.{i // 250}.{i % 250}", 80): answered(1000 + i) for i in range(2 * MOST)}
    report = tally.look(many | {B: Counters(unanswered=1)}, 2.0)
    assert len(report) == MOST
    assert report[0] == (*B, 0, 1, 0)
    assert report[1][2] == 1000 + 2 * MOST - 1


def test_the_control_plane_reads_what_is_sent() -> None:
    message = discovery_pb2.DeltaDiscoveryRequest.FromString(request([(*A, 1, 2, 3)]))
    assert message.type_url == UPSTREAMS
    events = DeltaSession(None).receive(message, 0.0)  # type: ignore[arg-type]  # nothing is asked of the source
    assert events == [UpstreamsReported('[["10.0.0.1",80,1,2,3]]')]


class Admin:
    """Envoy's admin port: away at first, then with growing counters."""

    def __init__(self) -> None:
        self.asked = 0

    async def request(self, method: str, port: int, target: str) -> Answer:
        self.asked += 1
        if self.asked == 1:
            raise UnreachableError("not yet")
        return Answer(200, clusters(**{"outbound|80||a": [host(*A, rq_success=self.asked)]}))


class Clock:
    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


def test_an_envoy_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.agent.upstreams.LOOK_EVERY", 0.0)
    sent: list[bytes] = []

    async def scenario() -> None:
        done = asyncio.Event()

        async def send(frame: bytes) -> bool:
            sent.append(frame)
            done.set()
            return True

        watch = UpstreamWatch(Admin(), 15000, send=send, clock=Clock(), log=AgentLog().events)  # type: ignore[arg-type]
        task = asyncio.create_task(watch.run())
        async with asyncio.timeout(5):
            await done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert sent[0] == request([(*A, 1, 0, 0)])
