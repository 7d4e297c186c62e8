"""Files with the rows last observed of each cluster, so that a restart does not forget a cluster that is silent.

A file is a sequence of frames (4 bytes big-endian length, MessagePack): a header, one frame for every 2,000 rows of a
kind's table, and the digest of all before. It is replaced as a whole; one that is damaged counts as absent.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from isthmus.ingest.kinds import ObjectKey
from isthmus.model.observed import OBSERVED
from isthmus.model.rows import Row

FORMAT = 1
_SUFFIX = ".rows"
_CHUNK = 2000

Rows = dict[str, list[tuple[ObjectKey, tuple[Row, ...]]]]
"""Kind -> objects with their rows, as `ingest.observed.Observed` dumps and loads them."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was known of one cluster at `written`, and when it was last heard (seconds since the epoch)."""

    cluster: str
    secret: str
    server: str
    written: float
    rows: Rows
    contact: float = 0.0


class _Header(msgspec.Struct):
    format: int
    cluster: str
    secret: str
    server: str
    written: float
    contact: float = 0.0


class _Frame(msgspec.Struct):
    kind: str
    table: str
    rows: msgspec.Raw


_decoders: dict[str, msgspec.msgpack.Decoder[list[tuple[str, str, Row]]]] = {
    row.TABLE: msgspec.msgpack.Decoder(list[tuple[str, str, row]])  # type: ignore[valid-type]
    for row in OBSERVED
}
_encode = msgspec.msgpack.Encoder().encode


class CheckpointStore:
    """The files of one control plane, in a directory of its own."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    async def write(self, checkpoint: Checkpoint) -> None:
        """Replace a cluster's file. Rows are encoded in slices between which others run. Raises OSError."""
        frames: list[bytes] = []
        for frame in _frames(checkpoint):
            frames.append(frame)
            await asyncio.sleep(0)
        await asyncio.to_thread(self._replace, checkpoint.cluster, frames)

    async def remove(self, cluster: str) -> None:
        """Forget a cluster."""
        await asyncio.to_thread(self._path(cluster).unlink, missing_ok=True)

    async def read_all(self) -> tuple[list[Checkpoint], list[str]]:
        """What was kept, and why some of it is not usable."""
        return await asyncio.to_thread(self._read_all)

    def _path(self, cluster: str) -> Path:
        return self._directory / (quote(cluster, safe="") + _SUFFIX)

    def _replace(self, cluster: str, frames: list[bytes]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                digest = hashlib.blake2b(digest_size=16)
                for frame in frames:
                    digest.update(frame)
                    file.write(_with_length(frame))
                file.write(_with_length(digest.digest()))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path(cluster))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read_all(self) -> tuple[list[Checkpoint], list[str]]:
        found: list[Checkpoint] = []
        damaged: list[str] = []
        for path in sorted(self._directory.glob("*" + _SUFFIX)):
            try:
                found.append(_read(path))
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                damaged.append(f"{path}: {error}")
        return found, damaged


def _frames(checkpoint: Checkpoint) -> Iterator[bytes]:
    of, written, contact = checkpoint.cluster, checkpoint.written, checkpoint.contact
    yield _encode(_Header(FORMAT, of, checkpoint.secret, checkpoint.server, written, contact))
    for kind, objects in checkpoint.rows.items():
        by_table: dict[str, list[tuple[str, str, Row]]] = {}
        for (namespace, name), rows in objects:
            for row in rows:
                by_table.setdefault(row.TABLE, []).append((namespace, name, row))
        for table, rows_of in by_table.items():
            for start in range(0, len(rows_of), _CHUNK):
                rows_bytes = msgspec.Raw(_encode(rows_of[start : start + _CHUNK]))
                yield _encode(_Frame(kind, table, rows_bytes))


def _read(path: Path) -> Checkpoint:
    frames = list(_split(path.read_bytes()))
    if len(frames) < 2 or hashlib.blake2b(b"".join(frames[:-1]), digest_size=16).digest() != frames[-1]:
        raise ValueError("the file is damaged")
    header = msgspec.msgpack.decode(frames[0], type=_Header)
    if header.format != FORMAT:
        raise ValueError(f"written in format {header.format}, this version reads {FORMAT}")
    rows: dict[str, dict[ObjectKey, tuple[Row, ...]]] = {}
    for frame in frames[1:-1]:
        part = msgspec.msgpack.decode(frame, type=_Frame)
        if part.table not in _decoders:
            continue
        objects = rows.setdefault(part.kind, {})
        for namespace, name, row in _decoders[part.table].decode(part.rows):
            objects[namespace, name] = (*objects.get((namespace, name), ()), row)
    kept = {kind: list(objects.items()) for kind, objects in rows.items()}
    contact = header.contact or header.written
    return Checkpoint(header.cluster, header.secret, header.server, header.written, kept, contact)


def _with_length(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def _split(data: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size
