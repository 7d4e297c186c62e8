"""The decision journal: numbers grow, the file survives, the size is bounded."""

import asyncio
from pathlib import Path

import pytest

from isthmus.derive.liveness import Decision
from isthmus.edge.journal import FILE, Journal


def decision(at: float) -> Decision:
    return Decision(at, "west", "standing", "active", "demoted", f"at {at:g}")


def reopened(directory: Path, *, limit: int = 1000) -> Journal:
    journal = Journal(str(directory), limit=limit)
    asyncio.run(journal.load())
    return journal


def test_entries_are_numbered_and_found_by_time_and_number(tmp_path: Path) -> None:
    journal = reopened(tmp_path)
    journal.add(map(decision, (1.0, 2.0, 3.0)))
    assert [entry.number for entry in journal.since(0)] == [1, 2, 3]
    assert [entry.time for entry in journal.since(2.0)] == [2.0, 3.0]
    assert [entry.time for entry in journal.since(0, after=2)] == [3.0]


def test_a_restart_goes_on_where_it_ended(tmp_path: Path) -> None:
    journal = reopened(tmp_path / "new")
    journal.add([decision(1.0)])
    asyncio.run(journal.flush())
    journal.add([decision(2.0)])
    asyncio.run(journal.flush())
    again = reopened(tmp_path / "new")
    assert again.since(0) == journal.since(0)
    again.add([decision(3.0)])
    assert again.since(0)[-1].number == 3


def test_file_and_memory_are_bounded(tmp_path: Path) -> None:
    journal = reopened(tmp_path, limit=10)
    for at in range(100):
        journal.add([decision(float(at))])
        asyncio.run(journal.flush())
        assert len((tmp_path / FILE).read_bytes().splitlines()) <= 20
    kept = [entry.time for entry in reopened(tmp_path, limit=10).since(0)]
    assert kept == [float(at) for at in range(90, 100)]


@pytest.mark.parametrize("damage", [b'{"number": 7, "ti', b"\xff\xfe\n", b"{}\n"])
def test_a_damaged_line_is_left_out(tmp_path: Path, damage: bytes) -> None:
    journal = reopened(tmp_path)
    journal.add([decision(1.0)])
    asyncio.run(journal.flush())
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(damage)
    assert [entry.time for entry in reopened(tmp_path).since(0)] == [1.0]


def test_without_a_directory_it_is_in_memory_only() -> None:
    journal = Journal("")
    asyncio.run(journal.load())
    journal.add([decision(1.0)])
    asyncio.run(journal.flush())
    assert len(journal.since(0)) == 1
