"""Split horizon: which endpoints a view may use, directly or through the gateways of their network (SH1-SH27).

Where Isthmus differs from Istio, on purpose:
* Weights are exact. Each remote endpoint's weight is shared among the gateways that lead to it in whole numbers,
  scaled by the least common multiple of the gateway counts that this service uses (Istio rounds, SH4).
* A gateway appears once, not once for each locality (SH5): Envoy keeps the first of equal addresses and drops the
  others, in whatever priority, and with them their weight (istio#56355). It comes where the nearest endpoints behind it
  come, with the weight of those. What is farther behind it, where others are as far, comes under the same address in
  its other form, `::ffff:198.18.1.2`, which to Envoy is another one. There are two forms: what is farther still counts
  with the second. A gateway with an IPv6 address has only the first.
* Where endpoints are ranked, those that are not ready are told as unhealthy: a priority then knows how much of it is
  missing, hands on what the rest cannot carry, and the first that is back does not get everything (SH21). Of a
  priority where nothing is ready nothing is told.
* An endpoint whose gateway does not pass its service on, as exportTo keeps it in its namespaces (SN6), is hidden too:
  Istio sends what is refused there.
* An endpoint in another named network that has no gateway is never sent as if it were near (SH1, SH9): its address
  means something else here when ranges overlap. It is hidden and reported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from math import lcm

import msgspec

from isthmus.derive.nearness import Nearness
from isthmus.derive.networks import family
from isthmus.derive.standing import StandingOf, Standings, in_full_use
from isthmus.model.mesh import MAPPED, Assignment, Endpoint, Hidden, LbEndpoint, NetworkGateway
from isthmus.model.preference import NO_PREFERENCE, Preference
from isthmus.model.rows import Labels, Locality

Gateways = tuple[NetworkGateway, ...]
GatewaysOf = Callable[[str], Gateways]

NOT_MTLS = "not-mtls"
NOT_EXPORTED = "not-exported"
NO_GATEWAY = "no-gateway"
GATEWAY_FAMILY = "gateway-family"

MAX_SCALE = 1_000_000
"""Weights of one service stay below this many times its endpoints, whatever the numbers of gateways."""


class Horizon(msgspec.Struct, frozen=True):
    """Where the view stands: its network, the IP families its gateways must have (SH8), and limits on what it sees.

    `networks`: only endpoints of these networks or of none (SH24). `mtls_only`: SNI-DNAT clusters (SH27).
    `only_cluster`: endpoints of no other cluster (CL4), `only_node`: of no other node (SH19).
    `place`: the labels of its clients by which they prefer what is near (LB2-LB5). `home`: its own cluster, where
    that is not in full use.
    """

    network: str = ""
    families: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()
    mtls_only: bool = False
    only_cluster: str = ""
    only_node: str = ""
    place: Labels = ()
    home: str = ""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An endpoint with the workload port that serves, and whether clients speak mesh mTLS to it (SH13).

    `exposed`: its cluster's gateways pass the service on (SN6).
    """

    endpoint: Endpoint
    port: int
    mtls: bool
    exposed: bool = True


Usable = tuple[Candidate, Gateways | None]
"""An endpoint that the view can use, and the gateways that lead there; None: directly."""


def assign(
    horizon: Horizon,
    candidates: Iterable[Candidate],
    gateways_of: GatewaysOf,
    standing_of: StandingOf = in_full_use,
    *,
    preference: Preference = NO_PREFERENCE,
) -> Assignment:
    """The members of a load assignment: direct endpoints first, then gateways, each with its exact weight.

    The preference counts for views that say where their clients are.
    """
    hidden: Counter[tuple[str, str, str]] = Counter()
    near = Nearness(preference, horizon.place) if horizon.place else Nearness()
    standings = Standings(standing_of, home=horizon.home, passes_on=horizon.mtls_only)
    found = _once(_usable(horizon, candidates, gateways_of, hidden), unready=near.ranks)
    ready = [one for one in found if one[0].endpoint.ready]
    usable = standings.remaining(ready, _cluster_of)
    shares = near.shares(candidate.endpoint for candidate, _ in usable)
    if shares is not None:
        # Where nothing is in the named places, the others are better than an error.
        usable = [one for one in usable if shares[one[0].endpoint.locality]] or usable
        shares = shares if any(shares.values()) else None
    usable = [*usable, *(one for one in found if not one[0].endpoint.ready and standings.of(_cluster_of(one)).weight)]
    order = Order(near, standings, [candidate.endpoint for candidate, _ in usable], shares)
    members = _with_health(_members(usable, order))
    return Assignment(
        tuple(sorted(compacted(members), key=_order)),
        tuple(Hidden(reason, cluster, net, n) for (reason, cluster, net), n in sorted(hidden.items())),
        preference.overprovisioning,
    )


def _members(usable: Sequence[Usable], order: "Order") -> list[LbEndpoint]:
    remote: dict[Gateways, list[Endpoint]] = {}
    for candidate, route in usable:
        if route is not None:
            remote.setdefault(route, []).append(candidate.endpoint)
    scale = _scale(remote)
    direct = [_direct(candidate, scale, order) for candidate, route in usable if route is None]
    return [*direct, *_through(remote, scale, order, {member.priority for member in direct})]


def _with_health(members: list[LbEndpoint]) -> list[LbEndpoint]:
    """Without priorities where nothing is ready: they take nothing, but would count among those that may be left."""
    alive = {member.priority for member in members if member.healthy}
    return [member for member in members if member.priority in alive]


def _cluster_of(usable: Usable) -> str:
    return usable[0].endpoint.cluster


def _once(usable: Iterable[Usable], *, unready: bool) -> list[Usable]:
    """Each direct address once, ready if it is so anywhere. What is not ready only if wanted and reached directly."""
    found: list[Usable] = []
    seen: set[tuple[str, int]] = set()
    for candidate, route in sorted(usable, key=lambda one: not one[0].endpoint.ready):
        if not candidate.endpoint.ready and (route is not None or not unready):
            continue
        address = (candidate.endpoint.address, candidate.port)
        if route is None and address in seen:
            continue
        if route is None:
            seen.add(address)
        found.append((candidate, route))
    return found


def _usable(
    horizon: Horizon,
    candidates: Iterable[Candidate],
    gateways_of: GatewaysOf,
    hidden: Counter[tuple[str, str, str]],
) -> Iterator[Usable]:
    """What the view can use, ready or not; the rest that it might have expected to is counted in `hidden`."""
    routes: dict[tuple[str, str], Gateways | None] = {}
    for candidate in candidates:
        endpoint = candidate.endpoint
        if endpoint.terminating or not _in_sight(horizon, candidate):
            continue
        where = (endpoint.network, endpoint.cluster)
        if where not in routes:
            routes[where] = _route(horizon, endpoint, gateways_of)
        route = routes[where]
        if route is None:
            yield candidate, None
        elif not endpoint.ready:
            continue
        elif not candidate.mtls:
            hidden[NOT_MTLS, endpoint.cluster, endpoint.network] += 1
        elif not candidate.exposed:
            hidden[NOT_EXPORTED, endpoint.cluster, endpoint.network] += 1
        elif not route:
            reason = GATEWAY_FAMILY if gateways_of(endpoint.network) else NO_GATEWAY
            hidden[reason, endpoint.cluster, endpoint.network] += 1
        else:
            yield candidate, route


def _order(member: LbEndpoint) -> tuple[int, bool, Locality, str, int]:
    return (member.priority, member.gateway, member.locality, member.address, member.port)


class Order:
    """Priority and weight of endpoints: by how near they are, and by how their clusters stand."""

    def __init__(
        self, near: Nearness, standings: Standings, endpoints: Sequence[Endpoint], shares: Mapping[Locality, int] | None
    ) -> None:
        self._near = near
        self._standings = standings
        self._shares = shares
        self._best = min(map(near.rank, endpoints), default=0)
        self._factor = standings.factor({endpoint.cluster for endpoint in endpoints})

    def priority(self, endpoint: Endpoint) -> int:
        """Lower comes first; not consecutive yet."""
        return self._standings.priority(endpoint.cluster, self._near.rank(endpoint), self._best)

    def weight(self, endpoint: Endpoint) -> int:
        """The weight of one endpoint, to be multiplied by the scale of gateways."""
        units = 1 if self._shares is None else self._shares[endpoint.locality]
        return units * endpoint.weight * self._standings.weight(endpoint.cluster, self._factor)


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
        healthy=endpoint.ready,
    )


def _through(
    remote: dict[Gateways, list[Endpoint]], scale: int, order: Order, far_rivals: Set[int]
) -> Iterable[LbEndpoint]:
    """The gateways where the nearest endpoints behind them come, with the weight of those; then the rest of them.

    `far_rivals` are the priorities of direct endpoints: the rest matters only beside others.
    """
    weights: dict[NetworkGateway, Counter[int]] = {}
    behind: dict[tuple[NetworkGateway, int], list[Endpoint]] = {}
    for route, endpoints in remote.items():
        ranked: dict[int, list[Endpoint]] = {}
        for endpoint in endpoints:
            ranked.setdefault(order.priority(endpoint), []).append(endpoint)
        for rank, members in ranked.items():
            total = sum(map(order.weight, members))
            for gateway in route:
                weights.setdefault(gateway, Counter())[rank] += total * scale // len(route)
                behind.setdefault((gateway, rank), []).extend(members)
    for gateway, ranks in weights.items():
        nearest, *farther = sorted(ranks)
        yield _gateway(gateway, nearest, ranks[nearest], behind[gateway, nearest])
        rivals = far_rivals | {rank for other, theirs in weights.items() for rank in theirs if ranks != theirs}
        if farther and family(gateway.address) == 4 and any(rank > nearest for rank in rivals):
            again = NetworkGateway(gateway.network, gateway.cluster, MAPPED + gateway.address, gateway.port)
            rest = [endpoint for rank in farther for endpoint in behind[gateway, rank]]
            yield _gateway(again, farther[0], sum(ranks[rank] for rank in farther), rest)


def _gateway(gateway: NetworkGateway, rank: int, weight: int, behind: Iterable[Endpoint]) -> LbEndpoint:
    return LbEndpoint(
        address=gateway.address,
        port=gateway.port,
        weight=max(weight, 1),
        mtls=True,
        network=gateway.network,
        cluster=gateway.cluster,
        workload=f";;;;{gateway.cluster}",
        locality=_common_locality(behind),
        priority=rank,
        gateway=True,
    )


def _common_locality(endpoints: Iterable[Endpoint]) -> Locality:
    """What the localities of all endpoints have in common."""
    found = {endpoint.locality for endpoint in endpoints}
    if len(found) == 1:
        return found.pop()
    regions = {locality.region for locality in found}
    return Locality(region=regions.pop()) if len(regions) == 1 else Locality()
