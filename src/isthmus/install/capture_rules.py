"""Which packets go through the proxy of a pod, of a machine or of a node: Istio's rules as nftables'."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from isthmus.install import netfilter as nft

CAPTURE_TABLE = "isthmus-capture"
PROXY_MARK = 1337
PROXY_UID = 1337
"""How the proxy's own packets are known: by the mark of its sockets, or by its user."""

_CAPTURE_PRIORITY = -110
"""Before any other translation."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What the init container, or a machine's agent, redirects to the proxy, as Istio's iptables rules do.

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


_GUARD_PRIORITY = -120
"""Before capture, while packets still have the port that they were sent to, but belong to a connection already."""


PROBE_SOURCE = "169.254.7.127"
"""What the node's own processes, which probe pods, come from (as in Istio): no other node or pod has this address."""


@dataclass(frozen=True, slots=True)
class NodeCapture:
    """What the agent of a node redirects, in the namespace of an ambient pod, to the proxy of the node.

    `dns_port` None: names are not captured. `inbound` False: what comes in is the application's, but for HBONE
    (annotation ambient.istio.io/bypass-inbound-capture). `keeps_source`: the proxy calls the applications of its pods
    from the addresses of their callers, as a ztunnel does; the namespace needs `route_messages`, too.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    hbone_port: int = 15008
    dns_port: int | None = 15053
    inbound: bool = True
    keeps_source: bool = False

    @property
    def proxy_ports(self) -> frozenset[int]:
        """Where the node's proxy must listen in the namespace before anything is redirected."""
        return frozenset({self.outbound_port, self.inbound_port, self.hbone_port})


def node_capture_chains(capture: NodeCapture) -> list[nft.Chain]:
    """Rules for the namespace of an ambient pod.

    Only the mark tells the proxy's packets: every user of the pod is the application's. What the proxy sends to the
    pod's own address is for the application, so unlike in a sidecar it is never led back to the inbound port.

    Only packets that open a connection are redirected. The kernel may come to know a connection in its middle, when it
    begins to track those of a pod; it would take that for new, and redirected it would be reset.

    The proxy does not listen for IPv6: there past it connections would neither be secured nor checked.
    """
    return [
        nft.Chain("guard", "filter", "prerouting", _GUARD_PRIORITY, tuple(_guard(capture))),
        nft.Chain("refuse-in", "filter", "input", 0, tuple(_refused("in") if capture.inbound else ())),
        nft.Chain("refuse-out", "filter", "output", 0, tuple(_refused("out"))),
        nft.Chain("output", "nat", "output", _CAPTURE_PRIORITY, tuple(_out(capture))),
        nft.Chain("prerouting", "nat", "prerouting", _CAPTURE_PRIORITY, tuple(_in(capture))),
        *(_answer_chains() if capture.keeps_source else ()),
    ]


_ACCEPT = nft.verdict(nft.ACCEPT)
_TRACK = nft.rule(nft.established(), _ACCEPT)
"""Matches nothing that is translated, but whatever asks for a connection's state makes the kernel keep them."""


def _out(capture: NodeCapture) -> list[nft.Rule]:
    rules: list[nft.Rule] = [
        _TRACK,
        nft.rule(nft.mark(PROXY_MARK), _ACCEPT),
        nft.rule(nft.interface("out", "lo"), _ACCEPT),
    ]
    if capture.dns_port is not None:
        dns = nft.redirect(capture.dns_port)
        rules += [nft.rule(nft.protocol(protocol), nft.port(53), dns) for protocol in ("udp", "tcp")]
    rules.append(nft.rule(nft.protocol("tcp"), nft.opening(), nft.redirect(capture.outbound_port)))
    return rules


def _in(capture: NodeCapture) -> list[nft.Rule]:
    rules = [_TRACK, nft.rule(nft.interface("in", "lo"), _ACCEPT)]
    if not capture.inbound:
        return rules
    rules.append(nft.rule(nft.address("src", PROBE_SOURCE), _ACCEPT))
    rules.append(nft.rule(nft.protocol("tcp"), nft.port(capture.hbone_port), _ACCEPT))
    rules.append(nft.rule(nft.protocol("tcp"), nft.opening(), nft.redirect(capture.inbound_port)))
    return rules


def _guard(capture: NodeCapture) -> list[nft.Rule]:
    """Nobody outside reaches the ports that expect redirected connections, or opens one in the guise of another.

    For the kernel a new connection between the ports of one that the application has just reset belongs to that one;
    which may be older than the capture, and is not redirected.
    """
    outside = nft.interface("in", "lo", op=nft.NEQ)
    drop = nft.verdict(nft.DROP)
    rules: list[nft.Rule] = []
    for version in (4, 6):
        tcp = nft.protocol("tcp", version=version)
        closed = (capture.outbound_port, capture.inbound_port)
        rules += [nft.rule(outside, tcp, nft.port(port), drop) for port in closed]
        if capture.inbound:
            known = nft.connection(nft.SEEN_REPLY | nft.TRANSLATED, nft.SEEN_REPLY)
            others = nft.rule(nft.port(capture.hbone_port, op=nft.NEQ), *_but_probes(version))
            rules.append(nft.rule(outside, tcp, nft.opening(), others, known, drop))
    return rules


def _but_probes(version: int) -> list[nft.Rule]:
    return [nft.address("src", PROBE_SOURCE, op=nft.NEQ)] if version == 4 else []


def _refused(direction: str) -> list[nft.Rule]:
    opening = nft.rule(nft.protocol("tcp", version=6), nft.opening(), nft.reject(tcp=True))
    passing = [nft.rule(nft.mark(PROXY_MARK), _ACCEPT)] if direction == "out" else []
    return [*passing, nft.rule(nft.interface(direction, "lo"), _ACCEPT), opening]


ANSWER_MARK = 0x111
"""Of connections that the proxy opens to its pod's application with the address of somebody else (as in Istio)."""

_MANGLE_PRIORITY = -150
"""After connections are known, before they are translated and routed."""


def _answer_chains() -> list[nft.Chain]:
    """What an application answers to an address that is not here goes back to the proxy, which spoke for it."""
    lent = nft.rule(nft.interface("in", "lo"), nft.mark(PROXY_MARK), nft.set_connection_mark(ANSWER_MARK))
    answer = nft.rule(nft.connection_mark(ANSWER_MARK), nft.set_mark(ANSWER_MARK))
    return [
        nft.Chain("lend", "filter", "prerouting", _MANGLE_PRIORITY, (lent,)),
        nft.Chain("answer", "route", "output", _MANGLE_PRIORITY, (answer,)),
    ]


PROBE_TABLE = "isthmus-probes"
_PROBE_PRIORITY = 90
"""After routing, before the translations of others (100)."""


def probe_chains(addresses: Iterable[str]) -> list[nft.Chain]:
    """Rules for the node's own namespace: its processes come to these pods from the address that passes capture."""
    rules = [
        nft.rule(nft.address("dst", address), nft.protocol("tcp"), nft.local_socket(), nft.snat(PROBE_SOURCE))
        for address in addresses
    ]
    return [nft.Chain("postrouting", "nat", "postrouting", _PROBE_PRIORITY, tuple(rules))]


def released_chains(capture: NodeCapture) -> list[nft.Chain]:
    """The same chains without rules, for a pod that is being let go: new connections go by themselves.

    The chains stay, and one rule that does nothing. Without any chain that translates the kernel forgets, in that
    namespace, where connections were redirected that are still open; and without any rule that asks for a connection's
    state it follows none at all: either way these would hang. So would those whose answers go back to the proxy.
    """
    kept = [replace(chain, rules=()) for chain in node_capture_chains(replace(capture, keeps_source=False))]
    released = [replace(chain, rules=(_TRACK,)) if chain.kind == "nat" else chain for chain in kept]
    return [*released, *(_answer_chains() if capture.keeps_source else ())]
