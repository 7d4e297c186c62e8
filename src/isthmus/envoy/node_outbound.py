"""How a node proxy sends for its pods.

```
pod ─ 15001 in the pod: who it is, where its sockets are ─ `outbound`: which service has this address
    ─ the service's cluster ─ HBONE (see `hbone`), or plain where the endpoint takes nothing else
    ─ no service's address: `workloads`: which pod has it ─ HBONE ─ nobody's: passed on plain
```

Pods have thin listeners; services are matched once for the whole node in a listener that only Envoy connects to. So
configuration grows with pods plus services, and not with their product.
"""

from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from isthmus.envoy import clusters, filters, hbone, naming, node_tunnels, tls, upstream
from isthmus.envoy.access_log import OUTBOUND, access_log
from isthmus.envoy.build import Message, metadata, resource, seconds, u32
from isthmus.envoy.clusters import Destination
from isthmus.envoy.filter_state import (
    IDENTITY,
    INSTEAD,
    LOCAL_ADDRESS,
    NETNS,
    REMOTE_ADDRESS,
    SERVER_NAMES,
    Entry,
    setter,
)
from isthmus.envoy.node_inbound import in_pod
from isthmus.model.mesh import AmbientPod
from isthmus.model.settings import MeshSettings
from isthmus.xds.resource import CDS, LDS, XdsResource
from isthmus.xds.wire import length_delimited

SERVICES = "outbound"
WORKLOADS = "workloads"
"""Internal listeners, and the clusters that lead there."""

_FILTER_CHAINS = 3
"""Number of the repeated field in Listener."""

Cluster = cluster_pb2.Cluster
FilterChain = listener_components_pb2.FilterChain
FilterChainMatch = listener_components_pb2.FilterChainMatch

MEANT = Entry(LOCAL_ADDRESS, "%DOWNSTREAM_LOCAL_ADDRESS%", once=True)
CAME_FROM = Entry(REMOTE_ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS%", once=True)


def pod_listener(name: str, pod: AmbientPod) -> XdsResource:
    """The listener that capture redirects to what leaves a pod."""
    carried = (Entry(IDENTITY, pod.identity, transitive=True), Entry(NETNS, pod.netns, transitive=True))
    loop = FilterChain(
        name="loop",
        filter_chain_match=FilterChainMatch(destination_port={"value": naming.OUTBOUND_PORT}),
        filters=[_proxy(naming.BLACK_HOLE)],
    )
    leaving = FilterChain(name="leaving", filters=[setter(*carried, MEANT, CAME_FROM), _proxy(SERVICES)])
    message = listener_pb2.Listener(
        name=name,
        address=in_pod(pod, naming.OUTBOUND_PORT),
        listener_filters=[filters.original_dst()],
        filter_chains=[loop, leaving],
        traffic_direction=base_pb2.OUTBOUND,
    )
    return resource(LDS, name, message)


def _proxy(cluster: str) -> Message:
    """Carry a connection to a cluster; the listener logs."""
    return filters.quiet_tcp_proxy(cluster)


# -- which service ------------------------------------------------------------------------------------------------


def service_chain(addresses: Iterable[str], port: int, cluster: str, *, by_dns: bool = False) -> bytes:
    """The encoded filter chain of one port of a service; ranges are addresses, too.

    `by_dns`: its endpoints are found in DNS, so that nothing is known of them, and nothing within leads there.
    """
    message = FilterChain(
        name=cluster,
        filter_chain_match=FilterChainMatch(
            destination_port=u32(port), prefix_ranges=[_range(address) for address in addresses]
        ),
        filters=[_proxy(cluster) if by_dns else node_tunnels.proxy(cluster)],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _range(address: str) -> Message:
    base, _, length = address.partition("/")
    bits = int(length) if length else 128 if ":" in base else 32
    return address_pb2.CidrRange(address_prefix=base, prefix_len=u32(bits))


def services_listener(chains: Iterable[bytes]) -> XdsResource:
    """Which service has the address; the rest goes on to `workloads`."""
    rest = FilterChain(name=WORKLOADS, filters=[setter(MEANT, CAME_FROM), _proxy(WORKLOADS)])
    return _matching(SERVICES, chains, rest, tunnels=False)


# -- which pod ----------------------------------------------------------------------------------------------------


def identity_chain(identity: str, addresses: Iterable[str]) -> bytes:
    """The encoded filter chain of the pods of one identity that take HBONE: the server must be that."""
    message = FilterChain(
        name=identity,
        filter_chain_match=FilterChainMatch(prefix_ranges=[_range(address) for address in addresses]),
        filters=[
            setter(Entry(SERVER_NAMES, identity)),
            hbone.tunnel(naming.CONNECT_ORIGINATE, "%DOWNSTREAM_LOCAL_ADDRESS%"),
        ],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def waypoint_chain(name: str, identities: Iterable[str], at: str, addresses: Iterable[str]) -> bytes:
    """The encoded filter chain of pods that are called through a waypoint: it must answer, at that address and port."""
    message = FilterChain(
        name=f"waypoint/{name}",
        filter_chain_match=FilterChainMatch(prefix_ranges=[_range(address) for address in addresses]),
        filters=[
            setter(Entry(SERVER_NAMES, ",".join(identities) or hbone.NOBODY), Entry(INSTEAD, at)),
            hbone.tunnel(naming.CONNECT_ORIGINATE, "%DOWNSTREAM_LOCAL_ADDRESS%"),
        ],
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def workloads_listener(chains: Iterable[bytes], settings: MeshSettings) -> XdsResource:
    """Which pod has the address; what none has passes on, or goes nowhere."""
    cluster = naming.PASSTHROUGH if settings.allow_any else naming.BLACK_HOLE
    return _matching(WORKLOADS, chains, FilterChain(name="nobody", filters=[_proxy(cluster)]), tunnels=True)


def _matching(name: str, chains: Iterable[bytes], rest: Message, *, tunnels: bool) -> XdsResource:
    """An internal listener that tells connections apart by where they were meant to go."""
    head = listener_pb2.Listener(
        name=name,
        internal_listener=listener_pb2.Listener.InternalListenerConfig(),
        listener_filters=[filters.original_dst()],
        default_filter_chain=rest,
        access_log=[] if tunnels else [access_log(OUTBOUND)],
        traffic_direction=base_pb2.OUTBOUND,
    ).SerializeToString(deterministic=True)
    return XdsResource(LDS, name, head + b"".join(length_delimited(_FILTER_CHAINS, chain) for chain in chains))


# -- clusters -----------------------------------------------------------------------------------------------------


def service_cluster(destination: Destination, settings: MeshSettings, members: bytes = b"") -> XdsResource:
    """The cluster of one port of a service: bytes, whatever it speaks."""
    name = naming.outbound(destination.port.port, destination.service.host)
    policy = destination.policy
    by_dns = destination.service.by_dns
    message = Cluster(
        name=name,
        connect_timeout=seconds(settings.connect_timeout),
        metadata=metadata(istio=clusters.about(destination)),
        transport_socket=tls.plain_socket() if by_dns else hbone.internal_socket(),
        typed_extension_protocol_options={} if by_dns else hbone.connect_protocol(pooled=True, pings=False),
        lb_policy=clusters.LB_POLICIES.get(policy.load_balancer, Cluster.ROUND_ROBIN),
        circuit_breakers=upstream.circuit_breakers(policy.connection_pool),
        outlier_detection=upstream.outlier_detection(policy.outlier_detection, answers=False),
        common_lb_config=upstream.common_lb(policy.outlier_detection),
        upstream_bind_config=hbone.bind_config(settings.mark, many=True),
        upstream_connection_options=upstream.connection_options(),
        **clusters.discovered(name, destination.service, members),
    )
    return resource(CDS, name, message)


def passthrough(settings: MeshSettings) -> XdsResource:
    """Wherever the pod meant to go."""
    message = Cluster(
        name=naming.PASSTHROUGH,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=seconds(settings.connect_timeout),
        circuit_breakers=upstream.circuit_breakers(),
        upstream_bind_config=hbone.bind_config(settings.mark, many=True),
        upstream_connection_options=upstream.connection_options(),
    )
    return resource(CDS, naming.PASSTHROUGH, message)
