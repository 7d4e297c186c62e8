"""Files of rows: written whole, read whole, or not at all."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from isthmus.edge.checkpoint import Checkpoint, CheckpointStore, Rows
from isthmus.model.observed import OBSERVED
from isthmus.model.rows import MtlsMode, PeerAuthentication, Row, Service, ServicePort, Workload

ROWS: Rows = {
    "Service": [
        (("a", "x"), (Service(cluster="west", namespace="a", name="x", ports=(ServicePort("http", 80),)),)),
        (("a", "y"), (Service(cluster="west", namespace="a", name="y", labels=(("k", "v"),)),)),
    ],
    "Pod": [
        (("a", f"p{i}"), (Workload(cluster="west", namespace="a", name=f"p{i}", addresses=(f"10.0.{i}.1",)),))
        for i in range(4500)
    ],
    "PeerAuthentication": [
        (
            ("a", "q"),
            (
                PeerAuthentication(
                    cluster="west", namespace="a", name="q", mode=MtlsMode.STRICT, port_modes=((1, MtlsMode.DISABLE),)
                ),
            ),
        )
    ],
}
KEPT = Checkpoint("west", "istio-system/s", "https://w", 1234.5, ROWS, contact=1200.0)


def store(path: Path) -> CheckpointStore:
    """A store in a directory that does not exist yet."""
    return CheckpointStore(str(path / "state"))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    found = store(tmp_path)
    asyncio.run(found.write(KEPT))
    assert asyncio.run(found.read_all()) == ([KEPT], [])


def test_every_kind_of_row_survives(tmp_path: Path) -> None:
    rows: Rows = {kind.TABLE: [(("a", "x"), (_row(kind),))] for kind in OBSERVED}
    kept = Checkpoint("c", "", "", 0.0, rows)
    asyncio.run(store(tmp_path).write(kept))
    assert asyncio.run(store(tmp_path).read_all()) == ([kept], [])


def _row(kind: type[Row]) -> Row:
    return msgspec.convert({"cluster": "c", "namespace": "a", "name": "x"}, kind)


def test_an_object_with_several_rows_keeps_them_together(tmp_path: Path) -> None:
    rows: Rows = {"Service": [(("a", "x"), (ROWS["Service"][0][1][0], ROWS["Service"][1][1][0]))]}
    asyncio.run(store(tmp_path).write(Checkpoint("c", "", "", 0.0, rows)))
    (kept,), _ = asyncio.run(store(tmp_path).read_all())
    assert kept.rows == rows


def test_a_cluster_is_replaced_and_removed(tmp_path: Path) -> None:
    found = store(tmp_path)
    other = Checkpoint("../w/est", "", "", 0.0, {})
    for kept in (KEPT, other, Checkpoint("west", "", "", 2.0, {})):
        asyncio.run(found.write(kept))
    kept_now, _ = asyncio.run(found.read_all())
    assert {c.cluster: c.written for c in kept_now} == {"west": 2.0, "../w/est": 0.0}
    assert sorted(p.parent for p in tmp_path.rglob("*.rows")) == [tmp_path / "state"] * 2
    asyncio.run(found.remove("west"))
    asyncio.run(found.remove("never-there"))
    assert [c.cluster for c in asyncio.run(found.read_all())[0]] == ["../w/est"]


def test_an_empty_directory_is_no_error(tmp_path: Path) -> None:
    assert asyncio.run(store(tmp_path).read_all()) == ([], [])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_files_are_told_and_the_others_read(tmp_path: Path, damage: str) -> None:
    found = store(tmp_path)
    asyncio.run(found.write(KEPT))
    asyncio.run(found.write(Checkpoint("good", "", "", 0.0, {})))
    path = tmp_path / "state" / "west.rows"
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "flip": data[:100] + bytes([data[100] ^ 1]) + data[101:],
            "empty": b"",
            "text": b"not a checkpoint at all, but some text of a certain length",
        }[damage]
    )
    kept, told = asyncio.run(found.read_all())
    assert [c.cluster for c in kept] == ["good"]
    assert len(told) == 1
    assert "west.rows" in told[0]


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OSError, match="state"):
        asyncio.run(store(tmp_path).write(KEPT))
