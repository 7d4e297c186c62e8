"""What Envoy does with a connection, read from the resources it holds: listener, chain, route, cluster, endpoint.

Pure, and independent of the builders: it sees only bytes, as Envoy does. Tests use it to say "a call from here to
there takes this gateway with this SNI", and explaining a call walks it hop by hop. Rules are those of Envoy's
documentation of filter chain matching and of virtual host domains.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Self

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from isthmus.envoy import match_rbac, match_routes
from isthmus.envoy.build import Message
from isthmus.envoy.spread import Gone, nothing_gone, place_of, spread
from isthmus.model.mesh import MAPPED
from isthmus.xds.resource import CDS, EDS, LDS, RDS, XdsResource

HCM = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
TLS = "envoy.transport_sockets.tls"
CONNECT_TERMINATE = "connect_terminate"
HBONE_PORT = 15008


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """What can be known of a connection when it arrives: where it was meant to go, and its first bytes.

    `http` is what the bytes are where no TLS hides it: "http/1.1", "h2c", or empty for anything else. `peer` is the
    SPIFFE ID in the caller's certificate, if it shows one; `source` its address. `tunnel` is the ID of who opened
    the tunnel that it came out of.
    """

    address: str
    port: int
    tls: bool = False
    sni: str = ""
    alpn: tuple[str, ...] = ()
    http: str = ""
    peer: str = ""
    source: str = ""
    tunnel: str = ""


class ClientTls(msgspec.Struct, frozen=True):
    """What the proxy offers and demands as a client of mesh mTLS."""

    sni: str
    alpn: tuple[str, ...]
    peers: tuple[str, ...]
    peer_prefixes: tuple[str, ...] = ()


class ServerTls(msgspec.Struct, frozen=True):
    """What the proxy demands as a server: a certificate, and the prefixes one of which its URI must have."""

    client_certificate: bool
    peer_prefixes: tuple[str, ...]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One place the connection may go: `share` of all such connections, from 0 to 1, with what is gone left out.

    `locality` is region/zone/sub-zone as the assignment has it. `tunnel` is the internal listener that takes it there,
    behind a `;` the waypoint where that ends instead; `peers` are the identities one of which must be at its end.
    `authority` is what is asked for beyond a gateway.
    """

    address: str
    port: int
    share: float
    priority: int = 0
    locality: str = ""
    tls: ClientTls | None = None
    cluster: str = ""
    network: str = ""
    workload: str = ""
    tunnel: str = ""
    peers: tuple[str, ...] = ()
    authority: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What happens. `closed` says why nothing does; otherwise a cluster takes the connection or its requests.

    Where several share them, `cluster` is the first, and `clusters` has all with their shares.
    """

    listener: str = ""
    chain: str = ""
    closed: str = ""
    route: str = ""
    virtual_host: str = ""
    cluster: str = ""
    clusters: tuple[tuple[str, float], ...] = ()
    server_tls: ServerTls | None = None
    targets: tuple[Target, ...] = ()


class Config:
    """What one proxy holds, decoded when looked at, and what it noticed to be gone."""

    def __init__(self, resources: Mapping[str, Mapping[str, XdsResource]], gone: Gone = nothing_gone) -> None:
        self._resources = resources
        self._gone = gone

    def without(self, gone: Gone) -> Self:
        """The same proxy once it knows that these endpoints do not answer: shares move as Envoy moves them.

        `config.without(lambda m: m.network == "net-west").leaving(call)` says where calls go without that network.
        See `spread` for the rules; several losses are one predicate. Endpoints that are gone stay with share 0.
        """
        return type(self)(self._resources, gone)

    @cached_property
    def listeners(self) -> dict[str, Message]:
        """The listeners by name."""
        found = self._resources.get(LDS, {})
        return {name: listener_pb2.Listener.FromString(one.body) for name, one in found.items()}

    def _decoded(self, type_url: str, name: str, kind: Any) -> Message | None:
        one = self._resources.get(type_url, {}).get(name)
        return None if one is None else kind.FromString(one.body)

    def cluster(self, name: str) -> Message | None:
        """A cluster."""
        return self._decoded(CDS, name, cluster_pb2.Cluster)

    def assignment(self, name: str) -> Message | None:
        """A load assignment."""
        return self._decoded(EDS, name, endpoint_pb2.ClusterLoadAssignment)

    def routes(self, name: str) -> Message | None:
        """A route configuration."""
        return self._decoded(RDS, name, route_pb2.RouteConfiguration)

    # -- outcomes -------------------------------------------------------------------------------------------------

    def leaving(self, connection: Connection, *, host: str = "", path: str = "/", **headers: str) -> Verdict:
        """What happens to a connection of the workload, captured on its way out; `host` is that of an HTTP request.

        `headers` are further ones, with `_` for `-`; `method` is the request's.
        """
        listener = self._outbound_listener(connection)
        if listener is None:
            return Verdict(closed="no listener takes what leaves")
        return self._through(listener, connection, _headers(host, path, headers))

    def arriving(
        self, connection: Connection, *, host: str = "", path: str = "/", at: int = 0, **headers: str
    ) -> Verdict:
        """What happens to a connection that comes in: on the listening port `at`, or on the one it was meant for."""
        for listener in self.listeners.values():
            place = listener.address.socket_address
            if place.port_value == (at or connection.port) and bound(listener):
                return self._through(listener, connection, _headers(host, path, headers))
        return Verdict(closed=f"nothing listens on port {at or connection.port}")

    def tunnelled(
        self, authority: str, peer: str, *, source: str = "", host: str = "", path: str = "/", **headers: str
    ) -> Verdict:
        """What happens to what `peer` sends through a tunnel that it asks `authority` for, at the proxy's own port."""
        listener = self.listeners.get(CONNECT_TERMINATE)
        if listener is None:
            return Verdict(closed="no HBONE is taken")
        (chain,) = listener.filter_chains
        outer = Connection(address="", port=HBONE_PORT, tls=True, peer=peer)
        if closed := _refused_peer(_server_tls(chain), outer):
            return Verdict(listener=listener.name, closed=closed)
        manager = hcm_pb2.HttpConnectionManager.FromString(chain.filters[-1].typed_config.value)
        config = self.routes(manager.rds.route_config_name)
        virtual_host = select_virtual_host(config, authority) if config is not None else None
        if virtual_host is None:
            return Verdict(listener=listener.name, closed=f"404: {authority} is not taken")
        cluster = self.cluster(virtual_host.routes[0].route.cluster)
        if cluster is None:
            return Verdict(listener=listener.name, closed=f"no cluster {virtual_host.routes[0].route.cluster}")
        member = cluster.load_assignment.endpoints[0].lb_endpoints[0]
        inside = self.listeners.get(member.endpoint.address.envoy_internal_address.server_listener_name)
        if inside is None:
            return Verdict(listener=listener.name, closed="the internal listener is not there")
        known = dict(member.metadata.filter_metadata.get("envoy.filters.listener.original_dst", {}).items())
        address, _, port = str(known.get("local", authority)).rpartition(":")
        inner = Connection(address=address.strip("[]"), port=int(port), http="http/1.1", tunnel=peer, source=source)
        return self._through(inside, inner, _headers(host, path, headers))

    def _outbound_listener(self, connection: Connection) -> Message | None:
        """The capture listener hands over to the most specific listener of the original address (use_original_dst)."""
        for address in (connection.address, "0.0.0.0"):
            for listener in self.listeners.values():
                place = listener.address.socket_address
                if not bound(listener) and (place.address, place.port_value) == (address, connection.port):
                    return listener
        return next((one for one in self.listeners.values() if one.use_original_dst.value), None)

    def _through(self, listener: Message, connection: Connection, headers: Mapping[str, str]) -> Verdict:
        chain = select_chain(listener, connection)
        if chain is None:
            return Verdict(listener=listener.name, closed="no filter chain matches")
        verdict = Verdict(listener=listener.name, chain=chain.name, server_tls=_server_tls(chain))
        if closed := _refused_peer(verdict.server_tls, connection):
            return msgspec.structs.replace(verdict, closed=closed)
        asked = _asked(connection, verdict.server_tls)
        if (rule := match_rbac.refusal(chain.filters, asked)) is not None:
            return msgspec.structs.replace(verdict, closed=f"RBAC: {rule}")
        for network_filter in chain.filters:
            if network_filter.name == TCP_PROXY:
                proxy = tcp_proxy_pb2.TcpProxy.FromString(network_filter.typed_config.value)
                return self._reach(verdict, match_routes.split(proxy), connection)
            if network_filter.name == HCM:
                return self._request(verdict, network_filter, connection, headers)
        return msgspec.structs.replace(verdict, closed="the filter chain goes nowhere")

    def _request(
        self, verdict: Verdict, network_filter: Message, connection: Connection, headers: Mapping[str, str]
    ) -> Verdict:
        manager = hcm_pb2.HttpConnectionManager.FromString(network_filter.typed_config.value)
        asked = msgspec.structs.replace(_asked(connection, verdict.server_tls), headers=headers)
        config = (
            manager.route_config if manager.HasField("route_config") else self.routes(manager.rds.route_config_name)
        )
        if config is None:
            return msgspec.structs.replace(verdict, closed=f"no routes {manager.rds.route_config_name}")
        virtual_host = select_virtual_host(config, headers[":authority"])
        if virtual_host is None:
            return msgspec.structs.replace(verdict, closed=f"404: no virtual host for {headers[':authority']}")
        for route in virtual_host.routes:
            if match_routes.matches(route.match, headers):
                verdict = msgspec.structs.replace(verdict, virtual_host=virtual_host.name, route=route.name)
                overrides = {
                    **config.typed_per_filter_config,
                    **virtual_host.typed_per_filter_config,
                    **route.typed_per_filter_config,
                }
                if (rule := match_rbac.refusal(manager.http_filters, asked, overrides)) is not None:
                    return msgspec.structs.replace(verdict, closed=f"403: RBAC: {rule}")
                if route.HasField("direct_response"):
                    return msgspec.structs.replace(verdict, closed=f"{route.direct_response.status}: answered here")
                if route.HasField("redirect"):
                    return msgspec.structs.replace(
                        verdict, closed=f"redirected: {match_routes.redirected(route.redirect)}"
                    )
                return self._reach(verdict, match_routes.split(route.route), connection)
        return msgspec.structs.replace(verdict, closed="404: no route")

    def _reach(self, verdict: Verdict, clusters: tuple[tuple[str, float], ...], connection: Connection) -> Verdict:
        """The endpoints of all these clusters. The share of a cluster that is missing is answered 503."""
        verdict = msgspec.structs.replace(verdict, cluster=clusters[0][0], clusters=clusters)
        known = [(self.cluster(name), share) for name, share in clusters]
        if all(cluster is None for cluster, _ in known):
            return msgspec.structs.replace(verdict, closed=f"no cluster {clusters[0][0]}")
        targets = tuple(
            msgspec.structs.replace(target, share=target.share * share)
            for cluster, share in known
            if cluster is not None
            for target in self._targets(cluster, connection)
        )
        closed = "" if any(target.share for target in targets) else "no healthy upstream"
        return msgspec.structs.replace(verdict, targets=targets, closed=closed)

    def _targets(self, cluster: Message, connection: Connection) -> Iterator[Target]:
        if cluster.type == cluster_pb2.Cluster.ORIGINAL_DST:
            tls = _client_tls(cluster.transport_socket)
            yield Target(address=connection.address, port=connection.port, share=1.0, tls=tls)
            return
        assignment = cluster.load_assignment
        if cluster.type == cluster_pb2.Cluster.EDS:
            assignment = self.assignment(cluster.eds_cluster_config.service_name or cluster.name)
        if assignment is None:
            return
        sockets = _sockets(cluster, assignment)
        for one in spread(assignment, self._gone):
            member = one.member
            yield Target(
                address=member.address,
                port=member.port,
                share=one.share,
                priority=member.priority,
                locality=member.locality,
                tls=sockets[member.address, member.port, member.tunnel],
                tunnel=member.tunnel,
                cluster=member.cluster,
                network=member.network,
                workload=member.workload,
                peers=member.peers,
                authority=member.authority,
            )


def _headers(host: str, path: str, others: Mapping[str, str]) -> dict[str, str]:
    method = others.get("method", "GET")
    rest = {name.replace("_", "-").lower(): value for name, value in others.items() if name != "method"}
    return {":authority": host, ":path": path, ":method": method, **rest}


def _asked(connection: Connection, server_tls: ServerTls | None) -> match_rbac.Asked:
    return match_rbac.Asked(
        peer=connection.peer if server_tls is not None else "",
        tunnel_peer=connection.tunnel,
        source=connection.source,
        address=connection.address,
        port=connection.port,
        sni=connection.sni,
    )


def _refused_peer(server_tls: ServerTls | None, connection: Connection) -> str:
    """Why the handshake fails; a connection of unknown peer is taken to have a good one."""
    if server_tls is None or not connection.peer or connection.peer.startswith(server_tls.peer_prefixes):
        return ""
    return f"TLS: {connection.peer} is not of an accepted trust domain"


def bound(listener: Message) -> bool:
    """True if the listener has a socket of its own."""
    return not listener.HasField("bind_to_port") or bool(listener.bind_to_port.value)


def select_chain(listener: Message, connection: Connection) -> Message | None:
    """The filter chain that takes the connection.

    Criteria are looked at in Envoy's order. At each step only the chains that are most specific stay; if one of them
    does not fit a later criterion there is no way back to less specific ones, only the default chain.
    """
    inspected = {one.name for one in listener.listener_filters}
    tls = connection.tls and "envoy.filters.listener.tls_inspector" in inspected
    http = connection.http if "envoy.filters.listener.http_inspector" in inspected and not connection.tls else ""
    alpn = connection.alpn if tls else ((http,) if http else ())
    left = list(listener.filter_chains)
    left = _narrow(
        left, lambda m: m.destination_port.value if m.HasField("destination_port") else 0, [connection.port, 0]
    )
    left = _nearest(left, connection.address)
    names = [connection.sni.lower(), *_wildcards(connection.sni.lower()), ""] if tls else [""]
    left = _narrow(left, lambda m: list(m.server_names) or [""], names)
    left = _narrow(left, lambda m: m.transport_protocol, ["tls" if tls else "raw_buffer", ""])
    left = _narrow(left, lambda m: list(m.application_protocols) or [""], [*alpn, ""])
    if left:
        return left[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def _disabled(predicate: Message, port: int) -> bool:
    """True if a listener filter does not look at connections to this port."""
    match predicate.WhichOneof("rule"):
        case "destination_port_range":
            return bool(predicate.destination_port_range.start <= port < predicate.destination_port_range.end)
        case "or_match":
            return any(_disabled(rule, port) for rule in predicate.or_match.rules)
        case _:
            return False


def _narrow(chains: list[Message], value: Any, wanted: Iterable[Any]) -> list[Message]:
    """The chains that have the first of the wanted values that any has."""
    for one in wanted:
        found = []
        for chain in chains:
            has = value(chain.filter_chain_match)
            if one in has if isinstance(has, list) else one == has:
                found.append(chain)
        if found:
            return found
    return []


def _nearest(chains: list[Message], address: str) -> list[Message]:
    """The chains with the narrowest range that holds the address it was meant for; else those without ranges."""
    best: list[Message] = []
    longest = -1
    for chain in chains:
        ranges = chain.filter_chain_match.prefix_ranges
        length = max((one.prefix_len.value for one in ranges if _holds(one, address)), default=-1) if ranges else 0
        if length > longest:
            best, longest = [], length
        if length == longest >= 0:
            best.append(chain)
    return best


def _holds(one: Message, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(f"{one.address_prefix}/{one.prefix_len.value}")
    except ValueError:
        return False


def _wildcards(name: str) -> Iterator[str]:
    while "." in name:
        name = name.partition(".")[2]
        yield f"*.{name}"


def select_virtual_host(config: Message, host: str) -> Message | None:
    """The virtual host of a Host header: exact, longest suffix wildcard, longest prefix wildcard, then "*"."""
    wanted = host.lower()
    if config.ignore_port_in_host_matching:
        wanted = without_port(wanted)
    best: tuple[int, int, Message] | None = None
    for virtual_host in config.virtual_hosts:
        for domain in virtual_host.domains:
            rank = _domain_rank(domain.lower(), wanted)
            if rank is not None and (best is None or rank > best[:2]):
                best = (*rank, virtual_host)
    return None if best is None else best[2]


def _domain_rank(domain: str, host: str) -> tuple[int, int] | None:
    if domain == host:
        return (3, 0)
    if domain == "*":
        return (0, 0)
    if domain.startswith("*") and host.endswith(domain[1:]) and len(host) > len(domain) - 1:
        return (2, len(domain))
    if domain.endswith("*") and host.startswith(domain[:-1]):
        return (1, len(domain))
    return None


def without_port(host: str) -> str:
    """A Host header without its port."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() and (":" not in name or name.startswith("[")) else host


def _sockets(cluster: Message, assignment: Message) -> dict[tuple[str, int, str], ClientTls | None]:
    """How the proxy speaks to each endpoint, by what the endpoint's metadata ask for."""
    found: dict[tuple[str, int, str], ClientTls | None] = {}
    for group in assignment.endpoints:
        for one in group.lb_endpoints:
            address, port, tunnel = place_of(one.endpoint.address)
            wanted = dict(one.metadata.filter_metadata.get("envoy.transport_socket_match", {}).items())
            key = (address.removeprefix(MAPPED), port, tunnel)
            found.setdefault(key, _client_tls(_socket(cluster, wanted)))
    return found


def _socket(cluster: Message, wanted: dict[str, Any]) -> Message:
    for match in cluster.transport_socket_matches:
        if all(wanted.get(key) == value for key, value in dict(match.match).items()):
            return match.transport_socket
    return cluster.transport_socket


def _client_tls(socket: Message) -> ClientTls | None:
    if socket.name != TLS:
        return None
    context = tls_pb2.UpstreamTlsContext.FromString(socket.typed_config.value)
    exact, prefixes = _peers(context.common_tls_context)
    return ClientTls(context.sni, tuple(context.common_tls_context.alpn_protocols), exact, prefixes)


def _server_tls(chain: Message) -> ServerTls | None:
    if chain.transport_socket.name != TLS:
        return None
    context = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    return ServerTls(bool(context.require_client_certificate.value), _peers(context.common_tls_context)[1])


def _peers(context: Message) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The exact names and the prefixes that a peer's certificate may have."""
    validation = context.combined_validation_context.default_validation_context
    matchers = [one.matcher for one in validation.match_typed_subject_alt_names]
    exact = tuple(matcher.exact for matcher in matchers if matcher.exact)
    return exact, tuple(matcher.prefix for matcher in matchers if matcher.prefix)
