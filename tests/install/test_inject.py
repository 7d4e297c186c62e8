"""Injection: which pods get a sidecar, what they get, and that the API server's patch gives a valid pod."""

import json
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest

from isthmus.base.errors import UsageError
from isthmus.install.inject import inject, skip_reason
from isthmus.install.values import Images, MeshValues, Resources

Json = dict[str, Any]

VALUES = MeshValues(cluster="east", network="net-east", mesh_id="mesh1", proxy_env={"EXTRA": "1"})


def pod(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owner: Json | None = None,
    **spec: Any,
) -> Json:
    meta: Json = {"generateName": "web-6c5f-"}
    if labels:
        meta["labels"] = labels
    if annotations:
        meta["annotations"] = annotations
    if owner:
        meta["ownerReferences"] = [owner]
    container = {"name": "app", "image": "web", "ports": [{"name": "http", "containerPort": 5000, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


def injected(obj: Json, values: MeshValues = VALUES, namespace: str = "sample") -> Json:
    """The pod after the patch."""
    patch = inject(obj, {"namespace": namespace}, values)
    assert patch
    result: Json = jsonpatch.apply_patch(obj, patch)
    return result


def container(obj: Json, name: str) -> Json:
    found = [item for item in obj["spec"]["initContainers"] if item["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def environment(obj: Json) -> dict[str, str]:
    env = container(obj, "istio-proxy")["env"]
    return {item["name"]: item.get("value") or item["valueFrom"]["fieldRef"]["fieldPath"] for item in env}


def test_the_proxy_is_a_native_sidecar_after_the_set_up_and_before_everything_else() -> None:
    made = injected(pod(initContainers=[{"name": "mine", "image": "x"}]))
    assert [item["name"] for item in made["spec"]["initContainers"]] == ["istio-init", "istio-proxy", "mine"]
    assert [item["name"] for item in made["spec"]["containers"]] == ["app"]
    proxy = container(made, "istio-proxy")
    assert proxy["restartPolicy"] == "Always"
    assert proxy["args"] == ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"]
    for probe in ("startupProbe", "readinessProbe"):
        assert proxy[probe]["httpGet"] == {"path": "/healthz/ready", "port": 15021}


def test_the_environment_says_where_and_who() -> None:
    made = environment(injected(pod({"pod-template-hash": "6c5f"}, owner=owner("apps/v1", "ReplicaSet", "web-6c5f"))))
    assert made == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
        "NODE_NAME": "spec.nodeName",
        "CA_ADDR": "istiod.istio-system.svc:15012",
        "PILOT_ADDRESS": "istiod.istio-system.svc:15012",
        "TRUST_DOMAIN": "cluster.local",
        "ISTIO_META_CLUSTER_ID": "east",
        "ISTIO_META_MESH_ID": "mesh1",
        "ISTIO_META_NETWORK": "net-east",
        "ISTIO_META_WORKLOAD_NAME": "web",
        "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/sample/deployments/web",
        "ISTIO_META_APP_CONTAINERS": "app",
        "ISTIO_META_POD_PORTS": '[{"name":"http","containerPort":5000,"protocol":"TCP"}]',
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_DNS_CAPTURE": "true",
        "EXTRA": "1",
    }


def owner(api: str, kind: str, name: str, *, controller: bool = True) -> Json:
    return {"apiVersion": api, "kind": kind, "name": name, "controller": controller}


@pytest.mark.parametrize(
    ("made_by", "name", "path"),
    [
        (None, "web-6c5f", "v1/namespaces/sample/pods/web-6c5f"),
        (owner("batch/v1", "Job", "j"), "j", "batch/v1/namespaces/sample/jobs/j"),
        (owner("apps/v1", "ReplicaSet", "rs"), "rs", "apps/v1/namespaces/sample/replicasets/rs"),
        (owner("v1", "Thing", "t", controller=False), "web-6c5f", "v1/namespaces/sample/pods/web-6c5f"),
    ],
    ids=["bare", "job", "bare replica set", "no controller"],
)
def test_the_workload_is_what_made_the_pod(made_by: Json | None, name: str, path: str) -> None:
    made = environment(injected(pod(owner=made_by)))
    assert made["ISTIO_META_WORKLOAD_NAME"] == name
    assert made["ISTIO_META_OWNER"] == f"kubernetes://apis/{path}"


@pytest.mark.parametrize(
    ("labels", "name", "revision"),
    [
        ({}, "web-6c5f", "latest"),
        ({"app": "a", "version": "v2"}, "a", "v2"),
        ({"app": "a", "app.kubernetes.io/name": "b", "app.kubernetes.io/version": "3", "version": "v2"}, "b", "3"),
        ({"app": "a", "service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "r"}, "c", "r"),
    ],
)
def test_labels(labels: dict[str, str], name: str, revision: str) -> None:
    made = injected(pod(labels))["metadata"]["labels"]
    assert made == {
        **labels,
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": name,
        "service.istio.io/canonical-revision": revision,
        "istio.io/rev": "default",
        "topology.istio.io/network": "net-east",
    }


def test_the_pods_own_network_label_wins() -> None:
    made = injected(pod({"topology.istio.io/network": "other"}))
    assert made["metadata"]["labels"]["topology.istio.io/network"] == "other"
    assert environment(made)["ISTIO_META_NETWORK"] == "other"


def test_without_a_network_there_is_no_label() -> None:
    made = injected(pod(), MeshValues(cluster="east"))
    assert "topology.istio.io/network" not in made["metadata"]["labels"]
    assert "ISTIO_META_NETWORK" not in environment(made)


def test_volumes_are_what_the_mounts_name_and_all_are_below_var_run() -> None:
    made = injected(pod(volumes=[{"name": "mine", "emptyDir": {}}]))
    volumes = {item["name"]: item for item in made["spec"]["volumes"]}
    mounts = container(made, "istio-proxy")["volumeMounts"]
    assert set(volumes) == {"mine", *(mount["name"] for mount in mounts)}
    assert all(mount["mountPath"].startswith("/var/run/") for mount in mounts)
    (source,) = volumes["istio-token"]["projected"]["sources"]
    assert source["serviceAccountToken"] == {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}
    assert volumes["istiod-ca-cert"]["configMap"]["name"] == "istio-ca-root-cert"


def test_the_set_up_may_change_the_network_and_the_proxy_nothing() -> None:
    made = injected(pod())
    set_up, proxy = (container(made, name)["securityContext"] for name in ("istio-init", "istio-proxy"))
    assert set_up["capabilities"] == {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}
    assert proxy["capabilities"] == {"drop": ["ALL"]}
    assert (proxy["runAsUser"], proxy["runAsNonRoot"]) == (1337, True)
    assert made["spec"]["securityContext"]["fsGroup"] == 1337


def test_the_pods_own_group_stays() -> None:
    made = injected(pod(securityContext={"fsGroup": 7}))
    assert made["spec"]["securityContext"] == {"fsGroup": 7}


def test_the_status_annotation_names_what_was_added() -> None:
    made = injected(pod(annotations={"mine": "yes"}))["metadata"]["annotations"]
    status = json.loads(made["sidecar.istio.io/status"])
    assert status["initContainers"] == ["istio-init", "istio-proxy"]
    assert status["revision"] == "default"
    assert made["mine"] == "yes"
    assert made["kubectl.kubernetes.io/default-container"] == "app"


def test_what_was_injected_is_not_injected_again() -> None:
    assert inject(injected(pod()), {"namespace": "sample"}, VALUES) == []


@pytest.mark.parametrize(
    ("obj", "namespace", "why"),
    [
        (pod(), "sample", ""),
        (pod({"sidecar.istio.io/inject": "true"}), "sample", ""),
        (pod({"sidecar.istio.io/inject": "false"}), "sample", "not wanted"),
        (pod(annotations={"sidecar.istio.io/inject": "false"}), "sample", "not wanted"),
        (pod({"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}), "sample", ""),
        (pod(hostNetwork=True), "sample", "host network"),
        (pod(), "kube-system", "system namespace"),
        (pod(initContainers=[{"name": "istio-proxy"}]), "sample", "has a sidecar already"),
        (pod(annotations={"sidecar.istio.io/status": "{}"}), "sample", "has a sidecar already"),
    ],
)
def test_who_gets_a_sidecar(obj: Json, namespace: str, why: str) -> None:
    assert skip_reason(obj, namespace) == why
    assert bool(inject(obj, {"namespace": namespace}, VALUES)) is not bool(why)


def test_capture_can_be_left_to_others() -> None:
    made = injected(pod(annotations={"sidecar.istio.io/interceptionMode": "NONE"}))
    assert [item["name"] for item in made["spec"]["initContainers"]] == ["istio-proxy"]
    assert environment(made)["ISTIO_META_INTERCEPTION_MODE"] == "NONE"


def test_annotations_set_the_proxys_image_resources_and_metadata() -> None:
    annotations = {
        "sidecar.istio.io/proxyImage": "example/proxy:1",
        "sidecar.istio.io/proxyCPU": "1",
        "sidecar.istio.io/proxyMemoryLimit": "1Gi",
        "proxy.istio.io/config": "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: 'false'\n  SECRET_TTL: 1h\n",
    }
    made = injected(pod(annotations=annotations))
    proxy = container(made, "istio-proxy")
    assert proxy["image"] == "example/proxy:1"
    assert proxy["resources"] == {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    env = environment(made)
    assert (env["ISTIO_META_DNS_CAPTURE"], env["SECRET_TTL"]) == ("false", "1h")


def test_values_set_images_domain_and_name_capture() -> None:
    values = MeshValues(
        cluster="c",
        domain="corp",
        dns_capture=False,
        images=Images(proxy="p", init="i"),
        proxy_resources=Resources(cpu="5m"),
    )
    made = injected(pod(), values)
    assert (container(made, "istio-init")["image"], container(made, "istio-proxy")["image"]) == ("i", "p")
    assert container(made, "istio-proxy")["args"][-1] == "$(POD_NAMESPACE).svc.corp"
    assert environment(made)["ISTIO_META_DNS_CAPTURE"] == "false"
    assert container(made, "istio-init")["args"][-2:] == ["--dns-port", "0"]


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (pod({"sidecar.istio.io/inject": "maybe"}), "sidecar.istio.io/inject is 'maybe'"),
        (pod(initContainers=[{"name": "istio-init"}]), "a container is named istio-init"),
        (pod(volumes=[{"name": "istio-token", "emptyDir": {}}]), "volume istio-token is there already"),
        (pod(annotations={"proxy.istio.io/config": "{"}), "proxy.istio.io/config is not YAML"),
        (pod(annotations={"proxy.istio.io/config": "proxyMetadata: 7"}), "is no mapping"),
        (pod(annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "x"}), "excludeInboundPorts holds 'x'"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(obj: Json, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        inject(obj, {"namespace": "sample"}, VALUES)
    assert says in refused.value.message
    assert refused.value.remedy


def test_a_pod_without_metadata_is_still_one() -> None:
    made = injected({"spec": {"containers": [{"name": "app", "image": "x"}]}})
    assert made["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio"


def test_in_a_mesh_with_ambient_workloads_a_sidecar_takes_hbone_and_says_so() -> None:
    made = injected(pod(), values=replace(VALUES, hbone=True))
    assert made["metadata"]["labels"]["networking.istio.io/tunnel"] == "http"
    assert environment(made)["ISTIO_META_ENABLE_HBONE"] == "true"
    plain = injected(pod())
    assert "networking.istio.io/tunnel" not in plain["metadata"]["labels"]
    assert "ISTIO_META_ENABLE_HBONE" not in environment(plain)
