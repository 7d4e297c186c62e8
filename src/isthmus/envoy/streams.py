"""Filter chains that carry connections by rules: by SNI, by the address that was meant, in shares."""

import ipaddress
from collections.abc import Callable, Iterable, Iterator

import msgspec
from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2

from isthmus.envoy import filters
from isthmus.envoy.build import Message, u32
from isthmus.model.routing import Destination, StreamMatch, StreamRoute

Shares = tuple[tuple[str, int], ...]
"""Clusters with their weights."""


class Stream(msgspec.Struct, frozen=True):
    """One filter chain to be: which connections (no SNI: any, no subnet: any), and where they go."""

    shares: Shares
    sni_hosts: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()


def streams(routes: Iterable[StreamRoute], cluster_of: Callable[[Destination], str]) -> Iterator[Stream]:
    """The filter chains of rules. What an earlier one takes no later one gets: Envoy wants all matches to differ."""
    seen: set[tuple[str, str]] = set()
    for route in routes:
        shares = tuple((cluster_of(one.destination), one.weight) for one in route.destinations if one.weight)
        for match in route.matches or (StreamMatch(),):
            names = ("",) if "*" in match.sni_hosts or not match.sni_hosts else match.sni_hosts
            free = [
                name for name in dict.fromkeys(names) if any((name, net) not in seen for net in match.subnets or ("",))
            ]
            if free:
                seen.update((name, net) for name in free for net in match.subnets or ("",))
                yield Stream(shares, tuple(name for name in free if name), match.subnets)


def chain(stream: Stream, direction: str, *, tls: bool, socket: Message | None = None) -> Message:
    """The filter chain of a stream; `tls` asks for TLS bytes, `socket` opens them."""
    match = listener_components_pb2.FilterChainMatch(
        server_names=stream.sni_hosts,
        transport_protocol="tls" if tls else "",
        prefix_ranges=[_range(subnet) for subnet in stream.subnets],
    )
    name = ",".join((*stream.sni_hosts, *stream.subnets, stream.shares[0][0]))
    message = listener_components_pb2.FilterChain(
        name=name, filter_chain_match=match, filters=[filters.tcp_proxy(stream.shares, direction)]
    )
    if socket is not None:
        message.transport_socket.CopyFrom(socket)
    return message


def _range(subnet: str) -> Message:
    network = ipaddress.ip_network(subnet, strict=False)
    return address_pb2.CidrRange(address_prefix=str(network.network_address), prefix_len=u32(network.prefixlen))
