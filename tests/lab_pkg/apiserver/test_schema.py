"""The notation of built-in types, pruning, defaults and typed decoding errors."""

from __future__ import annotations

from typing import Any

import kubernetes.client.models as official
import pytest

from isthmus_lab.apiserver.objects import JsonObject
from isthmus_lab.apiserver.resources import Registry, builtin_types
from isthmus_lab.apiserver.schema import Schema, apply_defaults, from_openapi, parse_types, prune, reachable
from isthmus_lab.apiserver.typecheck import first_mismatch

TYPES = builtin_types()

# Where the official client's name of a type is another one.
OFFICIAL_NAMES = {
    "CoreEndpointPort": "CoreV1EndpointPort",
    "Event": "CoreV1Event",
    "EventSeries": "CoreV1EventSeries",
    "NewEvent": "EventsV1Event",
    "NewEventSeries": "EventsV1EventSeries",
    "EndpointPort": "DiscoveryV1EndpointPort",
    "HPACondition": "V2HorizontalPodAutoscalerCondition",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "HorizontalPodAutoscalerSpec": "V2HorizontalPodAutoscalerSpec",
    "HorizontalPodAutoscalerStatus": "V2HorizontalPodAutoscalerStatus",
    "CrossVersionObjectReference": "V2CrossVersionObjectReference",
    "ResourceClaim": "CoreV1ResourceClaim",
    "TokenRequest": "AuthenticationV1TokenRequest",
    "Subject": "RbacV1Subject",
    "WebhookClientConfig": "AdmissionregistrationV1WebhookClientConfig",
    "AdmissionServiceReference": "AdmissionregistrationV1ServiceReference",
}
GO_TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "datetime": "string"}


def official_model(name: str) -> Any:
    for candidate in (OFFICIAL_NAMES.get(name, ""), f"V1{name}", f"V2{name}"):
        if hasattr(official, candidate):
            return getattr(official, candidate)
    raise AssertionError(f"the official client has no {name}")


@pytest.mark.parametrize("name", sorted(set(TYPES) - {"Status"}))
def test_types_are_those_of_the_official_client(name: str) -> None:
    """Every field exists there and is of the same kind, and is required here only if it is there."""
    model = official_model(name)
    theirs = {wire: model.openapi_types[field] for field, wire in model.attribute_map.items()}
    for field, node in TYPES[name].properties.items():
        assert field in theirs, f"{name}.{field} is not a field"
        kind = theirs[field].lower()
        if node.preserve or node.int_or_string or node.format == "byte" or kind == "object":
            continue
        if kind.startswith("list["):
            assert node.type == "array", field
        elif kind.startswith("dict"):
            assert node.type == "object", field
        else:
            assert node.type == GO_TYPES.get(kind, "object"), field


def test_numbers_in_protobuf_are_unambiguous() -> None:
    for name, node in TYPES.items():
        numbers = [sub.numbers for sub in node.properties.values() if sub.numbers]
        assert len(set(numbers)) == len(numbers), name


def test_every_resource_has_a_schema_with_metadata() -> None:
    for resource in Registry().all():
        for version in resource.versions.values():
            assert "metadata" in version.schema.properties, resource.kind


def test_the_notation() -> None:
    types = parse_types([
        """
Thing: A thing.
  name! string =x (x|y) | Its name.
  parts [Part] key=id @2.3 | Its parts.
  size int >=1 =3 | Its size.
  tags [string] set | Words.
  table {Part} atomic | By name.
Part: A part.
  id! int | Its number.
  thing Thing | Types may refer to each other.
"""
    ])  # fmt: skip
    thing = types["Thing"]
    assert (thing.description, thing.required) == ("A thing.", ("name",))
    assert (thing.properties["name"].default, thing.properties["name"].enum) == ("x", ("x", "y"))
    parts = thing.properties["parts"]
    assert (parts.list_type, parts.keys, parts.merge_key, parts.numbers) == ("map", ("id",), "id", (2, 3))
    assert (thing.properties["size"].minimum, thing.properties["size"].default) == (1, 3)
    assert thing.properties["tags"].list_type == "set"
    assert thing.properties["table"].atomic
    assert types["Part"].properties["thing"].properties is thing.properties
    assert sorted(reachable(types, "Part")) == ["Part", "Thing"]


@pytest.mark.parametrize("line", ["  name string", "name string | x", "  name string ?? | x", "  name Missing | x"])
def test_lines_that_do_not_fit(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_types(["Thing: A thing.\n" + line])


def test_prune_names_what_it_removes() -> None:
    pod: JsonObject = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "what": 1},
        "spec": {"containers": [{"name": "a", "colour": "red"}], "nodeSelector": {"any": "thing"}},
        "extra": {},
    }
    assert prune(pod, TYPES["Pod"]) == ["metadata.what", "spec.containers[0].colour", "extra"]
    assert pod["spec"] == {"containers": [{"name": "a"}], "nodeSelector": {"any": "thing"}}


def test_defaults_fill_what_is_there() -> None:
    pod: JsonObject = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}], "env": None}]}}
    apply_defaults(pod, TYPES["Pod"])
    container = pod["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    assert "env" not in container
    assert pod["spec"]["restartPolicy"] == "Always"
    assert "status" not in pod


def test_defaults_of_custom_schemas_are_copies() -> None:
    shape = from_openapi({
        "type": "object",
        "properties": {"a": {"type": "object", "default": {"x": 1}}, "b": {"type": "string", "nullable": True}},
    })  # fmt: skip
    first: JsonObject = {"b": None}
    apply_defaults(first, shape)
    first["a"]["x"] = 2
    second: JsonObject = {}
    apply_defaults(second, shape)
    assert (first, second) == ({"b": None, "a": {"x": 2}}, {"a": {"x": 1}})


def test_embedded_objects_keep_their_type() -> None:
    shape = from_openapi(
        {"type": "object", "properties": {"t": {"type": "object", "x-kubernetes-embedded-resource": True}}}
    )
    obj: JsonObject = {"t": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "other": 1}}
    assert prune(obj, shape) == ["t.other"]


@pytest.mark.parametrize(
    ("kind", "obj", "says"),
    [
        ("Deployment", {"spec": {"replicas": "2"}}, "string into DeploymentSpec.spec.replicas of type int32"),
        ("Service", {"spec": {"ports": {}}}, "object into ServiceSpec.spec.ports of type []v1.ServicePort"),
        ("Pod", {"spec": []}, "array into Pod.spec of type v1.PodSpec"),
        ("Pod", {"spec": {"hostNetwork": "yes"}}, "string into PodSpec.spec.hostNetwork of type bool"),
        ("Pod", {"spec": {"containers": [{"args": [1]}]}}, "number into Container.spec.containers.args of type string"),
        ("ConfigMap", {"data": {"a": 1}}, "number into ConfigMap.data.a of type string"),
        ("ConfigMap", {"data": {"a": True}}, "bool into ConfigMap.data.a of type string"),
        ("Deployment", {"spec": {"replicas": 1.5}}, "number 1.5 into DeploymentSpec.spec.replicas of type int32"),
        ("Deployment", {"spec": {"replicas": 2.0}}, ""),
        ("Service", {"spec": {"ports": [{"port": 1, "targetPort": "x"}, {"port": 2, "targetPort": 3}]}}, ""),
        ("Pod", {"spec": {"containers": [{"resources": {"limits": {"cpu": 1}}}], "nodeName": None}}, ""),
    ],
)  # fmt: skip
def test_typed_decoding(kind: str, obj: JsonObject, says: str) -> None:
    expected = f"json: cannot unmarshal {says.replace(' into ', ' into Go struct field ')}" if says else ""
    assert first_mismatch(obj, TYPES[kind], kind) == expected


def test_a_schema_that_says_nothing_keeps_everything() -> None:
    assert from_openapi({}).preserve
    assert not from_openapi({"type": "object"}).preserve
    assert from_openapi({"type": "object", "additionalProperties": True}).preserve
    assert isinstance(from_openapi({"type": "object", "additionalProperties": {"type": "string"}}).values, Schema)
