"""Playbooks of the watch: `play(machine) >> event << expected outputs`, with time as data."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from isthmus.kube.events import (
    Applied,
    CloseWatch,
    ContactLost,
    ContactRegained,
    Deleted,
    Event,
    Failed,
    LineArrived,
    OpenList,
    OpenWatch,
    Output,
    PageArrived,
    Replaced,
    RequestFailed,
    RequestWakeup,
    Started,
    WatchEnded,
    WatchOpened,
    WokeUp,
    Yield,
    Yielded,
)
from isthmus.kube.requests import PODS, Scope, list_request, watch_request
from isthmus.kube.watch import WatchMachine, WatchOptions

OPTIONS = WatchOptions(page=3, slice=2, watch_timeout=100, idle_timeout=30, backoff_first=1, backoff_most=8)
IN_A = Scope(namespace="a", label_selector="x=y")


def name_of(raw: msgspec.Raw) -> str:
    """The value handed on in these tests: the object's name."""
    return str(json.loads(bytes(raw))["metadata"]["name"])


def page(*names: str, version: str = "7", continued: str = "") -> PageArrived:
    """A page of a list."""
    meta = {"resourceVersion": version, **({"continue": continued} if continued else {})}
    return PageArrived(json.dumps({"metadata": meta, "items": [{"metadata": {"name": n}} for n in names]}).encode())


def line(kind: str, name: str, version: str) -> LineArrived:
    """A line of a watch."""
    body = {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}
    return LineArrived(json.dumps(body).encode())


def error_line(code: int, reason: str = "") -> LineArrived:
    """An error inside a watch."""
    status = {"kind": "Status", "code": code, "reason": reason, "message": "told so"}
    return LineArrived(json.dumps({"type": "ERROR", "object": status}).encode())


def opens_list(continued: str = "") -> OpenList:
    """The command that lists."""
    return OpenList(list_request(PODS, IN_A, limit=3, continued=continued))


def opens_watch(version: str) -> OpenWatch:
    """The command that watches; jitter 0.5 makes the server's timeout 150."""
    return OpenWatch(watch_request(PODS, IN_A, version=version, timeout_seconds=150))


class Play:
    """Feeds events at a time that moves by hand and compares what comes out."""

    def __init__(self) -> None:
        self.now = 0.0
        self.machine = WatchMachine(PODS, name_of, scope=IN_A, options=OPTIONS, jitter=lambda: 0.5)

    def at(self, now: float) -> "Play":
        """Move the time."""
        self.now = now
        return self

    def on(self, event: Event, *expected: Output[Any]) -> "Play":
        """Feed an event and expect exactly this."""
        out: Sequence[Output[Any]] = self.machine.feed(event, self.now)
        assert list(out) == list(expected), event
        return self


def watching(version: str = "7") -> Play:
    """A machine that has listed `p` and watches since time 0."""
    return (
        Play()
        .on(Started(), opens_list())
        .on(page("p", version=version), Replaced(("p",)), opens_watch(version))
        .on(WatchOpened(), RequestWakeup(30.0))
    )


def test_lists_in_pages_then_watches_from_the_lists_version() -> None:
    (
        Play()
        .on(Started(), opens_list())
        .on(page("a", "b", version="5", continued="token"), opens_list("token"))
        .on(page("c", version="5"), Replaced(("a", "b", "c")), opens_watch("5"))
        .on(WatchOpened(), RequestWakeup(30.0))
    )


def test_page_larger_than_asked_for_is_decoded_in_slices() -> None:
    """Some servers ignore `limit`: others get their turn between slices, and the collection is still one Replaced."""
    (
        Play()
        .on(Started(), opens_list())
        .on(page("a", "b", "c", "d", "e"), Yield())
        .on(Yielded(), Yield())
        .on(Yielded(), Replaced(("a", "b", "c", "d", "e")), opens_watch("7"))
    )


def test_lines_become_facts_and_move_the_idle_deadline() -> None:
    (
        watching()
        .at(5)
        .on(line("ADDED", "q", "8"), Applied("q"), RequestWakeup(35.0))
        .at(6)
        .on(line("MODIFIED", "q", "9"), Applied("q"), RequestWakeup(36.0))
        .at(7)
        .on(line("DELETED", "q", "10"), Deleted("q"), RequestWakeup(37.0))
    )


def test_ended_watch_resumes_at_the_last_version_seen_bookmarks_included() -> None:
    (
        watching()
        .at(5)
        .on(line("ADDED", "q", "8"), Applied("q"), RequestWakeup(35.0))
        .at(20)
        .on(line("BOOKMARK", "", "42"), RequestWakeup(50.0))
        .at(25)
        .on(WatchEnded(), opens_watch("42"))
    )


def test_silent_stream_is_dropped_and_resumed_without_listing() -> None:
    (
        watching()
        .at(10)
        .on(line("BOOKMARK", "", "8"), RequestWakeup(40.0))
        .at(30)
        .on(WokeUp(), RequestWakeup(40.0))
        .at(40)
        .on(WokeUp(), CloseWatch(), opens_watch("8"))
    )


def test_version_too_old_lists_again_at_once_but_not_in_a_loop() -> None:
    (
        watching()
        .at(5)
        .on(error_line(410), CloseWatch(), opens_list())
        .on(page("p", "r", version="50"), Replaced(("p", "r")), opens_watch("50"))
        .on(RequestFailed(410, "gone"), RequestWakeup(5.75))
        .at(6)
        .on(WokeUp(), opens_list())
        .on(page("p", version="60"), Replaced(("p",)), opens_watch("60"))
        .on(WatchOpened(), RequestWakeup(36.0))
        .on(line("BOOKMARK", "", "61"), RequestWakeup(36.0))
        .at(7)
        .on(error_line(500, "Expired"), CloseWatch(), opens_list())
    )


def test_expired_continue_token_starts_the_list_anew() -> None:
    (
        Play()
        .on(Started(), opens_list())
        .on(page("a", "b", continued="old"), opens_list("old"))
        .on(RequestFailed(410, "continue expired"), opens_list())
        .on(page("b", version="9"), Replaced(("b",)), opens_watch("9"))
    )


def test_other_errors_in_the_stream_resume_after_a_pause() -> None:
    (
        watching("7")
        .at(5)
        .on(error_line(500), CloseWatch(), Failed(500, "told so"), RequestWakeup(5.75))
        .at(5.75)
        .on(WokeUp(), opens_watch("7"))
    )


def test_failures_back_off_and_success_forgets_them() -> None:
    play = Play().on(Started(), opens_list())
    for wait in (0.75, 1.5, 3.0, 6.0, 6.0):
        play.on(RequestFailed(0, "refused"), Failed(0, "refused"), RequestWakeup(play.now + wait))
        play.at(play.now + wait).on(WokeUp(), opens_list())
    play.on(page("a"), Replaced(("a",)), opens_watch("7")).on(WatchOpened(), RequestWakeup(play.now + 30))
    play.on(line("ADDED", "b", "8"), Applied("b"), RequestWakeup(play.now + 30))
    play.on(WatchEnded("reset"), Failed(0, "reset"), RequestWakeup(play.now + 0.75))


def test_retry_after_is_respected() -> None:
    (
        Play()
        .on(Started(), opens_list())
        .on(RequestFailed(429, "slow down", retry_after=20.0), Failed(429, "slow down"), RequestWakeup(20.0))
    )


def test_failure_in_the_middle_of_a_relist_never_skips_it() -> None:
    """A list that broke off must not be taken for listed: watching from its version would lose what it had."""
    (
        watching()
        .at(5)
        .on(error_line(410), CloseWatch(), opens_list())
        .on(page("a", "b", version="90", continued="more"), opens_list("more"))
        .on(RequestFailed(503, "down"), Failed(503, "down"), RequestWakeup(5.75))
        .at(6)
        .on(WokeUp(), opens_list())
    )


def test_watch_that_ends_as_it_begins_waits() -> None:
    watching().at(0.2).on(WatchEnded(), RequestWakeup(0.95)).at(0.95).on(WokeUp(), opens_watch("7"))


def test_missing_kind_is_believed_when_seen_twice() -> None:
    """A custom kind may not be installed (yet): it counts as empty and is looked for again."""
    (
        Play()
        .on(Started(), opens_list())
        .on(RequestFailed(404, "no such kind"), RequestWakeup(1.0))
        .at(1)
        .on(WokeUp(), opens_list())
        .on(RequestFailed(404, "no such kind"), Replaced(()), RequestWakeup(6.0))
        .at(6)
        .on(WokeUp(), opens_list())
        .on(RequestFailed(404, "no such kind"), RequestWakeup(11.0))
        .at(11)
        .on(WokeUp(), opens_list())
        .on(page("a"), Replaced(("a",)), opens_watch("7"))
    )


def test_kind_removed_under_a_watch_is_listed_again() -> None:
    (
        watching()
        .at(50)
        .on(WatchEnded(), opens_watch("7"))
        .on(RequestFailed(404, "gone"), Failed(404, "gone"), RequestWakeup(50.75))
        .at(51)
        .on(WokeUp(), opens_list())
    )


def test_lost_contact_drops_the_stream_and_regained_contact_ends_the_wait() -> None:
    (
        watching()
        .at(5)
        .on(ContactLost(), CloseWatch(), RequestWakeup(5.75))
        .at(5.1)
        .on(ContactRegained(), opens_watch("7"))
        .on(ContactLost())
    )


def test_broken_line_means_looking_again() -> None:
    play = watching().at(5)
    out = play.machine.feed(LineArrived(b'{"type":"ADD'), 5)
    assert out[0] == CloseWatch()
    assert isinstance(out[1], Failed)
    assert "no event" in out[1].message
    play.at(6).on(WokeUp(), opens_list())


def test_answer_that_is_no_list_is_a_failure() -> None:
    play = Play().on(Started(), opens_list())
    out = play.machine.feed(PageArrived(b"<html>"), 0)
    assert isinstance(out[0], Failed)
    assert "no list" in out[0].message
    assert out[1] == RequestWakeup(0.75)


def test_null_items_are_an_empty_list() -> None:
    """Go writes an empty list as null."""
    body = PageArrived(b'{"metadata":{"resourceVersion":"1"},"items":null}')
    Play().on(Started(), opens_list()).on(body, Replaced(()), opens_watch("1"))


def test_late_events_change_nothing() -> None:
    (
        watching()
        .on(page("z"))
        .on(Yielded())
        .on(RequestFailed(500, "late"))
        .on(ContactRegained())
        .at(1)
        .on(ContactLost(), CloseWatch(), RequestWakeup(1.75))
        .on(line("ADDED", "z", "99"))
        .on(WatchEnded("late"))
    )
