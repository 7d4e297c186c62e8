"""Deployment, DaemonSet, Service, HorizontalPodAutoscaler and PodDisruptionBudget of one program of ours."""

from dataclasses import dataclass

from isthmus.install.values import Manifest, Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`selector` are the labels that tell its pods from others; `labels` go on every object as well."""

    name: str
    namespace: str
    labels: dict[str, str]
    selector: dict[str, str]
    scaling: Scaling

    @property
    def metadata(self) -> Manifest:
        """Metadata of each of its objects."""
        return {"name": self.name, "namespace": self.namespace, "labels": {**self.labels, **self.selector}}


def deployment(workload: Workload, pod_spec: Manifest, *, annotations: dict[str, str], surge: str) -> Manifest:
    """New pods come before old ones go; pods of one program keep away from each other where they can."""
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": workload.selector},
    }
    meta: Manifest = {"labels": {**workload.labels, **workload.selector, "sidecar.istio.io/inject": "false"}}
    if annotations:
        meta["annotations"] = annotations
    spec: Manifest = {
        "selector": {"matchLabels": workload.selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}},
        "template": {"metadata": meta, "spec": {**pod_spec, "topologySpreadConstraints": [apart]}},
    }
    if workload.scaling.maximum <= workload.scaling.replicas:  # else the autoscaler owns the number
        spec = {"replicas": workload.scaling.replicas, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": workload.metadata, "spec": spec}


def daemon_set(workload: Workload, pod_spec: Manifest) -> Manifest:
    """A pod on each node; one node after the other gets a new one."""
    meta = {"labels": {**workload.labels, **workload.selector, "sidecar.istio.io/inject": "false"}}
    spec = {
        "selector": {"matchLabels": workload.selector},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {"metadata": meta, "spec": pod_spec},
    }
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": workload.metadata, "spec": spec}


def service(workload: Workload, ports: dict[str, tuple[int, int]], *, kind: str = "ClusterIP") -> Manifest:
    """`ports`: name to (port, target port)."""
    listed = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": target} for name, (port, target) in ports.items()
    ]
    spec = {"type": kind, "selector": workload.selector, "ports": listed}
    return {"apiVersion": "v1", "kind": "Service", "metadata": workload.metadata, "spec": spec}


def scaling_objects(workload: Workload) -> list[Manifest]:
    """The autoscaler and the disruption budget, if asked for."""
    made: list[Manifest] = []
    scaling = workload.scaling
    if scaling.maximum > scaling.replicas:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name}
        resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.cpu_percent}}
        made.append(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": workload.metadata,
                "spec": {
                    "minReplicas": scaling.replicas,
                    "maxReplicas": scaling.maximum,
                    "metrics": [{"type": "Resource", "resource": resource}],
                    "scaleTargetRef": target,
                },
            }
        )
    if scaling.budget:
        made.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": workload.metadata,
                "spec": {"minAvailable": 1, "selector": {"matchLabels": workload.selector}},
            }
        )
    return made
