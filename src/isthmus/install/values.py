"""What an installation may choose; everything has the default that users of Istio expect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.names import DEFAULT_DOMAIN

Manifest = dict[str, Any]
"""One Kubernetes object as in YAML."""

SYSTEM_NAMESPACE = "istio-system"
NETWORK_LABEL = "topology.istio.io/network"
REVISION_LABEL = "istio.io/rev"
READER_ACCOUNT = "istio-reader-service-account"
ROOT_CONFIG_MAP = "istio-ca-root-cert"
PROXY_UID = 1337
"""User of the proxy on Kubernetes: capture leaves its connections alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Where the containers come from. In the lab these names stand for commands."""

    pilot: str = "isthmus/pilot"
    proxy: str = "isthmus/proxy"
    init: str = "isthmus/init"
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
    dns_capture: bool = True
    images: Images = field(default_factory=Images)
    proxy_resources: Resources = field(default_factory=Resources)
    proxy_env: Mapping[str, str] = field(default_factory=dict)
    """More environment for every proxy, as `meshConfig.defaultConfig.proxyMetadata` gives it."""

    @property
    def discovery_address(self) -> str:
        """Where proxies reach the control plane of their cluster."""
        return f"istiod.{self.namespace}.svc:15012"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas; with `maximum` above `replicas` a HorizontalPodAutoscaler, with `budget` a PodDisruptionBudget."""

    replicas: int = 1
    maximum: int = 0
    cpu_percent: int = 80
    budget: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneValues:
    """The control plane of one cluster."""

    mesh: MeshValues
    scaling: Scaling = field(default_factory=Scaling)
    resources: Resources = field(default_factory=lambda: Resources(cpu="200m", memory="512Mi"))
    env: Mapping[str, str] = field(default_factory=dict)
    crds: bool = True
    gateway_api_crds: bool = False
    """Off, because a cluster that has the Gateway API must keep its own definitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayValues:
    """An east-west gateway. `expose` makes the Gateway object that lets other networks in (NW17)."""

    mesh: MeshValues
    name: str = "istio-eastwestgateway"
    scaling: Scaling = field(default_factory=Scaling)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    service_annotations: Mapping[str, str] = field(default_factory=dict)
    service_type: str = "LoadBalancer"
    expose: bool = True
    hosts: tuple[str, ...] = ("*.local",)
