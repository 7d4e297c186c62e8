"""What an installation may choose; everything has the default that users of Istio expect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.names import DEFAULT_DOMAIN

Manifest = dict[str, Any]
"""One Kubernetes object as in YAML."""

SYSTEM_NAMESPACE = "istio-system"
REVISION_LABEL = "istio.io/rev"
CONTROL_PLANE_CLUSTERS = "topology.istio.io/controlPlaneClusters"
"""Annotation of a remote's system namespace: ids of the clusters whose control planes may write there (RS12)."""
READER_ACCOUNT = "istio-reader-service-account"
XDS_PORT = 15012
WEBHOOK_PORT = 15017
ROOT_CONFIG_MAP = "istio-ca-root-cert"
PROXY_UID = 1337
"""User of the proxy on Kubernetes: capture leaves its connections alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Where the containers come from. In the lab these names stand for commands."""

    pilot: str = "isthmus/pilot"
    proxy: str = "isthmus/proxy"
    init: str = "isthmus/init"
    node: str = "isthmus/node"
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """CPU and memory as Kubernetes writes them."""

    cpu: str = "100m"
    memory: str = "128Mi"
    cpu_limit: str = ""
    memory_limit: str = ""

    def manifest(self) -> Manifest:
        """The `resources` of a container."""
        made: Manifest = {"requests": {"cpu": self.cpu, "memory": self.memory}}
        limits = {key: value for key, value in (("cpu", self.cpu_limit), ("memory", self.memory_limit)) if value}
        return {**made, "limits": limits} if limits else made


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshValues:
    """What sidecars, gateways and the control plane of one cluster have in common (PR5)."""

    cluster: str
    network: str = ""
    mesh_id: str = "mesh1"
    trust_domain: str = DEFAULT_DOMAIN
    domain: str = DEFAULT_DOMAIN
    namespace: str = SYSTEM_NAMESPACE
    revision: str = "default"
    discovery: tuple[str, ...] = ()
    """Control planes of this cluster's proxies as `host:port`, best first; empty: the Service istiod alone."""
    dns_capture: bool = True
    hbone: bool = False
    """Sidecars take and make HBONE, beside mutual TLS by SNI, so that they and ambient workloads reach each other."""
    images: Images = field(default_factory=Images)
    proxy_resources: Resources = field(default_factory=Resources)
    proxy_env: Mapping[str, str] = field(default_factory=dict)
    """More environment for every proxy, as `meshConfig.defaultConfig.proxyMetadata` gives it."""

    @property
    def discovery_address(self) -> str:
        """Where proxies reach the control planes of their cluster: addresses with commas between, best first."""
        return ",".join(self.discovery or (f"istiod.{self.namespace}.svc:{XDS_PORT}",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas; with `maximum` above `replicas` a HorizontalPodAutoscaler, with `budget` a PodDisruptionBudget."""

    replicas: int = 1
    maximum: int = 0
    cpu_percent: int = 80
    budget: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteControlPlane:
    """A control plane that a cluster reaches from outside, at IP addresses or at one host name (PR1).

    The first of a cluster is its Service `istiod`, any other is `istiod-<name>`. `cluster` is that control plane's
    own cluster id, empty: its name. One that `injects` is the cluster's webhook and may write its roots there (RS12).
    """

    name: str
    addresses: tuple[str, ...]
    cluster: str = ""
    injects: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteValues:
    """A cluster without a control plane of its own: its proxies, its pods' injection and its roots come from others.

    `injection_url` replaces the Service istiod in the webhooks, as in `https://istiod.example.com:15017/inject` (PR2).
    `config`: an external control plane reads its configuration here, so it gets an account that may (PR4).
    """

    mesh: MeshValues
    control_planes: tuple[RemoteControlPlane, ...]
    injection_url: str = ""
    config: bool = False
    crds: bool = True
    gateway_api_crds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneValues:
    """The control plane of one cluster, or with `config_cluster` an external one: it runs beside what it serves.

    `name` tells it from others of the mesh: it answers as `istiod-<name>` too. `others` are further control planes
    that the proxies of this cluster may turn to, named in `mesh.discovery`. `external`: it may write roots into remote
    clusters that ask for it (RS12, PR3).
    """

    mesh: MeshValues
    name: str = ""
    others: tuple[RemoteControlPlane, ...] = ()
    external: bool = True
    config_cluster: str = ""
    """Id of the cluster that configuration is read from, by the secret istio-kubeconfig; empty: the own one (PR4)."""
    custom_hosts: tuple[str, ...] = ()
    """More names or IP addresses in the server certificate (TR12)."""
    service_type: str = "ClusterIP"
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    service_annotations: Mapping[str, str] = field(default_factory=dict)
    scaling: Scaling = field(default_factory=Scaling)
    resources: Resources = field(default_factory=lambda: Resources(cpu="200m", memory="512Mi"))
    env: Mapping[str, str] = field(default_factory=dict)
    crds: bool = True
    gateway_api_crds: bool = False
    """Off, because a cluster that has the Gateway API must keep its own definitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayValues:
    """An east-west gateway. `expose` makes the Gateway object that lets other networks in (NW17).

    `global_names` lets in calls of `<name>.<namespace>.global`, and gives the cluster's own pods a way out for theirs.
    `expose_control_plane` lets clusters outside reach istiod through it, on ports 15012 and 15017.
    """

    mesh: MeshValues
    name: str = "istio-eastwestgateway"
    scaling: Scaling = field(default_factory=Scaling)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    service_annotations: Mapping[str, str] = field(default_factory=dict)
    service_type: str = "LoadBalancer"
    expose: bool = True
    expose_control_plane: bool = False
    hosts: tuple[str, ...] = ("*.local",)
    global_names: bool = False
