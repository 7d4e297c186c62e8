"""An example on paper: the objects its clusters would hold, and what its control planes would send to its proxies.

The real controllers decide over the example's own manifests, the real injection patches the pods, the real ingest reads
the objects, and the real mesh makes the resources; only processes and time are missing.
"""

import ipaddress
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import jsonpatch

from isthmus.graph.mesh import Mesh, MeshSettings
from isthmus.ingest.kinds import kinds_of, observer
from isthmus.ingest.place import Place
from isthmus.install.global_names import Home, global_entries
from isthmus.install.inject import inject
from isthmus.install.values import MeshValues
from isthmus.model.rows import Cluster
from isthmus.tables.changes import Change, Put
from isthmus_lab.controllers import client as kinds
from isthmus_lab.controllers.client import Kind
from isthmus_lab.controllers.main import ControllerSettings, controllers
from isthmus_lab.kubelet.sandbox import WAN_ANNOTATION
from isthmus_lab.kubelet.services import is_called_from_outside
from isthmus_lab.labfile.load import load
from isthmus_lab.net.plan import ClusterPlan, Plan, make_plan
from isthmus_lab.supervisor.manifests import objects_in
from isthmus_lab.supervisor.roles import exposing_service, objects_afar, objects_here
from isthmus_lab.world import World
from tests.lab_pkg.controllers.world import Json, Simulation, lease, merged
from tests.models.ambient import PaperCaptured, PaperNode, enrolled, is_captured
from tests.models.peers import told
from tests.models.proxies import PROXY, WAN_ADDRESS, PaperMachine, PaperProxy

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class PaperCluster(Simulation):
    """A cluster whose pods run and are ready as soon as they are bound to a node."""

    def __init__(self, plan: ClusterPlan, values: MeshValues | None) -> None:
        super().__init__(controllers(ControllerSettings(node_grace_seconds=1e9)))
        self.plan = plan
        self.others: dict[str, list[Json]] = {}
        self._values = values
        self._addresses = ipaddress.IPv4Network(plan.service_cidr).hosts()
        self._used = {node.name: 1 for node in plan.nodes}
        self._wan = {node.name: 0 for node in plan.nodes}
        for node in plan.nodes:
            self.put(kinds.LEASE, lease(node.name))
            self.put(kinds.NODE, _node(node.name, node.region, node.zone))

    def apply(self, objects: list[Json]) -> None:
        """Take in all objects, and let the controllers come to rest."""
        for obj in objects:
            if obj["kind"] == "Namespace":
                self.others.setdefault("Namespace", []).append(obj)
        known = {kind.kind: kind for kind in self.view.stores}
        for obj in objects:
            kind = known.get(obj["kind"])
            if kind is not None:
                self.put(kind, self._defaulted(obj))
            elif obj["kind"] != "Namespace":
                self.others.setdefault(_kind(obj), []).append(obj)
        while True:
            self.settle()
            waiting = [pod for pod in self.objects("Pod") if pod["spec"].get("nodeName") and not pod["status"]]
            if not waiting:
                return
            for pod in waiting:
                self.put(kinds.POD, self._running(pod))

    def put(self, kind: Kind, obj: Json) -> Json:
        """A new pod passes the injection webhook first, as on its way through an API server."""
        if kind is kinds.POD and not obj.get("status") and self._values is not None and not _injected(obj):
            obj = self._admitted(obj, self._values)
        return super().put(kind, obj)

    def objects(self, kind: str) -> list[Json]:
        """All objects of a kind."""
        for known, store in self.view.stores.items():
            if known.kind == kind:
                return list(store)
        return self.others.get(kind, [])

    def _labels_of_namespace(self, name: str) -> dict[str, str]:
        spaces = {space["metadata"]["name"]: space for space in self.others.get("Namespace", [])}
        return (spaces.get(name, {}).get("metadata") or {}).get("labels") or {}

    def _admitted(self, pod: Json, values: MeshValues) -> Json:
        namespace = pod["metadata"]["namespace"]
        if self._labels_of_namespace(namespace).get("istio-injection") != "enabled":
            return pod
        patch = inject(pod, {"namespace": namespace}, values)
        patched: Json = jsonpatch.apply_patch(pod, patch)
        return patched

    def _defaulted(self, obj: Json) -> Json:
        meta = {"namespace": "default"} | obj["metadata"] if obj["kind"] != "Node" else obj["metadata"]
        obj = {**obj, "metadata": meta, "status": obj.get("status", {})}
        if obj["kind"] == "Service" and obj["spec"].get("type") != "ExternalName":
            obj = merged(obj, {"spec": {"clusterIP": obj["spec"].get("clusterIP") or str(next(self._addresses))}})
        if obj["kind"] == "Deployment":
            obj = merged({"spec": {"replicas": 1}}, obj)
        return obj

    def _running(self, pod: Json) -> Json:
        node = next(node for node in self.plan.nodes if node.name == pod["spec"]["nodeName"])
        self._used[node.name] += 1
        address = str(ipaddress.IPv4Network(node.pod_block)[self._used[node.name]])
        annotations = dict(pod["metadata"].get("annotations") or {})
        if annotations.get(WAN_ANNOTATION) == "true" or is_called_from_outside(pod, self.objects("Service")):
            annotations[WAN_ADDRESS] = str(ipaddress.IPv4Address(node.wan_first) + self._wan[node.name])
            self._wan[node.name] += 1
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        running = merged(pod, {"metadata": {"annotations": annotations}, "status": status})
        return enrolled(running, self._labels_of_namespace(pod["metadata"]["namespace"]))


def _kind(obj: Json) -> str:
    """As `ingest` names kinds: two groups have a Gateway."""
    of_api = obj["apiVersion"].startswith("gateway.networking.k8s.io/")
    return "KubernetesGateway" if of_api and obj["kind"] == "Gateway" else str(obj["kind"])


def _injected(pod: Json) -> bool:
    return any(one["name"] == PROXY for one in pod["spec"].get("initContainers") or [])


def _node(name: str, region: str, zone: str) -> Json:
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
    }
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {}, "status": status}


class Paper:
    """A whole example. Control planes are made when they are asked for."""

    def __init__(self, example: str) -> None:
        self.world: World = load(EXAMPLES / example)
        self.plan: Plan = make_plan(self.world)
        self.clusters = {cluster.name: self._cluster(cluster.name) for cluster in self.world.clusters}
        for name in self.clusters:
            self._served_from_afar(name)
        if self.world.global_names:
            self._exchange_global_names()
        self.machines = [PaperMachine(self, machine) for machine in self.world.machines if machine.group]
        for machine in self.machines:
            self.clusters[machine.cluster].apply([machine.entry()])
        self._meshes: dict[str, Mesh] = {}

    def _cluster(self, name: str) -> PaperCluster:
        about = self.world.cluster(name)
        values = self.values(name)
        made = PaperCluster(self.plan.cluster(name), values if about.sources else None)
        made.apply([*objects_here(self.world, name), *objects_in(self.world, name)])
        return made

    def values(self, name: str) -> MeshValues:
        """What pods of a cluster are given."""
        about = self.world.cluster(name)
        return MeshValues(
            cluster=name, network=about.mesh_network, trust_domain=about.trust_domain, hbone=self.world.has_ambient
        )

    def _served_from_afar(self, name: str) -> None:
        """What needs the addresses of control planes elsewhere, once their gateways have some."""
        addresses = {}
        for plane in self.world.afar(name):
            service = exposing_service(self.world, plane)
            found = [s for s in self.clusters[plane.cluster].objects("Service") if s["metadata"]["name"] == service]
            ingress = [i["ip"] for s in found for i in s["status"].get("loadBalancer", {}).get("ingress") or []]
            addresses[plane.name] = tuple(ingress)
        self.clusters[name].apply(objects_afar(self.world, name, addresses))

    def mesh(self, plane: str) -> Mesh:
        """What a control plane makes of the clusters that it knows, and of what its peers tell it."""
        if plane not in self._meshes:
            mesh = self._alone(plane)
            mesh.apply(list(told(mesh, lambda cluster: self._alone(self._plane_of(cluster)))))
            self._meshes[plane] = mesh
        return self._meshes[plane]

    def _alone(self, plane: str) -> Mesh:
        """What a control plane makes of what it reads itself: of that it tells others."""
        about = self.world.plane(plane)
        trust_domain = self.world.cluster(about.config).trust_domain
        mesh = Mesh(MeshSettings(config_cluster=about.config, trust_domain=trust_domain, strict_engine=True))
        known = dict.fromkeys((about.config, *about.knows))
        mesh.apply([change for name in known for change in self._observed(name, config=name == about.config)])
        return mesh

    def _plane_of(self, cluster: str) -> str:
        return next(plane.name for plane in self.world.control_planes if plane.config == cluster)

    def _observed(self, name: str, *, config: bool) -> Iterator[Change]:
        place = Place(name)
        cluster = Cluster(cluster=name, name=name, config=config, trust_domain=self.world.cluster(name).trust_domain)
        yield Put(Cluster.TABLE, cluster.key, cluster)
        for kind in kinds_of(config=config):
            observe = observer(kind, place)
            for obj in self.clusters[name].objects(kind.name):
                seen = observe(json.dumps(obj).encode())
                assert seen.rows is not None, f"{name}: {seen.problems}"
                yield from (Put(row.TABLE, row.key, row) for row in seen.rows if not isinstance(row, Cluster))

    @cached_property
    def proxies(self) -> dict[tuple[str, str], PaperProxy]:
        """Every proxy by (network, address of its pod)."""
        found = (PaperProxy(self, name, pod) for name in self.clusters for pod in self.clusters[name].objects("Pod"))
        pods = {(one.network, one.address): one for one in found if one.container}
        pods |= {(one.network, one.address): one for one in self._captured()}
        return pods | {(one.network, one.address): one for one in self.machines}

    @cached_property
    def nodes(self) -> dict[tuple[str, str], PaperNode]:
        """The proxies of nodes by cluster and node."""
        found = (PaperNode(self, name, pod) for name in self.clusters for pod in self.clusters[name].objects("Pod"))
        return {(one.cluster, one.node): one for one in found if one.container}

    def _captured(self) -> Iterator[PaperProxy]:
        for name, cluster in self.clusters.items():
            for pod in filter(is_captured, cluster.objects("Pod")):
                yield PaperCaptured(self, name, pod, self.nodes[name, pod["spec"]["nodeName"]])

    @cached_property
    def gateways(self) -> dict[str, PaperProxy]:
        """Gateways by their address on the WAN."""
        return {one.wan: one for one in self.proxies.values() if one.wan}

    def _exchange_global_names(self) -> None:
        """What `isthmus global-entries` prints for each cluster, applied in all."""
        made = [
            entry
            for name, cluster in self.clusters.items()
            for entry in global_entries(Home(name), cluster.objects("Service"), cluster.objects("Pod"))
        ]
        for cluster in self.clusters.values():
            cluster.apply(made)

    def pod(self, cluster: str, namespace: str, app: str) -> Json:
        """The first pod with this `app` label."""
        for pod in self.clusters[cluster].objects("Pod"):
            meta = pod["metadata"]
            if meta["namespace"] == namespace and (meta.get("labels") or {}).get("app") == app:
                return pod
        raise AssertionError(f"{cluster}: no pod of {namespace}/{app}")
