"""Create, update, patch and apply through the whole pipeline, without sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.inprocess import InProcess

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"content_type": "application/merge-patch+json"}
APPLY = {"content_type": "application/apply-patch+yaml"}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def deployment(name: str = "web", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template, **spec}}


async def test_the_server_sets_what_is_its_own(api: InProcess) -> None:
    sent = config_map("a")
    sent["metadata"] |= {"uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9, "selfLink": "x"}
    made = (await api.request("POST", MAPS, sent)).body["metadata"]
    assert made["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert made["uid"] not in ("mine", "")
    assert "generation" not in made
    assert made["namespace"] == "default"
    assert made["managedFields"][0]["operation"] == "Update"


async def test_names_are_generated(api: InProcess) -> None:
    body = {"metadata": {"generateName": "x-"}}
    names = {(await api.request("POST", MAPS, body)).body["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


@pytest.mark.parametrize(
    ("method", "target", "body", "code", "says"),
    [
        ("POST", MAPS, {"metadata": {}}, 422, "metadata.name: Required value: name or generateName is required"),
        ("POST", MAPS, {"metadata": {"name": "A_b"}}, 422, "a lowercase RFC 1123 subdomain must consist of"),
        ("POST", MAPS, {"metadata": {"name": "a", "resourceVersion": "1"}}, 400, "resourceVersion should not be set"),
        ("POST", MAPS, {"metadata": {"name": "a", "namespace": "b"}}, 400, "does not match the namespace sent"),
        ("POST", MAPS, {"kind": "Secret", "metadata": {"name": "a"}}, 400, "must be of type ConfigMap"),
        ("POST", MAPS, {"apiVersion": "v2", "metadata": {"name": "a"}}, 400, "does not match the expected API version"),
        ("POST", MAPS, [], 400, "the body is not an object"),
        ("POST", MAPS, b"{", 400, "json parse error"),
        ("POST", MAPS.replace("default", "none"), {"metadata": {"name": "a"}}, 404, 'namespaces "none" not found'),
        ("POST", "/api/v1/configmaps", {"metadata": {"name": "a"}}, 400, "an empty namespace"),
        ("POST", MAPS, {"metadata": {"name": "kube-root-ca.crt"}}, 409, "already exists"),
        ("PUT", f"{MAPS}/none", config_map("none"), 404, 'configmaps "none" not found'),
        ("PUT", f"{MAPS}/a", config_map("b"), 400, "does not match the name on the URL (a)"),
        ("PATCH", f"{MAPS}/kube-root-ca.crt", {}, 415, "application/merge-patch+json"),
        ("POST", f"{MAPS}?dryRun=Some", config_map("a"), 400, "invalid dryRun value"),
        ("POST", f"{MAPS}?fieldValidation=Maybe", {"metadata": {"name": "a"}, "x": 1}, 400, "fieldValidation"),
        ("GET", "/api/v1/things", None, 404, "the server could not find the requested resource"),
        ("GET", f"{MAPS}/a/b", None, 404, "the server could not find the requested resource"),
        ("POST", f"{MAPS}/a", config_map("a"), 405, "does not allow this method"),
        ("TRACE", MAPS, None, 405, "does not allow this method"),
        ("PUT", MAPS, config_map("a"), 405, "does not allow this method"),
    ],
)  # fmt: skip
async def test_refusals(api: InProcess, method: str, target: str, body: object, code: int, says: str) -> None:
    reply = await api.request(method, target, body)
    assert reply.status == code, reply.body
    assert reply.body["kind"] == "Status"
    assert reply.body["code"] == code
    assert says in reply.body["message"]


async def test_yaml_bodies_and_protobuf_for_custom_kinds(api: InProcess) -> None:
    text = b"metadata: {name: y}\ndata: {a: b}\n"
    assert (await api.request("POST", MAPS, text, content_type="application/yaml")).body["data"] == {"a": "b"}
    refused = await api.request("POST", MAPS, b"a=b", content_type="application/x-www-form-urlencoded")
    assert refused.status == 415


@pytest.mark.parametrize(
    ("mode", "status", "warning"),
    [("Strict", 400, None), ("Warn", 201, '299 - "unknown field \\"extra\\""'), ("Ignore", 201, None)],
)
async def test_unknown_fields(api: InProcess, mode: str, status: int, warning: str | None) -> None:
    body = {**config_map("a"), "extra": 1}
    reply = await api.request("POST", f"{MAPS}?fieldValidation={mode}", body)
    assert reply.status == status
    assert dict(reply.headers).get("warning") == warning
    if status == 201:
        assert "extra" not in reply.body
    else:
        assert (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error' in reply.body["message"]
        )


async def test_update_with_an_old_revision_is_a_conflict(api: InProcess) -> None:
    first = (await api.request("POST", MAPS, config_map("a", x="1"))).body
    second = {**first, "data": {"x": "2"}}
    assert (await api.request("PUT", f"{MAPS}/a", second)).status == 200
    late = await api.request("PUT", f"{MAPS}/a", second)
    assert late.status == 409
    assert late.body["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )
    other = {**first, "metadata": {"name": "a", "uid": "another"}}
    assert "UID in precondition: another" in (await api.request("PUT", f"{MAPS}/a", other)).body["message"]


async def test_a_write_that_changes_nothing_is_none(api: InProcess) -> None:
    made = (await api.request("POST", DEPLOYMENTS, deployment())).body
    again = (await api.request("PUT", f"{DEPLOYMENTS}/web", made)).body
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    patched = (await api.request("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 1}}, **MERGE)).body
    assert patched == made


async def test_generation_counts_the_desired_state_only(api: InProcess) -> None:
    await api.request("POST", DEPLOYMENTS, deployment())
    target = f"{DEPLOYMENTS}/web"
    generations = []
    for body, sub in (
        ({"metadata": {"labels": {"a": "b"}}}, ""),
        ({"spec": {"replicas": 3}}, ""),
        ({"status": {"replicas": 3}}, "/status"),
        ({"status": {"replicas": 9}}, ""),
    ):
        reply = await api.request("PATCH", target + sub, body, **MERGE)
        generations.append((reply.body["metadata"]["generation"], reply.body.get("status", {}).get("replicas")))
    assert generations == [(1, None), (2, None), (2, 3), (2, 3)]


async def test_the_status_subresource_touches_nothing_else(api: InProcess) -> None:
    await api.request("POST", PODS, pod("p"))
    body = {"metadata": {"labels": {"x": "y"}}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    found = (await api.request("PATCH", f"{PODS}/p/status", body, **MERGE)).body
    assert found["status"]["phase"] == "Running"
    assert "nodeName" not in found["spec"]
    assert "labels" not in found["metadata"]
    found = (await api.request("PATCH", f"{PODS}/p", {"status": {"phase": "Failed"}}, **MERGE)).body
    assert found["status"]["phase"] == "Running"


async def test_pods_get_defaults_an_account_and_its_token(api: InProcess) -> None:
    made = (await api.request("POST", PODS, pod("p", initContainers=[{"name": "i", "image": "x:1"}]))).body
    spec = made["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["terminationGracePeriodSeconds"]) == (
        "Always",
        "ClusterFirst",
        30,
    )
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    sources = volume["projected"]["sources"]
    assert sources[0]["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
    mount = {
        "name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }  # fmt: skip
    assert [c["volumeMounts"] for c in (*spec["containers"], *spec["initContainers"])] == [[mount], [mount]]
    assert [c["imagePullPolicy"] for c in (*spec["containers"], *spec["initContainers"])] == ["Always", "IfNotPresent"]


async def test_pods_without_a_token_and_without_an_account(api: InProcess) -> None:
    plain = (await api.request("POST", PODS, pod("p", automountServiceAccountToken=False))).body
    assert "volumes" not in plain["spec"]
    refused = await api.request("POST", PODS, pod("q", serviceAccountName="nobody"))
    assert refused.status == 403
    assert 'serviceaccount "nobody" not found' in refused.body["message"]


async def test_what_a_pod_may_change(api: InProcess) -> None:
    await api.request("POST", PODS, pod("p"))
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "j"}]
    json_patch = {"content_type": "application/json-patch+json"}
    assert (await api.request("PATCH", f"{PODS}/p", image, **json_patch)).status == 200
    name = [{"op": "replace", "path": "/spec/containers/0/name", "value": "j"}]
    refused = await api.request("PATCH", f"{PODS}/p", name, **json_patch)
    assert refused.status == 422
    assert "pod updates may not change fields other than" in refused.body["message"]


async def test_secrets_take_text_and_keep_their_type(api: InProcess) -> None:
    target = MAPS.replace("configmaps", "secrets")
    made = (await api.request("POST", target, {"metadata": {"name": "s"}, "stringData": {"a": "b"}})).body
    assert (made["data"], made["type"]) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in made
    refused = await api.request("PATCH", f"{target}/s", {"type": "other"}, **MERGE)
    assert refused.body["message"] == 'Secret "s" is invalid: type: Invalid value: "other": field is immutable'


async def test_dry_run_stores_nothing(api: InProcess) -> None:
    before = api.state.store.revision
    made = await api.request(
        "POST", f"{SERVICES}?dryRun=All", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}
    )
    assert made.status == 201
    assert made.body["spec"]["clusterIP"]
    assert (await api.request("GET", f"{SERVICES}/s")).status == 404
    patched = await api.request("PATCH", f"{MAPS}/kube-root-ca.crt?dryRun=All", {"data": {"x": "y"}}, **MERGE)
    assert patched.body["data"]["x"] == "y"
    assert api.state.store.revision == before


async def test_apply_creates_then_merges(api: InProcess) -> None:
    target = f"{MAPS}/a?fieldManager=one"
    created = await api.request("PATCH", target, config_map("a", x="1"), **APPLY)
    assert created.status == 201
    merged = await api.request("PATCH", f"{MAPS}/a?fieldManager=two", config_map("a", y="1"), **APPLY)
    assert (merged.status, merged.body["data"]) == (200, {"x": "1", "y": "1"})
    refused = await api.request("PATCH", f"{MAPS}/a?fieldManager=two", config_map("a", x="2"), **APPLY)
    assert refused.status == 409
    assert refused.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api.request("PATCH", f"{MAPS}/a?fieldManager=two&force=true", config_map("a", x="2"), **APPLY)
    assert forced.body["data"] == {"x": "2"}


@pytest.mark.parametrize(
    ("target", "change", "code", "says"),
    [
        (f"{MAPS}/a", {}, 422, "fieldManager: Required value: is required for apply patch"),
        (f"{MAPS}/a?fieldManager=x", {"metadata": {"managedFields": [{}]}}, 400, "metadata.managedFields must be nil"),
        (f"{MAPS}/a?fieldManager=x", {"metadata": {"name": "b"}}, 400, "does not match the name on the URL"),
        (f"{MAPS}/a?fieldManager=x", {"metadata": {"name": "a", "uid": "u"}}, 409, "uid mismatch"),
        (f"{MAPS}/a/status?fieldManager=x", {}, 404, "not found"),
    ],
)
async def test_applies_that_cannot_be(
    api: InProcess, target: str, change: dict[str, Any], code: int, says: str
) -> None:
    reply = await api.request("PATCH", target, {**config_map("a"), **change}, **APPLY)
    assert reply.status == code, reply.body
    assert says in reply.body["message"]


async def test_apply_leaves_the_status_to_its_subresource(api: InProcess) -> None:
    body = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment(), "status": {"replicas": 5}}
    made = (await api.request("PATCH", f"{DEPLOYMENTS}/web?fieldManager=x", body, **APPLY)).body
    assert "status" not in made
    applied = (await api.request("PATCH", f"{DEPLOYMENTS}/web/status?fieldManager=x", body, **APPLY)).body
    assert applied["status"] == {"replicas": 5}
    entries = {(m["operation"], m.get("subresource", "")): m["fieldsV1"] for m in applied["metadata"]["managedFields"]}
    assert entries["Apply", "status"] == {"f:status": {"f:replicas": {}}}


async def test_scale(api: InProcess) -> None:
    await api.request("POST", DEPLOYMENTS, deployment(replicas=2))
    scale = (await api.request("GET", f"{DEPLOYMENTS}/web/scale")).body
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 0, "selector": "app=web"},
    )
    scale["spec"]["replicas"] = 0
    assert (await api.request("PUT", f"{DEPLOYMENTS}/web/scale", scale)).body["spec"] == {"replicas": 0}
    assert (await api.request("GET", f"{DEPLOYMENTS}/web")).body["spec"]["replicas"] == 0
    assert (await api.request("PUT", f"{DEPLOYMENTS}/web/scale", scale)).status == 409
    refused = await api.request("PATCH", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": -1}}, **MERGE)
    assert "must be greater than or equal to 0" in refused.body["message"]
    assert (await api.request("GET", f"{MAPS}/kube-root-ca.crt/scale")).status == 404


async def test_binding_a_pod_once(api: InProcess) -> None:
    await api.request("POST", PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.request("POST", f"{PODS}/p/binding", binding)).status == 201
    found = (await api.request("GET", f"{PODS}/p")).body
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["conditions"][0]["type"] == "PodScheduled"
    assert "is already assigned" in (await api.request("POST", f"{PODS}/p/binding", binding)).body["message"]


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = InProcess(tmp_path)
    made = (await first.request("POST", DEPLOYMENTS, deployment())).body
    token = first.server.secrets.admin_token
    first.close()
    second = InProcess(tmp_path)
    assert (await second.request("GET", f"{DEPLOYMENTS}/web", token=token)).body == made
    assert second.server.secrets == first.server.secrets
    again = (await second.request("POST", MAPS, config_map("later"))).body
    assert int(again["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    second.close()
