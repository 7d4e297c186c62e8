"""Proxies on paper: what each of them is told, and what its control plane sends to it."""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from isthmus.agent.bootstrap import build_node
from isthmus.agent.settings import Mounts, ProxySettings, parse_settings
from isthmus.derive.registration import Machine as Registrant
from isthmus.derive.registration import manifest
from isthmus.envoy.match import Config, Connection, Verdict
from isthmus.ingest.kinds import KINDS, observer
from isthmus.ingest.place import Place
from isthmus.ingest.proxy import Identity, NodeInfo, proxy
from isthmus.install.machine import MachineValues, environment, read_group
from isthmus.model.external import WorkloadGroup
from isthmus.model.rows import Proxy
from isthmus.proto import nds_pb2
from isthmus.xds.resource import CDS, EDS, LDS, NDS, RDS
from isthmus_lab.net.plan import MachinePlan
from isthmus_lab.world import Machine
from tests.lab_pkg.controllers.world import Json, merged

if TYPE_CHECKING:
    from tests.models.paper import Paper

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


class PaperProxy:
    """One proxy with the pod it belongs to."""

    container_name: ClassVar[str] = PROXY
    held: ClassVar[type[Config]] = Config

    def __init__(self, paper: "Paper", cluster: str, pod: Json) -> None:
        self._paper = paper
        self.cluster = cluster
        self.pod = pod
        self.network = paper.world.cluster(cluster).network
        self.address: str = pod["status"].get("podIP", "")
        self.node: str = pod["spec"].get("nodeName", "")
        self.wan: str = (pod["metadata"].get("annotations") or {}).get(WAN_ADDRESS, "")
        containers = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        self.container: Json | None = next((one for one in containers if one["name"] == self.container_name), None)

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
        return self._parsed(args, env, lambda p: labels if p.name == "labels" else None)

    def _parsed(self, args: list[str], env: dict[str, str], read: Callable[[Path], str | None]) -> ProxySettings:
        return parse_settings(args, env, mounts=Mounts(), read=read)

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
        self._paper.mesh(self.sources[0]).connect(row)
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
        return self.held({type_url: mesh.resources(row.id, type_url) for type_url in (CDS, EDS, LDS, RDS)})

    @property
    def is_waypoint(self) -> bool:
        """True if it takes tunnels for services, and calls on."""
        return self.container is not None and "waypoint" in self.container["args"]

    def leaving(self, config: Config, connection: Connection, host: str) -> Verdict:
        """What becomes of a call of the workload, by what the proxy holds or held (`config`)."""
        return config.leaving(connection, host=host)

    def arriving(self, connection: Connection, host: str) -> Verdict:
        """What becomes of a connection that comes to the workload, without a tunnel."""
        return self.config.arriving(connection, at=15006, host=host, path="/hello")

    def tunnelled(self, config: Config, authority: str, peer: str, host: str) -> Verdict:
        """What becomes of a tunnel that is asked for at port 15008."""
        return config.tunnelled(authority, peer, host=host, path="/hello")


class PaperMachine(PaperProxy):
    """A machine that joined by its WorkloadGroup."""

    def __init__(self, paper: "Paper", machine: Machine) -> None:
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
    def _plan(paper: "Paper", machine: Machine) -> MachinePlan:
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
