"""What the pure core is told once, at start: the frozen configuration of the mesh."""

import msgspec

from isthmus.base.names import DEFAULT_DOMAIN


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide choices. Durations in seconds.

    `cluster_local` are host names, or `*.<suffix>` patterns, of services that never leave their cluster, beside those
    that never do anyhow (CL1).
    `stall_timeout` ends an HTTP/1.1 connection whose peer has not taken sent bytes for so long, 0 never: it bounds how
    long requests hang on a network that was cut, and also cuts an upload whose receiver stops reading for so long.
    `mark` is the SO_MARK of the proxy's own upstream sockets, by which capture tells them from the application's.
    """

    config_cluster: str
    trust_domain: str = DEFAULT_DOMAIN
    trust_domain_aliases: tuple[str, ...] = ()
    domain: str = DEFAULT_DOMAIN
    system_namespace: str = "istio-system"
    allow_any: bool = True
    mark: int = 1337
    connect_timeout: float = 1.0
    stall_timeout: float = 2.0
    cluster_local: tuple[str, ...] = ()
    strict_engine: bool = False

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """All trust domains of the mesh, its own first (TR4)."""
        others = (domain for domain in self.trust_domain_aliases if domain != self.trust_domain)
        return (self.trust_domain, *others)

    @property
    def local_hosts(self) -> tuple[str, ...]:
        """Patterns of all services that never leave their cluster (CL1)."""
        return (
            f"*.kube-system.svc.{self.domain}",
            f"kubernetes.default.svc.{self.domain}",
            f"istiod.{self.system_namespace}.svc.{self.domain}",
            *self.cluster_local,
        )
