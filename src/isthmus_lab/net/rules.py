"""The lab's packet rules as data: what a router, the WAN's core, a captured pod and a ClusterIP mean in nftables."""

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus_lab.net import nft

ROUTER_TABLE = "lab-router"
CORE_TABLE = "lab-wan"
CAPTURE_TABLE = "isthmus-capture"
SERVICE_TABLE = "lab-services"

WAN_INTERFACE = "wan0"
"""A pod's or API server's leg on the WAN."""
PROXY_MARK = 1337
PROXY_UID = 1337
_CAPTURE_PRIORITY = -110
_SERVICE_PRIORITY = -100  # after capture: what capture translated stays as it is


@dataclass(frozen=True, slots=True)
class Capture:
    """What `isthmus/init` redirects to the proxy, as Istio's iptables rules do.

    `include_inbound` None: all ports but `exclude_inbound`. `dns_port` None: names are not captured.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    dns_port: int | None = 15053
    exclude_outbound: frozenset[int] = frozenset({15012})
    exclude_inbound: frozenset[int] = frozenset({22, 15008, 15020, 15021, 15090})
    exclude_ranges: tuple[str, ...] = ()
    include_ranges: tuple[str, ...] = ("0.0.0.0/0",)
    include_inbound: frozenset[int] | None = None
    proxy_uid: int = PROXY_UID


def capture_chains(capture: Capture) -> list[nft.Chain]:
    """Rules for a pod: its own TCP goes to the outbound port, TCP that comes in goes to the inbound port.

    As in Istio, a call of the application to its own pod IP stays direct, one of the proxy to its own pod IP (it chose
    itself as the endpoint) enters by the inbound port, and whoever binds 127.0.0.6 (the proxy's inbound side, probes)
    reaches the application.
    """
    accept = nft.verdict(nft.ACCEPT)
    itself = (nft.interface("out", "lo"), nft.address("dst", "127.0.0.0/8", op=nft.NEQ), nft.protocol("tcp"))
    outbound: list[nft.Rule] = [nft.rule(nft.address("src", "127.0.0.6"), accept)]
    for proxy in (nft.mark(PROXY_MARK), nft.owner(capture.proxy_uid)):
        outbound.append(nft.rule(proxy, *itself, nft.redirect(capture.inbound_port)))
        outbound.append(nft.rule(proxy, accept))
    if capture.dns_port is not None:
        dns = nft.redirect(capture.dns_port)
        outbound += [nft.rule(nft.protocol(protocol), nft.port(53), dns) for protocol in ("udp", "tcp")]
    outbound.append(nft.rule(nft.interface("out", "lo"), accept))
    outbound += [nft.rule(nft.address("dst", net), accept) for net in capture.exclude_ranges]
    for port in sorted(capture.exclude_outbound):
        outbound.append(nft.rule(nft.protocol("tcp"), nft.port(port), accept))
    to_proxy = nft.redirect(capture.outbound_port)
    outbound += [nft.rule(nft.address("dst", n), nft.protocol("tcp"), to_proxy) for n in capture.include_ranges]

    inbound = [nft.rule(nft.interface("in", "lo"), accept)]
    inbound += [nft.rule(nft.protocol("tcp"), nft.port(p), accept) for p in sorted(capture.exclude_inbound)]
    to_proxy = nft.redirect(capture.inbound_port)
    if capture.include_inbound is None:
        inbound.append(nft.rule(nft.protocol("tcp"), to_proxy))
    else:
        inbound += [nft.rule(nft.protocol("tcp"), nft.port(p), to_proxy) for p in sorted(capture.include_inbound)]
    return [
        nft.Chain("output", "nat", "output", _CAPTURE_PRIORITY, tuple(outbound)),
        nft.Chain("prerouting", "nat", "prerouting", _CAPTURE_PRIORITY, tuple(inbound)),
    ]


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
