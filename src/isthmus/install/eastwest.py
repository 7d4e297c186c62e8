"""The east-west gateway: the only way into this network from others (NW17)."""

from isthmus.base.labels import NETWORK_LABEL
from isthmus.install import access
from isthmus.install.global_names import EGRESS_PORT, GLOBAL_HOSTS, egress_service
from isthmus.install.istiod import common_labels
from isthmus.install.proxy import (
    STATUS_PORT,
    proxy_env,
    readiness,
    security_context,
    volume_mounts,
    volumes,
)
from isthmus.install.values import WEBHOOK_PORT, XDS_PORT, GatewayValues, Manifest, MeshValues
from isthmus.install.workload import Workload, deployment, scaling_objects, service

MTLS_PORT = 15443
PORTS = {
    "status-port": (STATUS_PORT, STATUS_PORT),
    "tls": (MTLS_PORT, MTLS_PORT),
    "tls-istiod": (XDS_PORT, XDS_PORT),
    "tls-webhook": (WEBHOOK_PORT, WEBHOOK_PORT),
}


def east_west_gateway(values: GatewayValues) -> list[Manifest]:
    """Account, Deployment, Service of type LoadBalancer, and the Gateway object that exposes services."""
    mesh = values.mesh
    labels = {**common_labels(mesh), "istio.io/dataplane-mode": "none", NETWORK_LABEL: mesh.network}
    workload = Workload(
        name=values.name,
        namespace=mesh.namespace,
        labels=labels,
        selector={"app": values.name, "istio": "eastwestgateway"},
        scaling=values.scaling,
    )
    account = f"{values.name}-service-account"
    entry = service(workload, PORTS, kind=values.service_type)
    if values.service_annotations:
        entry["metadata"]["annotations"] = dict(values.service_annotations)
    pods = deployment(workload, _pod_spec(values, account), annotations=dict(values.pod_annotations), surge="100%")
    made = [access.service_account(account, mesh.namespace, labels), entry, pods, *scaling_objects(workload)]
    if values.global_names:
        made.append(egress_service(values, workload.selector, common_labels(mesh)))
    if values.expose:
        made.append(cross_network_gateway(values))
    return [*made, *exposed_control_plane(mesh)] if values.expose_control_plane else made


def cross_network_gateway(values: GatewayValues) -> Manifest:
    """Lets mTLS through to every service of these hosts, by SNI, without terminating it (SN3)."""
    hosts = [*values.hosts, *([GLOBAL_HOSTS] if values.global_names else [])]
    port = {"number": MTLS_PORT, "name": "tls", "protocol": "TLS"}
    server = {"port": port, "tls": {"mode": "AUTO_PASSTHROUGH"}, "hosts": hosts}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "cross-network-gateway", "namespace": values.mesh.namespace},
        "spec": {"selector": {"istio": "eastwestgateway"}, "servers": [server]},
    }


def exposed_control_plane(mesh: MeshValues) -> list[Manifest]:
    """Lets clusters outside reach istiod: its own TLS is passed through unopened, whatever the SNI (PR1).

    No policies hold for this Gateway, so that VirtualServices of other namespaces must not lead elsewhere by it.
    """
    servers, routes = [], []
    host = f"istiod.{mesh.namespace}.svc.{mesh.domain}"
    for name, port, target in (("tls-istiod", XDS_PORT, XDS_PORT), ("tls-istiodwebhook", WEBHOOK_PORT, 443)):
        listens = {"number": port, "name": name, "protocol": "TLS"}
        servers.append({"port": listens, "tls": {"mode": "PASSTHROUGH"}, "hosts": ["./*"]})
        destination = {"host": host, "port": {"number": target}}
        routes.append({"match": [{"port": port, "sniHosts": ["*"]}], "route": [{"destination": destination}]})
    made: Manifest = {"apiVersion": "networking.istio.io/v1"}
    return [
        {
            **made,
            "kind": "Gateway",
            "metadata": {"name": "istiod-gateway", "namespace": mesh.namespace},
            "spec": {"selector": {"istio": "eastwestgateway"}, "servers": servers},
        },
        {
            **made,
            "kind": "VirtualService",
            "metadata": {"name": "istiod-vs", "namespace": mesh.namespace},
            "spec": {"hosts": ["*"], "gateways": ["istiod-gateway"], "tls": routes},
        },
    ]


def _pod_spec(values: GatewayValues, account: str) -> Manifest:
    mesh = values.mesh
    owner = f"kubernetes://apis/apps/v1/namespaces/{mesh.namespace}/deployments/{values.name}"
    env = proxy_env(
        mesh,
        network=mesh.network,
        workload={"WORKLOAD_NAME": values.name, "OWNER": owner},
        metadata={"ISTIO_META_REQUESTED_NETWORK_VIEW": mesh.network} if mesh.network else {},
    )
    ports = [{"containerPort": target, "name": name, "protocol": "TCP"} for name, (_, target) in PORTS.items()]
    if values.global_names:
        ports.append({"containerPort": EGRESS_PORT, "name": "tls-egress", "protocol": "TCP"})
    container = {
        "name": "istio-proxy",
        "image": mesh.images.proxy,
        "imagePullPolicy": mesh.images.pull_policy,
        "args": ["proxy", "router", "--domain", f"$(POD_NAMESPACE).svc.{mesh.domain}"],
        "env": env,
        "ports": ports,
        "readinessProbe": readiness(period=2, failures=4),
        "startupProbe": readiness(period=1, failures=600),
        "resources": mesh.proxy_resources.manifest(),
        "securityContext": security_context(),
        "volumeMounts": volume_mounts(),
    }
    return {
        "serviceAccountName": account,
        "securityContext": {"fsGroup": 1337, "runAsNonRoot": True},
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": volumes(),
    }
