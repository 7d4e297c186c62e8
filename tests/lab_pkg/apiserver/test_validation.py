"""What is refused, and in which words; names, pods, deployments, the rest."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.apiserver import names, podspec
from isthmus_lab.apiserver.inprocess import InProcess

MERGE = {"content_type": "application/merge-patch+json"}
NAMESPACE = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("storage", "name", "good"),
    [
        ("pods", "a-b.c", True),
        ("pods", "A", False),
        ("pods", "-a", False),
        ("pods", "a..b", False),
        ("pods", "a" * 253, True),
        ("pods", "a" * 254, False),
        ("namespaces", "a.b", False),
        ("namespaces", "a" * 63, True),
        ("namespaces", "a" * 64, False),
        ("services", "1a", False),
        ("services", "a1", True),
        ("roles.rbac.authorization.k8s.io", "system:a/b", False),
        ("roles.rbac.authorization.k8s.io", "system:Anything", True),
        ("roles.rbac.authorization.k8s.io", "..", False),
    ],
)
def test_names(storage: str, name: str, good: bool) -> None:
    assert (names.name_problem(storage, name) == "") is good


@pytest.mark.parametrize(
    ("key", "value", "good"),
    [
        ("app", "web", True),
        ("example.com/app", "", True),
        ("Example.com/app", "x", False),
        ("a/b/c", "x", False),
        ("/a", "x", False),
        ("a/", "x", False),
        ("a" * 64, "x", False),
        ("a", "x" * 64, False),
        ("a", "-x", False),
        ("a", 1, False),
    ],
)
def test_labels(key: str, value: object, good: bool) -> None:
    assert (not names.label_causes({key: value}, "metadata.labels")) is good


def test_annotations_have_a_limit() -> None:
    obj = {"metadata": {"name": "a", "annotations": {"x": "y" * 300_000, "bad key": ""}}}
    reasons = [cause.reason for cause in names.metadata_causes(obj, "configmaps")]
    assert reasons == ["FieldValueInvalid", "FieldValueTooLong"]


def test_owners_are_whole() -> None:
    obj = {"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}
    (cause,) = names.metadata_causes(obj, "configmaps")
    assert cause.text() == 'metadata.ownerReferences[0].uid: Invalid value: "": must not be empty'


@pytest.mark.parametrize("name", ["http", "a1", "x-y"])
def test_port_names(name: str) -> None:
    assert names.is_port_name(name)


@pytest.mark.parametrize("name", ["", "80", "a--b", "Http", "a" * 16, "-a"])
def test_names_that_are_no_port_names(name: str) -> None:
    assert not names.is_port_name(name)


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", **fields}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "spec.containers: Required value"),
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"image": "i"}]}, "spec.containers[0].name: Required value"),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image: Required value"),
        ({"containers": [container(name="A")]}, 'spec.containers[0].name: Invalid value: "A"'),
        ({"containers": [container(), container()]}, 'spec.containers[1].name: Duplicate value: "c"'),
        (
            {"containers": [container()], "initContainers": [container()]},
            'spec.initContainers[0].name: Duplicate value: "c"',
        ),
        (
            {"containers": [container(ports=[{"containerPort": 0}])]},
            "spec.containers[0].ports[0].containerPort: Required value",
        ),
        (
            {"containers": [container(ports=[{"containerPort": 70000}])]},
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            {"containers": [container(ports=[{"containerPort": 1, "name": "Not_ok"}])]},
            'spec.containers[0].ports[0].name: Invalid value: "Not_ok"',
        ),
        (
            {"containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        ({"containers": [container(readinessProbe={})]}, "spec.containers[0].readinessProbe: Required value"),
        (
            {"containers": [container(livenessProbe={"exec": {}, "tcpSocket": {"port": 1}})]},
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            {"containers": [container(livenessProbe={"exec": {}, "periodSeconds": -1})]},
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 1",
        ),
        ({"containers": [container()], "restartPolicy": "Often"}, 'spec.restartPolicy: Unsupported value: "Often"'),
        ({"containers": [container()], "volumes": [{"name": "v"}]}, "spec.volumes[0]: Required value: must specify a"),
        (
            {"containers": [container()], "volumes": [{"name": "v", "emptyDir": {}, "secret": {}}]},
            "may not specify more than 1 volume type",
        ),
        (
            {"containers": [container()], "volumes": [{"name": "V", "emptyDir": {}}, {"name": "V", "emptyDir": {}}]},
            'spec.volumes[1].name: Duplicate value: "V"',
        ),
    ],
)
async def test_pods_that_cannot_be(api: InProcess, spec: dict[str, Any], says: str) -> None:
    reply = await api.request("POST", f"{NAMESPACE}/pods", {"metadata": {"name": "p"}, "spec": spec})
    assert reply.status == 422, reply.body
    assert reply.body["message"].startswith('Pod "p" is invalid: ')
    assert says in reply.body["message"]
    assert reply.body["details"]["causes"]


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
    ],
)
def test_quality_of_service(resources: list[dict[str, Any]], qos: str) -> None:
    assert podspec.qos_class({"containers": [{"resources": found} for found in resources]}) == qos


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("web", "Always"), ("web:latest", "Always"), ("web:1", "IfNotPresent"), ("reg:5000/web", "Always"),
        ("reg:5000/web:1", "IfNotPresent"), ("web@sha256:abc", "IfNotPresent"),
    ],
)  # fmt: skip
def test_pull_policies(image: str, policy: str) -> None:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": image}]}
    podspec.defaults(spec)
    assert spec["containers"][0]["imagePullPolicy"] == policy


def deployment(**spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container()]}}
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"selector": None}, "spec.selector: Required value"),
        ({"template": None}, "spec.template: Required value"),
        ({"selector": {}}, "empty selector is invalid for deployment"),
        ({"selector": {"matchLabels": {"app": "x"}}}, "`selector` does not match template `labels`"),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Slow"}}, 'spec.strategy.type: Unsupported value: "Slow"'),
    ],
)
async def test_deployments_that_cannot_be(api: InProcess, spec: dict[str, Any], says: str) -> None:
    at = "/apis/apps/v1/namespaces/default/deployments"
    reply = await api.request("POST", at, deployment(**spec))
    assert reply.status == 422, reply.body
    assert reply.body["message"].startswith('Deployment.apps "web" is invalid: ')
    assert says in reply.body["message"]


async def test_a_deployment_keeps_its_selector_and_gets_its_defaults(api: InProcess) -> None:
    at = "/apis/apps/v1/namespaces/default/deployments"
    made = (await api.request("POST", at, deployment())).body["spec"]
    assert made["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (made["replicas"], made["revisionHistoryLimit"], made["progressDeadlineSeconds"]) == (1, 10, 600)
    assert made["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    change = {
        "spec": {
            "selector": {"matchLabels": {"app": "web", "x": "y"}},
            "template": {"metadata": {"labels": {"x": "y"}}},
        }
    }
    reply = await api.request("PATCH", f"{at}/web", change, **MERGE)
    assert "spec.selector: Invalid value" in reply.body["message"]
    assert "field is immutable" in reply.body["message"]


async def test_what_is_immutable_stays(api: InProcess) -> None:
    body = {"metadata": {"name": "a"}, "data": {"x": "1"}, "immutable": True}
    await api.request("POST", f"{NAMESPACE}/configmaps", body)
    reply = await api.request("PATCH", f"{NAMESPACE}/configmaps/a", {"data": {"x": "2"}}, **MERGE)
    assert "data: Forbidden: field is immutable when `immutable` is set" in reply.body["message"]


@pytest.mark.parametrize(
    ("target", "body", "says"),
    [
        (f"{NAMESPACE}/configmaps", {"data": {"a b": "c"}}, "a valid config key must consist of"),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["x"]}]},
            'endpoints[0].addresses[0]: Invalid value: "x": must be a valid IPv4 address',
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            {"addressType": "Letter", "endpoints": []},
            'addressType: Unsupported value: "Letter"',
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            {"spec": {"leaseDurationSeconds": 0}},
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than or equal to 1",
        ),
    ],
)
async def test_other_kinds(api: InProcess, target: str, body: dict[str, Any], says: str) -> None:
    reply = await api.request("POST", target, {"metadata": {"name": "x"}, **body})
    assert reply.status == 422, reply.body
    assert says in reply.body["message"]


async def test_an_empty_slice_is_fine_and_keeps_its_type(api: InProcess) -> None:
    at = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    body = {"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": []}
    assert (await api.request("POST", at, body)).status == 201
    reply = await api.request("PATCH", f"{at}/x", {"addressType": "IPv6"}, **MERGE)
    assert "addressType: Invalid value" in reply.body["message"]
