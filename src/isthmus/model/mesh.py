"""Derived rows: what the mesh makes of the observed ones. Floors above agree on these.

A service of the mesh is named by its host key (namespace, name): the same in every cluster is one service (AG1).
"""

import msgspec

from isthmus.model.external import Resolution
from isthmus.model.policy import PolicyKey
from isthmus.model.preference import OVERPROVISIONING
from isthmus.model.rows import Labels, Locality, MtlsMode, Protocol, ServicePort

HostKey = tuple[str, str]
"""(namespace, name) of a service of the mesh."""


class MeshService(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One service over all clusters. Ports and kind are those of the first cluster, config cluster first (AG1).

    `addresses` are the virtual IPs in each cluster that has any, first cluster first. `node_local`: callers may only
    use endpoints on their own node (internalTrafficPolicy Local, SH19).

    A host of a ServiceEntry is a service, too; its name is the whole host name. `resolution` is None for those of
    Kubernetes; `external` ones are outside of the mesh and never get its mTLS; `peers` are identities that the object
    itself names; an owner "" of addresses stands for every cluster. `stands_for` is the service that a global name
    means, in whatever cluster it runs (`derive.globals`).

    `union_of` is the service whose endpoints a mesh-wide name means, in the clusters where it is global: these are its
    `clusters`, peers among them. `widened` are the clusters whose own service of this name means the same endpoints
    (`global-only`, `derive.scopes`).
    """

    namespace: str
    name: str
    host: str
    ports: tuple[ServicePort, ...]
    headless: bool = False
    cluster_local: bool = False
    node_local: bool = False
    addresses: tuple[tuple[str, tuple[str, ...]], ...] = ()
    clusters: tuple[str, ...] = ()
    traffic_distribution: str = ""
    resolution: Resolution | None = None
    external: bool = False
    export_to: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    stands_for: HostKey | None = None
    union_of: HostKey | None = None
    widened: tuple[str, ...] = ()

    @property
    def base(self) -> HostKey:
        """The service whose slices hold its endpoints: itself, or what a mesh-wide name means."""
        return self.union_of or (self.namespace, self.name)

    @property
    def caller_chooses(self) -> bool:
        """True if the caller connects to an endpoint of its own choice, so that there is no balancing."""
        return self.headless or self.resolution is Resolution.NONE

    @property
    def by_dns(self) -> bool:
        """True if proxies find its endpoints in DNS."""
        return self.resolution is not None and self.resolution.by_dns

    def port(self, number: int) -> ServicePort | None:
        """The TCP-based port of that number."""
        for port in self.ports:
            if port.port == number and port.protocol is not Protocol.UDP:
                return port
        return None


class ServiceView(msgspec.Struct, frozen=True, gc=False):
    """A service as the proxies of one cluster see it: its addresses there, and the (address, port) it may not claim.

    A service without address in this cluster is reached at another cluster's (DN2, AG5). That address may belong to
    somebody else here, if the service ranges overlap: who is at home keeps it.
    """

    service: MeshService
    addresses: tuple[str, ...] = ()
    blocked: tuple[tuple[str, int], ...] = ()

    def listens_at(self, port: int) -> tuple[str, ...]:
        """The addresses at which this service may be recognised on `port`."""
        return tuple(address for address in self.addresses if (address, port) not in self.blocked)


class NetworkGateway(msgspec.Struct, frozen=True, gc=False, order=True):
    """An address through which a network is entered (NW4): `port` with mutual TLS by SNI, `hbone_port` with HBONE.

    0: not that way (SH7). `identities` are those that it may prove with HBONE (AM7); none: nobody said.
    """

    network: str
    cluster: str
    address: str
    port: int
    hbone_port: int = 0
    identities: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One address that serves, as seen from nowhere in particular.

    `mtls` says that its workload takes mesh mTLS, `hbone` that it takes HBONE; `plain_ports` are workload ports where
    policy switched mTLS off.
    """

    cluster: str
    network: str
    address: str
    identity: str = ""
    locality: Locality = Locality()
    labels: Labels = ()
    mtls: bool = False
    plain_ports: tuple[int, ...] = ()
    ready: bool = True
    weight: int = 1
    terminating: bool = False
    workload: str = ""
    node: str = ""
    hostname: str = ""
    hbone: bool = False

    def takes_mtls(self, port: int) -> bool:
        """True if a client should speak mesh mTLS to this workload port (SH13)."""
        return self.mtls and port not in self.plain_ports


class SliceEndpoints(msgspec.Struct, frozen=True, gc=False):
    """A slice with everything known of its endpoints: port name -> number, and the endpoints."""

    cluster: str
    ports: tuple[tuple[str, int], ...] = ()
    endpoints: tuple[Endpoint, ...] = ()

    def port(self, name: str) -> int:
        """The number behind a port name, 0 if the slice has no such port (SH22)."""
        for known, number in self.ports:
            if known == name:
                return number
        return 0


MAPPED = "::ffff:"
"""Before an IPv4 address: the same place under another address, as far as Envoy can tell."""


class LbEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One member of a load assignment: an endpoint, or a gateway that stands for several in its network.

    One that is not `healthy` gets no traffic, but counts in how much of its priority there is. `tunnel` says how it is
    reached: "" (its own port), `hbone` (through its HBONE port) or `double_hbone` (through a gateway's, end to end).
    With `waypoint` (address and port) the tunnel ends there, and address and port are what is asked for in it.
    `identity` is who the server of a tunnel must be; where it is empty, one of the service's. `entrance` are those of
    the gateway before it.
    """

    address: str
    port: int
    weight: int
    mtls: bool
    network: str
    cluster: str
    workload: str
    locality: Locality = Locality()
    priority: int = 0
    gateway: bool = False
    healthy: bool = True
    tunnel: str = ""
    waypoint: str = ""
    identity: str = ""
    entrance: tuple[str, ...] = ()


class Hidden(msgspec.Struct, frozen=True, gc=False, order=True):
    """Endpoints that a view cannot use, and why.

    `not-mtls` (SH12), `not-exported` (SN6), `no-gateway`, `gateway-family` (SH8), `needs-hbone` (the proxy cannot do
    HBONE, and they are reached by nothing else), `not-global` (their HBONE gateway does not admit the service, AM11).
    """

    reason: str
    cluster: str
    network: str
    count: int


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """The endpoints of one port of one service, as one view must use them, with exact weights.

    `overprovisioning`, in per cent, says when a priority hands traffic on to the next ones.
    """

    members: tuple[LbEndpoint, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    overprovisioning: int = OVERPROVISIONING


class PeerPolicy(msgspec.Struct, frozen=True, gc=False):
    """PeerAuthentication of one namespace: its own mode after inheriting the mesh's, and those with a selector."""

    mode: MtlsMode = MtlsMode.PERMISSIVE
    workloads: tuple[tuple[Labels, MtlsMode, tuple[tuple[int, MtlsMode], ...]], ...] = ()


class WorkloadMode(msgspec.Struct, frozen=True, gc=False):
    """What one workload demands of its peers: a mode, and ports that differ from it."""

    mode: MtlsMode = MtlsMode.PERMISSIVE
    ports: tuple[tuple[int, MtlsMode], ...] = ()

    def at(self, port: int) -> MtlsMode:
        """The mode of one workload port."""
        for number, mode in self.ports:
            if number == port:
                return mode
        return self.mode


AuthorityPort = tuple[str, int, int]
"""(host name of a service, its port, the workload's port behind it)."""


class AmbientPod(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pod that the proxy of its node speaks for: who it is, where its sockets are made, how it receives.

    `netns` is the path of its network namespace on the node; `targets` are the ports of services that it is behind, by
    which callers in other networks name it; `policies` say who may call it.
    """

    uid: str
    namespace: str
    name: str
    addresses: tuple[str, ...]
    identity: str
    netns: str
    mode: WorkloadMode = WorkloadMode()
    targets: tuple[AuthorityPort, ...] = ()
    policies: tuple[PolicyKey, ...] = ()
