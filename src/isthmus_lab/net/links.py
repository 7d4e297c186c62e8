"""Links, addresses and routes over netlink. Blocking; callers with an event loop use a thread."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from isthmus_lab.net import netns


@dataclass(frozen=True, slots=True)
class Leg:
    """One end of a cable into a namespace: the other end, `peer`, hangs on `bridge` in the lab's root namespace."""

    interface: str
    peer: str
    bridge: str
    ip: str
    prefix: int
    routes: Sequence[tuple[str, str]] = ()  # (destination, via)


@contextlib.contextmanager
def rtnetlink(namespace: str | None = None) -> Iterator[Any]:
    """A netlink socket in the named namespace, or in the caller's."""
    if namespace is None:
        with IPRoute() as ip:
            yield ip
        return
    with netns.entered(namespace):
        ip = IPRoute()
    with ip:
        yield ip


def index_of(ip: Any, name: str) -> int | None:
    """The index of the interface `name`, or None."""
    found = ip.link_lookup(ifname=name)
    return int(found[0]) if found else None


def ensure_bridge(ip: Any, name: str, address: tuple[str, int] | None = None) -> None:
    """Make a bridge, up, with an address if it routes."""
    if index_of(ip, name) is None:
        ip.link("add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0)
    index = index_of(ip, name)
    ip.link("set", index=index, state="up")
    if address:
        with contextlib.suppress(NetlinkError):
            ip.addr("add", index=index, address=address[0], prefixlen=address[1])


def attach(namespace: str, legs: Sequence[Leg], *, root: str) -> None:
    """Connect a namespace: a cable per leg from its bridge (in namespace `root`), address and routes, loopback up."""
    with rtnetlink(root) as outer:
        for leg in legs:
            _cable(outer, namespace, leg)
    with rtnetlink(namespace) as inner:
        inner.link("set", index=1, state="up")
        for leg in legs:
            index = index_of(inner, leg.interface)
            inner.addr("add", index=index, address=leg.ip, prefixlen=leg.prefix)
            inner.link("set", index=index, state="up")
        for leg in legs:
            for destination, via in leg.routes:
                inner.route("add", dst=destination, gateway=via)


def _cable(outer: Any, namespace: str, leg: Leg) -> None:
    stale = index_of(outer, leg.peer)
    if stale is not None:
        outer.link("del", index=stale)
    fd = os.open(netns.path(namespace), os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = {"ifname": leg.interface, "net_ns_fd": fd, "address": hardware_address(leg.ip)}
        outer.link("add", ifname=leg.peer, kind="veth", peer=peer)
    finally:
        os.close(fd)
    outer.link("set", index=index_of(outer, leg.peer), master=index_of(outer, leg.bridge), state="up")


def hardware_address(ip: str) -> str:
    """The same for the same IP address: whoever spoke to it before reaches the pod that has it now at once."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0, *ip_address(ip).packed))


def detach(peers: Sequence[str], *, root: str) -> None:
    """Remove cables by the names of their outer ends; ones that are gone are fine."""
    with rtnetlink(root) as outer:
        for peer in peers:
            index = index_of(outer, peer)
            if index is not None:
                with contextlib.suppress(NetlinkError):
                    outer.link("del", index=index)
