"""Objects, revisions and their history: SQLite on disk, dicts in memory, one thread.

Every write is one SQLite transaction before anything in memory changes, so a process that is killed at any point comes
back with all writes it had answered. The history that watches read is bounded and only in memory; the revision of each
resource's last change is on disk, so a client that was up to date before a restart goes on watching without a relist.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from isthmus_lab.apiserver.objects import JsonObject, decode, encode, name_of, namespace_of

Change = Literal["ADDED", "MODIFIED", "DELETED"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revisions (resource TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class ExpiredError(Exception):
    """The history no longer reaches back to the revision that was asked for (HTTP 410)."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"{asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


class StaleError(Exception):
    """The object changed since it was read, or is gone, or is there already."""


class Entry:
    """One stored object at one revision. Shared by everybody: never change `obj`."""

    __slots__ = ("body", "name", "namespace", "obj", "revision")

    def __init__(self, obj: JsonObject, revision: int, body: bytes) -> None:
        self.namespace = namespace_of(obj)
        self.name = name_of(obj)
        self.obj = obj
        self.revision = revision
        self.body = body

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"].get("uid", ""))


class Event:
    """One change; `before` is what a selector matched until then."""

    __slots__ = ("_lines", "before", "change", "entry", "resource")

    def __init__(self, resource: str, change: Change, entry: Entry, before: Entry | None) -> None:
        self.resource = resource
        self.change = change
        self.entry = entry
        self.before = before
        self._lines: dict[str, bytes] = {}

    @property
    def revision(self) -> int:
        return self.entry.revision

    def line(self, change: Change) -> bytes:
        """The watch line, made once and shared by all watchers that see the change alike."""
        line = self._lines.get(change)
        if line is None:
            line = self._lines[change] = watch_line(change, self.entry.body)
        return line


def watch_line(change: str, body: bytes) -> bytes:
    return b'{"type":"' + change.encode() + b'","object":' + body + b"}\n"


class _Table:
    """The objects of one resource, and its recent history."""

    __slots__ = ("_sorted", "base", "compacted", "entries", "history", "wakers")

    def __init__(self, compacted: int) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self._sorted: list[tuple[str, str]] | None = None
        self.history: list[Event] = []
        self.base = 0  # sequence number of history[0]
        self.compacted = compacted  # changes up to here are no longer in the history
        self.wakers: set[Callable[[], None]] = set()

    def ordered(self) -> list[tuple[str, str]]:
        if self._sorted is None:
            self._sorted = sorted(self.entries)
        return self._sorted

    def put(self, entry: Entry) -> None:
        key = (entry.namespace, entry.name)
        if key not in self.entries:
            self._sorted = None
        self.entries[key] = entry

    def drop(self, entry: Entry) -> None:
        self.entries.pop((entry.namespace, entry.name), None)
        self._sorted = None

    def record(self, event: Event, limit: int) -> None:
        self.history.append(event)
        if len(self.history) >= 2 * limit:
            gone = len(self.history) - limit
            self.compacted = self.history[gone - 1].revision
            del self.history[:gone]
            self.base += gone


class Cursor:
    """A watcher's place in a resource's history. Holds no events: a slow reader costs nothing."""

    def __init__(self, table: _Table, position: int, revision: int) -> None:
        self._table = table
        self._position = position
        self.revision = revision
        self._wake: Callable[[], None] | None = None

    def open(self, wake: Callable[[], None]) -> None:
        """From now on `wake` is called after each change, until `close`."""
        self._wake = wake
        self._table.wakers.add(wake)

    def take(self, limit: int = 512) -> list[Event]:
        """The next events, none when up to date. Raises `ExpiredError` when the reader was overtaken by compaction."""
        table = self._table
        start = self._position - table.base
        if start < 0:
            raise ExpiredError(self._position, table.compacted)
        found = table.history[start : start + limit]
        self._position += len(found)
        return found

    def close(self) -> None:
        if self._wake is not None:
            self._table.wakers.discard(self._wake)


class Store:
    """See the module. Resources are named by their storage name, `pods` or `deployments.apps`."""

    def __init__(self, path: Path | str, *, history: int = 2048) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._limit = history
        self._tables: dict[str, _Table] = {}
        self._listeners: list[Callable[[Event], None]] = []
        self.revision = 1
        self._load()

    def _load(self) -> None:
        for resource, revision in self._db.execute("SELECT resource, revision FROM revisions"):
            self._tables[resource] = _Table(revision)
            self.revision = max(self.revision, revision)
        for resource, revision, body in self._db.execute("SELECT resource, revision, body FROM objects"):
            self._table(resource).put(Entry(decode(body), revision, body))

    def close(self) -> None:
        self._db.close()

    def _table(self, resource: str) -> _Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = _Table(0)
        return table

    # --- settings that outlive the process (keys, tokens)

    def setting(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def save_setting(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # --- reading

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        table = self._tables.get(resource)
        return table.entries.get((namespace, name)) if table else None

    def list(self, resource: str, namespace: str = "") -> list[Entry]:
        """Sorted by namespace and name; one namespace's when given."""
        table = self._tables.get(resource)
        if table is None:
            return []
        entries = table.entries
        if not namespace:
            return [entries[key] for key in table.ordered()]
        keys = table.ordered()
        start = bisect_right(keys, (namespace, ""))
        found = []
        for key in keys[start:]:
            if key[0] != namespace:
                break
            found.append(entries[key])
        return found

    def count(self, resource: str) -> int:
        table = self._tables.get(resource)
        return len(table.entries) if table else 0

    def resources(self) -> Iterator[str]:
        return iter(list(self._tables))

    # --- writing

    def create(self, resource: str, obj: JsonObject) -> Entry:
        """Raises `StaleError` when an object of that name exists."""
        if self.get(resource, namespace_of(obj), name_of(obj)) is not None:
            raise StaleError
        return self._write(resource, "ADDED", obj, None)

    def update(self, resource: str, obj: JsonObject, before: Entry) -> Entry:
        """Raises `StaleError` when `before` is no longer the stored one."""
        self._check(resource, before)
        return self._write(resource, "MODIFIED", obj, before)

    def delete(self, resource: str, before: Entry, *, last: JsonObject | None = None) -> Entry:
        """Removes it; watchers see `last` (default: the object as it was) at the revision of the removal."""
        self._check(resource, before)
        final = dict(last or before.obj)
        final["metadata"] = dict(final["metadata"])
        return self._write(resource, "DELETED", final, before)

    def _check(self, resource: str, before: Entry) -> None:
        current = self.get(resource, before.namespace, before.name)
        if current is None or current.revision != before.revision:
            raise StaleError

    def _write(self, resource: str, change: Change, obj: JsonObject, before: Entry | None) -> Entry:
        revision = self.revision + 1
        obj["metadata"]["resourceVersion"] = str(revision)
        entry = Entry(obj, revision, encode(obj))
        self._persist(resource, change, entry)
        self.revision = revision
        table = self._table(resource)
        if change == "DELETED":
            table.drop(entry)
        else:
            table.put(entry)
        event = Event(resource, change, entry, before)
        table.record(event, self._limit)
        for listener in self._listeners:
            listener(event)
        for wake in tuple(table.wakers):
            wake()
        return entry

    def _persist(self, resource: str, change: Change, entry: Entry) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if change == "DELETED":
                db.execute(
                    "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                    (resource, entry.namespace, entry.name),
                )
            else:
                row = (resource, entry.namespace, entry.name, entry.revision, entry.body)
                db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", row)
            db.execute("INSERT OR REPLACE INTO revisions VALUES (?, ?)", (resource, entry.revision))
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # --- following

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Called inside every write, after memory has changed. It must be quick and must not write."""
        self._listeners.append(listener)

    def follow(self, resource: str, revision: int) -> Cursor:
        """A cursor over all changes after `revision`. Raises `ExpiredError`."""
        table = self._table(resource)
        if revision < table.compacted:
            raise ExpiredError(revision, table.compacted)
        index = bisect_right(table.history, revision, key=lambda event: event.revision)
        return Cursor(table, table.base + index, revision)
