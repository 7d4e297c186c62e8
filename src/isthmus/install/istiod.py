"""The control plane of one cluster: namespace, accounts, Deployment, Service."""

import json

from isthmus.base.labels import NETWORK_LABEL
from isthmus.base.names import PEERS_PORT
from isthmus.install import access, webhook
from isthmus.install.proxy import STATE_DIR, field_env, plain_env, security_context
from isthmus.install.values import REVISION_LABEL, WEBHOOK_PORT, XDS_PORT, ControlPlaneValues, Manifest, MeshValues
from isthmus.install.workload import Workload, deployment, scaling_objects, service

CA_DIR = "/var/run/secrets/cacerts"
CONFIG_DIR = "/var/run/secrets/remote"
CONFIG_SECRET, CONFIG_KEY = "istio-kubeconfig", "config"


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
    program = [
        _service(values, workload),
        deployment(workload, _pod_spec(values), annotations=dict(values.pod_annotations), surge="100%"),
        *scaling_objects(workload),
    ]
    if values.config_cluster:  # it serves clusters elsewhere: here it only keeps its secrets
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": mesh.namespace}},
            access.service_account("istiod", mesh.namespace, labels),
            *access.granted("istiod", access.SECRET_RULES, account, labels, namespaced=True),
            *program,
        ]
    return [
        namespace(mesh),
        access.service_account("istiod", mesh.namespace, labels),
        *own_rights(mesh, labels),
        *access.reader(mesh.namespace, labels),
        mesh_config(mesh, labels),
        *program,
        webhook.configuration(mesh, labels),
    ]


def own_rights(mesh: MeshValues, labels: dict[str, str]) -> list[Manifest]:
    """What the account istiod may do in the cluster that its configuration comes from."""
    account = (mesh.namespace, "istiod")
    rules = [*access.ISTIOD_RULES, *access.webhook_rules(webhook.NAME)]
    return [
        *access.granted(f"istiod-clusterrole-{mesh.namespace}", rules, account, labels),
        *access.granted("istiod", access.SYSTEM_RULES, account, labels, namespaced=True),
    ]


def _service(values: ControlPlaneValues, workload: Workload) -> Manifest:
    """Outside of a cluster, API servers have no names for services: there the webhook keeps its own port."""
    ports = {
        "https-dns": (XDS_PORT, XDS_PORT),
        "https-webhook": (443, WEBHOOK_PORT),
        "tls-peers": (PEERS_PORT, PEERS_PORT),
    }
    if values.service_type != "ClusterIP":
        ports["https-webhook-out"] = (WEBHOOK_PORT, WEBHOOK_PORT)
    made = service(workload, ports, kind=values.service_type)
    if values.service_annotations:
        made["metadata"]["annotations"] = dict(values.service_annotations)
    return made


def mesh_config(mesh: MeshValues, labels: dict[str, str]) -> Manifest:
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
    volumes: list[Manifest] = [
        {"name": "isthmus-data", "emptyDir": {}},
        {"name": "cacerts", "secret": {"secretName": "cacerts", "optional": True}},
    ]
    if values.config_cluster:
        volumes.append({"name": "istio-kubeconfig", "secret": {"secretName": CONFIG_SECRET}})
    return {
        "serviceAccountName": "istiod",
        "securityContext": {"fsGroup": 1337},
        "terminationGracePeriodSeconds": 10,
        "containers": [_container(values)],
        "volumes": volumes,
    }


def _container(values: ControlPlaneValues) -> Manifest:
    images = values.mesh.images
    ports = {
        "grpc-xds": 15010,
        "tls-xds": XDS_PORT,
        "tls-peers": PEERS_PORT,
        "monitoring": 15014,
        "webhook": WEBHOOK_PORT,
    }
    mounts = [
        {"name": "isthmus-data", "mountPath": STATE_DIR},
        {"name": "cacerts", "mountPath": CA_DIR, "readOnly": True},
    ]
    if values.config_cluster:
        mounts.append({"name": "istio-kubeconfig", "mountPath": CONFIG_DIR, "readOnly": True})
    return {
        "name": "discovery",
        "image": images.pilot,
        "imagePullPolicy": images.pull_policy,
        "args": ["serve", *(["--kubeconfig", f"{CONFIG_DIR}/{CONFIG_KEY}"] if values.config_cluster else [])],
        "env": _environment(values),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": WEBHOOK_PORT, "scheme": "HTTPS"},
            "periodSeconds": 3,
            "timeoutSeconds": 5,
        },
        "resources": values.resources.manifest(),
        "securityContext": security_context(),
        "volumeMounts": mounts,
    }


def _environment(values: ControlPlaneValues) -> list[Manifest]:
    """The variables that `isthmus serve` reads."""
    mesh = values.mesh
    fixed = {
        "CLUSTER_ID": values.config_cluster or mesh.cluster,
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
        "EXTERNAL_ISTIOD": str(values.external).lower(),
    }
    names = [f"istiod-{values.name}.{mesh.namespace}.svc"] if values.name else []
    optional = {
        "PILOT_ADDRESS": ",".join(mesh.discovery),
        "ISTIOD_CUSTOM_HOST": " ".join([*values.custom_hosts, *names]),
        "LOCAL_CLUSTER_SECRET_WATCHER": "true" if values.config_cluster else "",
        "ENABLE_HBONE": "true" if mesh.hbone else "",
    }
    fixed |= {name: value for name, value in optional.items() if value}
    fields = [
        field_env("POD_NAME", "metadata.name"),
        field_env("POD_NAMESPACE", "metadata.namespace"),
        field_env("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ]
    return [*fields, *plain_env({**fixed, **values.env})]
