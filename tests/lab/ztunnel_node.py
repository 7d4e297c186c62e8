"""A node of a lab whose proxy is a ztunnel: what its agent and its ztunnel are to Kubernetes."""

from typing import Any, NamedTuple

import yaml

from tests.lab.harness import REPOSITORY, Lab

SYSTEM = "istio-system"
AGENT = "isthmus-node-ztunnel"
ZTUNNEL = "ztunnel"
HOST_LABEL = "kubernetes.io/hostname"

Object = dict[str, Any]


class Place(NamedTuple):
    """The node that gets a ztunnel."""

    cluster: str
    network: str
    node: str


def agent_manifest(lab: Lab, place: Place, *more: str) -> Object:
    """The agent that hands pods to a ztunnel, as `isthmus install --ztunnel` makes it, on one node only."""
    where = ("--cluster", place.cluster, "--network", place.network)
    words = (*where, "--profile", "ambient", "--ztunnel", "--generate", *more)
    made = list(yaml.safe_load_all(lab.run("install", *words).stdout))
    (found,) = [item for item in made if item["kind"] == "DaemonSet"]
    found["metadata"]["name"] = AGENT
    template = found["spec"]["template"]
    for labels in (found["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]):
        labels["app"] = AGENT
    template["spec"]["nodeSelector"] = {HOST_LABEL: place.node}
    result: Object = found
    return result


def ztunnel_manifests(program: list[str], node: str, settings: dict[str, str]) -> list[Object]:
    """ztunnel as Istio's chart runs it: in a network namespace of its own, with a token and the mesh's roots."""
    labels = {"app": ZTUNNEL, "istio.io/dataplane-mode": "none", "sidecar.istio.io/inject": "false"}
    fields = {
        "POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "NODE_NAME": "spec.nodeName",
        "INSTANCE_IP": "status.podIP", "SERVICE_ACCOUNT": "spec.serviceAccountName",
    }  # fmt: skip
    given = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    said = [{"name": name, "value": value} for name, value in settings.items()]
    mounts = {
        "istiod-ca-cert": "/var/run/secrets/istio",
        "istio-token": "/var/run/secrets/tokens",
        "uds": "/var/run/ztunnel",
    }
    token = {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}
    volumes = [
        {"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}},
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "uds", "hostPath": {"path": "/var/run/ztunnel", "type": "DirectoryOrCreate"}},
    ]
    container = {
        "name": "istio-proxy",
        "image": "isthmus/pilot",
        "command": program,
        "workingDir": "/",
        "env": [*given, *said],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1},
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
    }
    spec = {
        "serviceAccountName": ZTUNNEL,
        "nodeSelector": {HOST_LABEL: node},
        "terminationGracePeriodSeconds": 5,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": volumes,
    }
    meta = {"name": ZTUNNEL, "namespace": SYSTEM}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta,
         "spec": {"selector": {"matchLabels": {"app": ZTUNNEL}}, "template": template}},
    ]  # fmt: skip


def settings_of(place: Place, *, on_demand: bool) -> dict[str, str]:
    """What a ztunnel must be told (docs/ztunnel.md)."""
    asking = {"XDS_ON_DEMAND": "true", "ISTIO_META_DNS_CAPTURE": "false"}
    return {
        "XDS_ADDRESS": "https://istiod.istio-system.svc:15012",
        "CA_ADDRESS": "https://istiod.istio-system.svc:15012",
        "CLUSTER_ID": place.cluster,
        "ISTIO_META_CLUSTER_ID": place.cluster,
        "NETWORK": place.network,
        "PYTHONPATH": str(REPOSITORY),
        **(asking if on_demand else {}),
    }


def hand_over(lab: Lab, place: Place, program: list[str], *, on_demand: bool = False) -> None:
    """From now on a ztunnel is the proxy of a node; the Envoys of the other nodes stay.

    One that asks for what it needs answers no names: then nobody captures them.
    """
    elsewhere = {"key": HOST_LABEL, "operator": "NotIn", "values": [place.node]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [elsewhere]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    patch = yaml.safe_dump({"spec": {"template": {"spec": {"affinity": affinity}}}})
    lab.kubectl(place.cluster, "patch", "daemonset", "isthmus-node", "-n", SYSTEM, "--type=merge", "-p", patch)
    items = [
        *ztunnel_manifests(program, place.node, settings_of(place, on_demand=on_demand)),
        agent_manifest(lab, place, *(["--no-dns-capture"] if on_demand else ())),
    ]
    lab.kubectl(place.cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all(items))
