"""The wiring of visibility: which services the proxies of a namespace know of (TE1, TE3).

What everybody sees is one thing for the whole mesh. What only some see is kept apart, by namespace, so that a private
service costs its own clients a little and the others nothing.
"""

from typing import NamedTuple

from isthmus.derive import visibility
from isthmus.model.external import ServiceEntry
from isthmus.model.mesh import HostKey, MeshService
from isthmus.model.mesh_config import MeshConfig
from isthmus.model.routing import Sidecar, VirtualService
from isthmus.model.rows import Service
from isthmus.model.scopes import Egress, NamespaceView
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph, Index, Source

ALL = ()
Hosts = tuple[HostKey, ...]


class Seen(NamedTuple):
    """The tables that visibility is made of."""

    config_cluster: str
    system_namespace: str
    config: Derived[Key, MeshConfig]
    hosts: Derived[Key, Hosts]
    services: Derived[HostKey, MeshService | None]
    private_services: Index[tuple[()], Service]
    entries: Source[ServiceEntry]
    private_entries: Index[tuple[()], ServiceEntry]
    mesh_hosts: Derived[Key, Hosts]
    sidecars: Source[Sidecar]
    sidecars_in: Index[str, Sidecar]


class Visible:
    """Who sees which services."""

    def __init__(self, graph: Graph, seen: Seen) -> None:
        self._seen = seen
        derived = graph.derived
        self.private: Derived[Key, Hosts] = derived("derive.private_hosts", self._private, ())
        self.public: Derived[Key, Hosts] = derived("derive.public_hosts", self._public, ())
        self.within: Derived[Egress, Hosts] = derived("derive.egress_hosts", self._within, ())
        self.own: Derived[str, Hosts] = derived("derive.own_hosts", self._own, ())
        self.sidecars: Derived[str, tuple[Sidecar, ...]] = derived("derive.sidecars", self._sidecars, ())

    def _private(self, get: Get, key: Key) -> Hosts:
        """Services that not everybody sees."""
        seen = self._seen
        if get(seen.config, ALL).default_service_export_to:
            candidates = set(get(seen.hosts, ALL))
        else:
            candidates = {(str(key[1]), str(key[2])) for key in get(seen.private_services, ALL)}
            entries = (get(seen.entries, key) for key in get(seen.private_entries, ALL))
            candidates.update((row.namespace, host) for row in entries if row is not None for host in row.hosts)
            candidates.update(get(seen.mesh_hosts, ALL))
        found = ((host, get(seen.services, host)) for host in sorted(candidates))
        return tuple(
            host for host, service in found if service is not None and not visibility.is_public(service.export_to)
        )

    def _public(self, get: Get, key: Key) -> Hosts:
        private = set(get(self.private, ALL))
        hosts = get(self._seen.hosts, ALL)
        return tuple(host for host in hosts if host not in private) if private else hosts

    def _within(self, get: Get, egress: Egress) -> Hosts:
        """The public services that a Sidecar names."""
        return tuple(host for host in get(self.public, ALL) if self._named(get, host, egress))

    def _named(self, get: Get, host: HostKey, egress: Egress) -> bool:
        patterns = [name for place, name in egress.hosts if place in ("*", host[0])]
        if not patterns or "*" in patterns:
            return bool(patterns)
        service = get(self._seen.services, host)
        return service is not None and any(visibility.covers(pattern, service.host) for pattern in patterns)

    def _own(self, get: Get, namespace: str) -> Hosts:
        """The services that proxies of this namespace see and not everybody does."""
        found = ((host, get(self._seen.services, host)) for host in get(self.private, ALL))
        return tuple(
            host
            for host, service in found
            if service is not None and visibility.exported(service.export_to, service.namespace, namespace)
        )

    def hosts(self, get: Get, egress: Egress | None) -> Hosts:
        """What everybody sees, as far as a Sidecar lets through."""
        return get(self.public, ALL) if egress is None else get(self.within, egress)

    def own_hosts(self, get: Get, view: NamespaceView) -> Hosts:
        """What proxies of the view's namespace see besides, as far as their Sidecar lets through."""
        found = get(self.own, view.namespace)
        egress = view.view.egress
        return found if egress is None else tuple(host for host in found if self._named(get, host, egress))

    def lets_through(self, get: Get, host: HostKey, egress: Egress | None) -> bool:
        """True if a Sidecar names the service."""
        return egress is None or self._named(get, host, egress)

    def imports(self, row: VirtualService, egress: Egress | None) -> bool:
        """True if a Sidecar lets an object of its namespace through: one for a host that it names."""
        return egress is None or any(
            place in ("*", row.namespace) and any(visibility.overlap(name, host) for host in row.hosts)
            for place, name in egress.hosts
        )

    # -- Sidecars -------------------------------------------------------------------------------------------------

    def _sidecars(self, get: Get, namespace: str) -> tuple[Sidecar, ...]:
        """The Sidecars that may be for proxies of a namespace, the first that selects a proxy is: those with a
        selector, that of the namespace, that of the mesh; the oldest of several."""
        own = self._rows(get, namespace)
        root = self._seen.system_namespace
        mesh = [] if namespace == root else [row for row in self._rows(get, root) if not row.selector]
        return (*(row for row in own if row.selector), *(row for row in own if not row.selector), *mesh)

    def _rows(self, get: Get, namespace: str) -> list[Sidecar]:
        rows = (get(self._seen.sidecars, key) for key in get(self._seen.sidecars_in, namespace))
        mine = [row for row in rows if row is not None and row.cluster == self._seen.config_cluster]
        return sorted(mine, key=lambda row: (row.created, row.name))
