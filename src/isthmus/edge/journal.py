"""The decision journal: what was decided about clusters and why, bounded, in a file that survives a restart."""

import asyncio
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from isthmus.derive.liveness import Decision
from isthmus.edge.whole_file import replace_file

FILE = "events.jsonl"
LIMIT = 1000
"""So many entries are kept; the file holds at most twice as many."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its number, which only grows."""

    number: int
    time: float
    cluster: str
    what: str
    before: str
    after: str
    reason: str


_decode = msgspec.json.Decoder(Entry).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """Entries in memory at once, in the file at the next `flush`. Without a directory they are only in memory."""

    def __init__(self, directory: str, *, limit: int = LIMIT) -> None:
        self._file = Path(directory, FILE) if directory else None
        self._limit = limit
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._waiting: list[Entry] = []
        self._lines = 0

    async def load(self) -> None:
        """Read what a process before this one wrote; lines that are damaged are left out."""
        if self._file is not None:
            lines = await asyncio.to_thread(_read_lines, self._file)
            self._lines = len(lines)
            self._entries.extend(entry for line in lines if (entry := _parse(line)) is not None)

    def add(self, decisions: Iterable[Decision]) -> None:
        """Write these down."""
        for one in decisions:
            entry = Entry(
                number=self._entries[-1].number + 1 if self._entries else 1,
                **{name: getattr(one, name) for name in one.__struct_fields__},
            )
            self._entries.append(entry)
            self._waiting.append(entry)

    def since(self, time: float, *, after: int = 0) -> list[Entry]:
        """The entries from a time on (seconds since the epoch), with greater numbers than `after`."""
        return [entry for entry in self._entries if entry.time >= time and entry.number > after]

    async def flush(self) -> None:
        """Bring the file up to date. Raises OSError."""
        if self._file is None or not self._waiting:
            self._waiting.clear()
            return
        fresh, self._waiting = self._waiting, []
        self._lines += len(fresh)
        if self._lines > 2 * self._limit:
            self._lines = len(self._entries)
            await asyncio.to_thread(replace_file, self._file, _lines(list(self._entries)))
        else:
            await asyncio.to_thread(_append, self._file, fresh)


def _parse(line: bytes) -> Entry | None:
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return None


def _read_lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError:
        return []


def _lines(entries: list[Entry]) -> bytes:
    return b"".join(_encode(entry) + b"\n" for entry in entries)


def _append(file: Path, entries: list[Entry]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(_lines(entries))
