"""The DaemonSet of the node proxy hangs together, and what it says is what its agent reads."""

from typing import Any

import pytest

from isthmus.agent.node_proxy import DAEMON_SETS, parse_node_settings
from isthmus.agent.settings import Mounts
from isthmus.install import access
from isthmus.install.node import NodeValues, node_proxy
from isthmus.install.values import MeshValues
from isthmus.kube.requests import NAMESPACES, PODS, Resource

Json = dict[str, Any]
MESH = MeshValues(cluster="east", network="net-east", trust_domain="east.example")
MADE = node_proxy(NodeValues(mesh=MESH, cni_bin_dir="/home/cni/bin"))
(DAEMON_SET,) = [item for item in MADE if item["kind"] == "DaemonSet"]
POD: Json = DAEMON_SET["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
FIELDS = {"metadata.name": "isthmus-node-x", "metadata.namespace": "istio-system", "spec.nodeName": "node-1"}


def environment() -> dict[str, str]:
    """As the kubelet makes it."""
    made = {}
    for item in CONTAINER["env"]:
        path = item["valueFrom"]["fieldRef"]["fieldPath"] if "valueFrom" in item else ""
        made[item["name"]] = item["value"] if "value" in item else FIELDS.get(path, "10.0.0.1")
    return made


def test_it_hangs_together() -> None:
    template = DAEMON_SET["spec"]["template"]
    assert DAEMON_SET["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    assert all(mount["mountPath"].startswith("/var/run/") for mount in CONTAINER["volumeMounts"])
    accounts = [item["metadata"]["name"] for item in MADE if item["kind"] == "ServiceAccount"]
    assert accounts == [POD["serviceAccountName"]]
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in POD["volumes"] if "hostPath" in volume}
    assert (paths["cni-bin"], paths["cni-net"], paths["isthmus-run"]) == (
        "/home/cni/bin",
        "/etc/cni/net.d",
        "/run/isthmus",
    )


def test_it_is_on_every_node_and_sees_pods_that_start_after_it() -> None:
    assert POD["tolerations"] == [{"operator": "Exists"}]
    assert (POD["hostNetwork"], POD["hostPID"], POD["dnsPolicy"]) == (True, True, "ClusterFirstWithHostNet")
    (netns,) = [mount for mount in CONTAINER["volumeMounts"] if mount["name"] == "netns"]
    assert netns["mountPropagation"] == "HostToContainer"


def test_its_agent_reads_what_it_says() -> None:
    arguments = [word.replace("$(POD_NAMESPACE)", "istio-system") for word in CONTAINER["args"]]
    settings = parse_node_settings(arguments, environment(), mounts=Mounts(), read=lambda _: None)
    assert settings.node == "node-1"
    assert settings.excluded == ("istio-system", "kube-system")
    assert (str(settings.cni_bin_dir), str(settings.cni_net_dir)) == ("/var/run/cni/bin", "/var/run/cni/net.d")
    assert str(settings.netns_dir) == "/run/isthmus/netns"
    proxy = settings.proxy
    assert proxy.node_id == "node~10.0.0.1~isthmus-node-x.istio-system~istio-system.svc.cluster.local"
    assert (proxy.cluster, proxy.trust_domain, proxy.service_account) == ("east", "east.example", "10.0.0.1")
    wanted = {"NODE_NAME": "node-1", "NETWORK": "net-east", "NETNS_DIR": "/run/isthmus/netns"}
    assert wanted.items() <= proxy.metadata.items()


def may(rules: tuple[Json, ...], resource: Resource) -> set[str]:
    """The verbs that rules allow."""
    fitting = [rule for rule in rules if resource.group in rule["apiGroups"] and resource.plural in rule["resources"]]
    return {verb for rule in fitting for verb in rule["verbs"]}


@pytest.mark.parametrize(
    ("rules", "resource", "verbs"),
    [
        (access.NODE_RULES, PODS, {"get", "list", "watch", "patch"}),
        (access.NODE_RULES, NAMESPACES, {"get", "list", "watch"}),
        (access.NODE_SYSTEM_RULES, DAEMON_SETS, {"get"}),
    ],
)
def test_its_rights_are_those_it_uses(rules: tuple[Json, ...], resource: Resource, verbs: set[str]) -> None:
    assert may(rules, resource) == verbs


def test_for_a_ztunnel_the_agent_listens_where_it_looks_and_runs_no_envoy() -> None:
    (made,) = [item for item in node_proxy(NodeValues(mesh=MESH, ztunnel=True)) if item["kind"] == "DaemonSet"]
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][-2:] == ["--ztunnel", "/var/run/ztunnel/ztunnel.sock"]
    assert "readinessProbe" not in container
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/var/run/ztunnel"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert volume["hostPath"]["path"] == "/var/run/ztunnel"
