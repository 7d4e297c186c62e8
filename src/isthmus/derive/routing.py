"""Which VirtualService a host goes by, and which of its rules are for one kind of client."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from isthmus.derive.rules import host_patterns
from isthmus.derive.visibility import exported, is_public, narrower
from isthmus.model.routing import (
    GRPC_ROUTE,
    MESH,
    Client,
    Destination,
    HttpMatch,
    HttpRoute,
    StreamMatch,
    StreamRoute,
    VirtualService,
)
from isthmus.model.rows import Labels, labels_match

Match = TypeVar("Match", HttpMatch, StreamMatch)


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


def together(found: Sequence[VirtualService], namespace: str) -> list[VirtualService]:
    """Which of the contenders for a service of a namespace count: the first one, or all routes of the Gateway API.

    Those of the client's own namespace leave no room for the owner's (GAMMA: consumer before producer), and those for
    gRPC none for those for HTTP (GEP-1426).
    """
    first = found[0] if found else None
    if first is None or not first.joins:
        return list(found[:1])
    routes = [row for row in found if row.joins and row.hosts == first.hosts]
    consumers = [row for row in routes if row.namespace != namespace] or routes
    return [row for row in consumers if row.kind == GRPC_ROUTE] or consumers


def joined(rows: Iterable[VirtualService], caller: Caller) -> list[tuple[VirtualService, HttpRoute]]:
    """The rules of these objects for requests of these clients, in the order in which they are asked.

    Of rules that are equally specific those of the oldest object go first (GEP-1722).
    """
    found = []
    for row in sorted(rows, key=rank):
        ranks = row.ranks or ((),) * len(row.http)
        for place, route in zip(ranks, row.http, strict=True):
            found += [(place, row, one) for one in http_routes(msgspec.structs.replace(row, http=(route,)), caller)]
    return [(row, route) for _, row, route in sorted(found, key=lambda one: one[0])]


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


def within(route: StreamRoute, hosts: tuple[str, ...]) -> StreamRoute | None:
    """A rule for TLS, narrowed to the names that a gateway's server takes; None if nothing is left of it."""
    if not any(match.sni_hosts for match in route.matches):
        return route
    matches = []
    for match in route.matches:
        names = (narrower(name, host) for name in match.sni_hosts for host in hosts)
        left = tuple(dict.fromkeys(name for name in names if name))
        if left:
            matches.append(msgspec.structs.replace(match, sni_hosts=left))
    return msgspec.structs.replace(route, matches=tuple(matches)) if matches else None


def targets(route: HttpRoute) -> Iterator[Destination]:
    """Everything that a rule sends requests to, copies included."""
    yield from (one.destination for one in route.destinations)
    yield from (one.destination for one in route.mirrors)


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


def destinations(row: VirtualService) -> Iterator[Destination]:
    """Everything that an object sends requests or connections to."""
    yield from (one for route in row.http for one in targets(route))
    yield from (one.destination for route in (*row.tls, *row.tcp) for one in route.destinations)


def clients(row: VirtualService) -> Iterator[Client]:
    """All clients that the object tells apart."""
    for http in row.http:
        yield from (match.client for match in http.matches)
    for stream in (*row.tls, *row.tcp):
        yield from (match.client for match in stream.matches)


def source_labels(row: VirtualService) -> frozenset[tuple[str, str]]:
    """The labels by which the object tells clients apart: only these of a client's labels matter."""
    return frozenset(pair for client in clients(row) for pair in client.source_labels)


def is_special(row: VirtualService) -> bool:
    """True if not all namespaces go by the object in the same way."""
    return not is_public(row.export_to) or tells_namespaces_apart(row)


def tells_namespaces_apart(row: VirtualService) -> bool:
    """True if it matters in which namespace a client is."""
    return any(client.source_namespace for client in clients(row))
