"""What is lost with what: calls over an example on paper, followed hop by hop while parts of it are dead.

Proxies hold what they held before the fault and notice by themselves which endpoints do not answer: whatever is still
answered then needs nobody to tell them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from isthmus.envoy.match import ClientTls, Connection, Target
from tests.models.paper import Paper, PaperProxy

_MTLS_PORTS = (15443, 15445)


@dataclass(frozen=True)
class Fault:
    """Parts that are dead: API servers and gateways by cluster, control planes by name, nodes, links of networks,
    and all pods of a cluster with an `app` label.

    `cluster` is the one where the dead part is, if it is in one.
    """

    name: str = ""
    cluster: str = ""
    api_servers: frozenset[str] = frozenset()
    planes: frozenset[str] = frozenset()
    gateways: frozenset[str] = frozenset()
    nodes: frozenset[tuple[str, str]] = frozenset()
    links: frozenset[tuple[str, str]] = frozenset()
    apps: frozenset[tuple[str, str]] = frozenset()


NOTHING = Fault("nothing")


def faults(paper: Paper) -> dict[str, list[Fault]]:
    """Every single fault of an example, by kind."""
    world = paper.world
    gateways = {one.cluster for one in paper.gateways.values()}
    links = [tuple(sorted(pair)) for pair in combinations((n.name for n in world.networks), 2)]
    nodes = [(c.name, n.name) for c in world.clusters for n in c.nodes]
    nodes += [(m.cluster, m.name) for m in world.machines if m.group]
    return {
        "API server": [Fault(c.name, c.name, api_servers=frozenset({c.name})) for c in world.clusters],
        "control plane": [Fault(p.name, p.cluster, planes=frozenset({p.name})) for p in world.control_planes],
        "gateway": [Fault(name, name, gateways=frozenset({name})) for name in sorted(gateways)],
        "link": [Fault(f"{a} - {b}", links=frozenset({(a, b)})) for a, b in links],
        "node": [Fault(f"{c}/{n}", c, nodes=frozenset({(c, n)})) for c, n in nodes],
        "cluster": [lost_cluster(paper, c.name) for c in world.clusters],
    }


def lost_cluster(paper: Paper, name: str) -> Fault:
    """Everything of a cluster at once."""
    world = paper.world
    return Fault(
        name,
        name,
        api_servers=frozenset({name}),
        planes=frozenset(p.name for p in world.control_planes if p.cluster == name),
        gateways=frozenset({name}),
        nodes=frozenset((name, node.name) for node in world.cluster(name).nodes),
    )


@dataclass(frozen=True)
class Way:
    """How a call ends: which cluster answers, through the gateways of which clusters, shown which identity."""

    cluster: str
    gateways: tuple[str, ...] = ()
    identity: str = ""


Ways = dict[Way, float]
"""Each way with its share of the calls; nothing: no call is answered."""


@dataclass
class Survey:
    """Calls of one workload of each cluster to one service, under a fault."""

    paper: Paper
    host: str = "helloworld.sample"
    port: int = 5000
    app: tuple[str, str] = ("sample", "sleep")
    fault: Fault = field(default=NOTHING)

    def clients(self) -> Iterator[PaperProxy]:
        """The living callers, one in each cluster."""
        seen = set()
        for one in self.paper.proxies.values():
            meta = one.pod["metadata"]
            if (meta["namespace"], meta["labels"].get("app")) == self.app and self.alive(one):
                if one.cluster not in seen:
                    yield one
                seen.add(one.cluster)

    def alive(self, one: PaperProxy) -> bool:
        """Whether that proxy runs."""
        app = one.pod["metadata"]["labels"].get("app", "")
        if (one.cluster, one.node) in self.fault.nodes or (one.cluster, app) in self.fault.apps:
            return False
        return not (one.wan and one.cluster in self.fault.gateways)

    def ways(self) -> dict[str, Ways]:
        """Who answers, by the caller's cluster."""
        return {client.cluster: self.call(client) for client in self.clients()}

    def call(self, client: PaperProxy) -> Ways:
        """Every way that calls of one workload take once its proxy has noticed what is dead."""
        host = self.host
        config = client.config
        connection = Connection(address=client.resolve(host), port=self.port, http="http/1.1")
        found: dict[tuple[str, int], Ways] = {}
        for target in config.leaving(connection, host=host).targets:
            found[target.address, target.port] = self._follow(client, client, target, ())
        left = config.without(lambda member: not found[member.address, member.port])
        return _mixed(found, left.leaving(connection, host=host).targets)

    def _follow(self, client: PaperProxy, hop: PaperProxy, target: Target, path: tuple[str, ...]) -> Ways:
        server = self.paper.proxies.get((hop.network, target.address))
        gateway = self.paper.gateways.get(target.address) or server
        if gateway is not None and gateway.wan and target.port in _MTLS_PORTS:
            return self._pass(client, hop, gateway, target, path)
        if server is None or not self.alive(server):
            return {}
        arrived = server.config.arriving(_hello(target, client.identity), at=15006, host=self.host, path="/hello")
        if arrived.closed:
            return {}
        tls = arrived.server_tls
        identity = client.identity if tls is not None and tls.client_certificate else ""
        if identity and tls is not None and not identity.startswith(tls.peer_prefixes):
            return {}
        return {Way(server.cluster, path, identity): 1.0}

    def _pass(
        self, client: PaperProxy, hop: PaperProxy, gateway: PaperProxy, target: Target, path: tuple[str, ...]
    ) -> Ways:
        pair = (min(hop.network, gateway.network), max(hop.network, gateway.network))
        if not self.alive(gateway) or pair in self.fault.links:
            return {}
        hello = _hello(target, client.identity)
        found: dict[tuple[str, int], Ways] = {}
        for behind in gateway.config.arriving(hello, at=target.port).targets:
            through = _with_tls(behind, target.tls)
            found[behind.address, behind.port] = self._follow(client, gateway, through, (*path, gateway.cluster))
        left = gateway.config.without(lambda member: not found[member.address, member.port])
        return _mixed(found, left.arriving(hello, at=target.port).targets)


def _mixed(found: dict[tuple[str, int], Ways], targets: tuple[Target, ...]) -> Ways:
    mixed: Counter[Way] = Counter()
    for target in targets:
        for way, share in found[target.address, target.port].items():
            mixed[way] += share * target.share  # type: ignore[assignment]
    return {way: share for way, share in mixed.items() if share > 0}


def _hello(target: Target, peer: str) -> Connection:
    """The first bytes that a target is sent, with the caller's certificate if they are TLS."""
    tls = target.tls
    if tls is None:
        return Connection(address=target.address, port=target.port, http="http/1.1")
    return Connection(address=target.address, port=target.port, tls=True, sni=tls.sni, alpn=tls.alpn, peer=peer)


def _with_tls(target: Target, tls: ClientTls | None) -> Target:
    """A gateway passes bytes on: the client's TLS goes through to the server."""
    return Target(address=target.address, port=target.port, share=target.share, priority=target.priority, tls=tls)
