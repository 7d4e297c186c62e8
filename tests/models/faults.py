"""What is lost with what: calls over an example on paper, followed hop by hop while parts of it are dead.

Proxies hold what they held before the fault and notice by themselves which endpoints do not answer: whatever is still
answered then needs nobody to tell them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from isthmus.envoy.match import Connection
from tests.models.ambient import PaperCaptured
from tests.models.follow import Follower, Ways
from tests.models.paper import Paper
from tests.models.proxies import PaperProxy


@dataclass(frozen=True)
class Fault:
    """Parts that are dead: API servers, gateways and waypoints by cluster, control planes by name, nodes, their proxies
    of ambient pods, links of networks, and all pods of a cluster with an `app` label.

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
    node_proxies: frozenset[tuple[str, str]] = frozenset()
    waypoints: frozenset[str] = frozenset()


NOTHING = Fault("nothing")


def faults(paper: Paper) -> dict[str, list[Fault]]:
    """Every single fault of an example, by kind."""
    world = paper.world
    gateways = {one.cluster for one in paper.gateways.values()}
    links = [tuple(sorted(pair)) for pair in combinations((n.name for n in world.networks), 2)]
    nodes = [(c.name, n.name) for c in world.clusters for n in c.nodes]
    nodes += [(m.cluster, m.name) for m in world.machines if m.group]
    found = {
        "API server": [Fault(c.name, c.name, api_servers=frozenset({c.name})) for c in world.clusters],
        "control plane": [Fault(p.name, p.cluster, planes=frozenset({p.name})) for p in world.control_planes],
        "gateway": [Fault(name, name, gateways=frozenset({name})) for name in sorted(gateways)],
        "link": [Fault(f"{a} - {b}", links=frozenset({(a, b)})) for a, b in links],
        "node": [Fault(f"{c}/{n}", c, nodes=frozenset({(c, n)})) for c, n in nodes],
        "cluster": [lost_cluster(paper, c.name) for c in world.clusters],
    }
    if paper.nodes:
        found["node proxy"] = [Fault(f"{c}/{n}", c, node_proxies=frozenset({(c, n)})) for c, n in sorted(paper.nodes)]
    if waypoints := sorted({one.cluster for one in paper.proxies.values() if one.is_waypoint}):
        found["waypoint"] = [Fault(name, name, waypoints=frozenset({name})) for name in waypoints]
    return found


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
        if one.is_waypoint and one.cluster in self.fault.waypoints:
            return False
        app = one.pod["metadata"]["labels"].get("app", "")
        if (one.cluster, one.node) in self.fault.nodes or (one.cluster, app) in self.fault.apps:
            return False
        return not (one.wan and one.cluster in self.fault.gateways)

    def speaks(self, one: PaperProxy) -> bool:
        """Whether somebody speaks for that workload: an ambient pod is mute without the proxy of its node."""
        return not (isinstance(one, PaperCaptured) and (one.cluster, one.node) in self.fault.node_proxies)

    def ways(self) -> dict[str, Ways]:
        """Who answers, by the caller's cluster."""
        return {client.cluster: self.call(client) for client in self.clients()}

    def joined(self, here: str, there: str) -> bool:
        """Whether two networks reach each other."""
        return (min(here, there), max(here, there)) not in self.fault.links

    def call(self, client: PaperProxy) -> Ways:
        """Every way that calls of one workload take once its proxy has noticed what is dead."""
        if not self.speaks(client):
            return {}
        connection = Connection(address=client.resolve(self.host), port=self.port, http="http/1.1")
        follower = Follower(self.paper, self.host, lambda one: self.alive(one) and self.speaks(one), self.joined)
        return follower.call(client, connection)
