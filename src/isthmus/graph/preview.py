"""What would be if a cluster were drained: the same functions, asked with another standing, and nothing kept."""

from typing import Any

from isthmus.derive.horizon import Horizon
from isthmus.derive.moves import Move, move
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.model.liveness import ClusterStanding
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.rows import Protocol
from isthmus.tables.graph import Graph

ANYBODY = ""


class Preview:
    """Answers for the proxies of this control plane's config cluster."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self._graph = graph
        self._meshwide = meshwide

    def drain(self, cluster: str) -> list[Move]:
        """Every service that has ready endpoints in the cluster and may be called from another, by name."""
        found = [self._move(host, cluster) for host in self._graph.peek(self._meshwide.hosts, ALL)]
        self._graph.collect()
        return [one for one in found if one is not None and one.here]

    def _get(self, table: Any, key: Any) -> Any:
        return self._graph.peek(table, key)

    def _move(self, host: HostKey, cluster: str) -> Move | None:
        meshwide = self._meshwide
        service: MeshService | None = self._get(meshwide.services, host)
        if (
            service is None
            or service.cluster_local
            or service.node_local
            or host[0] == meshwide.settings.system_namespace
        ):
            return None
        endpoints = list(meshwide.assignments.ready_endpoints(self._get, host))
        port = next((known.port for known in service.ports if known.protocol is not Protocol.UDP), None)
        if service.headless or port is None:
            return move(host, cluster, endpoints, None)
        home = meshwide.settings.config_cluster
        horizon = Horizon(network=self._get(meshwide.homes, home).network, home=home)
        drained = ClusterStanding(cluster=cluster, name=cluster, weight=0, declared=True)

        def then(asked: str) -> ClusterStanding | None:
            return drained if asked == cluster else meshwide.standing(self._get, asked)

        key = (horizon, host, port, "", ANYBODY)
        now = meshwide.assignments.assigned(self._get, key, lambda asked: meshwide.standing(self._get, asked))
        return move(host, cluster, endpoints, (now, meshwide.assignments.assigned(self._get, key, then)))
