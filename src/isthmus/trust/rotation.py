"""When a certificate is replaced: functions of its dates and of now."""

RENEWAL_SHARE = 0.5
"""A certificate is renewed when this share of its life is over, so that half of it remains for retries."""


def renewal_time(not_before: float, not_after: float, *, share: float = RENEWAL_SHARE, jitter: float = 0.0) -> float:
    """The moment to renew; `jitter` in [-1, 1] moves it by up to a tenth of the life so that many do not meet."""
    life = not_after - not_before
    return not_before + life * min(0.95, max(0.05, share + 0.1 * jitter))


def due(not_before: float, not_after: float, now: float, *, jitter: float = 0.0) -> bool:
    """True if it is time to renew."""
    return now >= renewal_time(not_before, not_after, jitter=jitter)


def retry_delay(attempt: int, *, remaining: float, longest: float = 60.0) -> float:
    """Seconds until the next attempt after `attempt` failures (from 1): doubling from half a second, but never
    longer than a quarter of what remains of the certificate."""
    return max(0.1, min(0.5 * 2.0 ** (attempt - 1), longest, max(remaining, 0.0) / 4))
