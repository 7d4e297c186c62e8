"""The renewal schedule as numbers."""

import pytest

from isthmus.trust.rotation import due, renewal_time, retry_delay


@pytest.mark.parametrize(
    ("jitter", "share", "expected"),
    [(0.0, 0.5, 150.0), (1.0, 0.5, 160.0), (-1.0, 0.5, 140.0), (1.0, 0.95, 195.0), (0.0, 0.8, 180.0)],
)
def test_renewal_is_at_a_share_of_the_life(jitter: float, share: float, expected: float) -> None:
    assert renewal_time(100.0, 200.0, share=share, jitter=jitter) == pytest.approx(expected)


@pytest.mark.parametrize(("now", "expected"), [(149.0, False), (150.0, True), (500.0, True)])
def test_due(now: float, expected: bool) -> None:
    assert due(100.0, 200.0, now) is expected


def test_retries_come_slower_but_never_too_late() -> None:
    assert [retry_delay(n, remaining=10_000) for n in (1, 2, 3, 10)] == [0.5, 1.0, 2.0, 60.0]
    assert retry_delay(10, remaining=20) == 5.0
    assert retry_delay(10, remaining=-5) == 0.1
