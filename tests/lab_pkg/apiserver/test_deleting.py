"""Deletion: finalizers, grace, preconditions, collections, owners, namespaces, definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.inprocess import InProcess

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
NAMESPACES = "/api/v1/namespaces"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"content_type": "application/merge-patch+json"}


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}}


def owner(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj["metadata"]
    return {"apiVersion": "v1", "kind": obj["kind"], "name": metadata["name"], "uid": metadata["uid"]}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def exists(api: InProcess, target: str) -> bool:
    return (await api.request("GET", target)).status == 200


async def test_deletion_says_what_went(api: InProcess) -> None:
    made = (await api.request("POST", MAPS, config_map("a"))).body
    gone = (await api.request("DELETE", f"{MAPS}/a")).body
    assert gone["status"] == "Success"
    assert gone["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await api.request("DELETE", f"{MAPS}/a")).status == 404


async def test_finalizers_hold_an_object_until_they_are_gone(api: InProcess) -> None:
    await api.request("POST", MAPS, config_map("a", finalizers=["example.com/x"]))
    marked = (await api.request("DELETE", f"{MAPS}/a")).body
    assert marked["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:20Z"
    again = (await api.request("DELETE", f"{MAPS}/a")).body
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    await api.request("PATCH", f"{MAPS}/a", {"data": {"still": "here"}}, **MERGE)
    assert await exists(api, f"{MAPS}/a")
    await api.request("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": []}}, **MERGE)
    assert not await exists(api, f"{MAPS}/a")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"preconditions": {"uid": "other"}}, "UID in precondition: other"),
        ({"preconditions": {"resourceVersion": "1"}}, "ResourceVersion in precondition: 1"),
    ],
)
async def test_preconditions(api: InProcess, options: dict[str, Any], says: str) -> None:
    await api.request("POST", MAPS, config_map("a"))
    refused = await api.request("DELETE", f"{MAPS}/a", options)
    assert refused.status == 409
    assert says in refused.body["message"]
    assert await exists(api, f"{MAPS}/a")


@pytest.mark.parametrize("body", [b"[]", b"{"])
async def test_broken_options(api: InProcess, body: bytes) -> None:
    await api.request("POST", MAPS, config_map("a"))
    assert (await api.request("DELETE", f"{MAPS}/a", body)).status == 400
    assert (await api.request("DELETE", f"{MAPS}/a?gracePeriodSeconds=x")).status == 400


async def test_pods_on_a_node_get_time_to_stop(api: InProcess) -> None:
    await api.request("POST", PODS, pod("p", nodeName="n", terminationGracePeriodSeconds=7))
    marked = (await api.request("DELETE", f"{PODS}/p")).body["metadata"]
    assert (marked["deletionGracePeriodSeconds"], marked["deletionTimestamp"]) == (7, "2023-11-14T22:13:27Z")
    shorter = (await api.request("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 2})).body["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 2
    longer = (await api.request("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 60})).body["metadata"]
    assert longer["deletionGracePeriodSeconds"] == 2
    await api.request("PATCH", f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}}, **MERGE)
    assert await exists(api, f"{PODS}/p")
    await api.request("DELETE", f"{PODS}/p?gracePeriodSeconds=0")  # the kubelet, when it has stopped
    assert not await exists(api, f"{PODS}/p")


@pytest.mark.parametrize("state", [{}, {"nodeName": "n"}])
async def test_pods_that_run_nowhere_go_at_once(api: InProcess, state: dict[str, Any]) -> None:
    await api.request("POST", PODS, pod("p", **state))
    if state:
        await api.request("PATCH", f"{PODS}/p/status", {"status": {"phase": "Succeeded"}}, **MERGE)
    await api.request("DELETE", f"{PODS}/p")
    assert not await exists(api, f"{PODS}/p")


async def test_a_pod_with_a_finalizer_goes_after_both(api: InProcess) -> None:
    body = pod("p", nodeName="n")
    body["metadata"]["finalizers"] = ["x/y"]
    await api.request("POST", PODS, body)
    await api.request("DELETE", f"{PODS}/p")
    await api.request("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
    assert await exists(api, f"{PODS}/p")
    await api.request("PATCH", f"{PODS}/p", {"metadata": {"finalizers": None}}, **MERGE)
    assert not await exists(api, f"{PODS}/p")


async def test_collections_go_by_selector(api: InProcess) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "1"}), ("c", {})):
        await api.request("POST", MAPS, config_map(name, labels=labels))
    gone = (await api.request("DELETE", f"{MAPS}?labelSelector=x=1")).body
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "b"]
    assert await exists(api, f"{MAPS}/c")
    assert not await exists(api, f"{MAPS}/a")


async def test_dry_run_removes_nothing(api: InProcess) -> None:
    await api.request("POST", MAPS, config_map("a"))
    assert (await api.request("DELETE", f"{MAPS}/a?dryRun=All")).status == 200
    assert (await api.request("DELETE", f"{MAPS}/a", {"dryRun": ["All"]})).status == 200
    assert await exists(api, f"{MAPS}/a")


async def test_what_was_owned_goes_with_its_owner(api: InProcess) -> None:
    parent = (await api.request("POST", MAPS, config_map("parent"))).body
    other = (await api.request("POST", MAPS, config_map("other"))).body
    child = (await api.request("POST", MAPS, config_map("child", ownerReferences=[owner(parent)]))).body
    await api.request("POST", MAPS, config_map("grandchild", ownerReferences=[owner(child)]))
    await api.request("POST", MAPS, config_map("shared", ownerReferences=[owner(parent), owner(other)]))
    await api.request("DELETE", f"{MAPS}/parent")
    await api.settle()
    assert not await exists(api, f"{MAPS}/child")
    assert not await exists(api, f"{MAPS}/grandchild")
    shared = (await api.request("GET", f"{MAPS}/shared")).body
    assert shared["metadata"]["ownerReferences"] == [owner(other)]


async def test_orphans_stay(api: InProcess) -> None:
    parent = (await api.request("POST", MAPS, config_map("parent"))).body
    await api.request("POST", MAPS, config_map("child", ownerReferences=[owner(parent)]))
    await api.request("DELETE", f"{MAPS}/parent", {"propagationPolicy": "Orphan"})
    await api.settle()
    child = (await api.request("GET", f"{MAPS}/child")).body
    assert "ownerReferences" not in child["metadata"]


async def test_an_object_whose_owner_is_gone_already(api: InProcess) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "never"}
    await api.request("POST", MAPS, config_map("late", ownerReferences=[reference]))
    await api.settle()
    assert not await exists(api, f"{MAPS}/late")


async def test_a_namespace_takes_its_contents_with_it(api: InProcess) -> None:
    await api.request("POST", NAMESPACES, config_map("ns"))
    await api.request("POST", f"{NAMESPACES}/ns/configmaps", config_map("a"))
    await api.request("POST", f"{NAMESPACES}/ns/pods", pod("p", nodeName="n"))
    marked = (await api.request("DELETE", f"{NAMESPACES}/ns")).body
    assert marked["status"]["phase"] == "Terminating"
    refused = await api.request("POST", f"{NAMESPACES}/ns/configmaps", config_map("b"))
    assert refused.status == 403
    assert "because it is being terminated" in refused.body["message"]
    await api.settle()
    assert not await exists(api, f"{NAMESPACES}/ns/configmaps/a")
    assert await exists(api, f"{NAMESPACES}/ns")  # its pod still stops
    await api.request("DELETE", f"{NAMESPACES}/ns/pods/p?gracePeriodSeconds=0")
    await api.settle()
    assert not await exists(api, f"{NAMESPACES}/ns")


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_some_namespaces_stay(api: InProcess, name: str) -> None:
    refused = await api.request("DELETE", f"{NAMESPACES}/{name}")
    assert refused.status == 403
    assert "this namespace may not be deleted" in refused.body["message"]


async def test_what_every_namespace_has_comes_back(api: InProcess) -> None:
    await api.request("DELETE", f"{MAPS}/kube-root-ca.crt")
    await api.request("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
    await api.settle()
    assert await exists(api, f"{MAPS}/kube-root-ca.crt")
    assert await exists(api, "/api/v1/namespaces/default/serviceaccounts/default")


async def test_clean_up_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = InProcess(tmp_path)
    parent = (await first.request("POST", MAPS, config_map("parent"))).body
    await first.request("POST", MAPS, config_map("child", ownerReferences=[owner(parent)]))
    await first.request("POST", NAMESPACES, config_map("ns"))
    await first.request("DELETE", f"{MAPS}/parent")
    await first.request("DELETE", f"{NAMESPACES}/ns")
    first.close()  # before anything was cleaned up
    second = InProcess(tmp_path)
    await second.settle()
    assert not await exists(second, f"{MAPS}/child")
    assert not await exists(second, f"{NAMESPACES}/ns")
    second.close()


def definition(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
            **spec,
        },
    }


async def test_a_definition_takes_its_objects_with_it(api: InProcess) -> None:
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    await api.request("POST", CRDS, definition())
    await api.request("POST", widgets, config_map("free"))
    await api.request("POST", widgets, config_map("held", finalizers=["a/b"]))
    await api.request("DELETE", f"{CRDS}/widgets.example.com")
    await api.settle()
    assert not await exists(api, f"{widgets}/free")
    assert await exists(api, f"{widgets}/held")
    await api.request("PATCH", f"{widgets}/held", {"metadata": {"finalizers": None}}, **MERGE)
    await api.settle()
    assert (await api.request("GET", f"{CRDS}/widgets.example.com")).status == 404
    assert (await api.request("GET", widgets)).status == 404


async def test_events_are_forgotten_after_an_hour(api: InProcess) -> None:
    at = "/api/v1/namespaces/default/events"
    event = {"involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Because"}
    await api.request("POST", at, {"metadata": {"name": "old"}, **event})
    await api.request("POST", at, {"metadata": {"name": "repeated"}, **event, "lastTimestamp": "2023-11-14T23:00:00Z"})
    api.now += 3700
    await api.request("POST", at, {"metadata": {"name": "new"}, **event})
    api.server.lifecycle.expire_events()
    listed = (await api.request("GET", at)).body["items"]
    assert [item["metadata"]["name"] for item in listed] == ["new", "repeated"]


async def test_namespace_finalizers_can_be_replaced(api: InProcess) -> None:
    await api.request("POST", NAMESPACES, config_map("ns"))
    body = {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes", "x/y"]}}
    found = (await api.request("PUT", f"{NAMESPACES}/ns/finalize", body)).body
    assert found["spec"]["finalizers"] == ["kubernetes", "x/y"]


async def test_eviction_is_a_graceful_deletion(api: InProcess) -> None:
    await api.request("POST", PODS, pod("p", nodeName="n"))
    assert (await api.request("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}})).status == 201
    assert (await api.request("GET", f"{PODS}/p")).body["metadata"]["deletionGracePeriodSeconds"] == 30
