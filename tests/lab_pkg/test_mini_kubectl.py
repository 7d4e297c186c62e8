"""What stands in for kubectl in scenarios, against a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.inprocess import Loopback
from isthmus_lab.kubelet.client import ApiClient
from tests.lab.mini_kubectl import MiniKubectl, parse, rolled_out

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {app: a}}\nspec: {ports: [{port: 80}]}\n"


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniKubectl]:
    directory: Path = tmp_path_factory.mktemp("api")
    with Loopback(directory) as server:
        made = MiniKubectl(ApiClient(str(server.unix), server.token()))
        assert made.run("create", "namespace", "n").returncode == 0
        yield made


def said(kubectl: MiniKubectl, *words: str, stdin: str = "") -> str:
    done = kubectl.run(*words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def got(kubectl: MiniKubectl, *words: str) -> Any:
    return json.loads(said(kubectl, "get", *words, "-n", "n", "-o", "json"))


def test_apply_get_and_delete(kubectl: MiniKubectl) -> None:
    assert said(kubectl, "apply", "-n", "n", "-f", "-", stdin=SERVICE) == "service/a serverside-applied\n"
    assert got(kubectl, "svc", "a")["spec"]["ports"][0]["port"] == 80
    assert [item["metadata"]["name"] for item in got(kubectl, "services", "-l", "app=a")["items"]] == ["a"]
    assert got(kubectl, "services", "-l", "app=b")["items"] == []
    assert said(kubectl, "get", "service", "-n", "n", "-o", "name") == "service/a\n"
    assert said(kubectl, "delete", "service", "-n", "n", "a") == 'service "a" deleted\n'
    again = kubectl.run("delete", "service", "-n", "n", "a")
    assert (again.returncode, again.stderr) == (1, 'Error from server (NotFound): services "a" not found')
    assert said(kubectl, "delete", "-n", "n", "--ignore-not-found", "-f", "-", stdin=SERVICE) == ""


def test_a_namespace_need_not_be_waited_for(kubectl: MiniKubectl) -> None:
    said(kubectl, "create", "namespace", "late")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["example.com/stays"]}}
    said(kubectl, "create", "-n", "late", "-f", "-", stdin=json.dumps(body))
    assert said(kubectl, "delete", "namespace", "late", "--wait=false") == 'namespace "late" deleted\n'
    patch = json.dumps({"metadata": {"finalizers": None}})
    said(kubectl, "patch", "configmap", "a", "-n", "late", "--type", "merge", "-p", patch)


def test_patch_label_and_replace(kubectl: MiniKubectl) -> None:
    said(kubectl, "create", "configmap", "-n", "n", "c", "--from-literal=a=b")
    said(kubectl, "patch", "configmap/c", "-n", "n", "-p", '{"data": {"d": "e"}}')
    said(kubectl, "patch", "configmap", "c", "-n", "n", "--type=json", "-p", '[{"op": "remove", "path": "/data/a"}]')
    said(kubectl, "label", "configmap", "c", "-n", "n", "x=1", "y=2")
    said(kubectl, "label", "configmap", "c", "-n", "n", "x-")
    said(kubectl, "annotate", "configmap/c", "-n", "n", "z=3")
    found = got(kubectl, "cm", "c")
    assert found["data"] == {"d": "e"}
    assert found["metadata"]["labels"] == {"y": "2"}
    assert found["metadata"]["annotations"] == {"z": "3"}
    said(kubectl, "replace", "--force", "-n", "n", "-f", "-", stdin=json.dumps({**found, "data": {"f": "g"}}))
    new = got(kubectl, "cm", "c")
    assert new["data"] == {"f": "g"}
    assert new["metadata"]["uid"] != found["metadata"]["uid"]


DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "namespace": "n"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}


def test_scale_and_rollout(kubectl: MiniKubectl) -> None:
    said(kubectl, "apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    assert said(kubectl, "scale", "-n", "n", "deployment/d", "--replicas=3") == "deployment.apps/d scaled\n"
    assert got(kubectl, "deployment", "d")["spec"]["replicas"] == 3
    said(kubectl, "rollout", "restart", "-n", "n", "deployment/d")
    assert got(kubectl, "deploy", "d")["spec"]["template"]["metadata"]["annotations"]
    waited = kubectl.run("rollout", "status", "-n", "n", "deployment/d", "--timeout=0s")
    assert (waited.returncode, waited.stderr) == (1, "error: timed out waiting for the condition")


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}, True),
        ({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3, "availableReplicas": 2}, False),
        ({"observedGeneration": 2, "updatedReplicas": 1, "replicas": 2, "availableReplicas": 2}, False),
        ({}, False),
    ],
)
def test_when_a_rollout_is_over(status: dict[str, int], *, done: bool) -> None:
    assert rolled_out({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}) is done


def test_what_is_refused_is_said(kubectl: MiniKubectl) -> None:
    wrong = kubectl.run("apply", "-f", "-", stdin=SERVICE.replace("ports", "prots"))
    assert wrong.returncode == 1
    assert "spec.prots" in wrong.stderr
    assert "doesn't have a resource type" in kubectl.run("get", "unicorns").stderr
    with pytest.raises(AssertionError, match="needs the real kubectl"):
        kubectl.run("describe", "service", "a")


def test_flags_in_all_their_forms() -> None:
    same = [("-n", "a"), ("--namespace", "a"), ("--namespace=a",), ("-n=a",)]
    assert all(parse(("get", *words, "pods")).flags == {"namespace": "a"} for words in same)
    assert parse(("delete", "--ignore-not-found", "-f", "-")).flags == {"ignore-not-found": "true", "filename": "-"}
