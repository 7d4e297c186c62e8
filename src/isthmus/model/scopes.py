"""Scopes: sets of resources that some proxies share. A proxy's row yields an ordered tuple of them.

A scope is its own key: two proxies whose rows yield equal scopes share every resource in it, so there is no cache
and no cache key to get wrong. A name is looked up in a proxy's scopes in order; the first that has it wins.
"""

import msgspec

from isthmus.model.policy import PolicyKey
from isthmus.model.rows import GatewayServer, Labels, MtlsMode, Protocol


class Egress(msgspec.Struct, frozen=True, cache_hash=True):
    """What a Sidecar lets proxies know of: (namespace or `*`, host or pattern) pairs (TE3)."""

    hosts: tuple[tuple[str, str], ...]


class OutboundView(msgspec.Struct, frozen=True, cache_hash=True):
    """What every sidecar of one cluster and network sees: clusters, endpoints, outbound listeners, name table.

    `families` are the IP versions its gateways must have (SH8), empty for any. `egress` and `allow_any` are what a
    Sidecar says: which hosts, and what becomes of others (TE3). `hbone`: they make HBONE, so that they reach ambient
    workloads by it, and services through their waypoints. `node`: what the proxies of nodes see, which carry bytes for
    many pods, and speak no mutual TLS by SNI.
    """

    cluster: str
    network: str = ""
    families: tuple[int, ...] = ()
    egress: Egress | None = None
    allow_any: bool | None = None
    hbone: bool = False
    node: bool = False

    @property
    def unbound(self) -> "OutboundView":
        """The same place in the mesh without a Sidecar: what a service is does not depend on who may see it."""
        if self.egress is None and self.allow_any is None:
            return self
        return msgspec.structs.replace(self, egress=None, allow_any=None)

    def __str__(self) -> str:
        bound = f":{','.join('/'.join(pair) for pair in self.egress.hosts)}" if self.egress is not None else ""
        hbone = "+node" if self.node else "+hbone" if self.hbone else ""
        return f"outbound:{self.cluster}/{self.network}{hbone}{bound}"


class NamespaceView(msgspec.Struct, frozen=True, cache_hash=True):
    """What differs by the client's namespace: routes (short names), destinations with rules of that namespace."""

    view: OutboundView
    namespace: str

    def __str__(self) -> str:
        return f"namespace:{self.view.cluster}/{self.view.network}/{self.namespace}"


class ClientView(msgspec.Struct, frozen=True, cache_hash=True):
    """What differs by the client's labels: hosts whose VirtualService has sourceLabels. Only these labels are here."""

    view: NamespaceView
    labels: Labels

    def __str__(self) -> str:
        labels = ",".join(f"{name}={value}" for name, value in self.labels)
        return f"client:{self.view.view.cluster}/{self.view.namespace}/{labels}"


class LocalityView(msgspec.Struct, frozen=True, cache_hash=True):
    """What differs by the client's place: endpoints of services that prefer near ones (LB2-LB5).

    `place` are the values of the labels that decide for these services, so that a proxy has one such view for each
    set of labels in use. Its rules are those of a namespace, or the public ones; for a gateway that opens what it
    gets, those of the gateway's.
    """

    view: "NamespaceView | OutboundView | RouterView | WaypointView"
    place: Labels

    def __str__(self) -> str:
        return f"locality:{str(self.view).partition(':')[2]}/" + ",".join(value for _, value in self.place)


class NodeView(msgspec.Struct, frozen=True, cache_hash=True):
    """What differs by the client's node: endpoints of services that stay on it (SH19)."""

    view: OutboundView
    node: str

    def __str__(self) -> str:
        return f"node:{self.view.cluster}/{self.node}"


class InboundPort(msgspec.Struct, frozen=True):
    """One workload port that a service names: number in the workload, what it speaks, which peers it takes."""

    port: int
    protocol: Protocol
    mode: MtlsMode


class InboundProfile(msgspec.Struct, frozen=True, cache_hash=True):
    """How workloads receive: their ports, the mode of all other ports, and the policies that say who may call.

    `hbone`: by HBONE, too.
    """

    ports: tuple[InboundPort, ...] = ()
    mode: MtlsMode = MtlsMode.PERMISSIVE
    policies: tuple[PolicyKey, ...] = ()
    hbone: bool = False

    def __str__(self) -> str:
        ports = ",".join(f"{port.port}/{port.protocol}/{port.mode}" for port in self.ports)
        policies = "".join(f":{namespace}/{name}" for namespace, name in self.policies)
        return f"inbound:{ports}:{self.mode}{policies}{'+hbone' if self.hbone else ''}"


class TunnelEnd(msgspec.Struct, frozen=True, cache_hash=True):
    """What may be asked for in HBONE at one workload: its own addresses, and the services it belongs to.

    `hosts` are (host, service port, workload port). Anything else is refused, so that nobody is led on from here.
    """

    addresses: tuple[str, ...]
    hosts: tuple[tuple[str, int, int], ...] = ()

    def __str__(self) -> str:
        return f"tunnel:{','.join(self.addresses)}"


class RouterView(msgspec.Struct, frozen=True, cache_hash=True):
    """What a gateway serves: the servers that select it, seen from its cluster and network (SN5, SH24).

    What others export counts as it does for the gateway's namespace (SN6). `egress_ports`: where it listens to its
    own cluster's pods, to lead them to other clusters. `policies` say who may come in by servers that VirtualServices
    lead on from; what is passed on by SNI alone is judged at the workload.
    """

    cluster: str
    network: str = ""
    network_view: tuple[str, ...] = ()
    servers: tuple[GatewayServer, ...] = ()
    families: tuple[int, ...] = ()
    namespace: str = ""
    egress_ports: tuple[int, ...] = ()
    policies: tuple[PolicyKey, ...] = ()

    def __str__(self) -> str:
        ports = ",".join(f"{server.port}/{server.tls_mode}" for server in self.servers)
        return f"router:{self.cluster}/{self.network}:{ports}"


class NodePods(msgspec.Struct, frozen=True, cache_hash=True):
    """What only the proxy of one node has: the listeners of its pods, in network namespaces below `netns_dir`."""

    cluster: str
    node: str
    netns_dir: str

    def __str__(self) -> str:
        return f"pods:{self.cluster}/{self.node}"


class WaypointView(msgspec.Struct, frozen=True, cache_hash=True):
    """What a waypoint serves: the services that go through it, and where these may lead. `view` is where it stands."""

    view: OutboundView
    namespace: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of its Gateway."""
        return (self.namespace, self.name)

    def __str__(self) -> str:
        return f"waypoint:{self.view.cluster}/{self.view.network}/{self.namespace}/{self.name}"


class WorkloadView(msgspec.Struct, frozen=True, cache_hash=True):
    """What every ztunnel of one cluster and network knows: workloads, services and policies, of all namespaces."""

    cluster: str
    network: str = ""

    def __str__(self) -> str:
        return f"workloads:{self.cluster}/{self.network}"


Scope = (
    OutboundView
    | NamespaceView
    | ClientView
    | LocalityView
    | NodeView
    | InboundProfile
    | TunnelEnd
    | NodePods
    | RouterView
    | WaypointView
    | WorkloadView
)
