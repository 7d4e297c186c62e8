"""Clusters: one for each port (and subset) of a service, those of the workload itself, and the fixed ones."""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2

from isthmus.envoy import hbone, naming, tls, upstream
from isthmus.envoy.build import Message, ads, metadata, packed, resource, seconds, struct
from isthmus.model.external import Resolution
from isthmus.model.mesh import MeshService
from isthmus.model.rows import Protocol, ServicePort, TrafficPolicy
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import CDS, XdsResource

Cluster = cluster_pb2.Cluster

DNS_REFRESH = 60
"""Seconds after which a name is asked for again where the answer does not say."""

AUTO, MUTUAL, DISABLE = "", "ISTIO_MUTUAL", "DISABLE"

LB_POLICIES = {
    "": Cluster.ROUND_ROBIN,
    "ROUND_ROBIN": Cluster.ROUND_ROBIN,
    "LEAST_REQUEST": Cluster.LEAST_REQUEST,
    "LEAST_CONN": Cluster.LEAST_REQUEST,
    "RANDOM": Cluster.RANDOM,
}
"""DestinationRule's simple balancers. Round robin unless said otherwise: a gateway stands for many endpoints, and
least-request would compare its queue with that of one pod, which breaks the shares that weights promise."""

NO_POLICY = TrafficPolicy()

TLS_MATCH = {"tlsMode": "istio"}


class Destination(msgspec.Struct, frozen=True):
    """One port of a service, or a subset of it, as a client must treat it.

    `gateways`: some of its endpoints may be gateways; `tunnels`: some may be reached by HBONE.
    """

    service: MeshService
    port: ServicePort
    subset: str = ""
    policy: TrafficPolicy = NO_POLICY
    peers: tuple[str, ...] = ()
    headless_mtls: bool = False
    gateways: bool = False
    balanced: bool = False
    tunnels: bool = False
    source: str = ""

    @property
    def caller_chooses(self) -> bool:
        """True if the connection says itself which endpoint it is for; callers of a gateway never do."""
        return self.service.caller_chooses and not self.balanced


def outbound(destination: Destination, settings: MeshSettings, members: bytes = b"") -> XdsResource:
    """The cluster by which sidecars reach a destination; `members` are its endpoints if it asks DNS for them."""
    service, port, policy = destination.service, destination.port, destination.policy
    name = naming.outbound(port.port, service.host, destination.subset)
    balancer = LB_POLICIES.get(policy.load_balancer, Cluster.ROUND_ROBIN)
    fields: dict[str, Any] = _transport(destination, settings)
    if destination.tunnels and not destination.caller_chooses:
        fields = _or_tunnels(fields)
    if destination.caller_chooses or (policy.load_balancer == "PASSTHROUGH" and not destination.balanced):
        fields |= {"type": Cluster.ORIGINAL_DST, "lb_policy": Cluster.CLUSTER_PROVIDED}
    else:
        fields |= discovered(name, service, members) | _balanced(balancer, policy)
    return _encode(
        name,
        settings,
        policy=policy,
        metadata=metadata(istio=about(destination)),
        typed_extension_protocol_options=upstream.protocol_options(
            port.protocol, policy.connection_pool, gateways=destination.gateways and port.protocol is not Protocol.GRPC
        ),
        # Envoy takes a gRPC status for the endpoint's own, whatever the matcher says: only connections count then.
        answers=not (destination.gateways and port.protocol is Protocol.GRPC),
        upstream_bind_config=upstream.bind_config(
            settings.mark, stall_timeout=settings.stall_timeout if port.protocol is Protocol.HTTP else 0
        ),
        **fields,
    )


def _balanced(balancer: int, policy: TrafficPolicy) -> dict[str, Any]:
    """How requests are spread over endpoints, and how those that join warm up."""
    slow_start = upstream.slow_start(policy.warmup)
    if slow_start is None or balancer == Cluster.RANDOM:
        return {"lb_policy": balancer}
    if balancer == Cluster.LEAST_REQUEST:
        config = Cluster.LeastRequestLbConfig(slow_start_config=slow_start)
        return {"lb_policy": balancer, "least_request_lb_config": config}
    return {"lb_policy": balancer, "round_robin_lb_config": Cluster.RoundRobinLbConfig(slow_start_config=slow_start)}


def about(destination: Destination) -> dict[str, Any]:
    """Cluster metadata `istio` (§2.7): the service, and the DestinationRule if there is one."""
    rule = {"config": destination.source} if destination.source else {}
    return {"services": [_describe(destination.service)], **rule}


def _describe(service: MeshService) -> dict[str, str]:
    """Cluster metadata `istio.services` (§2.7)."""
    return {"host": service.host, "name": service.name, "namespace": service.namespace}


def sni_dnat(destination: Destination, settings: MeshSettings, members: bytes = b"") -> XdsResource:
    """The cluster by which a gateway passes a destination's mTLS on, unopened (SN5)."""
    name = naming.sni_dnat(destination.port.port, destination.service.host, destination.subset)
    found = discovered(name, destination.service, members)
    return _encode(name, settings, policy=destination.policy, **found, lb_policy=Cluster.ROUND_ROBIN)


def inbound_vip(
    destination: Destination, settings: MeshSettings, members: bytes = b"", *, kind: str = "tcp"
) -> XdsResource:
    """The cluster by which a gateway carries what is in a tunnel to a service's own endpoints, unopened (AM11).

    Or, by its `kind`, to the service's waypoint. How callers treat the service is no business of the gateway's.
    """
    name = naming.inbound_vip(destination.port.port, destination.service.host, kind)
    plain = msgspec.structs.replace(settings, mark=0)
    found = discovered(name, destination.service, members)
    return _encode(name, plain, **found, lb_policy=Cluster.ROUND_ROBIN)


def forward(destination: Destination, settings: MeshSettings, members: bytes = b"") -> XdsResource:
    """The cluster by which a gateway reaches a destination itself. Nothing is captured there, so nothing is marked."""
    return outbound(destination, msgspec.structs.replace(settings, mark=0), members)


def inbound(port: int, protocol: Protocol, settings: MeshSettings) -> XdsResource:
    """The workload itself, at the address that the caller meant: works for applications bound to the pod's address."""
    return _encode(
        naming.inbound(port),
        settings,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        outlier=False,
        upstream_bind_config=upstream.inbound_bind_config(settings.mark),
        typed_extension_protocol_options=upstream.downstream_protocol() if protocol.is_http else {},
    )


def inbound_passthrough(settings: MeshSettings) -> XdsResource:
    """Ports of the workload that no service names."""
    return _encode(
        naming.INBOUND_PASSTHROUGH,
        settings,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        outlier=False,
        upstream_bind_config=upstream.inbound_bind_config(settings.mark),
    )


def passthrough(settings: MeshSettings) -> XdsResource:
    """Wherever the caller meant to go, in the HTTP version it speaks."""
    return _encode(
        naming.PASSTHROUGH,
        settings,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        outlier=False,
        typed_extension_protocol_options=upstream.downstream_protocol(),
    )


def black_hole() -> XdsResource:
    """Nowhere."""
    return resource(CDS, naming.BLACK_HOLE, Cluster(name=naming.BLACK_HOLE, type=Cluster.STATIC))


def discovered(name: str, service: MeshService, members: bytes) -> dict[str, Any]:
    """Where endpoints come from: from the control plane, or from DNS, asked again as its answers expire."""
    if service.by_dns:
        one = service.resolution is Resolution.DNS_ROUND_ROBIN
        dns = dns_cluster_pb2.DnsCluster(
            dns_refresh_rate=seconds(DNS_REFRESH),
            respect_dns_ttl=True,
            dns_lookup_family=dns_pb2.V4_PREFERRED,
            all_addresses_in_single_endpoint=one,
        )
        kind = Cluster.CustomClusterType(name="envoy.cluster.dns", typed_config=packed(dns))
        return {
            "cluster_type": kind,
            "load_assignment": endpoint_pb2.ClusterLoadAssignment.FromString(members),
        }
    config = Cluster.EdsClusterConfig(eds_config=ads(), service_name=name)
    return {"type": Cluster.EDS, "eds_cluster_config": config}


def _encode(
    name: str, settings: MeshSettings, *, policy: TrafficPolicy = NO_POLICY, outlier: bool = True, **fields: Any
) -> XdsResource:
    """A cluster with everything that all have in common."""
    pool = policy.connection_pool
    timeout = pool.connect_timeout if pool is not None and pool.connect_timeout else settings.connect_timeout
    if outlier:
        fields["outlier_detection"] = upstream.outlier_detection(
            policy.outlier_detection, answers=fields.pop("answers", True)
        )
        fields["common_lb_config"] = upstream.common_lb(policy.outlier_detection)
    message = Cluster(
        name=name,
        connect_timeout=seconds(timeout),
        circuit_breakers=upstream.circuit_breakers(pool),
        upstream_bind_config=fields.pop("upstream_bind_config", None) or upstream.bind_config(settings.mark),
        upstream_connection_options=upstream.connection_options(),
        **fields,
    )
    return resource(CDS, name, message)


def _transport(destination: Destination, settings: MeshSettings) -> dict[str, Any]:
    """Which transport endpoints get: mesh mTLS where they take it, unless a rule decides (SH13)."""
    mode = destination.policy.tls_mode
    if mode == DISABLE:
        return {}
    if mode not in (AUTO, MUTUAL):
        return {"transport_socket": tls.originating_socket(sni=destination.policy.sni or destination.service.host)}
    if mode == MUTUAL or (destination.service.headless and destination.headless_mtls):
        return {"transport_socket": _mesh_socket(destination, settings)}
    if destination.caller_chooses or destination.service.external:
        return {}
    match = Cluster.TransportSocketMatch
    mesh = match(name="tlsMode-istio", match=struct(TLS_MATCH), transport_socket=_mesh_socket(destination, settings))
    plain = match(name="tlsMode-disabled", match=struct({}), transport_socket=tls.plain_socket())
    return {"transport_socket_matches": [mesh, plain]}


def _or_tunnels(transport: dict[str, Any]) -> dict[str, Any]:
    """The same where endpoints may be reached by HBONE: within that they are spoken to in plain."""
    others = transport.get("transport_socket_matches")
    if others is None:
        socket = transport.get("transport_socket") or tls.plain_socket()
        others = [Cluster.TransportSocketMatch(name="direct", match=struct({}), transport_socket=socket)]
    return {"transport_socket_matches": hbone.socket_matches(others)}


def _mesh_socket(destination: Destination, settings: MeshSettings) -> Message:
    service, port, policy = destination.service, destination.port, destination.policy
    return tls.client_socket(
        sni=policy.sni or naming.sni_dnat(port.port, service.host, destination.subset),
        alpn=tls.client_alpn(port.protocol),
        peers=policy.subject_alt_names or destination.peers,
        fallback_prefix=f"spiffe://{settings.trust_domain}/",
    )
