"""The official Python client, unchanged, against a server on the loopback."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException

from isthmus_lab.apiserver.inprocess import Loopback

HISTORY = 20


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with Loopback(tmp_path_factory.mktemp("cluster"), history=HISTORY) as server:
        yield server


@pytest.fixture(scope="module")
def connection(loopback: Loopback) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(loopback.kubeconfig)) as api_client:
        yield api_client


@pytest.fixture(scope="module")
def core(connection: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(connection)


@pytest.fixture
def namespace(core: client.CoreV1Api, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_create_read_replace_delete(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("a", x="1"))
    assert made.metadata.uid
    assert made.metadata.creation_timestamp.tzinfo is not None
    made.data["x"] = "2"
    replaced = core.replace_namespaced_config_map("a", namespace, made)
    assert replaced.metadata.resource_version != made.metadata.resource_version
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_config_map("a", namespace, made)  # of the version before
    assert caught.value.status == 409
    assert "the object has been modified" in str(caught.value.body)
    assert core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_config_map("a", namespace)
    assert caught.value.status == 404


def test_typed_objects_come_back_whole(connection: client.ApiClient, namespace: str) -> None:
    apps = client.AppsV1Api(connection)
    labels = {"app": "web"}
    container = client.V1Container(
        name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)],
        readiness_probe=client.V1Probe(http_get=client.V1HTTPGetAction(port="http", path="/ready")),
    )  # fmt: skip
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(namespace, client.V1Deployment(metadata={"name": "web"}, spec=spec))
    found = apps.read_namespaced_deployment("web", namespace)
    assert found.spec.replicas == 1
    assert found.spec.template.spec.containers[0].ports[0].protocol == "TCP"
    assert found.spec.template.spec.containers[0].readiness_probe.http_get.port == "http"
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 4}})
    assert scale.spec.replicas == 4
    patched = apps.patch_namespaced_deployment_status("web", namespace, {"status": {"readyReplicas": 3}})
    assert (patched.status.ready_replicas, patched.spec.replicas) == (3, 4)


def test_patch_dialects(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("a", x="1", y="1"))
    strategic = core.patch_namespaced_config_map("a", namespace, {"data": {"x": None, "z": "1"}})
    assert strategic.data == {"y": "1", "z": "1"}
    body = [{"op": "add", "path": "/data/j", "value": "1"}]
    patched = core.patch_namespaced_config_map("a", namespace, body, _content_type="application/json-patch+json")
    assert patched.data == {"y": "1", "z": "1", "j": "1"}
    applied = core.patch_namespaced_config_map(
        "b", namespace, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}},
        field_manager="me", _content_type="application/apply-patch+yaml",
    )  # fmt: skip
    assert applied.metadata.managed_fields[0].operation == "Apply"


def test_pages_of_a_list(core: client.CoreV1Api, namespace: str) -> None:
    for index in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"cm-{index}"))
    names: list[str] = []
    token = ""
    for _ in range(10):
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [*(f"cm-{index}" for index in range(7)), "kube-root-ca.crt"]


def test_watch_from_a_list(core: client.CoreV1Api, namespace: str) -> None:
    listed = core.list_namespaced_config_map(namespace)
    core.create_namespaced_config_map(namespace, config_map("a", x="1"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "2"}})
    core.delete_namespaced_config_map("a", namespace)
    seen = []
    stream = watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=listed.metadata.resource_version,
        timeout_seconds=10,
    ):
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            stream.stop()
    assert seen == [("ADDED", {"x": "1"}), ("MODIFIED", {"x": "2"}), ("DELETED", {"x": "2"})]


def test_a_watch_from_too_far_back_is_gone(core: client.CoreV1Api, namespace: str) -> None:
    first = core.create_namespaced_config_map(namespace, config_map("busy", n="0"))
    for index in range(2 * HISTORY + 1):
        core.patch_namespaced_config_map("busy", namespace, {"data": {"n": str(index + 1)}})
    with pytest.raises(ApiException) as caught:
        for _ in watch.Watch().stream(
            core.list_namespaced_config_map, namespace, resource_version=first.metadata.resource_version,
            timeout_seconds=5,
        ):  # fmt: skip
            pass
    assert caught.value.status == 410


def test_the_dynamic_client_knows_custom_kinds(connection: client.ApiClient, namespace: str) -> None:
    crd: dict[str, Any] = {
        "metadata": {"name": "gears.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "gears", "kind": "Gear"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    extensions = client.ApiextensionsV1Api(connection)
    extensions.create_custom_resource_definition(crd)
    gears = dynamic.DynamicClient(connection).resources.get(api_version="example.com/v1", kind="Gear")
    gears.create({"metadata": {"name": "g"}, "spec": {"teeth": 12}}, namespace=namespace)
    assert gears.get(name="g", namespace=namespace).spec.teeth == 12
    gears.server_side_apply(
        {"apiVersion": "example.com/v1", "kind": "Gear", "metadata": {"name": "g"}, "spec": {"teeth": 13}},
        namespace=namespace, field_manager="me", force_conflicts=True,
    )  # fmt: skip
    custom = client.CustomObjectsApi(connection)
    assert custom.get_namespaced_custom_object("example.com", "v1", namespace, "gears", "g")["spec"] == {"teeth": 13}
    extensions.delete_custom_resource_definition("gears.example.com")


def test_tokens_and_reviews(connection: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    asked = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=["istio-ca"], expiration_seconds=3600)
    )
    answer = core.create_namespaced_service_account_token("robot", namespace, asked)
    assert answer.status.expiration_timestamp > datetime.datetime.now(datetime.UTC)
    reviews = client.AuthenticationV1Api(connection)

    def review(*audiences: str) -> client.V1TokenReviewStatus:
        spec = client.V1TokenReviewSpec(token=answer.status.token, audiences=list(audiences))
        return reviews.create_token_review(client.V1TokenReview(spec=spec)).status

    good = review("istio-ca")
    assert good.authenticated
    assert good.user.username == f"system:serviceaccount:{namespace}:robot"
    assert good.audiences == ["istio-ca"]
    assert not review("other").authenticated
    core.delete_namespaced_service_account("robot", namespace)
    assert not review("istio-ca").authenticated


def test_events_have_two_faces(connection: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    event: dict[str, Any] = {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
        "reason": "Because",
        "note": "it was so",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "me",
        "reportingInstance": "me-1",
        "action": "Doing",
    }
    client.EventsV1Api(connection).create_namespaced_event(namespace, event)
    old = core.list_namespaced_event(namespace, field_selector="involvedObject.name=p,reason=Because").items
    assert [item.message for item in old] == ["it was so"]
    assert client.EventsV1Api(connection).read_namespaced_event("e", namespace).note == "it was so"
