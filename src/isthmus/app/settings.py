"""What `isthmus serve` is told: one frozen object from flags and environment, passed down."""

from dataclasses import dataclass, field
from pathlib import Path

from isthmus.app.cluster_settings import ClusterSettings
from isthmus.base.errors import UsageError
from isthmus.base.names import DEFAULT_DOMAIN, PEERS_PORT
from isthmus.edge.trust_keeper import TrustSettings
from isthmus.graph.settings import MeshSettings
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.install.values import Images, MeshValues
from isthmus.kube.kubeconfig import Access
from isthmus.trust.authority import MAX_LIFETIME

NODE_ACCOUNTS = ("isthmus-node", "ztunnel")
"""Service accounts of the system namespace that node proxies run as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Addresses and ports (AU7); port 0 takes any free one. Admin and plaintext are for loopback only."""

    host: str = "0.0.0.0"
    tls: int = 15012
    plain: int = 15010
    webhook: int = 15017
    admin: int = 15014
    peers: int = PEERS_PORT
    loopback: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """One control plane. `instance` is its pod's name; times are in seconds.

    `checkpoint_dir` keeps rows and signing keys for a restart; empty: nothing is kept. `ca_directory` is where the
    secret `cacerts` may be mounted. `discovery` are the control planes of proxies that are injected, best first.
    `external`: look after remote clusters that ask for it (PR3). `local`: the cluster we run in, where it is not the
    config cluster; secrets are kept there (PR4). `kubeconfig_dir`: kubeconfigs of other clusters as files (RS9).
    `node_accounts`: `<namespace>/<name>` of those who may ask for identities of pods on their node (TR11); empty: the
    two that are in the system namespace for it.
    """

    cluster: str
    access: Access
    network: str = ""
    mesh_id: str = "mesh1"
    dns_capture: bool = True
    hbone: bool = False
    images: Images = field(default_factory=Images)
    instance: str = "istiod"
    revision: str = "default"
    trust_domain: str = DEFAULT_DOMAIN
    trust_domain_aliases: tuple[str, ...] = ()
    domain: str = DEFAULT_DOMAIN
    system_namespace: str = SYSTEM_NAMESPACE
    custom_hosts: tuple[str, ...] = ()
    discovery: tuple[str, ...] = ()
    external: bool = False
    local: Access | None = None
    kubeconfig_dir: str = ""
    listen: Listen = Listen()
    checkpoint_dir: str = ""
    ca_directory: Path = Path("/etc/cacerts")
    max_certificate_lifetime: float = MAX_LIFETIME
    serving_lifetime: float = 86_400.0
    drain_seconds: float = 1.0
    proxy_mark: int = 0
    node_accounts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cluster:
            raise UsageError("the cluster has no name", "Set CLUSTER_ID or give --cluster")
        if "/" in self.trust_domain or not self.trust_domain:
            raise UsageError(f"{self.trust_domain!r} is no trust domain", "Give a DNS name such as cluster.local")
        if self.listen.loopback not in ("127.0.0.1", "::1"):
            raise UsageError(
                f"the plaintext and admin ports must not be on {self.listen.loopback}", "They know no callers"
            )
        for account in self.node_accounts:
            if len(tuple(filter(None, account.split("/")))) != 2:
                raise UsageError(f"{account!r} is no service account", "Write <namespace>/<name>")

    @property
    def trusted_node_accounts(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of those who may ask for identities of pods on their node."""
        named = self.node_accounts or tuple(f"{self.system_namespace}/{name}" for name in NODE_ACCOUNTS)
        return frozenset((namespace, name) for namespace, _, name in (text.partition("/") for text in named))

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Names in the server certificate (TR12): what proxies and API servers call this control plane."""
        services = ["istiod", "istiod-remote", "istio-pilot"]
        if self.revision not in ("", "default"):
            services.append(f"istiod-{self.revision}")
        names = [*self.custom_hosts, *(f"{service}.{self.system_namespace}.svc" for service in services)]
        names.append(f"istiod.{self.system_namespace}.svc.{self.domain}")
        return tuple(dict.fromkeys(names))

    @property
    def injected(self) -> MeshValues:
        """What injected pods are given."""
        return MeshValues(
            cluster=self.cluster,
            network=self.network,
            mesh_id=self.mesh_id,
            trust_domain=self.trust_domain,
            domain=self.domain,
            namespace=self.system_namespace,
            revision=self.revision,
            discovery=self.discovery,
            dns_capture=self.dns_capture,
            hbone=self.hbone,
            images=self.images,
        )

    @property
    def mesh(self) -> MeshSettings:
        """What the mesh is derived by."""
        return MeshSettings(
            config_cluster=self.cluster,
            trust_domain=self.trust_domain,
            trust_domain_aliases=self.trust_domain_aliases,
            domain=self.domain,
            system_namespace=self.system_namespace,
            mark=self.proxy_mark,
        )

    @property
    def clusters(self) -> ClusterSettings:
        """How clusters are reached and watched."""
        return ClusterSettings(
            config_cluster=self.cluster,
            access=self.access,
            local=self.local,
            kubeconfig_dir=self.kubeconfig_dir,
            system_namespace=self.system_namespace,
            domain=self.domain,
            trust_domain=self.trust_domain,
            checkpoint_dir=self.checkpoint_dir,
        )

    @property
    def trust(self) -> TrustSettings:
        """Where the authority is kept, and what the server certificate is for."""
        return TrustSettings(
            system_namespace=self.system_namespace,
            dns_names=self.dns_names,
            ca_directory=self.ca_directory,
            serving_lifetime=self.serving_lifetime,
        )
