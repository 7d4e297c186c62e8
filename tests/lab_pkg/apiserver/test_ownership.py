"""Who owns which field after updates and applies."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver import ownership
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.ownership import Intent, Manager, apply, track_update
from isthmus_lab.apiserver.resources import builtin_types

DEPLOYMENT = builtin_types()["Deployment"]
CONFIG_MAP = builtin_types()["ConfigMap"]


def manager(name: str, operation: str = "Apply") -> Manager:
    return Manager(name=name, operation=operation, api_version="v1")


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}


class Cluster:
    """One ConfigMap and its ownership, written by several managers."""

    def __init__(self) -> None:
        self.obj: dict[str, Any] = {}
        self.now = 0

    def _stamp(self) -> str:
        self.now += 1
        return f"t{self.now}"

    def apply(self, who: str, *, force: bool = False, **data: str) -> None:
        done = apply(
            self.obj, config_map(**data), CONFIG_MAP, Intent(manager=manager(who), force=force, at=self._stamp())
        )
        self.obj = done.obj
        self.obj["metadata"]["managedFields"] = done.managed

    def update(self, who: str, **data: str) -> None:
        new = config_map(**data)
        new["metadata"]["managedFields"] = self.obj.get("metadata", {}).get("managedFields", [])
        managed = track_update(self.obj or None, new, CONFIG_MAP, manager=manager(who, "Update"), at=self._stamp())
        new["metadata"]["managedFields"] = managed
        self.obj = new

    def owners(self) -> dict[str, list[str]]:
        return {
            entry["manager"]: sorted(key[2:] for key in entry["fieldsV1"].get("f:data", {}) if key != ".")
            for entry in self.obj["metadata"]["managedFields"]
        }

    @property
    def data(self) -> dict[str, str]:
        return dict(self.obj.get("data", {}))


def test_each_applier_owns_what_it_applied() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1")
    cluster.apply("two", b="2")
    assert cluster.data == {"a": "1", "b": "2"}
    assert cluster.owners() == {"one": ["a"], "two": ["b"]}


def test_a_map_that_was_applied_empty_takes_fields_afterwards() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1")
    cluster.apply("one")
    assert (cluster.data, cluster.owners()) == ({}, {"one": []})
    cluster.apply("one", b="2")
    assert (cluster.data, cluster.owners()) == ({"b": "2"}, {"one": ["b"]})


def test_the_same_value_is_shared_and_stays_until_nobody_wants_it() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1", b="1")
    cluster.apply("two", a="1")
    assert cluster.owners() == {"one": ["a", "b"], "two": ["a"]}
    cluster.apply("one", b="1")
    assert cluster.data == {"a": "1", "b": "1"}
    cluster.apply("two")
    assert cluster.data == {"b": "1"}


def test_what_an_applier_no_longer_names_goes() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1", b="1")
    cluster.apply("one", a="1")
    assert cluster.data == {"a": "1"}
    assert cluster.owners() == {"one": ["a"]}


def test_another_value_is_a_conflict_and_force_takes_it_over() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1")
    with pytest.raises(ApiError) as caught:
        cluster.apply("two", a="2")
    assert caught.value.code == 409
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert (caught.value.details or {})["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    ]
    cluster.apply("two", force=True, a="2")
    assert cluster.data == {"a": "2"}
    assert cluster.owners() == {"two": ["a"]}


def test_several_conflicts_are_listed_by_manager() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1")
    cluster.update("two", a="1", b="1", c="1")
    with pytest.raises(ApiError) as caught:
        cluster.apply("three", a="9", b="9", c="9")
    assert caught.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "one":\n- .data.a\nconflicts with "two" using v1 at t2:\n- .data.b\n- .data.c'
    )


def test_an_update_owns_what_it_changed_and_takes_it_from_appliers() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1", b="1")
    cluster.update("editor", a="1", b="2", c="3")
    assert cluster.owners() == {"one": ["a"], "editor": ["b", "c"]}
    cluster.update("editor", a="1", c="3")
    assert cluster.owners() == {"one": ["a"], "editor": ["c"]}
    with pytest.raises(ApiError):
        cluster.apply("one", a="1", c="4")


def test_the_time_of_a_set_changes_only_with_the_set() -> None:
    cluster = Cluster()
    cluster.apply("one", a="1")
    cluster.apply("one", a="2")
    assert cluster.obj["metadata"]["managedFields"][0]["time"] == "t1"
    cluster.apply("one", a="2", b="1")
    assert cluster.obj["metadata"]["managedFields"][0]["time"] == "t3"


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


def deployment(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}


def applied(live: dict[str, Any], wanted: dict[str, Any], who: str = "one") -> dict[str, Any]:
    done = apply(live, wanted, DEPLOYMENT, Intent(manager=manager(who), at="t"))
    return {**done.obj, "metadata": {**done.obj["metadata"], "managedFields": done.managed}}


def containers_of(obj: dict[str, Any]) -> list[dict[str, Any]]:
    return list(obj["spec"]["template"]["spec"]["containers"])


def test_lists_of_objects_merge_by_key() -> None:
    obj = applied({}, deployment(container("a", image="1")))
    obj = applied(obj, deployment(container("b", image="2"), container("a", tty=True)), "two")
    assert containers_of(obj) == [container("a", image="1", tty=True), container("b", image="2")]
    obj = applied(obj, deployment(container("a", tty=True)), "two")
    assert containers_of(obj) == [container("a", image="1", tty=True)]
    # An element stays while another manager owns something of it.
    obj = applied(obj, deployment(), "one")
    assert containers_of(obj) == [container("a", tty=True)]


def test_plain_lists_and_atomic_maps_are_one_field() -> None:
    obj = applied({}, {"metadata": {"name": "x"}, "spec": {"selector": {"matchLabels": {"a": "1"}}}})
    wanted = {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"nodeSelector": {"x": "1"}}}}}
    obj = applied(obj, wanted, "two")
    with pytest.raises(ApiError, match="nodeSelector"):
        applied(obj, {"metadata": {"name": "x"}, "spec": {"template": {"spec": {"nodeSelector": {"y": "1"}}}}}, "three")


def test_nulls_want_nothing() -> None:
    obj = applied({}, {"metadata": {"name": "x"}, "spec": {"replicas": None, "paused": True}})
    assert obj["spec"] == {"paused": True}


def test_malformed_entries_are_left_out() -> None:
    entries = [None, {}, {"manager": "x", "fieldsV1": "no"}, {"manager": "y", "fieldsV1": {"f:a": {}}}]
    assert [owned.manager.name for owned in ownership.read(entries).sets] == ["y"]


def test_kubectl_takes_over_what_it_applied_client_side() -> None:
    live = config_map(a="1", b="other")
    text = '{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1","b":"1"}}'
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": text}
    live["metadata"]["managedFields"] = track_update(
        None, live, CONFIG_MAP, manager=manager("kubectl-client-side-apply", "Update"), at="t"
    )
    taken = apply(live, config_map(a="2"), CONFIG_MAP, Intent(manager=manager("kubectl"), at="t"))
    assert taken.obj["data"]["a"] == "2"
    with pytest.raises(ApiError, match=r"\.data\.b"):  # changed since by somebody else
        apply(live, config_map(b="2"), CONFIG_MAP, Intent(manager=manager("kubectl"), at="t"))
    with pytest.raises(ApiError):
        apply(live, config_map(a="2"), CONFIG_MAP, Intent(manager=manager("other"), at="t"))
