"""Environment and command lines, as Kubernetes makes them out of a pod."""

import base64
from typing import Any

import pytest

from isthmus_lab.kubelet import env

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "u-1",
        "labels": {"app": "x", "a/b": "c"},
        "annotations": {"note": 'say "hi"\n'},
    },
    "spec": {"nodeName": "n1", "serviceAccountName": "sa", "containers": []},
    "status": {"podIP": "10.0.0.5", "hostIP": "10.0.0.1"},
}
OBJECTS = {
    ("ConfigMap", "ns", "settings"): {"kind": "ConfigMap", "data": {"color": "red", "size": "3"}},
    ("Secret", "ns", "keys"): {"kind": "Secret", "data": {"token": base64.b64encode(b"s3cret").decode()}},
}


def lookup(kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, namespace, name))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"),
        ("$(A)/$(B)", "1/2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$A $", "$A $"),
        ("a$$b", "a$b"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert env.expand(text, {"A": "1", "B": "2"}) == expanded


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['a/b']", "c"),
        ("metadata.annotations['missing']", ""),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "sa"),
        ("status.podIP", "10.0.0.5"),
        ("status.hostIP", "10.0.0.1"),
        ("metadata.labels", 'a/b="c"\napp="x"'),
        ("metadata.annotations", 'note="say \\"hi\\"\\n"'),
    ],
)
def test_fields(path: str, value: str) -> None:
    assert env.field_value(POD, path) == value


def test_unknown_fields_are_refused_with_a_remedy() -> None:
    with pytest.raises(env.ConfigError, match=r"fieldPath 'spec.color' is not offered. Use one of: metadata.name"):
        env.field_value(POD, "spec.color")


def test_environment_in_order_over_what_is_given() -> None:
    container = {
        "name": "c",
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(IP):$(PORT)/$(CFG_color)"},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "NO", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
            {"name": "EMPTY"},
        ],
    }
    assert env.environment(container, POD, lookup, {"PORT": "80"}) == {
        "PORT": "80",
        "CFG_color": "red",
        "CFG_size": "3",
        "token": "s3cret",
        "IP": "10.0.0.5",
        "URL": "http://10.0.0.5:80/red",
        "CPU": "2",
        "MEM": "64",
        "T": "s3cret",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "gone"}}]}, "ConfigMap 'gone' not found"),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "nope"}}}]},
            "Secret 'keys' has no key 'nope'",
        ),
        ({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, "valueFrom fileKeyRef is not supported"),
    ],
)
def test_what_is_missing_is_named(container: dict[str, Any], message: str) -> None:
    with pytest.raises(env.ConfigError, match=message):
        env.environment(container, POD, lookup, {})


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2", 2), ("1Ki", 1024), ("3M", 3e6), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities(text: str, value: float) -> None:
    assert env.quantity(text) == value
