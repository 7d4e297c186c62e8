"""What a lab is made of, as `lab.yaml` says it; `isthmus_lab.labfile` reads and checks that file."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from isthmus.base.errors import UsageError

DEFAULT_TRUST_DOMAIN = "cluster.local"
EVERY_HOST = ("*.local",)


class DataPlane(StrEnum):
    """How the pods of a cluster's mesh namespaces get into the mesh."""

    SIDECAR = "sidecar"
    AMBIENT = "ambient"


@dataclass(frozen=True, slots=True)
class Network:
    """Workloads that reach each other directly. Two may use the same `pod_cidr`: nothing routes between them."""

    name: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster, in a region and a zone."""

    name: str
    region: str
    zone: str


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A control plane: its pods run in `cluster`, its configuration is in `config`'s API server.

    `config` differs from `cluster` for an external control plane. `knows` are the further clusters whose remote
    secrets it gets.
    """

    name: str
    cluster: str
    config: str
    knows: tuple[str, ...] = ()
    replicas: int = 1

    @property
    def external(self) -> bool:
        """True if it runs beside the mesh and not in its config cluster."""
        return self.cluster != self.config


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An API server and the nodes that run its pods; all nodes sit on one network.

    `mesh_network` is what the mesh is told that network is called; it lies where a test wants it to.
    `exposes` are the hosts that other networks reach through its gateway, or patterns of them.
    `sources` names the control planes of its proxies, best first; none: the cluster is not part of the mesh.
    """

    name: str
    network: str
    service_cidr: str
    nodes: tuple[Node, ...]
    mesh_network: str
    sources: tuple[str, ...] = ()
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    gateway: bool = False
    gateway_pods: int = 1
    exposes: tuple[str, ...] = EVERY_HOST
    data_plane: DataPlane = DataPlane.SIDECAR


MACHINES = "vm"
"""How commands name machines: `vm/<name>`. No cluster may be called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of a network that is no node of any cluster. `run` are its applications' commands.

    `group` is the WorkloadGroup (`<namespace>/<name>`) of `cluster` by which it joins the mesh; without one it stays
    outside. `wan`: it has an address on the WAN, too; `hosts` are names that the lab's name servers know it by.
    """

    name: str
    network: str
    cluster: str = ""
    group: str = ""
    run: tuple[tuple[str, ...], ...] = ()
    wan: bool = False
    hosts: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What `lab verify` calls, and from where (each `<cluster>/[<namespace>/]<workload>`)."""

    clients: tuple[str, ...]
    url: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A whole lab. `links` are the pairs of networks whose WAN segments reach each other, each pair sorted.

    `global_names`: gateways carry `<name>.<namespace>.global`, and every cluster is told those of all.
    `directories` hold the manifests: those of `include` first, the lab's own last.
    """

    name: str
    mesh_id: str
    control_planes: tuple[ControlPlane, ...]
    networks: tuple[Network, ...]
    clusters: tuple[Cluster, ...]
    links: frozenset[tuple[str, str]]
    file: Path
    include: tuple[Path, ...] = ()
    check: Check | None = None
    global_names: bool = False
    machines: tuple[Machine, ...] = ()

    @property
    def directory(self) -> Path:
        """Where the lab.yaml is, or the variant of it that was named."""
        return self.file.parent

    @property
    def has_ambient(self) -> bool:
        """True if pods of some cluster are captured: then sidecars of others must speak HBONE, too."""
        return any(cluster.data_plane is DataPlane.AMBIENT for cluster in self.clusters)

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where manifests are; objects of a later one replace those of an earlier one."""
        return (*self.include, self.directory)

    def network(self, name: str) -> Network:
        """The network of that name, which validation made sure exists."""
        return next(n for n in self.networks if n.name == name)

    def cluster(self, name: str) -> Cluster:
        """The cluster of that name. UsageError: there is none."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise UsageError(f"no cluster {name!r} in this lab", f"It has: {', '.join(c.name for c in self.clusters)}.")

    def machine(self, name: str) -> Machine:
        """The machine of that name. UsageError: there is none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(m.name for m in self.machines) or "no machine"
        raise UsageError(f"no machine {name!r} in this lab", f"It has: {known}.")

    def plane(self, name: str) -> ControlPlane:
        """The control plane of that name, which validation made sure exists."""
        return next(p for p in self.control_planes if p.name == name)

    def plane_in(self, cluster: str) -> ControlPlane | None:
        """The control plane whose pods run in this cluster."""
        return next((p for p in self.control_planes if p.cluster == cluster), None)

    def sources_of(self, cluster: str) -> tuple[ControlPlane, ...]:
        """The control planes that a cluster's proxies use, best first."""
        return tuple(self.plane(name) for name in self.cluster(cluster).sources)

    def afar(self, cluster: str) -> tuple[ControlPlane, ...]:
        """Those of its control planes that run in other clusters, best first."""
        return tuple(p for p in self.sources_of(cluster) if p.cluster != cluster)

    def serves_itself(self, cluster: str) -> bool:
        """True if a control plane runs in this cluster with its configuration here."""
        return any(p.cluster == cluster == p.config for p in self.control_planes)

    def role(self, cluster: str) -> str:
        """What the cluster is in the mesh, in words."""
        plane = self.plane_in(cluster)
        if plane is not None and not plane.external:
            return "primary"
        if plane is not None:
            return "management"
        if any(p.config == cluster for p in self.control_planes):
            return "config"
        return "remote" if self.cluster(cluster).sources else "outside"

    def served_from_afar(self, plane: str) -> tuple[Cluster, ...]:
        """The clusters whose proxies use this control plane although it runs in another cluster."""
        home = self.plane(plane).cluster
        return tuple(c for c in self.clusters if plane in c.sources and c.name != home)
