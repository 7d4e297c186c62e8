"""Custom resources: definitions, validation, defaults, pruning, versions, tables."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from isthmus_lab.apiserver import crds
from isthmus_lab.apiserver.inprocess import InProcess

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"content_type": "application/merge-patch+json"}
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}

SHAPE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["colour"],
            "properties": {
                "colour": {"type": "string", "enum": ["red", "green"]},
                "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
                "title": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "note": {"type": "string", "nullable": True},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 3},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "properties": {"id": {"type": "integer"}, "on": {"type": "boolean", "default": True}},
                    },
                },
                "either": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
        },
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    },
}
SHAPE["properties"]["spec"]["properties"]["either"]["properties"] = {"a": {"type": "string"}, "b": {"type": "string"}}


def version(name: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": SHAPE}, **fields}


def definition(*versions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": names, "versions": list(versions) or [version()],
            **spec,
        },
    }  # fmt: skip


async def define(api: InProcess, *versions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    reply = await api.request("POST", CRDS, definition(*versions, **spec))
    assert reply.status == 201, reply.body
    return dict(reply.body)


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"colour": "red", **spec},
    }


async def create(api: InProcess, obj: dict[str, Any], query: str = "") -> Any:
    return await api.request("POST", WIDGETS + query, obj)


async def test_a_definition_is_served_at_once(api: InProcess) -> None:
    made = await define(api)
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["spec"]["names"]["listKind"] == "WidgetList"
    stored = (await create(api, widget())).body
    assert stored["spec"] == {"colour": "red", "size": 3}
    assert stored["metadata"]["generation"] == 1
    listed = (await api.request("GET", WIDGETS)).body
    assert (listed["kind"], len(listed["items"])) == ("WidgetList", 1)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"colour": None}, "spec.colour: Required value"),
        ({"colour": "blue"}, 'spec.colour: Unsupported value: "blue": supported values: "green", "red"'),
        ({"size": "big"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 10}, "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9"),
        ({"title": "UP"}, "spec.title: Invalid value: \"UP\": spec.title in body should match '^[a-z]+$'"),
        ({"title": "a"}, "should be at least 2 chars long"),
        ({"title": "abcdef"}, "should be at most 5 chars long"),
        ({"port": True}, "spec.port: Invalid value"),
        ({"tags": ["a", "b", "a"]}, 'spec.tags[2]: Duplicate value: "a"'),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags: Invalid value: 4: spec.tags in body should have at most 3 items"),
        ({"parts": [{"id": 1}, {"id": 1}]}, 'spec.parts[1]: Duplicate value: {"id":1}'),
        ({"parts": [{}]}, "spec.parts[0].id: Required value"),
        ({"either": {"a": "x", "b": "y"}}, '"spec.either" must validate one and only one schema (oneOf)'),
    ],
)
async def test_objects_that_cannot_be(api: InProcess, spec: dict[str, Any], says: str) -> None:
    await define(api)
    reply = await create(api, widget(**spec))
    assert reply.status == 422, reply.body
    assert reply.body["message"].startswith('Widget.example.com "w" is invalid: ')
    assert says in reply.body["message"]
    assert reply.body["details"]["causes"][0]["field"].startswith("spec")


@pytest.mark.parametrize(
    "spec",
    [{"port": 80}, {"port": "http"}, {"note": None}, {"free": {"any": [1, {"x": None}]}}, {"either": {"a": "x"}}],
)
async def test_objects_that_can(api: InProcess, spec: dict[str, Any]) -> None:
    await define(api)
    assert (await create(api, widget(**spec))).status == 201


async def test_unknown_fields_go_defaults_come(api: InProcess) -> None:
    await define(api)
    obj = widget(parts=[{"id": 1, "what": "?"}], free={"kept": 1}, extra=1)
    stored = (await create(api, obj)).body["spec"]
    assert stored == {"colour": "red", "size": 3, "parts": [{"id": 1, "on": True}], "free": {"kept": 1}}
    refused = await create(api, {**obj, "metadata": {"name": "x"}}, "?fieldValidation=Strict")
    assert refused.body["message"] == (
        'strict decoding error: unknown field "spec.parts[0].what", unknown field "spec.extra"'
    )


async def test_the_status_subresource(api: InProcess) -> None:
    await define(api, version(subresources={"status": {}}))
    stored = (await create(api, {**widget(), "status": {"phase": "ignored"}})).body
    assert "status" not in stored
    changed = (await api.request("PATCH", f"{WIDGETS}/w/status", {"status": {"phase": "Done"}}, **MERGE)).body
    assert (changed["status"], changed["metadata"]["generation"]) == ({"phase": "Done"}, 1)
    await api.request("PATCH", f"{WIDGETS}/w", {"spec": {"size": 4}, "status": {"phase": "x"}}, **MERGE)
    found = (await api.request("GET", f"{WIDGETS}/w")).body
    assert (found["spec"]["size"], found["status"]["phase"], found["metadata"]["generation"]) == (4, "Done", 2)


async def test_without_a_status_subresource_there_is_none(api: InProcess) -> None:
    await define(api)
    stored = (await create(api, {**widget(), "status": {"phase": "Kept"}})).body
    assert stored["status"] == {"phase": "Kept"}
    resources = (await api.request("GET", "/apis/example.com/v1")).body["resources"]
    assert [row["name"] for row in resources] == ["widgets"]


async def test_versions_show_the_same_object(api: InProcess) -> None:
    await define(api, version(), version("v2"), version("v1beta1", deprecated=True))
    await create(api, widget())
    newer = (await api.request("GET", WIDGETS.replace("/v1/", "/v2/") + "/w")).body
    assert (newer["apiVersion"], newer["spec"]["colour"]) == ("example.com/v2", "red")
    newer["spec"]["size"] = 7
    replaced = (await api.request("PUT", WIDGETS.replace("/v1/", "/v2/") + "/w", newer)).body
    assert replaced["apiVersion"] == "example.com/v2"
    assert (await api.request("GET", f"{WIDGETS}/w")).body["spec"]["size"] == 7
    old = await api.request("GET", WIDGETS.replace("/v1/", "/v1beta1/"))
    assert ("warning", '299 - "v1beta1 is deprecated"') in old.headers
    group = (await api.request("GET", "/apis/example.com")).body
    assert [v["version"] for v in group["versions"]] == ["v2", "v1", "v1beta1"]


async def test_custom_columns(api: InProcess) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "First", "type": "string", "jsonPath": ".spec.parts[0].id", "priority": 1},
        {"name": "Ids", "type": "string", "jsonPath": ".spec.parts[*].id"},
        {"name": "Parts", "type": "string", "jsonPath": ".spec.parts"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "None", "type": "string", "jsonPath": ".spec.nothing"},
    ]
    await define(api, version(additionalPrinterColumns=columns))
    await create(api, widget(parts=[{"id": 1}, {"id": 2}]))
    table = (await api.request("GET", WIDGETS, **TABLE)).body
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "First", "Ids", "Parts", "Age", "None"]
    assert table["rows"][0]["cells"] == ["w", 3, "1", "1,2", '[{"id":1,"on":true},{"id":2,"on":true}]', "0s", None]


async def test_cluster_scope_and_replacing_needs_a_revision(api: InProcess) -> None:
    await define(api, scope="Cluster")
    at = "/apis/example.com/v1/widgets"
    assert (await api.request("POST", at, widget())).status == 201
    assert (await api.request("GET", WIDGETS)).status == 404
    refused = await api.request("PUT", f"{at}/w", widget())
    assert "metadata.resourceVersion: Invalid value" in refused.body["message"]


async def test_a_strategic_patch_is_for_built_in_kinds(api: InProcess) -> None:
    await define(api)
    await create(api, widget())
    refused = await api.request("PATCH", f"{WIDGETS}/w", {}, content_type="application/strategic-merge-patch+json")
    assert refused.status == 415


async def test_selectable_fields(api: InProcess) -> None:
    await define(api, version(selectableFields=[{"jsonPath": ".spec.colour"}]))
    await create(api, widget())
    await create(api, widget("g", colour="green"))
    found = (await api.request("GET", f"{WIDGETS}?fieldSelector=spec.colour=green")).body["items"]
    assert [item["metadata"]["name"] for item in found] == ["g"]


async def test_a_changed_schema_counts_at_once(api: InProcess) -> None:
    made = await define(api)
    loose = version(schema={"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}})
    made["spec"]["versions"] = [loose]
    assert (await api.request("PUT", f"{CRDS}/widgets.example.com", made)).status == 200
    assert (await create(api, {**widget(), "spec": {"colour": "mauve", "more": 1}})).status == 201


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metadata": {"name": "other.example.com"}}, 'must be spec.names.plural+"."+spec.group'),
        ({"spec": {"scope": "Galaxy"}}, 'spec.scope: Unsupported value: "Galaxy"'),
        ({"spec": {"versions": []}}, "spec.versions: Required value"),
        ({"spec": {"versions": [version(), version("v2", storage=True)]}}, "exactly one version marked as storage"),
        ({"spec": {"versions": [version(), version()]}}, 'spec.versions[1].name: Duplicate value: "v1"'),
        ({"spec": {"versions": [version("V1", storage=True)]}}, "must be a DNS-1035 label"),
        ({"spec": {"versions": [version(schema={})]}}, "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (
            {"spec": {"versions": [version(schema={"openAPIV3Schema": {"type": "string"}})]}},
            "must be an object at the root",
        ),
        (
            {
                "spec": {
                    "versions": [
                        version(schema={"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "x"}}}})
                    ]
                }
            },
            "properties.a.type",
        ),
        ({"spec": {"conversion": {"strategy": "Webhook"}}}, 'spec.conversion.strategy: Unsupported value: "Webhook"'),
        ({"spec": {"preserveUnknownFields": True}}, "spec.preserveUnknownFields: Invalid value: true"),
        ({"spec": {"group": "Bad Group"}}, "spec.group: Invalid value"),
    ],
)
async def test_definitions_that_cannot_be(api: InProcess, change: dict[str, Any], says: str) -> None:
    body = definition()
    for part, fields in change.items():
        body[part] |= fields
    reply = await api.request("POST", CRDS, body)
    assert reply.status == 422, reply.body
    assert says in reply.body["message"]


async def test_what_stays_in_a_definition(api: InProcess) -> None:
    made = await define(api)
    made["spec"]["names"]["kind"] = "Other"
    reply = await api.request("PUT", f"{CRDS}/widgets.example.com", made)
    assert "spec.names.kind: Invalid value" in reply.body["message"]


async def test_names_that_are_taken(api: InProcess) -> None:
    await define(api)
    second = definition()
    second["metadata"]["name"] = "gadgets.example.com"
    second["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]}
    status = (await api.request("POST", CRDS, second)).body["status"]
    assert [c["status"] for c in status["conditions"]] == ["False", "False"]
    assert status["conditions"][0]["message"] == '"wd" is already in use'
    assert (await api.request("GET", "/apis/example.com/v1/gadgets")).status == 404


async def test_definitions_are_served_after_a_restart(api: InProcess) -> None:
    await define(api)
    await create(api, widget())
    again = InProcess(api.state.settings.data_dir)
    assert (await again.request("GET", f"{WIDGETS}/w")).status == 200
    again.close()


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"type": "integer", "maximum": 5, "exclusiveMaximum": True}, 4, 5),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": False}, 1, 0),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, "b"),
        ({"x-kubernetes-int-or-string": True}, "a", 1.5),
        ({"allOf": [{"type": "string", "nullable": True}], "default": 1}, None, 1),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": "b"}, {"a": 1}),
        ({"type": "array", "items": {"not": {"type": "string"}}}, [1], ["a"]),
    ],
)
def test_openapi_as_json_schema(shape: dict[str, Any], good: Any, bad: Any) -> None:
    validator = jsonschema.Draft202012Validator(crds.to_json_schema(shape))
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)
