"""What `verify` makes of what it sees."""

import pytest

from isthmus_lab.commands.hops import host_of, new_entries
from isthmus_lab.commands.reaches import judge

OWN = {"10.10.1.2": "pod east/a"}


@pytest.mark.parametrize(
    ("ip", "outcome", "shown", "good"),
    [
        ("10.10.1.9", "timed out", "timed out", True),
        ("10.10.1.9", "connected", "connected", False),
        ("10.10.1.2", "connected", "meets its own network's pod east/a instead", True),
        ("10.10.1.2", "refused", "refused, by its own network's pod east/a", True),
        ("10.10.1.9", "refused", "refused", True),
    ],
)
def test_who_answered_decides(ip: str, outcome: str, shown: str, good: bool) -> None:
    reach = judge("east/a", "pod west/b", ip, outcome=outcome, own=OWN)
    assert (reach.outcome, reach.good) == (shown, good)


def test_access_log_entries_among_other_lines() -> None:
    lines = ["[info] starting", "{broken", '{"level": "info"}', '{"direction": "inbound", "path": "/"}']
    assert new_entries(lines) == [{"direction": "inbound", "path": "/"}]


def test_addresses() -> None:
    assert [host_of("10.0.0.1:80"), host_of(None)] == ["10.0.0.1", ""]
