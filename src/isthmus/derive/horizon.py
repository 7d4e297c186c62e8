"""Split horizon: which endpoints a view may use, directly or through the gateways of their network (SH1-SH27).

Where Isthmus differs from Istio, on purpose:
* Weights are exact. Each remote endpoint's weight is shared among the gateways that lead to it in whole numbers,
  scaled by the least common multiple of the gateway counts that this service uses (Istio rounds, SH4), and a gateway
  appears once, not once for each locality (SH5).
* An endpoint in another named network that has no gateway is never sent as if it were near (SH1, SH9): its address
  means something else here when ranges overlap. It is hidden and reported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import lcm

import msgspec

from isthmus.derive.networks import family
from isthmus.derive.standing import StandingOf, Standings, in_full_use
from isthmus.model.mesh import Assignment, Endpoint, Hidden, LbEndpoint, NetworkGateway
from isthmus.model.rows import Locality

Gateways = tuple[NetworkGateway, ...]
GatewaysOf = Callable[[str], Gateways]

NOT_MTLS = "not-mtls"
NO_GATEWAY = "no-gateway"
GATEWAY_FAMILY = "gateway-family"

MAX_SCALE = 1_000_000
"""Weights of one service stay below this many times its endpoints, whatever the numbers of gateways."""


class Horizon(msgspec.Struct, frozen=True):
    """Where the view stands: its network, the IP families its gateways must have (SH8), and limits on what it sees.

    `networks`: only endpoints of these networks or of none (SH24). `mtls_only`: SNI-DNAT clusters (SH27).
    `only_cluster`: endpoints of no other cluster (CL4), `only_node`: of no other node (SH19).
    `locality`: prefer what is near it (LB2, LB3). `home`: its own cluster, where that is not in full use.
    """

    network: str = ""
    families: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()
    mtls_only: bool = False
    only_cluster: str = ""
    only_node: str = ""
    locality: Locality | None = None
    home: str = ""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An endpoint with the workload port that serves, and whether clients speak mesh mTLS to it (SH13)."""

    endpoint: Endpoint
    port: int
    mtls: bool


Usable = tuple[Candidate, Gateways | None]
"""An endpoint that the view can use, and the gateways that lead there; None: directly."""


def assign(
    horizon: Horizon,
    candidates: Iterable[Candidate],
    gateways_of: GatewaysOf,
    standing_of: StandingOf = in_full_use,
) -> Assignment:
    """The members of a load assignment: direct endpoints first, then gateways, each with its exact weight."""
    hidden: Counter[tuple[str, str, str]] = Counter()
    standings = Standings(standing_of, home=horizon.home, passes_on=horizon.mtls_only)
    usable = standings.remaining(list(_usable(horizon, candidates, gateways_of, hidden)), _cluster_of)
    direct = [candidate for candidate, route in usable if route is None]
    remote: dict[Gateways, list[Endpoint]] = {}
    for candidate, route in usable:
        if route is not None:
            remote.setdefault(route, []).append(candidate.endpoint)
    order = Order(Ranking(horizon.locality), standings, (candidate.endpoint for candidate, _ in usable))
    once = {(candidate.endpoint.address, candidate.port): candidate for candidate in reversed(direct)}
    scale = _scale(remote)
    members = [_direct(candidate, scale, order) for candidate in once.values()]
    members.extend(_through(remote, scale, order))
    members = compacted(members)
    members.sort(key=_order)
    return Assignment(
        tuple(members), tuple(Hidden(reason, cluster, net, n) for (reason, cluster, net), n in sorted(hidden.items()))
    )


def _cluster_of(usable: Usable) -> str:
    return usable[0].endpoint.cluster


def _usable(
    horizon: Horizon,
    candidates: Iterable[Candidate],
    gateways_of: GatewaysOf,
    hidden: Counter[tuple[str, str, str]],
) -> Iterator[Usable]:
    """What the view can use; the rest that it might have expected to is counted in `hidden`."""
    routes: dict[tuple[str, str], Gateways | None] = {}
    for candidate in candidates:
        endpoint = candidate.endpoint
        if not endpoint.ready or not _in_sight(horizon, candidate):
            continue
        where = (endpoint.network, endpoint.cluster)
        if where not in routes:
            routes[where] = _route(horizon, endpoint, gateways_of)
        route = routes[where]
        if route is None:
            yield candidate, None
        elif not candidate.mtls:
            hidden[NOT_MTLS, endpoint.cluster, endpoint.network] += 1
        elif not route:
            reason = GATEWAY_FAMILY if gateways_of(endpoint.network) else NO_GATEWAY
            hidden[reason, endpoint.cluster, endpoint.network] += 1
        else:
            yield candidate, route


def _order(member: LbEndpoint) -> tuple[int, bool, Locality, str, int]:
    return (member.priority, member.gateway, member.locality, member.address, member.port)


class Ranking:
    """How far a locality is from here: 0 same sub-zone, 1 same zone, 2 same region, 3 elsewhere (LB3)."""

    def __init__(self, here: Locality | None) -> None:
        self._here = here

    def of(self, where: Locality) -> int:
        """The rank of a locality; everything is equally near where nobody asked."""
        here = self._here
        if here is None:
            return 0
        if not where.region or where.region != here.region:
            return 3
        if where.zone != here.zone:
            return 2
        return 0 if where.subzone == here.subzone else 1


class Order:
    """Priority and weight of endpoints: by how near they are, and by how their clusters stand."""

    def __init__(self, near: Ranking, standings: Standings, endpoints: Iterable[Endpoint]) -> None:
        self._near = near
        self._standings = standings
        seen = {(endpoint.cluster, endpoint.locality) for endpoint in endpoints}
        self._best = min((near.of(locality) for _, locality in seen), default=0)
        self._factor = standings.factor({cluster for cluster, _ in seen})

    def priority(self, endpoint: Endpoint) -> int:
        """Lower comes first; not consecutive yet."""
        return self._standings.priority(endpoint.cluster, self._near.of(endpoint.locality), self._best)

    def weight(self, endpoint: Endpoint) -> int:
        """The weight of one endpoint, to be multiplied by the scale of gateways."""
        return endpoint.weight * self._standings.weight(endpoint.cluster, self._factor)


def compacted(members: list[LbEndpoint]) -> list[LbEndpoint]:
    """The same members with priorities from 0 without gaps, as Envoy wants them."""
    ranks = {rank: place for place, rank in enumerate(sorted({member.priority for member in members}))}
    if all(rank == place for rank, place in ranks.items()):
        return members
    return [msgspec.structs.replace(member, priority=ranks[member.priority]) for member in members]


def _in_sight(horizon: Horizon, candidate: Candidate) -> bool:
    endpoint = candidate.endpoint
    if horizon.only_cluster and endpoint.cluster != horizon.only_cluster:
        return False
    if horizon.only_node and endpoint.node != horizon.only_node:
        return False
    if horizon.mtls_only and not candidate.mtls:
        return False
    return not (horizon.networks and endpoint.network and endpoint.network not in horizon.networks)


def _route(horizon: Horizon, endpoint: Endpoint, gateways_of: GatewaysOf) -> Gateways | None:
    """None: directly. Else the gateways that lead there: those of its cluster if any, else its network's (SH6)."""
    if not endpoint.network or endpoint.network == horizon.network:
        return None
    known = gateways_of(endpoint.network)
    if not horizon.network and not known:
        return None
    if horizon.families:
        known = tuple(gateway for gateway in known if family(gateway.address) in horizon.families)
    return tuple(gateway for gateway in known if gateway.cluster == endpoint.cluster) or known


def _scale(remote: Iterable[Gateways]) -> int:
    scale = lcm(*(len(route) for route in remote))
    return min(scale, MAX_SCALE)


def _direct(candidate: Candidate, scale: int, order: Order) -> LbEndpoint:
    endpoint = candidate.endpoint
    return LbEndpoint(
        address=endpoint.address,
        port=candidate.port,
        weight=scale * order.weight(endpoint),
        mtls=candidate.mtls,
        network=endpoint.network,
        cluster=endpoint.cluster,
        workload=endpoint.workload,
        locality=endpoint.locality,
        priority=order.priority(endpoint),
    )


def _through(remote: dict[Gateways, list[Endpoint]], scale: int, order: Order) -> Iterable[LbEndpoint]:
    """The gateways, each once. One that stands for endpoints of several localities is as near as the nearest."""
    weights: Counter[NetworkGateway] = Counter()
    behind: dict[NetworkGateway, list[Endpoint]] = {}
    for route, endpoints in remote.items():
        total = sum(map(order.weight, endpoints))
        for gateway in route:
            weights[gateway] += total * scale // len(route)
            behind.setdefault(gateway, []).extend(endpoints)
    for gateway, weight in weights.items():
        yield LbEndpoint(
            address=gateway.address,
            port=gateway.port,
            weight=max(weight, 1),
            mtls=True,
            network=gateway.network,
            cluster=gateway.cluster,
            workload=f";;;;{gateway.cluster}",
            locality=_common_locality(behind[gateway]),
            priority=min(map(order.priority, behind[gateway])),
            gateway=True,
        )


def _common_locality(endpoints: Iterable[Endpoint]) -> Locality:
    """What the localities of all endpoints have in common."""
    found = {endpoint.locality for endpoint in endpoints}
    if len(found) == 1:
        return found.pop()
    regions = {locality.region for locality in found}
    return Locality(region=regions.pop()) if len(regions) == 1 else Locality()
