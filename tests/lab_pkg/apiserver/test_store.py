"""Writes, history, cursors, and what a new process finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus_lab.apiserver.objects import JsonObject, decode
from isthmus_lab.apiserver.store import Event, ExpiredError, StaleError, Store, watch_line


def thing(name: str, namespace: str = "ns", **data: object) -> JsonObject:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_every_write_gets_the_next_revision(path: Path) -> None:
    store = Store(path)
    first = store.create("things", thing("a"))
    second = store.update("things", thing("a", x=1), first)
    gone = store.delete("things", second)
    assert [first.revision, second.revision, gone.revision] == [2, 3, 4]
    assert gone.obj["metadata"]["resourceVersion"] == "4"
    assert second.obj["metadata"]["resourceVersion"] == "3"
    assert store.get("things", "ns", "a") is None
    assert store.revision == 4
    store.close()


def test_a_write_over_another_is_refused(path: Path) -> None:
    store = Store(path)
    first = store.create("things", thing("a"))
    store.update("things", thing("a", x=1), first)
    with pytest.raises(StaleError):
        store.update("things", thing("a", x=2), first)
    with pytest.raises(StaleError):
        store.delete("things", first)
    with pytest.raises(StaleError):
        store.create("things", thing("a"))
    store.close()


def test_lists_are_sorted_and_by_namespace(path: Path) -> None:
    store = Store(path)
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y"), ("aa", "a")):
        store.create("things", thing(name, namespace))
    assert [(e.namespace, e.name) for e in store.list("things")] == [("a", "y"), ("a", "z"), ("aa", "a"), ("b", "x")]
    assert [e.name for e in store.list("things", "a")] == ["y", "z"]
    assert store.list("things", "none") == []
    assert store.list("others") == []
    store.close()


def test_a_cursor_sees_what_came_after_its_revision(path: Path) -> None:
    store = Store(path)
    first = store.create("things", thing("a"))
    store.create("others", thing("o"))
    woken: list[int] = []
    cursor = store.follow("things", first.revision)
    cursor.open(lambda: woken.append(1))
    assert cursor.take() == []
    second = store.update("things", thing("a", x=1), first)
    store.delete("things", second)
    events = cursor.take()
    assert [(e.change, e.revision) for e in events] == [("MODIFIED", 4), ("DELETED", 5)]
    assert events[0].before is first
    assert len(woken) == 2
    assert cursor.take() == []
    cursor.close()
    store.create("things", thing("b"))
    assert len(woken) == 2
    store.close()


def test_history_is_bounded(path: Path) -> None:
    store = Store(path, history=10)
    cursor = store.follow("things", 0)
    entry = store.create("things", thing("a"))
    for number in range(40):
        entry = store.update("things", thing("a", n=number), entry)
    with pytest.raises(ExpiredError):
        cursor.take()
    with pytest.raises(ExpiredError) as caught:
        store.follow("things", 2)
    assert caught.value.asked == 2
    late = store.follow("things", entry.revision - 5)
    assert [e.revision for e in late.take()] == list(range(entry.revision - 4, entry.revision + 1))
    store.close()


def test_a_restart_finds_everything_and_up_to_date_watchers_go_on(path: Path) -> None:
    store = Store(path)
    kept = store.create("things", thing("a", x=1))
    gone = store.delete("things", store.create("things", thing("b")))
    store.save_setting("key", b"secret")
    store.close()
    again = Store(path)
    assert again.revision == gone.revision
    found = again.get("things", "ns", "a")
    assert found is not None
    assert (found.obj, found.revision) == (kept.obj, kept.revision)
    assert again.setting("key") == b"secret"
    assert again.setting("other") is None
    with pytest.raises(ExpiredError):
        again.follow("things", kept.revision)  # may have missed the deletion
    cursor = again.follow("things", gone.revision)
    assert again.create("things", thing("c")).revision == gone.revision + 1
    assert len(cursor.take()) == 1
    again.close()


def test_what_was_not_committed_never_was(path: Path) -> None:
    store = Store(path)
    entry = store.create("things", thing("a"))
    with pytest.raises(TypeError):
        store.update("things", thing("a", x=object()), entry)  # cannot be encoded
    assert store.get("things", "ns", "a") is entry
    assert store.revision == entry.revision
    assert store.update("things", thing("a", x=1), entry).revision == entry.revision + 1
    store.close()


def test_listeners_hear_of_writes_at_once(path: Path) -> None:
    store = Store(path)
    heard: list[Event] = []
    store.listen(heard.append)
    store.create("things", thing("a"))
    assert [(e.resource, e.change) for e in heard] == [("things", "ADDED")]
    assert decode(heard[0].line("ADDED")) == {"type": "ADDED", "object": heard[0].entry.obj}
    assert heard[0].line("ADDED") is heard[0].line("ADDED")
    store.close()


def test_watch_lines_are_json_lines() -> None:
    assert watch_line("BOOKMARK", b'{"a":1}') == b'{"type":"BOOKMARK","object":{"a":1}}\n'
