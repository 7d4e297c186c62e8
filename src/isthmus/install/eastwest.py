"""The east-west gateway: the only way into this network from others (NW17)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What tells the pods of one gateway from those of another. `ports` by name; `kind` is the agent's word."""

    name: str
    namespace: str
    account: str
    network: str = ""
    kind: str = "router"
    ports: Mapping[str, int] = field(default_factory=dict)


def _pod_spec(values: GatewayValues, account: str) -> Manifest:
    ports = {name: target for name, (_, target) in PORTS.items()}
    if values.global_names:
        ports["tls-egress"] = EGRESS_PORT
    mesh = values.mesh
    return router_pod_spec(
        mesh, Router(name=values.name, namespace=mesh.namespace, account=account, network=mesh.network, ports=ports)
    )


def router_pod_spec(mesh: MeshValues, router: Router) -> Manifest:
    """The pods of a gateway: they see endpoints of their own network only (SH24)."""
    owner = f"kubernetes://apis/apps/v1/namespaces/{router.namespace}/deployments/{router.name}"
    network = router.network
    env = proxy_env(
        mesh,
        network=network,
        workload={"WORKLOAD_NAME": router.name, "OWNER": owner},
        metadata={"ISTIO_META_REQUESTED_NETWORK_VIEW": network} if network and router.kind == "router" else {},
    )
    container = {
        "name": "istio-proxy",
        "image": mesh.images.proxy,
        "imagePullPolicy": mesh.images.pull_policy,
        "args": ["proxy", router.kind, "--domain", f"$(POD_NAMESPACE).svc.{mesh.domain}"],
        "env": env,
        "ports": [{"containerPort": port, "name": name, "protocol": "TCP"} for name, port in router.ports.items()],
        "readinessProbe": readiness(period=2, failures=4),
        "startupProbe": readiness(period=1, failures=600),
        "resources": mesh.proxy_resources.manifest(),
        "securityContext": security_context(),
        "volumeMounts": volume_mounts(),
    }
    return {
        "serviceAccountName": router.account,
        "securityContext": {"fsGroup": 1337, "runAsNonRoot": True},
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": volumes(),
    }
