"""Numbers under the names that dashboards use."""

from isthmus.edge.metrics import Metrics
from isthmus.xds.resource import CDS
from isthmus.xds.session import Accepted, Push, Rejected, Subscribed


def test_what_streams_do_is_counted_by_type() -> None:
    metrics = Metrics()
    metrics.on_push(Push(CDS, "1", b"x" * 100, 3))
    metrics.on_push(Push("example.com/Thing", "1", b"x", 1))
    for event in (Accepted(CDS, 0.003), Rejected(CDS, "bad", ("a",)), Subscribed(CDS, 1, 0)):
        metrics.on_event(event)
    lines = metrics.render().decode().splitlines()
    for line in (
        'isthmus_xds_pushes_total{type="CDS"} 1.0',
        'isthmus_xds_pushes_total{type="other"} 1.0',
        'isthmus_xds_push_bytes_total{type="CDS"} 100.0',
        'isthmus_xds_rejects_total{type="CDS"} 1.0',
        'isthmus_xds_accept_seconds_bucket{le="0.0025",type="CDS"} 0.0',
        'isthmus_xds_accept_seconds_bucket{le="0.005",type="CDS"} 1.0',
        "isthmus_xds_streams 0.0",
    ):
        assert line in lines


def test_two_control_planes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.streams.set(5)
    assert b"isthmus_xds_streams 0.0" in other.render()
