"""The HBONE port of one workload's own proxy: which authorities it takes, and where within the proxy they lead."""

from collections.abc import Iterable

from isthmus.envoy import connect, naming
from isthmus.envoy.connect import Way, authority
from isthmus.model.scopes import TunnelEnd
from isthmus.xds.resource import CDS, LDS, RDS, XdsResource

Names = frozenset[str]


def names(end: TunnelEnd, type_url: str) -> Names:
    """The resources of a type that there are."""
    if type_url == CDS:
        return frozenset((naming.INBOUND_HBONE, *(naming.inbound_hbone(target) for _, _, target in end.hosts)))
    return frozenset((naming.CONNECT_TERMINATE,)) if type_url in (LDS, RDS) else frozenset()


def listener(trust_domains: Iterable[str]) -> XdsResource:
    """Where HBONE ends."""
    return connect.terminate(trust_domains)


def cluster(end: TunnelEnd, name: str) -> XdsResource | None:
    """The way in for callers that named the workload's address, or by a service one of its ports."""
    if name == naming.INBOUND_HBONE:
        return connect.inside(name, naming.INBOUND_HBONE)
    for target in sorted({target for _, _, target in end.hosts}):
        if name == naming.inbound_hbone(target):
            return connect.inside(name, naming.INBOUND_HBONE, local=authority(end.addresses[0], target))
    return None


def routes(end: TunnelEnd) -> XdsResource:
    """The authorities: each own address with any port, each service with its ports."""
    own = tuple(authority(address, 0).removesuffix("0") + "*" for address in end.addresses)
    ways = [Way("own addresses", own, naming.INBOUND_HBONE)]
    ways += [
        Way(f"{host}:{port}", (authority(host, port),), naming.inbound_hbone(target))
        for host, port, target in end.hosts
    ]
    return connect.routes(ways)
