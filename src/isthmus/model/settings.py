"""What the pure core is told once, at start: the frozen configuration of the mesh."""

import msgspec

from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.model.mesh_config import ServiceSetting


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide choices. Durations in seconds.

    `service_settings` say which services never leave their cluster, beside those that never do anyhow (CL1, CL2).
    The mesh's ConfigMap may override `allow_any` and adds aliases and service settings (`derive.configuration`).
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
    service_settings: tuple[ServiceSetting, ...] = ()
    strict_engine: bool = False

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """All trust domains of the mesh, its own first (TR4)."""
        others = (domain for domain in self.trust_domain_aliases if domain != self.trust_domain)
        return (self.trust_domain, *others)

    def is_cluster_local(self, host: str) -> bool:
        """True if the service never leaves its cluster: by its own name, else by the longest wildcard (CL2).

        Of two settings for the same pattern the later one counts, so `clusterLocal: false` takes a built-in one back.
        Unlike in Istio it does so for the hosts it names only, not for all of kube-system with one of them (CL3).
        Built in are, beside Istio's (CL1), the Services `istiod-<name>` of control planes elsewhere.
        """
        system = f".{self.system_namespace}.svc.{self.domain}"
        builtin = (
            f"*.kube-system.svc.{self.domain}",
            f"kubernetes.default.svc.{self.domain}",
            f"istiod{system}",
            *([host] if host.startswith("istiod-") and host.endswith(system) else ()),
        )
        local, best = False, -1
        for setting in (ServiceSetting(builtin, cluster_local=True), *self.service_settings):
            for pattern in setting.hosts:
                rank = _specificity(pattern, host)
                if rank >= max(best, 0):
                    local, best = setting.cluster_local, rank
        return local


def _specificity(pattern: str, host: str) -> int:
    """How closely a pattern means a host; -1 if it does not."""
    if pattern == host:
        return len(host) + 1
    return len(pattern) if pattern.startswith("*") and host.endswith(pattern[1:]) else -1
