"""When a probe's verdict turns."""

import pytest

from isthmus_lab.kubelet.probes import Counter, Target, counter_for


def turns(counter: Counter, attempts: str) -> list[str]:
    """`+` good and `-` bad attempts; returns what each turn said, by position."""
    found = []
    for position, attempt in enumerate(attempts):
        if counter.feed(attempt == "+"):
            found.append(f"{position}{'+' if counter.good else '-'}")
    return found


@pytest.mark.parametrize(
    ("probe", "attempts", "expected"),
    [
        ({}, "+", ["0+"]),
        ({}, "--", []),
        ({}, "---", ["2-"]),
        ({}, "+--+---", ["0+", "6-"]),
        ({"successThreshold": 2}, "+-++", ["3+"]),
        ({"failureThreshold": 1}, "+-+-", ["0+", "1-", "2+", "3-"]),
    ],
)
def test_thresholds_count_attempts_in_a_row(probe: dict[str, int], attempts: str, expected: list[str]) -> None:
    assert turns(counter_for(probe), attempts) == expected


def test_ports_by_number_and_name() -> None:
    async def never(_command: list[str]) -> int:
        return 0

    target = Target("ns", "10.0.0.1", {"http": 8080}, never)
    assert [target.port(8081), target.port("http"), target.port("9090")] == [8081, 8080, 9090]
    with pytest.raises(KeyError):
        target.port("grpc")
