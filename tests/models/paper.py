"""An example on paper: the objects its clusters would hold, and what its control planes would send to its proxies.

The real controllers decide over the example's own manifests, the real injection patches the pods, the real ingest reads
the objects, and the real mesh makes the resources; only processes and time are missing.
"""

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonpatch

from isthmus.agent.bootstrap import build_node
from isthmus.agent.settings import Mounts, ProxySettings, parse_settings
from isthmus.derive.registration import Machine as Registrant
from isthmus.derive.registration import manifest
from isthmus.envoy.match import Config
from isthmus.graph.mesh import Mesh, MeshSettings
from isthmus.ingest.kinds import KINDS, kinds_of, observer
from isthmus.ingest.place import Place
from isthmus.ingest.proxy import Identity, NodeInfo, proxy
from isthmus.install.global_names import Home, global_entries
from isthmus.install.inject import inject
from isthmus.install.machine import MachineValues, environment, read_group
from isthmus.install.values import MeshValues
from isthmus.model.external import WorkloadGroup
from isthmus.model.rows import Cluster, Proxy
from isthmus.proto import nds_pb2
from isthmus.tables.changes import Change, Put
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS
from isthmus_lab.controllers import client as kinds
from isthmus_lab.controllers.client import Kind
from isthmus_lab.controllers.main import ControllerSettings, controllers
from isthmus_lab.kubelet.sandbox import WAN_ANNOTATION
from isthmus_lab.labfile.load import load
from isthmus_lab.net.plan import ClusterPlan, MachinePlan, Plan, make_plan
from isthmus_lab.supervisor.manifests import objects_for
from isthmus_lab.supervisor.roles import exposing_service, objects_afar, objects_here
from isthmus_lab.world import Machine, World
from tests.lab_pkg.controllers.world import Json, Simulation, lease, merged

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PROXY = "istio-proxy"
WAN_ADDRESS = "lab.isthmus.dev/wan-ip"
_GROUPS = next(kind for kind in KINDS if kind.name == "WorkloadGroup")
_HEALTHY: Json = {"status": {"conditions": [{"type": "Healthy", "status": "True"}]}}
_FIELDS: dict[str, Callable[[Json], str]] = {
    "metadata.name": lambda pod: pod["metadata"]["name"],
    "metadata.namespace": lambda pod: pod["metadata"]["namespace"],
    "spec.nodeName": lambda pod: pod["spec"]["nodeName"],
    "spec.serviceAccountName": lambda pod: pod["spec"].get("serviceAccountName", "default"),
    "status.podIP": lambda pod: pod["status"]["podIP"],
    "status.podIPs": lambda pod: pod["status"]["podIP"],
    "status.hostIP": lambda pod: "10.0.0.1",
}


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
                self.others.setdefault(obj["kind"], []).append(obj)
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

    def _admitted(self, pod: Json, values: MeshValues) -> Json:
        namespace = pod["metadata"]["namespace"]
        spaces = {space["metadata"]["name"]: space for space in self.others.get("Namespace", [])}
        labels = (spaces.get(namespace, {}).get("metadata") or {}).get("labels") or {}
        if labels.get("istio-injection") != "enabled":
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
        if annotations.get(WAN_ANNOTATION) == "true":
            annotations[WAN_ADDRESS] = str(ipaddress.IPv4Address(node.wan_first) + self._wan[node.name])
            self._wan[node.name] += 1
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        return merged(pod, {"metadata": {"annotations": annotations}, "status": status})


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
        values = MeshValues(cluster=name, network=about.mesh_network, trust_domain=about.trust_domain)
        made = PaperCluster(self.plan.cluster(name), values if about.sources else None)
        made.apply([*objects_here(self.world, name), *objects_for(self.world.directories, name)])
        return made

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
        """What a control plane makes of the clusters that it knows."""
        if plane not in self._meshes:
            about = self.world.plane(plane)
            trust_domain = self.world.cluster(about.config).trust_domain
            mesh = Mesh(MeshSettings(config_cluster=about.config, trust_domain=trust_domain, strict_engine=True))
            known = dict.fromkeys((about.config, *about.knows))
            mesh.apply([change for name in known for change in self._observed(name, config=name == about.config)])
            self._meshes[plane] = mesh
        return self._meshes[plane]

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
    def proxies(self) -> dict[tuple[str, str], "PaperProxy"]:
        """Every proxy by (network, address of its pod)."""
        found = (PaperProxy(self, name, pod) for name in self.clusters for pod in self.clusters[name].objects("Pod"))
        pods = {(one.network, one.address): one for one in found if one.container}
        return pods | {(one.network, one.address): one for one in self.machines}

    @cached_property
    def gateways(self) -> dict[str, "PaperProxy"]:
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


class PaperProxy:
    """One proxy with the pod it belongs to."""

    def __init__(self, paper: Paper, cluster: str, pod: Json) -> None:
        self._paper = paper
        self.cluster = cluster
        self.pod = pod
        self.network = paper.world.cluster(cluster).network
        self.address: str = pod["status"].get("podIP", "")
        self.node: str = pod["spec"].get("nodeName", "")
        self.wan: str = (pod["metadata"].get("annotations") or {}).get(WAN_ADDRESS, "")
        containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        self.container: Json | None = next((one for one in containers if one["name"] == PROXY), None)

    @property
    def name(self) -> str:
        """cluster/pod."""
        return f"{self.cluster}/{self.pod['metadata']['name']}"

    @cached_property
    def identity(self) -> str:
        """Its SPIFFE ID."""
        row = self.row()
        return f"spiffe://{row.trust_domain}/ns/{row.namespace}/sa/{row.service_account}"

    @property
    def sources(self) -> tuple[str, ...]:
        """The control planes it may ask, best first."""
        return self._paper.world.cluster(self.cluster).sources

    def settings(self) -> ProxySettings:
        """What its agent is told."""
        assert self.container is not None
        labels = "\n".join(f"{key}={json.dumps(value)}" for key, value in self.pod["metadata"]["labels"].items())
        env = {one["name"]: self._value(one) for one in self.container["env"]}
        args = [_expanded(word, env) for word in self.container["args"]]
        return parse_settings(args, env, mounts=Mounts(), read=lambda p: labels if p.name == "labels" else None)

    def _value(self, variable: Mapping[str, Any]) -> str:
        field = (variable.get("valueFrom") or {}).get("fieldRef")
        return str(_FIELDS[field["fieldPath"]](self.pod)) if field else str(variable.get("value", ""))

    def row(self) -> Proxy:
        """As its control plane sees it, its claims verified."""
        node = build_node(self.settings(), version="1.0")
        account = self.pod["spec"].get("serviceAccountName", "default")
        trust_domain = self._paper.world.cluster(self.cluster).trust_domain
        identity = Identity(self.cluster, self.pod["metadata"]["namespace"], account, trust_domain)
        row, problems = proxy(NodeInfo(node["id"], node["metadata"]), identity)
        assert row is not None, problems
        return row

    @cached_property
    def config(self) -> Config:
        """What it holds from the first of its control planes."""
        return self.config_of(self.sources[0])

    def resolve(self, host: str) -> str:
        """The address that the agent's name server gives for `host`: written out, or short in the cluster's domain."""
        row = self.row()
        (resource,) = self._paper.mesh(self.sources[0]).resources(row.id, NDS).values()
        table = nds_pb2.NameTable.FromString(resource.body).table
        for name in (host, f"{host}.svc.cluster.local"):
            if name in table and table[name].ips:
                return str(table[name].ips[0])
        return "198.51.100.1"

    def config_of(self, plane: str) -> Config:
        """What it would hold from that control plane."""
        mesh, row = self._paper.mesh(plane), self.row()
        mesh.connect(row)
        return Config({type_url: mesh.resources(row.id, type_url) for type_url in (CDS, EDS, LDS, RDS)})


class PaperMachine(PaperProxy):
    """A machine that joined by its WorkloadGroup."""

    def __init__(self, paper: Paper, machine: Machine) -> None:
        namespace, name = machine.group.split("/")
        groups = paper.clusters[machine.cluster].objects("WorkloadGroup")
        self._manifest = next(group for group in groups if group["metadata"]["name"] == name)
        group = read_group(self._manifest)
        about = {"name": machine.name, "namespace": namespace, "labels": group.labels}
        spec = {"serviceAccountName": group.service_account, "nodeName": machine.name, "containers": []}
        pod = {"metadata": about, "spec": spec}
        super().__init__(paper, machine.cluster, {**pod, "status": {"podIP": self._plan(paper, machine).ip}})
        self.network = machine.network

    @staticmethod
    def _plan(paper: Paper, machine: Machine) -> MachinePlan:
        return next(plan for plan in paper.plan.machines if plan.name == machine.name)

    def settings(self) -> ProxySettings:
        """What the files that it joins with say."""
        about = self._paper.world.cluster(self.cluster)
        values = MachineValues(cluster=self.cluster, group=self._manifest, network=about.mesh_network)
        meta = self.pod["metadata"]
        env = {**environment(values, read_group(self._manifest)), "POD_NAME": meta["name"], "INSTANCE_IP": self.address}
        return parse_settings(["proxy", "sidecar"], env, mounts=Mounts(), read=lambda _: None)

    def entry(self) -> Json:
        """The WorkloadEntry that it is registered as, and healthy."""
        (group,) = observer(_GROUPS, Place(self.cluster))(json.dumps(self._manifest).encode()).rows or ()
        assert isinstance(group, WorkloadGroup)
        metadata = self.settings().metadata
        machine = Registrant(
            namespace=group.namespace, group=group.name, address=self.address, network=metadata["NETWORK"]
        )
        return merged(manifest(machine, group, instance="paper", now=0), _HEALTHY)


def _expanded(word: str, env: Mapping[str, str]) -> str:
    for name, value in env.items():
        word = word.replace(f"$({name})", value)
    return word
