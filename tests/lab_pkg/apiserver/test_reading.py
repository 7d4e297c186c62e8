"""Lists, pages, shapes and watches, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.apiserver.reading import BOOKMARK_EVERY

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = {"content_type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
METADATA = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


async def create(api: InProcess, name: str, labels: dict[str, str] | None = None, **data: str) -> JsonObject:
    body = {"metadata": {"name": name, "labels": labels or {}}, "data": data}
    reply = await api.request("POST", MAPS, body)
    assert reply.status == 201, reply.body
    return dict(reply.body)


async def patch(api: InProcess, name: str, body: dict[str, Any]) -> JsonObject:
    return dict((await api.request("PATCH", f"{MAPS}/{name}", body, **MERGE)).body)


async def take(events: AsyncIterator[JsonObject], count: int) -> list[tuple[str, str]]:
    """Type and name (or the bookmark's revision) of the next events."""
    found = []
    async for event in events:
        metadata = event["object"].get("metadata", {})
        found.append((event["type"], metadata.get("name") or metadata.get("resourceVersion", "")))
        if len(found) == count:
            break
    return found


async def test_a_list_is_of_one_moment(api: InProcess) -> None:
    await create(api, "b", {"x": "1"})
    made = await create(api, "a")
    body = (await api.request("GET", MAPS)).body
    assert (body["kind"], body["apiVersion"]) == ("ConfigMapList", "v1")
    assert [item["metadata"]["name"] for item in body["items"]] == ["a", "b", "kube-root-ca.crt"]
    assert body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    everywhere = (await api.request("GET", "/api/v1/configmaps?labelSelector=x")).body
    assert [item["metadata"]["name"] for item in everywhere["items"]] == ["b"]


async def test_pages_continue_behind_the_last_name(api: InProcess) -> None:
    for index in range(5):
        await create(api, f"m{index}")
    first = (await api.request("GET", f"{MAPS}?limit=2")).body
    assert first["metadata"]["remainingItemCount"] == 4
    await create(api, "m2-new")
    token = first["metadata"]["continue"]
    second = (await api.request("GET", f"{MAPS}?limit=10&continue={token}")).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["m1", "m2", "m2-new", "m3", "m4"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("limit=x", 400, "invalid syntax"),
        ("continue=!!", 400, "continue key is not valid"),
        ("resourceVersion=x", 400, "resourceVersion must be a number"),
        ("resourceVersion=999999", 504, "Too large resource version"),
        ("resourceVersion=1&resourceVersionMatch=Exact", 410, "too old resource version"),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement"),
        ("fieldSelector=spec.x%3D1", 400, "field label not supported: spec.x"),
        ("watch=true&resourceVersion=999999", 410, "too old resource version"),
    ],
)
async def test_lists_that_cannot_be(api: InProcess, query: str, code: int, says: str) -> None:
    reply = await api.request("GET", f"{MAPS}?{query}")
    assert reply.status == code
    assert says in reply.body["message"]


async def test_shapes(api: InProcess) -> None:
    await create(api, "a", x="1", y="2")
    table = (await api.request("GET", f"{MAPS}/a", **TABLE)).body
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"] == ["a", 2, "0s"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = (await api.request("GET", f"{MAPS}?includeObject=Object", **TABLE)).body
    assert whole["rows"][0]["object"]["data"] == {"x": "1", "y": "2"}
    none = (await api.request("GET", f"{MAPS}?includeObject=None", **TABLE)).body
    assert "object" not in none["rows"][0]
    listed = (await api.request("GET", MAPS, **METADATA)).body
    assert listed["kind"] == "PartialObjectMetadataList"
    assert "data" not in listed["items"][0]
    refused = await api.request("GET", MAPS, accept="text/html")
    assert refused.status == 406


async def test_yaml(api: InProcess) -> None:
    reply = await api.answer("GET", f"{MAPS}/kube-root-ca.crt", accept="application/yaml")
    assert b"kind: ConfigMap\n" in reply.body  # type: ignore[attr-defined]


async def test_a_watch_from_a_list_sees_every_change(api: InProcess) -> None:
    revision = (await api.request("GET", MAPS)).body["metadata"]["resourceVersion"]
    await create(api, "a")
    await patch(api, "a", {"data": {"x": "1"}})
    events = api.watch(f"{MAPS}?watch=true&resourceVersion={revision}")
    assert await take(events, 2) == [("ADDED", "a"), ("MODIFIED", "a")]
    await api.request("DELETE", f"{MAPS}/a")
    assert await take(events, 1) == [("DELETED", "a")]
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_watch_without_a_revision_starts_with_what_is_there(api: InProcess) -> None:
    await create(api, "a")
    events = api.watch(f"{MAPS}?watch=true")
    assert await take(events, 2) == [("ADDED", "a"), ("ADDED", "kube-root-ca.crt")]
    other = {"metadata": {"name": "elsewhere"}}
    await api.request("POST", "/api/v1/namespaces/kube-system/configmaps", other)
    await create(api, "b")
    assert await take(events, 1) == [("ADDED", "b")]
    await events.aclose()  # type: ignore[attr-defined]


async def test_initial_events_end_with_a_bookmark(api: InProcess) -> None:
    query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    events = api.watch(f"{MAPS}?{query}")
    seen = [event async for event in _first(events, 2)]
    assert [event["type"] for event in seen] == ["ADDED", "BOOKMARK"]
    metadata = seen[1]["object"]["metadata"]
    assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert metadata["resourceVersion"] == str(api.state.store.revision)
    assert seen[1]["object"]["kind"] == "ConfigMap"
    await events.aclose()  # type: ignore[attr-defined]


async def _next(events: AsyncIterator[JsonObject]) -> JsonObject:
    return await anext(events)


async def _first(events: AsyncIterator[JsonObject], count: int) -> AsyncIterator[JsonObject]:
    for _ in range(count):
        yield await anext(events)


async def test_objects_enter_and_leave_a_selection(api: InProcess) -> None:
    await create(api, "a")
    revision = api.state.store.revision
    events = api.watch(f"{MAPS}?watch=true&labelSelector=on=yes&resourceVersion={revision}")
    await patch(api, "a", {"metadata": {"labels": {"on": "yes"}}})
    await patch(api, "a", {"data": {"x": "1"}})
    await patch(api, "a", {"metadata": {"labels": {"on": "no"}}})
    await patch(api, "a", {"data": {"x": "2"}})
    await create(api, "b", {"on": "yes"})
    expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    assert await take(events, 4) == expected
    await events.aclose()  # type: ignore[attr-defined]


async def test_watches_of_one_object_and_as_tables(api: InProcess) -> None:
    await create(api, "a")
    revision = api.state.store.revision
    one = api.watch(f"{MAPS}/a?watch=true&resourceVersion={revision}")
    table = api.watch(f"{MAPS}?watch=true&resourceVersion={revision}", **TABLE)
    await create(api, "b")
    await patch(api, "a", {"data": {"x": "1"}})
    assert await take(one, 1) == [("MODIFIED", "a")]
    event = await anext(table)
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][0] == "b"
    for stream in (one, table):
        await stream.aclose()  # type: ignore[attr-defined]


async def test_quiet_watches_get_bookmarks(api: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BOOKMARK_EVERY == 60
    monkeypatch.setattr("isthmus_lab.apiserver.reading.BOOKMARK_EVERY", 0.01)
    revision = api.state.store.revision
    events = api.watch(f"{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={revision}")
    assert await take(events, 2) == [("BOOKMARK", str(revision))] * 2
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_watch_ends_when_its_time_is_over(api: InProcess) -> None:
    revision = api.state.store.revision
    events = api.watch(f"{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={revision}")
    assert [event async for event in events] == []


async def test_a_watcher_that_was_overtaken_is_told(tmp_path: Path) -> None:
    api = InProcess(tmp_path, history=4)
    events = api.watch(f"{MAPS}?watch=true&resourceVersion={api.state.store.revision}")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_next(events))
        await asyncio.sleep(0)
        await create(api, "a")
    assert first.result()["type"] == "ADDED"
    for number in range(12):
        await patch(api, "a", {"data": {"n": str(number)}})
    event = await anext(events)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    await events.aclose()  # type: ignore[attr-defined]
    api.close()


async def test_five_thousand_objects(api: InProcess) -> None:
    revision = api.state.store.revision
    events = api.watch(f"{MAPS}?watch=true&resourceVersion={revision - 1}&labelSelector=n")
    for number in range(5000):
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number:04}", "namespace": "default"}}
        obj["metadata"]["labels"] = {"n": str(number % 10)}  # type: ignore[index]
        api.state.store.create("configmaps", obj)
        if number % 500 == 499:
            assert len(await take(events, 500)) == 500
    listed = (await api.request("GET", f"{MAPS}?labelSelector=n")).body
    assert len(listed["items"]) == 5000
    assert len((await api.request("GET", f"{MAPS}?labelSelector=n%3D3")).body["items"]) == 500
    fresh = api.watch(f"{MAPS}?watch=true&labelSelector=n")
    assert len(await take(fresh, 5000)) == 5000
    for stream in (events, fresh):
        await stream.aclose()  # type: ignore[attr-defined]
