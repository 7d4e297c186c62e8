"""Calls followed hop by hop through what proxies hold, with and without tunnels, while parts are dead.

A proxy notices which of the endpoints that it may choose do not answer, whatever is dead further on: shares then move
as Envoy moves them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.envoy.match import ClientTls, Config, Connection, Target, Verdict
from isthmus.envoy.naming import CONNECT_ORIGINATE, INNER_CONNECT_ORIGINATE
from isthmus.envoy.tunnels import FROM_WAYPOINT, SOURCE_HEADER, TO_GATEWAY, TO_HBONE
from tests.models.paper import Paper
from tests.models.proxies import PaperProxy

_MTLS_PORTS = (15443, 15445)
_TUNNELS = (TO_HBONE, CONNECT_ORIGINATE)
_DOUBLE_TUNNELS = (TO_GATEWAY, INNER_CONNECT_ORIGINATE)


@dataclass(frozen=True)
class Way:
    """How a call ends: which cluster answers, through the gateways of which clusters, shown which identity.

    `waypoints` are the clusters whose waypoints it went through. The identity is that of the last of these.
    """

    cluster: str
    gateways: tuple[str, ...] = ()
    identity: str = ""
    waypoints: tuple[str, ...] = ()


Ways = dict[Way, float]
"""Each way with its share of the calls; nothing: no call is answered."""

Key = tuple[str, int, str]


@dataclass(frozen=True)
class Hop:
    """Where a call is: at a proxy, under an identity, after gateways and waypoints."""

    proxy: PaperProxy
    identity: str
    gateways: tuple[str, ...] = ()
    waypoints: tuple[str, ...] = ()

    def through(self, gateway: PaperProxy) -> "Hop":
        """The same call, led on by a gateway: whose it is stays the same."""
        return Hop(gateway, self.identity, (*self.gateways, gateway.cluster), self.waypoints)

    def by(self, waypoint: PaperProxy) -> "Hop":
        """The call that a waypoint makes of it."""
        return Hop(waypoint, waypoint.identity, self.gateways, (*self.waypoints, waypoint.cluster))


@dataclass(frozen=True)
class Follower:
    """Follows calls for `host`. `alive` says which proxies run, `joined` which networks reach each other."""

    paper: Paper
    host: str
    alive: Callable[[PaperProxy], bool]
    joined: Callable[[str, str], bool]

    def call(self, client: PaperProxy, connection: Connection) -> Ways:
        """Every way that calls of one workload take once all have noticed what is dead."""
        hop = Hop(client, client.identity)
        return self._ways(hop, lambda config: client.leaving(config, connection, self.host), self._target)

    def _ways(self, hop: Hop, verdict: Callable[[Config], Verdict], follow: Callable[[Hop, Target], Ways]) -> Ways:
        found: dict[Key, Ways] = {}
        config = hop.proxy.config
        for target in verdict(config).targets:
            found[target.address, target.port, target.tunnel] = follow(hop, target)
        left = config.without(lambda member: not found[member.address, member.port, member.tunnel])
        mixed: Counter[Way] = Counter()
        for target in verdict(left).targets:
            for way, share in found[target.address, target.port, target.tunnel].items():
                mixed[way] += share * target.share  # type: ignore[assignment]
        return {way: share for way, share in mixed.items() if share > 0}

    def _target(self, hop: Hop, target: Target) -> Ways:
        name, _, waypoint = target.tunnel.partition(";")
        if name in _TUNNELS:
            at = waypoint.rpartition(":")[0] or target.address
            return self._tunnel(hop, at, _authority(target), target.peers)
        if name in _DOUBLE_TUNNELS:
            return self._double_tunnel(hop, target)
        return self._direct(hop, target)

    # -- HBONE ----------------------------------------------------------------------------------------------------

    def _tunnel(self, hop: Hop, address: str, authority: str, peers: tuple[str, ...]) -> Ways:
        """A tunnel to whoever is at an address of the hop's network, who must be one of these."""
        server = self.paper.proxies.get((hop.proxy.network, address))
        if server is None or not self.alive(server) or server.identity not in peers:
            return {}
        if server.is_waypoint:
            inside = hop.by(server)
            return self._ways(
                inside, lambda config: server.tunnelled(config, authority, hop.identity, self.host), self._target
            )
        if server.tunnelled(server.config, authority, hop.identity, self.host).closed:
            return {}
        return {Way(server.cluster, hop.gateways, hop.identity, hop.waypoints): 1.0}

    def _double_tunnel(self, hop: Hop, target: Target) -> Ways:
        """The outer tunnel ends at a gateway, the inner one where that leads."""
        gateway = self.paper.gateways.get(target.address)
        if gateway is None or not self._entered(hop, gateway):
            return {}
        outer = Connection(address=target.address, port=target.port, tls=True, alpn=("h2",), peer=hop.identity)
        headers = {SOURCE_HEADER.replace("-", "_"): FROM_WAYPOINT} if hop.proxy.is_waypoint else {}

        def passed(config: Config) -> Verdict:
            return config.arriving(outer, at=target.port, host=target.authority, path="", **headers, method="CONNECT")

        def behind(here: Hop, found: Target) -> Ways:
            return self._tunnel(here, found.address, target.authority, target.peers)

        return self._ways(hop.through(gateway), passed, behind)

    def _entered(self, hop: Hop, gateway: PaperProxy) -> bool:
        return self.alive(gateway) and self.joined(hop.proxy.network, gateway.network)

    # -- mutual TLS of sidecars -----------------------------------------------------------------------------------

    def _direct(self, hop: Hop, target: Target) -> Ways:
        server = self.paper.proxies.get((hop.proxy.network, target.address))
        gateway = self.paper.gateways.get(target.address) or server
        if gateway is not None and gateway.wan and target.port in _MTLS_PORTS:
            return self._pass(hop, gateway, target)
        if server is None or not self.alive(server):
            return {}
        arrived = server.arriving(_hello(target, hop.identity), self.host)
        if arrived.closed:
            return {}
        tls = arrived.server_tls
        identity = hop.identity if tls is not None and tls.client_certificate else ""
        if identity and tls is not None and not identity.startswith(tls.peer_prefixes):
            return {}
        return {Way(server.cluster, hop.gateways, identity, hop.waypoints): 1.0}

    def _pass(self, hop: Hop, gateway: PaperProxy, target: Target) -> Ways:
        if not self._entered(hop, gateway):
            return {}
        hello = _hello(target, hop.identity)
        return self._ways(
            hop.through(gateway),
            lambda config: config.arriving(hello, at=target.port),
            lambda here, behind: self._direct(here, _with_tls(behind, target.tls)),
        )


def _authority(target: Target) -> str:
    return f"{target.address}:{target.port}"


def _hello(target: Target, peer: str) -> Connection:
    """The first bytes that a target is sent, with the caller's certificate if they are TLS."""
    tls = target.tls
    if tls is None:
        return Connection(address=target.address, port=target.port, http="http/1.1")
    return Connection(address=target.address, port=target.port, tls=True, sni=tls.sni, alpn=tls.alpn, peer=peer)


def _with_tls(target: Target, tls: ClientTls | None) -> Target:
    """A gateway passes bytes on: the client's TLS goes through to the server."""
    return Target(address=target.address, port=target.port, share=target.share, priority=target.priority, tls=tls)
