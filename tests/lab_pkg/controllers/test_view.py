"""The store: our own writes count at once, older news never win."""

from __future__ import annotations

from isthmus_lab.controllers.client import POD
from isthmus_lab.controllers.view import Store
from tests.lab_pkg.controllers.world import Json, pod


def at(revision: int, name: str = "a", **meta: object) -> Json:
    obj = pod(name)
    obj["metadata"] |= {"resourceVersion": str(revision), **meta}
    return obj


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    store = Store(POD)
    assert store.put(at(5))
    assert not store.put(at(4))
    assert not store.put(at(5))
    assert store.put(at(6))


def test_news_of_a_deleted_object_do_not_bring_it_back() -> None:
    store = Store(POD)
    store.put(at(5))
    assert store.remove(at(7))
    assert not store.put(at(6))
    assert len(store) == 0
    assert store.put(at(8))


def test_a_deletion_that_is_older_than_what_is_known_is_that_of_a_predecessor() -> None:
    store = Store(POD)
    store.put(at(9))
    assert not store.remove(at(7))
    assert store.get("ns", "a") is not None


def test_a_list_tells_what_is_new_other_and_gone() -> None:
    store = Store(POD)
    for obj in (at(1, "same"), at(2, "other"), at(3, "gone")):
        store.put(obj)
    changed = store.replace([at(1, "same"), at(9, "other"), at(8, "new")])
    assert sorted(obj["metadata"]["name"] for obj in changed) == ["gone", "new", "other"]
    assert sorted(obj["metadata"]["name"] for obj in store) == ["new", "other", "same"]


def test_owners_are_found_and_forgotten() -> None:
    store = Store(POD)
    store.put(at(1, "a", ownerReferences=[{"uid": "x"}]))
    store.put(at(2, "b", ownerReferences=[{"uid": "x"}, {"uid": "y"}]))
    assert [obj["metadata"]["name"] for obj in store.owned_by("x")] == ["a", "b"]
    store.put(at(3, "a", ownerReferences=[]))
    assert [obj["metadata"]["name"] for obj in store.owned_by("x")] == ["b"]
    store.remove(at(4, "b"))
    assert store.owned_by("y") == []


def test_namespaces_and_times() -> None:
    store = Store(POD)
    store.put(at(1), mono=7.0)
    assert [obj["metadata"]["name"] for obj in store.in_namespace("ns")] == ["a"]
    assert store.in_namespace("other") == []
    assert store.seen("ns", "a") == 7.0
    store.put(at(1), mono=9.0)
    assert store.seen("ns", "a") == 7.0
