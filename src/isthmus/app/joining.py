"""Who joins the mesh by this control plane, as what: proxies that connect, pods that are injected, machines."""

from collections.abc import Mapping
from dataclasses import replace

import structlog

from isthmus.app.clusters import ClusterManager
from isthmus.app.settings import ServeSettings
from isthmus.base.errors import IsthmusError
from isthmus.edge.registrar import Known
from isthmus.edge.webhook_server import Manifest
from isthmus.graph.mesh import Mesh
from isthmus.ingest.proxy import Identity, NodeInfo, proxy
from isthmus.install.inject import inject
from isthmus.model.rows import Locality, Proxy
from isthmus.trust.caller import Caller
from isthmus.trust.impersonation import check_node_proxy
from isthmus.xds.node import Node

log = structlog.get_logger()

NODE_PROXIES = ("node", "ztunnel")
"""Types of proxies that many pods share."""


class Joining:
    """Answers by what is known of clusters and of the mesh at that time; keeps nothing itself."""

    def __init__(self, settings: ServeSettings, clusters: ClusterManager, mesh: Mesh) -> None:
        self._settings = settings
        self._clusters = clusters
        self._mesh = mesh
        self._values = settings.injected

    def proxy_row(self, node: Node, caller: Caller | None) -> Proxy:
        """The proxy's row from its node and its verified identity. Raises IsthmusError."""
        domain = self._clusters.trust_domain(caller.cluster) if caller else ""
        domain = domain or self._settings.trust_domain
        identity = Identity(caller.cluster, caller.namespace, caller.service_account, domain) if caller else None
        info = NodeInfo(node.id, node.metadata, Locality(*node.locality))
        row, problems = proxy(info, identity, default_cluster=self._settings.cluster, trust_domain=domain)
        if row is None:
            raise IsthmusError(problems[-1].message, problems[-1].remedy)
        if caller is not None and row.type in NODE_PROXIES:
            check_node_proxy(caller, row.node, trusted=self._settings.trusted_node_accounts, pods=self._mesh)
        for problem in problems:
            log.warning("node metadata set aside", problem=str(problem))
        return row

    def injected(self, pod: Manifest, request: Manifest, environment: Mapping[str, str]) -> list[Manifest]:
        """The patch that puts the sidecar into a pod; what the webhook's path says wins over our own (PR2).

        Pods of another cluster have control planes of their own: those that the path says, else their Service istiod.
        """
        env, own = dict(environment), self._values
        cluster = env.pop("ISTIO_META_CLUSTER_ID", own.cluster)
        said = tuple(filter(None, env.pop("PILOT_ADDRESS", "").split(",")))
        values = replace(
            own,
            cluster=cluster,
            network=env.pop("ISTIO_META_NETWORK", own.network),
            trust_domain=self._clusters.trust_domain(cluster) or own.trust_domain,
            discovery=said or (own.discovery if cluster == own.cluster else ()),
            proxy_env={**own.proxy_env, **env},
        )
        return inject(pod, request, values)

    def known_machines(self) -> Known:
        """What the mesh knows of machines, in the cluster that their entries are written to."""
        tables, cluster = self._mesh.sources, self._settings.cluster
        system = self._settings.system_namespace
        return Known(
            group=lambda key: tables.external.workload_groups.get((cluster, *key)),
            entry=lambda key: tables.external.workload_entries.get((cluster, *key)),
            entries=lambda: [row for _, row in tables.external.workload_entries.rows() if row.cluster == cluster],
            instances=lambda: {row.name for _, row in tables.workloads.rows() if row.namespace == system},
        )

    def is_machine(self, trust_domain: str, namespace: str, account: str) -> bool:
        """True if a WorkloadGroup of our cluster gives its machines this identity."""
        own = self._clusters.trust_domain(self._settings.cluster) or self._settings.trust_domain
        if trust_domain != own:
            return False
        groups = self._mesh.sources.external.workload_groups.rows()
        wanted = (self._settings.cluster, namespace, account)
        return any((row.cluster, row.namespace, row.service_account) == wanted for _, row in groups)
