"""The debug pages: what is known, as rows and plain data. Read only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Protocol

from google.protobuf import any_pb2, json_format
from google.protobuf.message import DecodeError

from isthmus.app.cluster_settings import ClusterStatus
from isthmus.base.clock import Clock
from isthmus.base.errors import Problem
from isthmus.edge.admin_server import Answer
from isthmus.edge.journal import Journal
from isthmus.edge.xds_streams import Stream, Streams
from isthmus.model.mesh import NetworkGateway
from isthmus.xds.resource import PUSH_ORDER, SHORT_NAMES, XdsResource


class MeshView(Protocol):
    """What the pages read of the mesh."""

    @property
    def revision(self) -> int:
        """How many batches were applied."""

    def tables(self) -> Sequence[str]:
        """Observed and derived tables."""

    def table(self, name: str) -> Sequence[tuple[Any, Any]]:
        """Keys and rows of a table. Raises KeyError."""

    def gateways(self) -> Sequence[NetworkGateway]:
        """Gateways of all networks (NW19)."""

    def drain_preview(self, cluster: str) -> Sequence[Any]:
        """What would move where if the cluster were drained."""

    def resources(self, proxy_id: str, type_url: str) -> Mapping[str, XdsResource]:
        """All that the wildcard of a type names."""


class LivenessView(Protocol):
    """What the pages read of the liveness of clusters."""

    @property
    def journal(self) -> Journal:
        """What was decided and why."""

    def page(self) -> list[dict[str, Any]]:
        """How each cluster stands."""


class ClustersView(Protocol):
    """What the pages read of the clusters."""

    def statuses(self) -> Sequence[ClusterStatus]:
        """How each is read."""

    async def digests(self) -> Mapping[str, Mapping[str, str]]:
        """Cluster -> kind -> digest of what was observed."""


@dataclass(frozen=True, slots=True)
class Replica:
    """Who answers: the pod's name, and the revision of its control plane."""

    instance: str
    revision: str


class DebugPages:
    """Answers for the admin server."""

    def __init__(
        self,
        mesh: MeshView,
        streams: Streams,
        clock: Clock,
        *,
        replica: Replica,
        clusters: ClustersView,
        problems: Callable[[], Sequence[Problem]],
        plain: Mapping[str, Callable[[], Mapping[str, Any]]],
        liveness: LivenessView,
    ) -> None:
        self._mesh = mesh
        self._streams = streams
        self._clock = clock
        self._instance = replica.instance
        self._revision = replica.revision
        self._clusters = clusters
        self._problems = problems
        self._plain = plain
        self._liveness = liveness

    def pages(self) -> dict[str, Answer]:
        """By name below /debug/; `plain` ones know no query."""
        return {
            "clusterz": lambda _: self._clusterz(),
            "liveness": lambda _: {"istiod": self._instance, "clusters": self._liveness.page()},
            "events": self._events,
            "drain": self._drain,
            "syncz": lambda _: self._syncz(),
            "networkz": lambda _: [_gateway(gateway) for gateway in self._mesh.gateways()],
            **{name: _without_query(page) for name, page in self._plain.items()},
            "problems": lambda _: list(self._problems()),
            "version": lambda _: {"istiod": self._instance, "version": metadata.version("isthmus")},
            "tables": lambda _: {name: len(self._mesh.table(name)) for name in self._mesh.tables()},
            "tables/": lambda query: [{"key": key, "row": row} for key, row in self._mesh.table(query["name"])],
            "config_dump": self._config_dump,
        }

    async def _clusterz(self) -> dict[str, Any]:
        """The clusters as they are read, each with how it stands and what was seen of it, as a digest by kind."""
        digests = await self._clusters.digests()
        known = {entry["cluster"]: entry for entry in self._liveness.page()}
        clusters = [
            asdict(status) | {"liveness": known.get(status.id), "digests": digests.get(status.id, {})}
            for status in self._clusters.statuses()
        ]
        return {"istiod": self._instance, "revision": self._revision, "clusters": clusters}

    def _drain(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What draining would move: `?cluster=<name>`. Raises KeyError for a cluster that nobody knows."""
        cluster = query.get("cluster", "")
        statuses = {status.id: status for status in self._clusters.statuses()}
        if cluster not in statuses:
            raise KeyError(f"cluster {cluster!r}")
        own = next((status.id for status in statuses.values() if status.config), "")
        return {"istiod": self._instance, "config": own, "moves": self._mesh.drain_preview(cluster)}

    def _events(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The journal: `?since=<seconds since the epoch>&after=<number>`. Raises KeyError for what is no number."""
        try:
            since, after = float(query.get("since", "0")), int(query.get("after", "0"))
        except ValueError as error:
            raise KeyError(f"a number in the query ({error})") from error
        entries = self._liveness.journal.since(since, after=after)
        return {"istiod": self._instance, "now": self._clock.now(), "events": entries}

    def _syncz(self) -> dict[str, Any]:
        now = self._clock.now()
        rows = [self._stream_row(stream, now) for stream in self._streams.all()]
        return {"istiod": self._instance, "revision": self._mesh.revision, "now": now, "proxies": rows}

    @staticmethod
    def _stream_row(stream: Stream, now: float) -> dict[str, Any]:
        types = [
            {
                "type": status.type,
                "state": status.state.value,
                "age": round(now - max(status.sent_at, status.answered_at), 3) if status.sent_at else None,
                "error": status.error,
                "held": status.held,
            }
            for status in stream.session.status()
        ]
        return {
            "proxy": f"{stream.proxy.name}.{stream.proxy.namespace}",
            "id": stream.proxy.id,
            "cluster": stream.proxy.cluster,
            "type": stream.proxy.type,
            "network": stream.proxy.network,
            "version": stream.node.version,
            "identity": str(stream.caller) if stream.caller else "",
            "peer": stream.peer,
            "connected_at": stream.connected_at,
            "types": types,
        }

    def _config_dump(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Everything that a connected proxy is to have, decoded: `?proxyID=<name>.<namespace>`."""
        wanted = query.get("proxyID", "")
        stream = next((s for s in self._streams.all() if wanted in (s.proxy.id, s.proxy.id.partition("@")[0])), None)
        if stream is None:
            raise KeyError(f"proxy {wanted!r}" if wanted else "the parameter proxyID")
        proxy_id = stream.proxy.id
        return {
            SHORT_NAMES[url]: [
                _decoded(resource) for _, resource in sorted(self._mesh.resources(proxy_id, url).items())
            ]
            for url in PUSH_ORDER
        }


def _gateway(gateway: NetworkGateway) -> dict[str, Any]:
    """A gateway with the names that Istio gives (NW19); accounts of gateways are not told."""
    return {
        "Network": gateway.network,
        "Cluster": gateway.cluster,
        "Addr": gateway.address,
        "Port": gateway.port,
        "HBONEPort": gateway.hbone_port,
        "ServiceAccount": {"Namespace": "", "Name": ""},
    }


def _decoded(resource: XdsResource) -> dict[str, Any]:
    message = any_pb2.Any(type_url=resource.type_url, value=resource.body)
    try:
        body = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (TypeError, KeyError, DecodeError):
        body = {"@type": resource.type_url, "bytes": resource.size}
    return {"name": resource.name, "version": resource.version, "resource": body}


def _without_query(page: Callable[[], Mapping[str, Any]]) -> Answer:
    return lambda _: page()
