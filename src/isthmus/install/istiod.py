"""The control plane of one cluster: namespace, accounts, Deployment, Service."""

import json

from isthmus.install import access, webhook
from isthmus.install.proxy import STATE_DIR, field_env, plain_env, security_context
from isthmus.install.values import NETWORK_LABEL, REVISION_LABEL, ControlPlaneValues, Manifest, MeshValues
from isthmus.install.workload import Workload, deployment, scaling_objects, service

CA_DIR = "/var/run/secrets/cacerts"
READY_PORT = 15017


def namespace(mesh: MeshValues) -> Manifest:
    """The system namespace; its label is the network of everything in the cluster (NW1)."""
    labels = {NETWORK_LABEL: mesh.network} if mesh.network else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": mesh.namespace, "labels": labels}}


def common_labels(mesh: MeshValues) -> dict[str, str]:
    """Labels of everything that an installation makes."""
    return {REVISION_LABEL: mesh.revision, "app.kubernetes.io/part-of": "istio", "install.isthmus.dev/owner": "isthmus"}


def istiod(values: ControlPlaneValues) -> list[Manifest]:
    """Everything of the control plane but the custom resources' definitions."""
    mesh = values.mesh
    labels = common_labels(mesh)
    workload = Workload(
        name="istiod",
        namespace=mesh.namespace,
        labels=labels,
        selector={"app": "istiod", "istio": "pilot"},
        scaling=values.scaling,
    )
    account = (mesh.namespace, "istiod")
    name = f"istiod-clusterrole-{mesh.namespace}"
    rules = [*access.ISTIOD_RULES, *access.webhook_rules(webhook.NAME)]
    ports = {"https-dns": (15012, 15012), "https-webhook": (443, 15017)}
    return [
        namespace(mesh),
        access.service_account("istiod", mesh.namespace, labels),
        *access.granted(name, rules, account, labels),
        *access.granted("istiod", access.SYSTEM_RULES, account, labels, namespaced=True),
        *access.reader(mesh.namespace, labels),
        _mesh_config(mesh, labels),
        service(workload, ports),
        deployment(workload, _pod_spec(values), annotations={}, surge="100%"),
        *scaling_objects(workload),
        webhook.configuration(mesh, labels),
    ]


def _mesh_config(mesh: MeshValues, labels: dict[str, str]) -> Manifest:
    """The ConfigMap in which others look up this cluster's trust domain (TR6, RS10). JSON is YAML too."""
    config = {
        "trustDomain": mesh.trust_domain,
        "rootNamespace": mesh.namespace,
        "enableAutoMtls": True,
        "defaultConfig": {
            "discoveryAddress": mesh.discovery_address,
            "meshId": mesh.mesh_id,
            "proxyMetadata": {"ISTIO_META_DNS_CAPTURE": str(mesh.dns_capture).lower(), **mesh.proxy_env},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": mesh.namespace, "labels": labels},
        "data": {"mesh": json.dumps(config, indent=2), "meshNetworks": "networks: {}\n"},
    }


def _pod_spec(values: ControlPlaneValues) -> Manifest:
    return {
        "serviceAccountName": "istiod",
        "securityContext": {"fsGroup": 1337},
        "terminationGracePeriodSeconds": 10,
        "containers": [_container(values)],
        "volumes": [
            {"name": "isthmus-data", "emptyDir": {}},
            {"name": "cacerts", "secret": {"secretName": "cacerts", "optional": True}},
        ],
    }


def _container(values: ControlPlaneValues) -> Manifest:
    images = values.mesh.images
    ports = {"grpc-xds": 15010, "tls-xds": 15012, "monitoring": 15014, "webhook": READY_PORT}
    return {
        "name": "discovery",
        "image": images.pilot,
        "imagePullPolicy": images.pull_policy,
        "args": ["serve"],
        "env": _environment(values),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": READY_PORT, "scheme": "HTTPS"},
            "periodSeconds": 3,
            "timeoutSeconds": 5,
        },
        "resources": values.resources.manifest(),
        "securityContext": security_context(),
        "volumeMounts": [
            {"name": "isthmus-data", "mountPath": STATE_DIR},
            {"name": "cacerts", "mountPath": CA_DIR, "readOnly": True},
        ],
    }


def _environment(values: ControlPlaneValues) -> list[Manifest]:
    """The variables that `isthmus serve` reads."""
    mesh = values.mesh
    fixed = {
        "CLUSTER_ID": mesh.cluster,
        "NETWORK": mesh.network,
        "MESH_ID": mesh.mesh_id,
        "TRUST_DOMAIN": mesh.trust_domain,
        "DOMAIN_SUFFIX": mesh.domain,
        "REVISION": mesh.revision,
        "DNS_CAPTURE": str(mesh.dns_capture).lower(),
        "PROXY_IMAGE": mesh.images.proxy,
        "INIT_IMAGE": mesh.images.init,
        "CHECKPOINT_DIR": f"{STATE_DIR}/checkpoint",
        "CA_DIRECTORY": CA_DIR,
    }
    fields = [
        field_env("POD_NAME", "metadata.name"),
        field_env("POD_NAMESPACE", "metadata.namespace"),
        field_env("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ]
    return [*fields, *plain_env({**fixed, **values.env})]
