"""Request bodies in protobuf, written here by hand: what kubectl's typed commands send."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from isthmus_lab.apiserver import protobuf
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.inprocess import InProcess

Message = dict[int, Any]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def encode(message: Message) -> bytes:
    """ints as varints, bytes and text as they are, dicts as messages, lists as repeated fields."""
    out = b""
    for number, value in message.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool | int):
                out += varint(number << 3) + varint(int(item))
            else:
                data = encode(item) if isinstance(item, dict) else item.encode() if isinstance(item, str) else item
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def envelope(api_version: str, kind: str, message: Message) -> bytes:
    return b"k8s\x00" + encode({1: {1: api_version, 2: kind}, 2: encode(message)})


def entry(key: str, value: Any) -> Message:
    return {1: key, 2: value}


@pytest.mark.parametrize(
    ("api_version", "kind", "message", "expected"),
    [
        (
            "v1",
            "ConfigMap",
            {1: {1: "cm", 2: "", 8: {}, 11: [entry("a", "b")]}, 2: [entry("k", "v"), entry("e", "")]},
            {"metadata": {"name": "cm", "labels": {"a": "b"}}, "data": {"k": "v", "e": ""}},
        ),
        ("v1", "Secret", {2: [entry("p", b"\x00\xff")], 3: "Opaque"}, {"data": {"p": "AP8="}, "type": "Opaque"}),
        (
            "v1",
            "Service",
            {2: {1: [{1: "http", 2: "TCP", 3: 80, 4: {1: 1, 3: "web"}, 5: 0}, {3: 81, 4: {1: 0, 2: 8081, 3: ""}}]}},
            {
                "spec": {
                    "ports": [
                        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"},
                        {"port": 81, "targetPort": 8081},
                    ]
                }
            },
        ),
        (
            "apps/v1",
            "Deployment",
            {2: {1: 0, 5: 0, 7: False, 3: {2: {2: [{1: "c", 8: {1: [entry("cpu", {1: "100m"})]}}], 11: False}}}},
            {
                "spec": {
                    "replicas": 0,
                    "template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "100m"}}}]}},
                }
            },
        ),
        (
            "v1",
            "Pod",
            {2: {1: [{1: "v", 2: {19: {1: {1: "cm"}, 2: [{1: "k", 2: "p", 3: 0}]}}}], 4: 0}},
            {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "volumes": [
                        {"name": "v", "configMap": {"name": "cm", "items": [{"key": "k", "path": "p", "mode": 0}]}}
                    ],
                }
            },
        ),
        (
            "authentication.k8s.io/v1",
            "TokenRequest",
            {2: {1: ["a", "b"], 4: 3600, 3: {1: "Pod", 2: "v1", 3: "p"}}},
            {
                "spec": {
                    "audiences": ["a", "b"],
                    "expirationSeconds": 3600,
                    "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"},
                }
            },
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            {2: {1: "me", 4: {1: 1_700_000_000, 2: 500}}},
            {"spec": {"holderIdentity": "me", "renewTime": "2023-11-14T22:13:20Z"}},
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "Role",
            {2: [{1: ["get"], 2: [""], 3: ["pods"]}]},
            {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]},
        ),
        (
            "events.k8s.io/v1",
            "Event",
            {8: {1: "Pod", 3: "p"}, 10: "note"},
            {"regarding": {"kind": "Pod", "name": "p"}, "note": "note"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_objects(api_version: str, kind: str, message: Message, expected: dict[str, Any]) -> None:
    found = protobuf.decode(envelope(api_version, kind, message))
    assert found == {"apiVersion": api_version, "kind": kind, **expected}


def test_negative_and_packed_numbers() -> None:
    packed = varint(5) + varint(7)
    message: Message = {2: {14: {4: packed, 2: -3}}}
    found = protobuf.decode(envelope("v1", "Pod", message))
    assert found["spec"]["securityContext"] == {"supplementalGroups": [5, 7], "runAsUser": -3}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "its magic number is missing"),
        (b"k8s\x00\xff", "malformed protobuf"),
        (b"k8s\x00\x0a\x7f", "malformed protobuf"),
        (envelope("example.com/v1", "Widget", {}), "cannot be sent as protobuf to this server; send JSON"),
        (envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}), "send JSON"),
        (envelope("v1", "ConfigMap", {1: 5}), "malformed protobuf: expected bytes"),
        (envelope("v1", "Pod", {2: {1: [{2: {1: {1: b"x"}, 4: {1: "disk"}}}]}}), "a type that is not served"),
        (b"k8s\x00" + encode({1: {1: "v1", 2: "ConfigMap"}, 2: varint(1 << 3 | 3)}), "unknown wire type"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode(body)
    assert caught.value.code == 400
    assert says in caught.value.message


def test_fixed_width_fields_are_passed_over() -> None:
    extra = varint(99 << 3 | 1) + struct.pack("<d", 1.0) + varint(98 << 3 | 5) + b"\0\0\0\0"
    body = b"k8s\x00" + encode({1: {1: "v1", 2: "ConfigMap"}, 2: encode({1: {1: "x"}}) + extra})
    assert protobuf.decode(body)["metadata"] == {"name": "x"}


async def test_a_request_in_protobuf_is_answered_in_json(api: InProcess) -> None:
    body = envelope("v1", "ConfigMap", {1: {1: "cm"}, 2: [entry("k", "v")]})
    media = "application/vnd.kubernetes.protobuf"
    reply = await api.request(
        "POST", "/api/v1/namespaces/default/configmaps", body, content_type=media, accept=f"{media},application/json"
    )
    assert (reply.status, reply.body["data"]) == (201, {"k": "v"})
