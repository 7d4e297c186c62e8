"""Which VirtualService a host goes by, and which of its rules are for one kind of client."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from isthmus.derive.rules import host_patterns
from isthmus.derive.visibility import exported
from isthmus.model.routing import MESH, Client, HttpMatch, HttpRoute, StreamMatch, StreamRoute, VirtualService, Weighted
from isthmus.model.rows import Gateway, Labels, labels_match

Match = TypeVar("Match", HttpMatch, StreamMatch)


PASSTHROUGH = "PASSTHROUGH"


class SniRoute(msgspec.Struct, frozen=True):
    """Connections to a port of a gateway that name one of these hosts in TLS, and where they go unopened."""

    port: int
    hosts: tuple[str, ...]
    destinations: tuple[Weighted, ...]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose requests: those of sidecars (`mesh`) or those that came to a gateway, of which namespace and labels.

    `port` is the port that was called.
    """

    gateways: tuple[str, ...] = (MESH,)
    namespace: str = ""
    labels: Labels = ()
    port: int = 0


def rank(row: VirtualService) -> tuple[str, str, str]:
    """Order of objects that are for the same host: the oldest first."""
    return (row.created, row.namespace, row.name)


def seen_by(row: VirtualService, client: str) -> bool:
    """True if sidecars of a namespace may go by the object."""
    return MESH in row.gateways and exported(row.export_to, row.namespace, client)


def contenders(rows: Iterable[VirtualService], host: str, client: str) -> list[VirtualService]:
    """The objects that sidecars of a namespace might go by for a host, the one they do go by first.

    The most specific name wins, then the oldest object.
    """
    patterns = {pattern: place for place, pattern in enumerate(host_patterns(host))}
    found = []
    for row in rows:
        places = [patterns[name] for name in row.hosts if name in patterns]
        if places and seen_by(row, client):
            found.append((min(places), rank(row), row))
    return [row for _, _, row in sorted(found, key=lambda item: item[:2])]


def http_routes(row: VirtualService, caller: Caller) -> Iterator[HttpRoute]:
    """The rules for requests of these clients, with those of their matches that may fit."""
    for route in row.http:
        matches = tuple(_fitting(route.matches, row, caller))
        if matches or not route.matches:
            yield msgspec.structs.replace(route, matches=matches)


def stream_routes(routes: Iterable[StreamRoute], row: VirtualService, caller: Caller) -> Iterator[StreamRoute]:
    """The rules for connections of these clients, with those of their matches that may fit."""
    for route in routes:
        matches = tuple(_fitting(route.matches, row, caller))
        if matches or not route.matches:
            yield msgspec.structs.replace(route, matches=matches)


def passthrough(gateway: Gateway, rows: Iterable[VirtualService], labels: Labels) -> Iterator[SniRoute]:
    """Where connections to the PASSTHROUGH servers of a gateway go, by SNI; `rows` in the order of `rank`.

    Of several rules for one name the first counts.
    """
    name = f"{gateway.namespace}/{gateway.name}"
    attached = [row for row in sorted(rows, key=rank) if name in row.gateways]
    for server in gateway.servers:
        if server.tls_mode != PASSTHROUGH:
            continue
        taken: set[str] = set()
        caller = Caller(gateways=(name,), namespace=gateway.namespace, labels=labels, port=server.port)
        for row in attached:
            for route in stream_routes(row.tls, row, caller):
                asked = [host for match in route.matches for host in match.sni_hosts]
                hosts = [host for host in _within(asked, server.hosts) if host not in taken]
                taken.update(hosts)
                if hosts:
                    yield SniRoute(server.port, tuple(dict.fromkeys(hosts)), route.destinations)


def _within(asked: Iterable[str], hosts: Iterable[str]) -> Iterator[str]:
    """The names that are asked for as far as the server is for them, the narrower pattern of each pair."""
    for wanted in asked:
        for host in hosts:
            if covers(host, wanted):
                yield wanted
            elif covers(wanted, host):
                yield host


def covers(pattern: str, host: str) -> bool:
    """True if every name that fits `host` (a name or a pattern) fits the pattern."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _fitting(matches: Iterable[Match], row: VirtualService, caller: Caller) -> Iterator[Match]:
    return (match for match in matches if _fits(match.client, row, caller))


def _fits(client: Client, row: VirtualService, caller: Caller) -> bool:
    gateways = client.gateways or row.gateways
    return (
        not set(gateways).isdisjoint(caller.gateways)
        and client.port in (0, caller.port)
        and client.source_namespace in ("", caller.namespace)
        and labels_match(client.source_labels, caller.labels)
    )


def clients(row: VirtualService) -> Iterator[Client]:
    """All clients that the object tells apart."""
    for http in row.http:
        yield from (match.client for match in http.matches)
    for stream in (*row.tls, *row.tcp):
        yield from (match.client for match in stream.matches)


def source_labels(row: VirtualService) -> frozenset[tuple[str, str]]:
    """The labels by which the object tells clients apart: only these of a client's labels matter."""
    return frozenset(pair for client in clients(row) for pair in client.source_labels)


def tells_namespaces_apart(row: VirtualService) -> bool:
    """True if it matters in which namespace a client is."""
    return any(client.source_namespace for client in clients(row))
