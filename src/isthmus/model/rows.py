"""The rows: what was observed in the clusters, and which proxies are connected.

Every row is immutable and knows its `key`, which starts with the cluster it was observed in, so that a lost
cluster is a range of keys. Rows hold only what the mesh uses of an object: a change of anything else is no change.
"""

from enum import StrEnum
from typing import ClassVar

import msgspec

from isthmus.model.locality import LocalitySetting, Warmup

Labels = tuple[tuple[str, str], ...]
"""Labels as sorted pairs: comparable, hashable, ready for subset tests with `labels_match`."""


def labels(mapping: dict[str, str] | None) -> Labels:
    """Freeze a mapping of labels."""
    return tuple(sorted((mapping or {}).items()))


def labels_match(selector: Labels, candidate: Labels) -> bool:
    """True if each pair of the selector is among the candidate's; an empty selector matches everything."""
    return all(pair in candidate for pair in selector)


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What all observed rows have: the cluster they were read from, namespace and name."""

    TABLE: ClassVar[str] = ""

    cluster: str
    namespace: str = ""
    name: str

    @property
    def key(self) -> tuple[str, ...]:
        """(cluster, namespace, name)."""
        return (self.cluster, self.namespace, self.name)


class Protocol(StrEnum):
    """What a port speaks, as far as it matters to a proxy."""

    TCP = "TCP"
    UDP = "UDP"
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TLS = "TLS"

    @property
    def is_http(self) -> bool:
        """True for what the HTTP connection manager handles."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


class MtlsMode(StrEnum):
    """PeerAuthentication's modes; UNSET inherits."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class Locality(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where something runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join((self.region, self.zone, self.subzone)).rstrip("/")


class Namespace(Row, frozen=True, kw_only=True, gc=False):
    """A namespace of one cluster; the system namespace's network label is the cluster's default network (NW1).

    `traffic_distribution` is what its services go by that say nothing themselves (LB9).
    """

    TABLE: ClassVar[str] = "namespaces"
    labels: Labels = ()
    annotations: Labels = ()
    traffic_distribution: str = ""


class Node(Row, frozen=True, kw_only=True, gc=False):
    """A node: where its pods are (LB15)."""

    TABLE: ClassVar[str] = "nodes"
    labels: Labels = ()
    locality: Locality = Locality()
    addresses: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a service. `target` is the number or name of the container's port as written."""

    name: str
    port: int
    protocol: Protocol = Protocol.TCP
    target: str = ""
    node_port: int = 0


class Service(Row, frozen=True, kw_only=True, gc=False):
    """A Kubernetes Service of one cluster. The same namespace and name elsewhere is the same service (AG1)."""

    TABLE: ClassVar[str] = "services"
    ports: tuple[ServicePort, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    headless: bool = False
    external_name: str = ""
    selector: Labels = ()
    labels: Labels = ()
    annotations: Labels = ()
    type: str = "ClusterIP"
    ingress_addresses: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    publish_not_ready: bool = False
    internal_traffic_local: bool = False
    traffic_distribution: str = ""
    spill_below: int = 0
    export_to: tuple[str, ...] = ()
    created: str = ""


class SliceEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint of a slice; `pod` names the Pod of the same namespace, empty if none."""

    addresses: tuple[str, ...]
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    pod: str = ""
    node: str = ""
    zone: str = ""
    hostname: str = ""


class SlicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a slice, matched to a service's port by name (SH22)."""

    name: str
    port: int


class EndpointSlice(Row, frozen=True, kw_only=True, gc=False):
    """A slice of a service's endpoints in one cluster."""

    TABLE: ClassVar[str] = "endpointslices"
    service: str = ""
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


class Workload(Row, frozen=True, kw_only=True, gc=False):
    """A pod, as far as the mesh is concerned; `entry`: it stands for a WorkloadEntry.

    `redirection` is what the agent of its node says of its traffic: "" (not captured), `pending` or `enabled`. One of
    the node's own network (`host_network`) shares its address with others.
    """

    TABLE: ClassVar[str] = "workloads"
    uid: str = ""
    addresses: tuple[str, ...] = ()
    labels: Labels = ()
    service_account: str = "default"
    node: str = ""
    ready: bool = False
    tls_mode: str = ""
    ports: tuple[SlicePort, ...] = ()
    workload_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    entry: bool = False
    redirection: str = ""
    host_network: bool = False


class GatewayServer(msgspec.Struct, frozen=True, gc=False):
    """One server of a Gateway: the port it listens on, its hosts without the namespace part (SN4), its TLS mode.

    `binds` has the namespace part of each host where one was given: whose VirtualServices may bind to it. On a proxy,
    `gateway` is the object (`<namespace>/<name>`), and `number` the port as the object says it.
    """

    port: int
    protocol: str
    hosts: tuple[str, ...]
    tls_mode: str = ""
    credential_name: str = ""
    name: str = ""
    binds: tuple[str, ...] = ()
    redirects: bool = False
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    subject_alt_names: tuple[str, ...] = ()
    gateway: str = ""
    number: int = 0


class Gateway(Row, frozen=True, kw_only=True, gc=False):
    """A `networking.istio.io` Gateway of the config cluster."""

    TABLE: ClassVar[str] = "gateways"
    selector: Labels = ()
    servers: tuple[GatewayServer, ...] = ()
    created: str = ""


class PeerAuthentication(Row, frozen=True, kw_only=True, gc=False):
    """Which transport an inbound connection must have. No selector: the namespace; in the root namespace: the mesh."""

    TABLE: ClassVar[str] = "peer_authentications"
    selector: Labels = ()
    mode: MtlsMode = MtlsMode.UNSET
    port_modes: tuple[tuple[int, MtlsMode], ...] = ()
    created: str = ""


class OutlierDetection(msgspec.Struct, frozen=True, gc=False):
    """When an endpoint is taken out because calls to it fail; None keeps the mesh's default. Durations in seconds."""

    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    consecutive_local_origin_failures: int | None = None
    split_external_local_origin_errors: bool = False
    interval: float | None = None
    base_ejection_time: float | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int | None = None


class ConnectionPool(msgspec.Struct, frozen=True, gc=False):
    """Limits of the connections to one destination; None keeps the default. Durations in seconds."""

    max_connections: int | None = None
    connect_timeout: float | None = None
    max_requests_per_connection: int | None = None
    http1_max_pending_requests: int | None = None
    http2_max_requests: int | None = None
    max_retries: int | None = None
    idle_timeout: float | None = None


class TrafficPolicy(msgspec.Struct, frozen=True, gc=False):
    """DestinationRule's traffic policy. `tls_mode` empty means automatic mTLS."""

    tls_mode: str = ""
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    load_balancer: str = ""
    outlier_detection: OutlierDetection | None = None
    connection_pool: ConnectionPool | None = None
    port_policies: tuple[tuple[int, "TrafficPolicy"], ...] = ()
    locality: LocalitySetting | None = None
    warmup: Warmup | None = None


class Subset(msgspec.Struct, frozen=True, gc=False):
    """A named part of a service's endpoints, chosen by labels."""

    name: str
    labels: Labels = ()
    policy: TrafficPolicy | None = None


class DestinationRule(Row, frozen=True, kw_only=True, gc=False):
    """How clients treat a destination. `host` is fully qualified by ingest.

    `spill_below`: healthy percentage of a priority below which traffic goes on to the next one; 0 keeps the default.
    """

    TABLE: ClassVar[str] = "destination_rules"
    host: str = ""
    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    spill_below: int = 0
    export_to: tuple[str, ...] = ()
    created: str = ""


class Cluster(Row, frozen=True, kw_only=True, gc=False):
    """A cluster this control plane was given; name == cluster. `stale` rows were restored and not seen again yet."""

    TABLE: ClassVar[str] = "clusters"
    config: bool = False
    trust_domain: str = "cluster.local"
    stale: bool = False


class Proxy(Row, frozen=True, kw_only=True, gc=False):
    """A connected proxy, as its node metadata say and its verified identity allows. name is the pod's name.

    `id` names the stream's subscriber (`<name>.<namespace>@<cluster>`); two replicas never share it. `hbone`: a
    sidecar that takes and makes HBONE, beside mutual TLS by SNI. `netns_dir`: where a node's proxy finds the network
    namespaces of its pods, by their uid.
    """

    TABLE: ClassVar[str] = "proxies"
    type: str = "sidecar"
    network: str = ""
    addresses: tuple[str, ...] = ()
    labels: Labels = ()
    service_account: str = "default"
    node: str = ""
    domain: str = ""
    dns_capture: bool = False
    requested_network_view: tuple[str, ...] = ()
    locality: Locality = Locality()
    trust_domain: str = "cluster.local"
    hbone: bool = False
    netns_dir: str = ""

    @property
    def id(self) -> str:
        """The name users know a proxy by, made unique over clusters."""
        return f"{self.name}.{self.namespace}@{self.cluster}"
