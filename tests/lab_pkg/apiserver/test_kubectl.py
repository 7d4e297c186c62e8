"""The real kubectl against a server on the loopback: what users do every day."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from isthmus_lab.apiserver.inprocess import Loopback

pytestmark = pytest.mark.kubectl

Kubectl = Callable[..., str]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 80}]
"""

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Colour, type: string, jsonPath: .spec.colour}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [colour]
            properties:
              colour: {type: string, enum: [red, green], description: What it looks like.}
              replicas: {type: integer, minimum: 0, default: 1}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, number: {type: integer}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].strip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name)


def parse(text: str) -> Any:
    return json.loads(text)


def test_version_and_discovery(kubectl: Kubectl) -> None:
    assert "Server Version: v1.32" in kubectl("version")
    resources = kubectl("api-resources")
    for line in ("deployments", "endpointslices", "customresourcedefinitions", "mutatingwebhookconfigurations"):
        assert line in resources
    assert "apps/v1" in kubectl("api-versions")
    assert "is running at" in kubectl("cluster-info")
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_a_namespace_comes_furnished(kubectl: Kubectl, namespace: str) -> None:
    assert "default" in kubectl("get", "serviceaccounts", "-n", namespace)
    assert "kube-root-ca.crt" in kubectl("get", "configmaps", "-n", namespace)


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl, namespace: str) -> None:
    assert "created" in kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("web:1", "web:2").replace('{name: A, value: "1"}, ', "")
    assert "configured" in kubectl("apply", "-n", namespace, "-f", "-", stdin=changed)
    container = parse(kubectl("get", "deploy/web", "-n", namespace, "-o", "json"))["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["image"] == "web:2"
    assert container["env"] == [{"name": "B", "value": "2"}]
    assert "diff" in kubectl("diff", "-n", namespace, "-f", "-", stdin=DEPLOYMENT, code=1)


def test_get_shows_the_columns_users_know(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)
    kubectl("run", "one", "--image=x", "-n", namespace, "--labels=a=b")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080", "-n", namespace)
    wide = kubectl("get", "deploy", "-n", namespace, "-o", "wide")
    assert wide.split()[:8] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert "web:1" in wide
    pods = kubectl("get", "pods", "-n", namespace, "--show-labels")
    assert pods.splitlines()[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "LABELS"]
    assert pods.splitlines()[1].split()[:4] == ["one", "0/1", "Pending", "0"]
    service = kubectl("get", "service", "-n", namespace).splitlines()
    assert service[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert "80/TCP" in service[1]
    assert "pod/one" in kubectl("get", "all", "-n", namespace)
    assert kubectl("get", "pods", "-n", namespace, "-l", "a in (b,c),!d", "-o", "name") == "pod/one\n"
    assert "No resources found" in kubectl("get", "pods", "-n", namespace, "--field-selector=status.phase=Running")
    assert kubectl("get", "pods", "-A", "--field-selector=metadata.name=one", "-o", "name") == "pod/one\n"


def test_typed_commands_that_send_protobuf(kubectl: Kubectl, namespace: str) -> None:
    in_namespace = ("-n", namespace)
    kubectl("create", "configmap", "cm", "--from-literal=a=1", *in_namespace)
    kubectl("create", "secret", "generic", "s", "--from-literal=password=x", *in_namespace)
    kubectl("create", "serviceaccount", "robot", *in_namespace)
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods,deployments.apps", *in_namespace)
    kubectl("create", "rolebinding", "rb", "--role=r", f"--serviceaccount={namespace}:robot", *in_namespace)
    kubectl("create", "deployment", "dep", "--image=img:1", "--replicas=3", "--port=80", *in_namespace)
    kubectl("create", "service", "nodeport", "np", "--tcp=80:web", *in_namespace)
    assert parse(kubectl("get", "cm", "cm", "-o", "json", *in_namespace))["data"] == {"a": "1"}
    assert parse(kubectl("get", "secret", "s", "-o", "json", *in_namespace))["data"] == {"password": "eA=="}
    role = parse(kubectl("get", "role", "r", "-o", "json", *in_namespace))
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
    ]
    deployment = parse(kubectl("get", "deploy", "dep", "-o", "json", *in_namespace))["spec"]
    assert deployment["replicas"] == 3
    assert deployment["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    port = parse(kubectl("get", "svc", "np", "-o", "json", *in_namespace))["spec"]["ports"][0]
    assert port["targetPort"] == "web"
    assert 30000 <= port["nodePort"] < 32768
    account = f"system:serviceaccount:{namespace}:robot"
    assert kubectl("auth", "can-i", "list", "pods", f"--as={account}", *in_namespace) == "yes\n"
    assert kubectl("auth", "can-i", "delete", "pods", f"--as={account}", *in_namespace, code=1) == "no\n"


def test_patch_in_three_dialects(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)

    def patch(kind: str, body: object) -> Any:
        return parse(
            kubectl("patch", "deploy/web", "-n", namespace, f"--type={kind}", "-p", json.dumps(body), "-o", "json")
        )

    env = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "3"}]}]}}}}
    container = patch("strategic", env)["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]
    assert container["image"] == "web:1"
    assert patch("merge", {"metadata": {"labels": {"app": None, "x": "y"}}})["metadata"]["labels"] == {"x": "y"}
    assert patch("json", [{"op": "replace", "path": "/spec/replicas", "value": 7}])["spec"]["replicas"] == 7
    refused = kubectl(
        "patch", "deploy/web", "-n", namespace, "--type=json",
        "-p", '[{"op":"test","path":"/spec/replicas","value":1}]', code=1,
    )  # fmt: skip
    assert "the server rejected our request" in refused


def test_label_annotate_scale_set_image_and_edit_generation(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)
    kubectl("label", "deploy/web", "tier=front", "-n", namespace)
    kubectl("annotate", "deploy/web", "note=hello", "-n", namespace)
    kubectl("scale", "deploy/web", "--replicas=5", "-n", namespace)
    kubectl("set", "image", "deploy/web", "web=web:9", "-n", namespace)
    found = parse(kubectl("get", "deploy/web", "-n", namespace, "-o", "json"))
    assert found["metadata"]["labels"] == {"app": "web", "tier": "front"}
    assert found["metadata"]["annotations"]["note"] == "hello"
    assert found["spec"]["replicas"] == 5
    assert found["metadata"]["generation"] == 3  # scale and image; labels do not count
    assert "restarted" in kubectl("rollout", "restart", "deploy/web", "-n", namespace)


def test_describe_and_events(kubectl: Kubectl, namespace: str) -> None:
    kubectl("run", "one", "--image=x", "-n", namespace)
    uid = kubectl("get", "pod", "one", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "one.1", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": "one", "namespace": namespace, "uid": uid, "apiVersion": "v1"},
        "reason": "Started",
        "message": "it runs",
        "type": "Normal",
        "source": {"component": "kubelet"},
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    described = kubectl("describe", "pod", "one", "-n", namespace)
    assert "Service Account:  default" in described
    assert "it runs" in described
    assert "pod/one" in kubectl("get", "events", "-n", namespace)
    assert "it runs" in kubectl("events", "-n", namespace)
    for kind in ("namespace", "service/kubernetes"):
        assert "Name:" in kubectl("describe", *kind.split("/"))


def test_server_side_apply_conflicts_and_force(kubectl: Kubectl, namespace: str) -> None:
    apply = ("apply", "--server-side", "-n", namespace, "-f", "-")
    assert "serverside-applied" in kubectl(*apply, "--field-manager=one", stdin=DEPLOYMENT)
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 4")
    refused = kubectl(*apply, "--field-manager=two", stdin=other, code=1)
    assert 'conflict with "one": .spec.replicas' in refused
    assert "serverside-applied" in kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=other)
    found = parse(kubectl("get", "deploy/web", "-n", namespace, "-o", "json", "--show-managed-fields"))
    assert found["spec"]["replicas"] == 4
    owners = {m["manager"]: m["fieldsV1"]["f:spec"] for m in found["metadata"]["managedFields"]}
    assert "f:replicas" in owners["two"]
    assert "f:replicas" not in owners["one"]
    # What one no longer applies and nobody else owns goes; what two owns too stays.
    less = DEPLOYMENT.replace("metadata: {name: web, labels: {app: web}}", "metadata: {name: web}").replace(
        "  replicas: 2\n", ""
    )
    kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=less)
    found = parse(kubectl("get", "deploy/web", "-n", namespace, "-o", "json"))
    assert found["metadata"]["labels"] == {"app": "web"}
    assert found["spec"]["replicas"] == 1  # nobody wants a number any more: the default


def test_client_side_objects_can_become_server_side(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", "-", stdin=DEPLOYMENT)
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "-n", namespace, "-f", "-", stdin=DEPLOYMENT.replace("web:1", "web:2")
    )
    assert "web:2" in kubectl("get", "deploy/web", "-n", namespace, "-o", "yaml")


def test_delete_graceful_and_forced(kubectl: Kubectl, namespace: str) -> None:
    kubectl("run", "one", "--image=x", "-n", namespace)
    kubectl("patch", "pod", "one", "-n", namespace, "-p", '{"spec":{"nodeName":"n1"}}')
    kubectl("delete", "pod", "one", "-n", namespace, "--wait=false")
    assert "Terminating" in kubectl("get", "pod", "one", "-n", namespace)
    assert "deleted" in kubectl("delete", "pod", "one", "-n", namespace, "--grace-period=0", "--force")
    assert "NotFound" in kubectl("get", "pod", "one", "-n", namespace, code=1)
    kubectl("create", "configmap", "a", "-n", namespace)
    kubectl("create", "configmap", "b", "-n", namespace)
    kubectl("delete", "configmap", "--all", "-n", namespace)
    assert kubectl("get", "configmap", "-n", namespace, "-o", "name") == "configmap/kube-root-ca.crt\n"


def test_errors_read_as_users_know_them(kubectl: Kubectl, namespace: str) -> None:
    no_ports = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {}})
    text = kubectl("create", "-n", namespace, "-f", "-", stdin=no_ports, code=1)
    assert 'The Service "x" is invalid: spec.ports: Required value' in text
    unknown = DEPLOYMENT.replace("  replicas: 2", "  replica: 2")
    text = kubectl("apply", "-n", namespace, "-f", "-", stdin=unknown, code=1)
    assert 'strict decoding error: unknown field "spec.replica"' in text
    wrong = DEPLOYMENT.replace("replicas: 2", "replicas: many")
    text = kubectl("apply", "-n", namespace, "-f", "-", stdin=wrong, code=1)
    assert "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas" in text
    assert 'deployments.apps "none" not found' in kubectl("get", "deploy", "none", "-n", namespace, code=1)
    assert "AlreadyExists" in kubectl("create", "namespace", namespace, code=1)
    assert "doesn't have a resource type" in kubectl("get", "things", code=1)


def test_explain(kubectl: Kubectl) -> None:
    text = kubectl("explain", "deployment.spec.template.spec.containers")
    assert "FIELD: containers <[]Container>" in text
    assert "imagePullPolicy" in text
    assert "readinessProbe" in kubectl("explain", "pod.spec.containers", "--recursive")


def test_custom_resources(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-f", "-", stdin=CRD)
    kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
    widget: dict[str, Any] = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    widget["spec"] = {"colour": "red", "ports": [{"name": "a", "number": 1}]}
    kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(widget))
    table = kubectl("get", "wd", "-n", namespace).splitlines()
    assert table[0].split() == ["NAME", "COLOUR", "AGE"]
    assert table[1].split()[:2] == ["w", "red"]
    assert "What it looks like." in kubectl("explain", "widget.spec.colour")
    kubectl("scale", "widget/w", "--replicas=3", "-n", namespace)
    assert kubectl("get", "widget/w", "-n", namespace, "-o", "jsonpath={.spec.replicas}") == "3"
    widget["spec"]["colour"] = "blue"
    text = kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(widget), code=1)
    assert 'spec.colour: Unsupported value: "blue": supported values: "green", "red"' in text
    kubectl("delete", "crd", "widgets.example.com")
    assert "the server could not find the requested resource" in kubectl("get", "widgets", "-n", namespace, code=1)


def test_who_am_i_and_tokens(kubectl: Kubectl, loopback: Loopback, namespace: str) -> None:
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "delete", "pods") == "yes\n"
    assert "*.*" in kubectl("auth", "can-i", "--list")
    kubectl("create", "serviceaccount", "robot", "-n", namespace)
    token = kubectl("create", "token", "robot", "-n", namespace, "--duration=20m").strip()
    given = ("--kubeconfig=/dev/null", f"--server={loopback.url}", f"--certificate-authority={loopback.certificate}")
    as_robot = (*given, f"--token={token}", "-n", namespace)
    assert f"system:serviceaccount:{namespace}:robot" in kubectl(*as_robot, "auth", "whoami")
    denied = kubectl(*as_robot, "get", "pods", code=1)
    assert (
        f'pods is forbidden: User "system:serviceaccount:{namespace}:robot" cannot list resource "pods" in API group '
        f'"" in the namespace "{namespace}"' in denied
    )
    kubectl(
        "create", "rolebinding", "see", "--clusterrole=view", f"--serviceaccount={namespace}:robot", "-n", namespace
    )
    assert "No resources found" in kubectl(*as_robot, "get", "pods")
    kubectl("delete", "serviceaccount", "robot", "-n", namespace)
    assert "Unauthorized" in kubectl(*as_robot, "get", "pods", code=1)


def test_watch_prints_changes(kubectl: Kubectl, loopback: Loopback, namespace: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(loopback.kubeconfig)}
    command = ["kubectl", "get", "configmaps", "-n", namespace, "-w", "--request-timeout=30s"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split() == ["NAME", "DATA", "AGE"]
        assert watching.stdout.readline().startswith("kube-root-ca.crt")
        kubectl("create", "configmap", "seen", "-n", namespace)
        assert watching.stdout.readline().startswith("seen")
        watching.send_signal(signal.SIGINT)


def test_dry_run_changes_nothing(kubectl: Kubectl, namespace: str) -> None:
    assert "created (server dry run)" in kubectl(
        "apply", "-n", namespace, "--dry-run=server", "-f", "-", stdin=DEPLOYMENT
    )
    assert "No resources found" in kubectl("get", "deploy", "-n", namespace)
