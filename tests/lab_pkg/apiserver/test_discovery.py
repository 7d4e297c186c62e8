"""Discovery and OpenAPI documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus_lab.apiserver import discovery, requestinfo, resources
from isthmus_lab.apiserver.httpd import Response
from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.openapi import OpenApi

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def crd(group: str = "example.com") -> dict[str, Any]:
    shape = {"type": "object", "properties": {"spec": {"type": "object", "description": "What is wanted."}}}
    return {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": shape}}],
        },
    }


async def test_groups(api: InProcess) -> None:
    assert (await api.request("GET", "/api")).body["versions"] == ["v1"]
    groups = (await api.request("GET", "/apis")).body["groups"]
    assert [group["name"] for group in groups][:3] == ["apps", "autoscaling", "policy"]
    assert groups[0]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert (await api.request("GET", "/apis/apps")).body["kind"] == "APIGroup"
    for missing in ("/apis/none", "/apis/apps/v9", "/api/v9"):
        assert (await api.request("GET", missing)).status == 404


async def test_resources_of_a_version(api: InProcess) -> None:
    rows = {row["name"]: row for row in (await api.request("GET", "/apis/apps/v1")).body["resources"]}
    assert rows["deployments"]["shortNames"] == ["deploy"]
    assert rows["deployments/scale"]["kind"] == "Scale"
    assert rows["deployments/scale"]["group"] == "autoscaling"
    core = {row["name"]: row for row in (await api.request("GET", "/api/v1")).body["resources"]}
    assert core["namespaces"]["namespaced"] is False
    assert core["pods/exec"]["verbs"] == ["create", "get"]
    reviews = (await api.request("GET", "/apis/authentication.k8s.io/v1")).body["resources"]
    assert [row["verbs"] for row in reviews] == [["create"], ["create"]]


async def test_everything_in_one_document(api: InProcess) -> None:
    reply = await api.answer("GET", "/apis", accept=AGGREGATED)
    assert isinstance(reply, Response)
    assert reply.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {item["metadata"]["name"]: item for item in json.loads(reply.body)["items"]}
    deployments = groups["apps"]["versions"][0]["resources"][0]
    assert (deployments["resource"], deployments["scope"]) == ("deployments", "Namespaced")
    assert [sub["subresource"] for sub in deployments["subresources"]] == ["status", "scale"]
    core = (await api.request("GET", "/api", accept=AGGREGATED)).body
    assert [item["metadata"] for item in core["items"]] == [{}]


async def test_documents_are_asked_for_again_only_when_they_change(api: InProcess) -> None:
    first = await api.request("GET", "/apis", accept=AGGREGATED)
    tag = dict(first.headers)["etag"]
    same = await api.answer("GET", "/apis", accept=AGGREGATED, if_none_match=tag)
    assert isinstance(same, Response)
    assert (same.status, same.body) == (304, b"")
    await api.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())
    changed = await api.request("GET", "/apis", accept=AGGREGATED, if_none_match=tag)
    assert changed.status == 200
    assert changed.body["items"][-1]["metadata"]["name"] == "example.com"


@pytest.mark.parametrize(
    ("accept", "version"),
    [(AGGREGATED, "v2"), (AGGREGATED.replace("v=v2;", "v=v2beta1;"), "v2beta1"), ("application/json", ""), ("", "")],
)
def test_who_wants_one_document(accept: str, version: str) -> None:
    assert discovery.wants_aggregated(accept) == version


async def test_openapi_v3(api: InProcess) -> None:
    paths = (await api.request("GET", "/openapi/v3")).body["paths"]
    assert set(paths) >= {"api/v1", "apis/apps/v1"}
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    document = (await api.request("GET", url)).body
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    schemas = document["components"]["schemas"]
    containers = schemas["io.k8s.types.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"][0]["kind"] == "Deployment"
    assert (await api.request("GET", "/openapi/v3/apis/none/v1")).status == 404


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(references(item) for item in value))
    return set()


def test_no_reference_leads_nowhere() -> None:
    registry = resources.Registry()
    openapi = OpenApi(registry)
    for group, versions in registry.groups().items():
        for version in versions:
            document = json.loads(openapi.group(group, version) or b"")
            known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
            assert references(document) <= known
    whole = json.loads(openapi.v2())
    assert references(whole) <= {f"#/definitions/{name}" for name in whole["definitions"]}


async def test_custom_kinds_are_in_openapi_at_once(api: InProcess) -> None:
    before = (await api.request("GET", "/openapi/v3")).body["paths"]
    assert "apis/example.com/v1" not in before
    await api.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())
    url = (await api.request("GET", "/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    schema = (await api.request("GET", url)).body["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["properties"]["spec"]["description"] == "What is wanted."
    assert schema["properties"]["metadata"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.types.ObjectMeta"}]


async def test_openapi_v2_is_json_only(api: InProcess) -> None:
    document = (await api.request("GET", "/openapi/v2")).body
    assert "io.k8s.api.core.v1.Pod" in document["definitions"]
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert (await api.request("GET", "/openapi/v2", accept=protobuf)).status == 406


@pytest.mark.parametrize(
    ("method", "path", "watch", "expected"),
    [
        ("GET", "/api/v1/pods", False, ("list", "", "", "pods", "", "")),
        ("GET", "/api/v1/pods", True, ("watch", "", "", "pods", "", "")),
        ("GET", "/api/v1/namespaces/ns/pods/p", False, ("get", "", "ns", "pods", "p", "")),
        ("GET", "/api/v1/namespaces/ns/pods/p", True, ("watch", "", "ns", "pods", "p", "")),
        ("GET", "/api/v1/namespaces/ns/pods/p/log", False, ("get", "", "ns", "pods", "p", "log")),
        ("POST", "/api/v1/namespaces", False, ("create", "", "", "namespaces", "", "")),
        ("GET", "/api/v1/namespaces", False, ("list", "", "", "namespaces", "", "")),
        ("DELETE", "/api/v1/namespaces/ns", False, ("delete", "", "ns", "namespaces", "ns", "")),
        ("PUT", "/api/v1/namespaces/ns/finalize", False, ("update", "", "ns", "namespaces", "ns", "finalize")),
        ("GET", "/api/v1/namespaces/ns/status", False, ("get", "", "ns", "namespaces", "ns", "status")),
        ("DELETE", "/apis/apps/v1/namespaces/n/things", False, ("deletecollection", "apps", "n", "things", "", "")),
        ("PATCH", "/apis/apps/v1/namespaces/n/things/d/scale", False, ("patch", "apps", "n", "things", "d", "scale")),
        ("GET", "/apis/example.com/v1/widgets/w", False, ("get", "example.com", "", "widgets", "w", "")),
    ],
)  # fmt: skip
def test_what_a_request_is_about(method: str, path: str, watch: bool, expected: tuple[str, ...]) -> None:
    info = requestinfo.parse(method, path, watch=watch)
    assert info.is_resource
    assert (info.verb, info.group, info.namespace, info.plural, info.name, info.subresource) == expected


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v3/apis/apps/v1"]
)
def test_paths_that_are_no_resources(path: str) -> None:
    info = requestinfo.parse("GET", path)
    assert (info.is_resource, info.path, info.verb) == (False, path, "get")


def test_versions_in_order_of_preference() -> None:
    names = ["v1alpha1", "v2", "foo", "v1beta2", "v1", "v1beta1", "v10"]
    ordered = sorted(names, key=resources.version_priority)
    assert ordered == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]


async def test_health_and_the_index(api: InProcess) -> None:
    assert (await api.request("GET", "/readyz")).body == b"ok"
    assert b"[+]store ok" in (await api.request("GET", "/livez?verbose")).body
    assert "/apis" in (await api.request("GET", "/")).body["paths"]
    assert (await api.request("POST", "/version", {})).status == 405
    assert (await api.request("GET", "/metrics")).status == 404
