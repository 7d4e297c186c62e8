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
* An endpoint that takes both mutual TLS by SNI and HBONE is reached through whichever its network has a gateway for.
  Through those for HBONE only where the far cluster has made the service global: they admit nothing else (AM11).
* A peer's endpoints are known in summary. They come as the gateways of their network, as heavy as what is healthy
  behind them; a proxy that cannot do HBONE is told so, and never gets them in another way.
* An endpoint in another named network that has no gateway is never sent as if it were near (SH1, SH9): its address
  means something else here when ranges overlap. It is hidden and reported.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from math import lcm
from typing import NamedTuple

import msgspec

from isthmus.derive.nearness import Nearness
from isthmus.derive.networks import HBONE_PORT, family
from isthmus.derive.standing import StandingOf, Standings, in_full_use
from isthmus.model.mesh import MAPPED, Assignment, Endpoint, Hidden, HostKey, LbEndpoint, NetworkGateway
from isthmus.model.preference import NO_PREFERENCE, Preference
from isthmus.model.rows import Labels, Locality

Gateways = tuple[NetworkGateway, ...]
GatewaysOf = Callable[[str], Gateways]

NOT_MTLS = "not-mtls"
NOT_EXPORTED = "not-exported"
NO_GATEWAY = "no-gateway"
GATEWAY_FAMILY = "gateway-family"
NEEDS_HBONE = "needs-hbone"
NOT_GLOBAL = "not-global"

HBONE = "hbone"
DOUBLE_HBONE = "double_hbone"
"""How a member is reached (`LbEndpoint.tunnel`)."""

PLAIN, MTLS = "", "mtls"
"""With HBONE, the ways to speak to an endpoint."""

MAX_SCALE = 1_000_000
"""Weights of one service stay below this many times its endpoints, whatever the numbers of gateways."""


class Horizon(msgspec.Struct, frozen=True):
    """Where the view stands: its network, the IP families its gateways must have (SH8), and limits on what it sees.

    `networks`: only endpoints of these networks or of none (SH24). `mtls_only`: SNI-DNAT clusters (SH27).
    `only_cluster`: endpoints of no other cluster (CL4), `only_node`: of no other node (SH19).
    `place`: the labels of its clients by which they prefer what is near (LB2-LB5). `home`: its own cluster, where
    that is not in full use. `waypoint`: the one of `client_cluster` that this service is reached through.

    `mtls`: its clients speak mutual TLS by SNI, `hbone`: they speak HBONE (SH7, SH11); where both are possible the
    former is taken (SH16). `hbone_only`: what passes HBONE on unopened, to endpoints that take it, at their port.
    `widened`: its cluster's own name of the service reaches peers, too (`global-only`).
    """

    network: str = ""
    families: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()
    mtls_only: bool = False
    only_cluster: str = ""
    only_node: str = ""
    place: Labels = ()
    home: str = ""
    mtls: bool = True
    hbone: bool = False
    hbone_only: bool = False
    waypoint: HostKey | None = None
    client_cluster: str = ""
    widened: bool = False


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An endpoint with the workload port that serves, and whether clients speak mesh mTLS to it (SH13).

    `exposed`: its cluster's gateways pass the service on (SN6). `admitted`: those for HBONE do (AM11).
    """

    endpoint: Endpoint
    port: int
    mtls: bool
    exposed: bool = True
    admitted: bool = True


class Entrance(NamedTuple):
    """A gateway, and the way in which it is entered."""

    gateway: NetworkGateway
    way: str

    @property
    def port(self) -> int:
        """0 if it is not entered in that way (SH7)."""
        return self.gateway.hbone_port if self.way == HBONE else self.gateway.port

    def again(self) -> "Entrance":
        """The same under the other form of its address, which to Envoy is another one."""
        address = MAPPED + self.gateway.address
        return self._replace(gateway=msgspec.structs.replace(self.gateway, address=address))


Entrances = tuple[Entrance, ...]


class Usable(NamedTuple):
    """An endpoint that the view can use, how clients speak to it, and what leads there; None: directly."""

    candidate: Candidate
    way: str
    route: Entrances | None


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
    standings = Standings(standing_of, home=horizon.home, passes_on=horizon.mtls_only or horizon.hbone_only)
    found = _once(_usable(horizon, candidates, gateways_of, hidden), unready=near.ranks)
    ready = [one for one in found if one.candidate.endpoint.ready]
    usable = standings.remaining(ready, _cluster_of)
    shares = near.shares(one.candidate.endpoint for one in usable)
    if shares is not None:
        # Where nothing is in the named places, the others are better than an error.
        usable = [one for one in usable if shares[one.candidate.endpoint.locality]] or usable
        shares = shares if any(shares.values()) else None
    unready = (one for one in found if not one.candidate.endpoint.ready)
    usable = [*usable, *(one for one in unready if standings.of(_cluster_of(one)).weight)]
    order = Order(near, standings, [one.candidate.endpoint for one in usable], shares)
    members = _with_health(_members(usable, order, passes_on=horizon.hbone_only))
    return Assignment(
        tuple(sorted(compacted(members), key=_order)),
        tuple(Hidden(reason, cluster, net, n) for (reason, cluster, net), n in sorted(hidden.items())),
        preference.overprovisioning,
    )


def _members(usable: Sequence[Usable], order: "Order", *, passes_on: bool) -> list[LbEndpoint]:
    remote: dict[Entrances, list[Endpoint]] = {}
    for one in usable:
        if one.route is not None:
            remote.setdefault(one.route, []).append(one.candidate.endpoint)
    scale = _scale(remote)
    direct = [_direct(one, scale, order, passes_on=passes_on) for one in usable if one.route is None]
    return [*direct, *_through(remote, scale, order, {member.priority for member in direct})]


def _with_health(members: list[LbEndpoint]) -> list[LbEndpoint]:
    """Without priorities where nothing is ready: they take nothing, but would count among those that may be left."""
    alive = {member.priority for member in members if member.healthy}
    return [member for member in members if member.priority in alive]


def _cluster_of(usable: Usable) -> str:
    return usable.candidate.endpoint.cluster


def _once(usable: Iterable[Usable], *, unready: bool) -> list[Usable]:
    """Each direct address once, ready if it is so anywhere. What is not ready only if wanted and reached directly."""
    found: list[Usable] = []
    seen: set[tuple[str, int]] = set()
    for one in sorted(usable, key=lambda one: not one.candidate.endpoint.ready):
        candidate, direct = one.candidate, one.route is None
        if not candidate.endpoint.ready and not (direct and unready):
            continue
        address = (candidate.endpoint.address, candidate.port)
        if direct and address in seen:
            continue
        if direct:
            seen.add(address)
        found.append(one)
    return found


def _usable(
    horizon: Horizon,
    candidates: Iterable[Candidate],
    gateways_of: GatewaysOf,
    hidden: Counter[tuple[str, str, str]],
) -> Iterator[Usable]:
    """What the view can use, ready or not; the rest that it might have expected to is counted in `hidden`."""
    known: dict[tuple[str, str, str, bool], Entrances | None] = {}

    def route(endpoint: Endpoint, way: str) -> Entrances | None:
        where = (endpoint.network, endpoint.cluster, way, bool(endpoint.address))
        if where not in known:
            known[where] = _route(horizon, endpoint, gateways_of, way)
        return known[where]

    for candidate in candidates:
        endpoint = candidate.endpoint
        if endpoint.terminating or not _in_sight(horizon, candidate):
            continue
        found = [(way, route(endpoint, way)) for way in _ways(horizon, candidate)]
        direct = [way for way, into in found if into is None]
        if direct and not any(into for _, into in found):
            yield Usable(candidate, direct[0], None)
        elif endpoint.ready:
            open_ways = [(way, into) for way, into in found if into and not _refusal(candidate, way)]
            if open_ways:
                yield Usable(candidate, *open_ways[0])
            else:
                reason = _reason(candidate, [way for way, _ in found], gateways_of)
                # What is known in summary stands for as many endpoints as it is heavy.
                hidden[reason, endpoint.cluster, endpoint.network] += 1 if endpoint.address else endpoint.weight


def _refusal(candidate: Candidate, way: str) -> str:
    """Why gateways let nobody through to an endpoint who comes in this way; empty if they do."""
    if way == PLAIN:
        return NEEDS_HBONE if candidate.endpoint.hbone else NOT_MTLS
    if not candidate.exposed:
        return NOT_EXPORTED
    return NOT_GLOBAL if way == HBONE and not candidate.admitted else ""


def _reason(candidate: Candidate, ways: Sequence[str], gateways_of: GatewaysOf) -> str:
    """Why an endpoint beyond gateways cannot be used: what keeps the best way shut."""
    refused = [_refusal(candidate, way) for way in ways]
    if all(refused):
        return refused[0]
    known = gateways_of(candidate.endpoint.network)
    some = any(Entrance(one, way).port for one in known for way, shut in zip(ways, refused, strict=True) if not shut)
    return GATEWAY_FAMILY if some else NO_GATEWAY


_WAYS = {
    (False, False): (PLAIN,),
    (True, False): (MTLS,),
    (False, True): (HBONE,),
    (True, True): (MTLS, HBONE),
}


def _ways(horizon: Horizon, candidate: Candidate) -> tuple[str, ...]:
    """How the view's clients may speak to an endpoint, the best first (SH16)."""
    return _WAYS[horizon.mtls and candidate.mtls, horizon.hbone and candidate.endpoint.hbone]


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
    if horizon.hbone_only and not (endpoint.hbone and endpoint.address):
        return False
    return not (horizon.networks and endpoint.network and endpoint.network not in horizon.networks)


def _route(horizon: Horizon, endpoint: Endpoint, gateways_of: GatewaysOf, way: str) -> Entrances | None:
    """None: directly. Else the gateways that lead there: those of its cluster if any, else its network's (SH6).

    Where an endpoint without address is, only its peer knows: none is reached directly, though its network is ours.
    """
    if endpoint.address and (not endpoint.network or endpoint.network == horizon.network):
        return None
    found = (Entrance(gateway, way) for gateway in gateways_of(endpoint.network))
    known = tuple(one for one in found if one.port)
    if endpoint.address and not horizon.network and not known:
        return None
    if horizon.families:
        known = tuple(one for one in known if family(one.gateway.address) in horizon.families)
    known = tuple(one for one in known if one.gateway.cluster == endpoint.cluster) or known
    # Two objects may tell of one gateway, each in its own way: an address counts once.
    once: dict[tuple[str, int], Entrance] = {}
    for one in known:
        once.setdefault((one.gateway.address, one.port), one)
    return tuple(once.values())


def _scale(remote: Iterable[Entrances]) -> int:
    scale = lcm(*(len(route) for route in remote))
    return min(scale, MAX_SCALE)


def _direct(usable: Usable, scale: int, order: Order, *, passes_on: bool) -> LbEndpoint:
    candidate, endpoint = usable.candidate, usable.candidate.endpoint
    return LbEndpoint(
        address=endpoint.address,
        port=HBONE_PORT if passes_on else candidate.port,
        weight=scale * order.weight(endpoint),
        mtls=usable.way == MTLS,
        network=endpoint.network,
        cluster=endpoint.cluster,
        workload=endpoint.workload,
        locality=endpoint.locality,
        priority=order.priority(endpoint),
        healthy=endpoint.ready,
        tunnel=HBONE if usable.way == HBONE else "",
        identity=endpoint.identity if usable.way == HBONE else "",
    )


def _through(
    remote: dict[Entrances, list[Endpoint]], scale: int, order: Order, far_rivals: Set[int]
) -> Iterable[LbEndpoint]:
    """The gateways where the nearest endpoints behind them come, with the weight of those; then the rest of them.

    `far_rivals` are the priorities of direct endpoints: the rest matters only beside others.
    """
    weights: dict[Entrance, Counter[int]] = {}
    behind: dict[tuple[Entrance, int], list[Endpoint]] = {}
    for route, endpoints in remote.items():
        ranked: dict[int, list[Endpoint]] = {}
        for endpoint in endpoints:
            ranked.setdefault(order.priority(endpoint), []).append(endpoint)
        for rank, members in ranked.items():
            total = sum(map(order.weight, members))
            for one in route:
                weights.setdefault(one, Counter())[rank] += total * scale // len(route)
                behind.setdefault((one, rank), []).extend(members)
    for one, ranks in weights.items():
        nearest, *farther = sorted(ranks)
        yield _gateway(one, nearest, ranks[nearest], behind[one, nearest])
        rivals = far_rivals | {rank for other, theirs in weights.items() for rank in theirs if ranks != theirs}
        if farther and family(one.gateway.address) == 4 and any(rank > nearest for rank in rivals):
            rest = [endpoint for rank in farther for endpoint in behind[one, rank]]
            yield _gateway(one.again(), farther[0], sum(ranks[rank] for rank in farther), rest)


def _gateway(entrance: Entrance, rank: int, weight: int, behind: Iterable[Endpoint]) -> LbEndpoint:
    gateway = entrance.gateway
    return LbEndpoint(
        address=gateway.address,
        port=entrance.port,
        weight=max(weight, 1),
        mtls=entrance.way == MTLS,
        network=gateway.network,
        cluster=gateway.cluster,
        workload=f";;;;{gateway.cluster}",
        locality=_common_locality(behind),
        priority=rank,
        gateway=True,
        tunnel=DOUBLE_HBONE if entrance.way == HBONE else "",
        entrance=gateway.identities if entrance.way == HBONE else (),
    )


def _common_locality(endpoints: Iterable[Endpoint]) -> Locality:
    """What the localities of all endpoints have in common."""
    found = {endpoint.locality for endpoint in endpoints}
    if len(found) == 1:
        return found.pop()
    regions = {locality.region for locality in found}
    return Locality(region=regions.pop()) if len(regions) == 1 else Locality()
