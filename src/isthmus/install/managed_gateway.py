"""What is run for a Gateway of the Gateway API: account, Deployment and Service, which go when the Gateway goes.

They are owned by the Gateway, so that nobody has to look for what a deleted one left behind.
"""

from collections.abc import Mapping

from isthmus.base.labels import DATAPLANE_MODE_LABEL, GATEWAY_NAME_LABEL, MANAGED_LABEL, NETWORK_LABEL
from isthmus.install.access import service_account
from isthmus.install.eastwest import Router, router_pod_spec
from isthmus.install.istiod import common_labels
from isthmus.install.overlay import laid_over
from isthmus.install.proxy import STATUS_PORT
from isthmus.install.values import Manifest, MeshValues, Scaling
from isthmus.install.workload import Workload, deployment, service
from isthmus.model.managed import CLASS_ALIASES, EAST_WEST_CLASS, REMOTE_CLASS, WAYPOINT_CLASS, ManagedGateway

GATEWAY_API = "gateway.networking.k8s.io"
API_VERSION = f"{GATEWAY_API}/v1"

CONTROLLERS = {
    EAST_WEST_CLASS: ("istio.io/eastwest-controller", "The gateway by which other networks reach global services."),
    WAYPOINT_CLASS: ("istio.io/mesh-controller", "A proxy for HTTP of services in ambient mode."),
    REMOTE_CLASS: ("istio.io/unmanaged-gateway", "The gateway of another cluster: nothing runs here for it."),
}
"""Class -> the name of who looks after its Gateways, as Istio calls it, and what the class is for."""

_ALIASES = {alias: CONTROLLERS[name] for alias, name in CLASS_ALIASES.items()}


def gateway_classes() -> list[Manifest]:
    """The classes of Gateways that the control plane looks after."""
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "GatewayClass",
            "metadata": {"name": name},
            "spec": {"controllerName": controller, "description": text},
        }
        for name, (controller, text) in (CONTROLLERS | _ALIASES).items()
    ]


def controller_label(class_name: str) -> str:
    """Value of the label that says who made something."""
    return CONTROLLERS[class_name][0].replace("/", "-")


def managed_gateway(row: ManagedGateway, mesh: MeshValues, parts: Mapping[str, Manifest] = {}) -> list[Manifest]:
    """Account, Service, Deployment. The pods are in the network that the Gateway names, or in the cluster's.

    `parts` are laid over objects by kind; an autoscaler or a disruption budget is made only where they have one.
    """
    east_west = row.class_name == EAST_WEST_CLASS
    network = row.network or mesh.network
    workload = _workload(row, mesh, network)
    taken = {one.port: one.name for one in reversed(row.listeners) if not one.fault}
    router = Router(
        name=row.name,
        namespace=row.namespace,
        account=row.name,
        network=network,
        kind="router" if east_west else "waypoint",
        # Names of a container's ports have 15 characters at most, those of listeners more.
        ports={"status-port": STATUS_PORT, **{f"tcp-{port}": port for port in sorted(taken)}},
    )
    ports = {"status-port": (STATUS_PORT, STATUS_PORT), **{taken[port]: (port, port) for port in sorted(taken)}}
    pods = deployment(workload, router_pod_spec(mesh, router), annotations=dict(row.extra_annotations), surge="100%")
    entry = service(workload, ports, kind=row.service_type or ("LoadBalancer" if east_west else "ClusterIP"))
    if row.address:
        entry["spec"]["loadBalancerIP"] = row.address
    if not east_west:  # or it would pass for an entrance of the network
        entry["metadata"]["labels"].pop(NETWORK_LABEL, None)
    account = service_account(row.name, row.namespace, workload.metadata["labels"])
    found = [account, entry, pods, *(_scaling(workload, kind) for kind in _SCALING if kind in parts)]
    return [_owned(_kept(laid_over(item, parts.get(item["kind"], {})), item), row) for item in found]


def _workload(row: ManagedGateway, mesh: MeshValues, network: str) -> Workload:
    labels = {
        **common_labels(mesh),
        **dict(row.extra_labels),
        MANAGED_LABEL: controller_label(row.class_name),
        DATAPLANE_MODE_LABEL: "none",
        **({NETWORK_LABEL: network} if network else {}),
    }
    return Workload(
        name=row.name,
        namespace=row.namespace,
        labels=labels,
        selector={GATEWAY_NAME_LABEL: row.name},
        scaling=Scaling(replicas=1, maximum=2),  # the number of pods is somebody else's: it is not applied
    )


_SCALING = ("HorizontalPodAutoscaler", "PodDisruptionBudget")


def _scaling(workload: Workload, kind: str) -> Manifest:
    """What there is to lay something over."""
    if kind == "PodDisruptionBudget":
        spec: Manifest = {"selector": {"matchLabels": workload.selector}}
        return {"apiVersion": "policy/v1", "kind": kind, "metadata": workload.metadata, "spec": spec}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name}
    spec = {"scaleTargetRef": target, "maxReplicas": 1}
    return {"apiVersion": "autoscaling/v2", "kind": kind, "metadata": workload.metadata, "spec": spec}


def _kept(item: Manifest, made: Manifest) -> Manifest:
    """Nobody lays something over what an object is, and whose."""
    labels = {**item["metadata"].get("labels", {}), **made["metadata"]["labels"]}
    same = {"name": made["metadata"]["name"], "namespace": made["metadata"]["namespace"], "labels": labels}
    return {**item, "apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": {**item["metadata"], **same}}


def _owned(item: Manifest, row: ManagedGateway) -> Manifest:
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Gateway",
        "name": row.name,
        "uid": row.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    notes = {**dict(row.extra_annotations), **item["metadata"].get("annotations", {})}
    extra = {"annotations": notes} if notes else {}
    return {**item, "metadata": {**item["metadata"], **extra, "ownerReferences": [owner]}}
