"""The wiring of VirtualServices: which one clients of a namespace go by, host by host."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from isthmus.derive import routing
from isthmus.derive.rules import host_patterns
from isthmus.envoy import naming, streams
from isthmus.envoy.build import config_path
from isthmus.envoy.http_routes import ClusterOf
from isthmus.envoy.outbound import NO_STREAMS, Streams
from isthmus.envoy.routes import Rules
from isthmus.graph.observed import Meshwide
from isthmus.graph.places import ANYBODY
from isthmus.graph.sources import ALL
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.routing import MESH, Destination, VirtualService
from isthmus.model.rows import Labels
from isthmus.model.scopes import Egress, NamespaceView
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

NO_LABELS: frozenset[tuple[str, str]] = frozenset()


Hosts = frozenset[HostKey]


class Choice(msgspec.Struct, frozen=True):
    """The VirtualService that some clients go by for a host, or the routes that count together.

    Namespace and labels are only what the objects look at: clients that they do not tell apart have equal choices.
    """

    rows: tuple[Key, ...]
    namespace: str = ""
    labels: Labels = ()


class Routing:
    """Choices, and what they say."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self.meshwide = meshwide
        self.sources = meshwide.sources
        derived = graph.derived
        self.routed: Derived[Key, Hosts] = derived("derive.routed_hosts", self._routed, frozenset())
        self.special: Derived[Key, Hosts] = derived("derive.specially_routed_hosts", self._special, frozenset())
        self.labelled: Derived[Key, Hosts] = derived("derive.hosts_by_label", self._labelled, frozenset())
        self.told_apart: Derived[str, frozenset[tuple[str, str]]] = derived(
            "derive.source_labels", self._told_apart, NO_LABELS
        )
        self.chosen: Derived[tuple[str, Egress | None, HostKey], tuple[Key, ...]] = derived(
            "derive.virtual_services", self._chosen, ()
        )
        self.differing: Derived[NamespaceView, Mapping[HostKey, Choice | None]] = derived(
            "derive.own_routes", self._differing, {}
        )

    def rows(self, get: Get) -> Iterator[VirtualService]:
        """All VirtualServices of the config cluster."""
        return self._config_rows(get, get(self.sources.all_virtual_services, ALL))

    def rows_at(self, get: Get, gateway: str) -> Iterator[VirtualService]:
        """Those that are bound to a gateway."""
        return self._config_rows(get, get(self.sources.virtual_services_at, gateway))

    def rows_within(self, get: Get, egress: Egress) -> Iterator[VirtualService]:
        """Those that a Sidecar lets through. Only namespaces that it names are looked at."""
        places = {place for place, _ in egress.hosts}
        found = self.rows(get) if "*" in places else self._in_namespaces(get, places)
        return (row for row in found if self.meshwide.visible.imports(row, egress))

    def _in_namespaces(self, get: Get, namespaces: Iterable[str]) -> Iterator[VirtualService]:
        for namespace in sorted(namespaces):
            yield from self._config_rows(get, get(self.sources.virtual_services_in, namespace))

    def _config_rows(self, get: Get, keys: Iterable[Key]) -> Iterator[VirtualService]:
        for key in keys:
            row = get(self.sources.virtual_services, key)
            if row is not None and row.cluster == self.meshwide.settings.config_cluster:
                yield self._effective(get, row)

    def _routed(self, get: Get, key: Key) -> Hosts:
        """Services that some VirtualService of the mesh may be about."""
        return self._meant(get, self.rows(get))

    def _special(self, get: Get, key: Key) -> Hosts:
        """Services for which it matters in which namespace a client is."""
        if get(self.meshwide.config, ALL).default_virtual_service_export_to:
            return get(self.routed, ALL)
        return self._meant(get, self._config_rows(get, get(self.sources.special_virtual_services, ALL)))

    def _labelled(self, get: Get, key: Key) -> Hosts:
        """Services for which it matters which labels a client has."""
        return self._meant(get, self._config_rows(get, get(self.sources.labelled_virtual_services, ALL)))

    def _meant(self, get: Get, rows: Iterable[VirtualService]) -> Hosts:
        patterns = {host for row in rows if MESH in row.gateways for host in row.hosts}
        exact = (self.meshwide.named(get, host) for host in sorted(patterns) if not host.startswith("*"))
        found = {(service.namespace, service.name) for service in exact if service is not None}
        if any(host.startswith("*") for host in patterns):
            for host in get(self.meshwide.hosts, ALL):
                service = get(self.meshwide.services, host)
                if service is not None and not patterns.isdisjoint(host_patterns(service.host)):
                    found.add(host)
        return frozenset(found)

    def _differing(self, get: Get, view: NamespaceView) -> Mapping[HostKey, Choice | None]:
        """What clients of a namespace go by where that is not what everybody does."""
        anybody = NamespaceView(view=view.view.unbound, namespace=ANYBODY)
        hosts = get(self.special, ALL)
        if view.view.egress is not None:
            seen = (*self.meshwide.visible.hosts(get, view.view.egress), *self.meshwide.visible.own_hosts(get, view))
            hosts = get(self.routed, ALL).intersection(seen)
        found = {host: self.choice(get, view, (), host) for host in sorted(hosts)}
        return {host: mine for host, mine in found.items() if mine != self.choice(get, anybody, (), host)}

    def _told_apart(self, get: Get, namespace: str) -> frozenset[tuple[str, str]]:
        """The labels by which clients of a namespace are told apart somewhere."""
        rows = self._config_rows(get, get(self.sources.labelled_virtual_services, ALL))
        return NO_LABELS.union(*(routing.source_labels(row) for row in rows if routing.seen_by(row, namespace)))

    def _chosen(self, get: Get, key: tuple[str, Egress | None, HostKey]) -> tuple[Key, ...]:
        client, egress, host = key
        service = get(self.meshwide.services, host)
        if service is None:
            return ()
        rows = (row for row in self._about(get, service.host) if self.meshwide.visible.imports(row, egress))
        found = routing.contenders(rows, service.host, client)
        return tuple(row.key for row in routing.together(found, service.namespace))

    def _effective(self, get: Get, row: VirtualService) -> VirtualService:
        """The object with the mesh's word on who sees it, where it has none."""
        default = get(self.meshwide.config, ALL).default_virtual_service_export_to
        return msgspec.structs.replace(row, export_to=default) if default and not row.export_to else row

    def _about(self, get: Get, host: str) -> Iterator[VirtualService]:
        """The objects with a host, or a pattern that it fits, each once."""
        found = {row.key: row for pattern in host_patterns(host) for row in self.rows_for(get, pattern)}
        return iter(found[key] for key in sorted(found))

    def rows_for(self, get: Get, pattern: str) -> Iterator[VirtualService]:
        """The objects that name a host, or a pattern, in just these letters."""
        return self._config_rows(get, get(self.sources.virtual_services_for, pattern))

    def choice(self, get: Get, view: NamespaceView, labels: Labels, host: HostKey) -> Choice | None:
        """What clients of a namespace, with these labels, go by for a service; None for no VirtualService."""
        chosen = (view.namespace, view.view.egress, host)
        keys = get(self.chosen, chosen) if host in get(self.routed, ALL) else ()
        rows = self._rows_of(get, keys)
        if not rows:
            return None
        wanted = frozenset[tuple[str, str]]().union(*map(routing.source_labels, rows))
        return Choice(
            rows=keys,
            namespace=view.namespace if any(map(routing.tells_namespaces_apart, rows)) else "",
            labels=tuple(pair for pair in labels if pair in wanted),
        )

    def http_rules(self, get: Get, choice: Choice, port: int) -> Rules | None:
        """What the choice says of requests to a port; None if nothing, so that the host is routed as ever."""
        caller = routing.Caller(namespace=choice.namespace, labels=choice.labels, port=port)
        found = routing.joined(self._rows_of(get, choice.rows), caller)
        if not found:
            return None
        return Rules(
            tuple(route for _, route in found), self.cluster_of(get, port), tuple(source_of(row) for row, _ in found)
        )

    def _rows_of(self, get: Get, keys: Iterable[Key]) -> list[VirtualService]:
        found = (get(self.sources.virtual_services, key) for key in keys)
        return [row for row in found if row is not None]

    def streams(self, get: Get, choice: Choice, port: int) -> Streams:
        """What the choice says of connections to a port."""
        rows = self._rows_of(get, choice.rows)
        if not rows:
            return NO_STREAMS
        row = rows[0]  # routes of the Gateway API, which may be several, say nothing of connections
        caller = routing.Caller(namespace=choice.namespace, labels=choice.labels, port=port)
        cluster = self.cluster_of(get, port)
        return Streams(
            tls=tuple(streams.streams(routing.stream_routes(row.tls, row, caller), cluster)),
            tcp=tuple(streams.streams(routing.stream_routes(row.tcp, row, caller), cluster)),
        )

    def has_streams(self, get: Get, choice: Choice | None) -> bool:
        """True if the choice says something of connections."""
        rows = self._rows_of(get, choice.rows) if choice is not None else []
        return any(row.tls or row.tcp for row in rows)

    def cluster_of(self, get: Get, port: int) -> ClusterOf:
        """How destinations are called, seen from a port. One that does not exist answers 503: it has no cluster."""

        def name(destination: Destination) -> str:
            service = self.meshwide.named(get, destination.host)
            return naming.outbound(_port(destination, service, port), destination.host, destination.subset)

        return name


def source_of(row: VirtualService) -> str:
    """The object's path, as tools show it."""
    return config_path(row.kind, row.namespace, row.name.partition("~")[0])


def _port(destination: Destination, service: MeshService | None, called: int) -> int:
    if destination.port:
        return destination.port
    if service is not None and len(service.ports) == 1:
        return service.ports[0].port
    return called
