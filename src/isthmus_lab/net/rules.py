"""The lab's packet rules as data: what a router, the WAN's core and a ClusterIP mean in nftables."""

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus_lab.net import nft

ROUTER_TABLE = "lab-router"
CORE_TABLE = "lab-wan"
SERVICE_TABLE = "lab-services"

WAN_INTERFACE = "wan0"
"""A pod's or API server's leg on the WAN."""
_SERVICE_PRIORITY = -100  # after capture (isthmus.install.capture_rules): what capture translated stays as it is


def router_chains(pod_cidr: str) -> list[nft.Chain]:
    """A network's router: pods may call the WAN under the router's address, nothing comes in from there."""
    accept = nft.verdict(nft.ACCEPT)
    forward = (
        nft.rule(nft.established(), accept),
        nft.rule(nft.interface("in", "lan"), nft.interface("out", "wan"), accept),
    )
    out = (nft.rule(nft.interface("out", "wan"), nft.address("src", pod_cidr), nft.masquerade()),)
    return [
        nft.Chain("forward", "filter", "forward", 0, forward, nft.DROP),
        nft.Chain("postrouting", "nat", "postrouting", 100, out),
    ]


def core_chains(cut: Iterable[tuple[str, str]]) -> list[nft.Chain]:
    """The WAN's core: silence between each pair of WAN segments in `cut`, both ways, as when a cable is pulled."""
    drop = nft.verdict(nft.DROP)
    rules = [
        nft.rule(nft.address("src", a), nft.address("dst", b), drop)
        for pair in sorted(cut)
        for a, b in (pair, pair[::-1])
    ]
    return [nft.Chain("forward", "filter", "forward", 0, tuple(rules))]


@dataclass(frozen=True, slots=True, order=True)
class ServicePort:
    """A ClusterIP and port with the addresses that stand behind it now (only ready ones)."""

    ip: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]


def service_chains(ports: Iterable[ServicePort], service_cidr: str) -> list[nft.Chain]:
    """kube-proxy's part: a connection to a ClusterIP goes to one of its endpoints at random, or is refused.

    One that leaves by the WAN has that side's address, not the one that the way to the ClusterIP would have given it.
    """
    translate: list[nft.Rule] = []
    for service in sorted(ports):
        match = nft.rule(
            nft.address("dst", service.ip),
            nft.protocol(service.protocol),
            nft.port(service.port),
        )
        left = len(service.endpoints)
        for ip, port in service.endpoints:
            pick = nft.one_in(left) if left > 1 else ()
            translate.append(nft.rule(match, pick, nft.dnat(ip, port)))
            left -= 1
    outside = nft.rule(nft.interface("out", WAN_INTERFACE), nft.masquerade())
    refuse = (
        nft.rule(nft.address("dst", service_cidr), nft.protocol("tcp"), nft.reject(tcp=True)),
        nft.rule(nft.address("dst", service_cidr), nft.reject(tcp=False)),
    )
    return [
        nft.Chain("output", "nat", "output", _SERVICE_PRIORITY, tuple(translate)),
        nft.Chain("postrouting", "nat", "postrouting", 100, (outside,)),
        nft.Chain("refuse", "filter", "output", 0, refuse),
    ]


def wan_segments_cut(segments: dict[str, str], joined: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs of WAN ranges that may not speak, given network -> range and the sorted pairs of networks that may."""
    names = sorted(segments)
    return {(segments[a], segments[b]) for i, a in enumerate(names) for b in names[i + 1 :] if (a, b) not in joined}
