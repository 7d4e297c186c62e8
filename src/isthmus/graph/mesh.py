"""The mesh as the rest of the product sees it: rows in, resources out, and whom each change concerns."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from isthmus.base.errors import Problem
from isthmus.derive.moves import Move
from isthmus.graph.common import Common
from isthmus.graph.demand import Demand
from isthmus.graph.gateways import Gateways
from isthmus.graph.names import Existing
from isthmus.graph.observed import Meshwide
from isthmus.graph.peering import Peering
from isthmus.graph.preview import Preview
from isthmus.graph.problems import Problems
from isthmus.graph.resources import Resources
from isthmus.graph.routing import Routing
from isthmus.graph.scoping import Scopes
from isthmus.graph.settings import MeshSettings
from isthmus.graph.sources import ALL, Sources
from isthmus.graph.subscriptions import Dirty, Subscriptions, split
from isthmus.graph.ztunnel_reach import Reach
from isthmus.model.mesh import NetworkGateway
from isthmus.model.rows import Proxy, Workload
from isthmus.model.scopes import Scope
from isthmus.tables.changes import Change, Drop, Key, Put, Replace
from isthmus.tables.graph import Graph
from isthmus.xds.resource import PEER_SERVICE, TRUST_BUNDLE, WILDCARD, XdsResource

__all__ = ["Dirty", "Mesh", "MeshSettings"]


class Mesh:
    """What a proxy must know, as a function of what was observed; kept up to date by the change.

    A connected proxy is a row of the table `proxies`. All methods are synchronous and belong to one thread.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self.settings = settings
        self.graph = Graph(strict=settings.strict_engine)
        self.sources = Sources(self.graph)
        self.meshwide = Meshwide(self.graph, self.sources, settings)
        self._routing = Routing(self.graph, self.meshwide)
        self._scopes = Scopes(self.graph, self.meshwide, self._routing.told_apart)
        self._gateways = Gateways(self.graph, self.meshwide, self._routing)
        self._existing = Existing(self.graph, self.meshwide, self._routing, self._gateways)
        self._resources = Resources(self.graph, self._existing)
        self._problems = Problems(self.graph, self.meshwide, self._routing)
        self._subscriptions = Subscriptions(self.graph, self._existing.names, self._resources.tables)
        self._reach = Reach(self.graph, self._existing.ztunnels)
        self._demand = Demand(self.graph, self._reach, self._subscriptions)
        self._type_of = {table.name: type_url for type_url, table in self._resources.tables.items()}
        peering = Peering(self.graph, self.meshwide)
        self._common = Common(self.graph, {TRUST_BUNDLE: peering.bundles})
        self.exports = Common(self.graph, {PEER_SERVICE: peering.exports})
        """What peers are told; they follow it under names of their own."""
        self._peers_dirty: Dirty = {}
        self._keys: dict[str, Key] = {}
        self._ids: dict[Key, str] = {}
        self._hostnames_demanded = False

    # -- changing -------------------------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change]) -> Dirty:
        """Take changes in as one revision; returns, for each proxy, the subscribed resources that may differ."""
        changes = list(changes)
        if any(change.table != Proxy.TABLE for change in changes):
            self._subscriptions.observed_changed()
        came, went = self._proxy_changes(changes)
        changed = split(self.graph.apply(changes))
        dirty: Dirty = {}
        for key, before, after in changed.get(self._existing.names.name, ()):
            scope, type_url = key
            self._subscriptions.names_changed(scope, type_url, before, after, dirty)
        for name, type_url in self._type_of.items():
            for (scope, resource), _, _ in changed.get(name, ()):
                self._subscriptions.resource_changed(type_url, scope, resource, dirty)
        for asked, before, after in changed.get(self._reach.table.name, ()):
            self._demand.reach_changed(asked, before, after, dirty)
        self._common.changed(changed, dirty)
        self.exports.changed(changed, self._peers_dirty)
        for key, _, after in changed.get(self._scopes.of_proxy.name, ()):
            if key not in went:
                self._subscriptions.scopes_changed(self._ids[key], after, dirty)
                self._demand.moved(self._ids[key], dirty)
        for key in went:
            self._forget(key, dirty)
        for key, row in came.items():
            self._welcome(key, row, dirty)
        self.graph.collect()
        return dirty

    def _proxy_changes(self, changes: list[Change]) -> tuple[dict[Key, Proxy], set[Key]]:
        """Proxies that were not connected before these changes and are after, and the other way round."""
        rows: dict[Key, Any] = {}
        for change in changes:
            if change.table != Proxy.TABLE:
                continue
            match change:
                case Put(key=key, row=row):
                    rows[key] = row
                case Drop(key=key):
                    rows[key] = None
                case Replace(prefix=prefix, rows=fresh):
                    rows.update((key, None) for key in self._ids if key[: len(prefix)] == prefix)
                    rows.update(fresh)
        came = {key: row for key, row in rows.items() if row is not None and key not in self._ids}
        return came, {key for key, row in rows.items() if row is None and key in self._ids}

    def _welcome(self, key: Key, row: Proxy, dirty: Dirty) -> None:
        self._keys[row.id] = key
        self._ids[key] = row.id
        self._subscriptions.connect(row.id)
        self._subscriptions.scopes_changed(row.id, self.graph.pin(self._scopes.of_proxy, key), dirty)

    def _forget(self, key: Key, dirty: Dirty) -> None:
        proxy_id = self._ids.pop(key)
        del self._keys[proxy_id]
        self.graph.unpin(self._scopes.of_proxy, key)
        self._demand.leave(proxy_id)
        self._subscriptions.disconnect(proxy_id)
        self._common.leave_all(proxy_id)
        dirty.pop(proxy_id, None)

    def connect(self, proxy: Proxy) -> Dirty:
        """A proxy is there, or says something else about itself: the same as putting its row."""
        return self.apply([Put(Proxy.TABLE, proxy.key, proxy)])

    def disconnect(self, proxy_id: str) -> None:
        """A proxy is gone; what only it held is dropped."""
        key = self._keys.get(proxy_id)
        if key is not None:
            self.apply([Drop(Proxy.TABLE, key)])

    def subscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy wants these names, too; "*" is everything of the type."""
        if type_url in self._common:
            self._common.follow(proxy_id, type_url)
            return
        self._subscriptions.subscribe(proxy_id, type_url, names)

    def unsubscribe(self, proxy_id: str, type_url: str, names: Collection[str]) -> None:
        """The proxy wants these names no more."""
        if type_url in self._common:
            if WILDCARD in names:
                self._common.leave(proxy_id, type_url)
            return
        self._demand.leave(proxy_id, type_url, names)
        self._subscriptions.unsubscribe(proxy_id, type_url, names)

    def demand(self, proxy_id: str, type_url: str, names: Collection[str]) -> Collection[str]:
        """What belongs to these names, and to the proxy's node: it is followed from now on, too (XD8)."""
        row = self.sources.proxies.get(self._keys[proxy_id])
        return self._demand.ask(proxy_id, type_url, names, row.node if row is not None else "")

    def take_peers_dirty(self) -> Dirty:
        """For each follower of `exports` the names that differ since the last call."""
        dirty, self._peers_dirty = self._peers_dirty, {}
        return dirty

    # -- looking --------------------------------------------------------------------------------------------------

    def resource(self, proxy_id: str, type_url: str, name: str) -> XdsResource | None:
        """What that name is to that proxy now, subscribed or not."""
        if type_url in self._common:
            return self.resources(proxy_id, type_url).get(name)
        subscriber = self._subscriptions.subscriber(proxy_id)
        if subscriber is None or type_url not in self._resources.tables:
            return None
        found = self._subscriptions.find(subscriber, type_url, name)
        found = found or self._demand.aliased(proxy_id, type_url, name)
        self.graph.collect()
        return found

    def resources(self, proxy_id: str, type_url: str) -> dict[str, XdsResource]:
        """Everything of a type that exists for that proxy: what the wildcard names."""
        if type_url in self._common:
            same = dict(self._common.resources(type_url))
            self.graph.collect()
            return same
        subscriber = self._subscriptions.subscriber(proxy_id)
        if subscriber is None or type_url not in self._resources.tables:
            return {}
        found = self._subscriptions.find_all(subscriber, type_url)
        self.graph.collect()
        return found

    def scopes(self, proxy_id: str) -> tuple[Scope, ...]:
        """The scopes of a proxy, in the order in which names are looked up."""
        subscriber = self._subscriptions.subscriber(proxy_id)
        return subscriber.scopes if subscriber is not None else ()

    def problems(self) -> list[Problem]:
        """What is wrong with what was observed, sorted; kept up to date from the first call on."""
        return self._problems.now()

    def gateways(self) -> list[NetworkGateway]:
        """Every known gateway of every network, whether somebody uses it or not."""
        indexes = (self.sources.gateway_services, self.sources.api_gateways_to, self.sources.links_to)
        names = {name for index in indexes for name, _ in index.rows()}
        names |= {definition.name for definition in self.graph.peek(self.meshwide.definitions, ALL)}
        found = [gateway for name in names for gateway in self.graph.peek(self.meshwide.entrances.gateways, str(name))]
        self.graph.collect()
        return sorted(found)

    def network_of(self, cluster: str) -> str:
        """The network of a cluster's workloads by default (NW1)."""
        home = self.graph.peek(self.meshwide.homes, cluster)
        self.graph.collect()
        return home.network

    def hostnames(self) -> tuple[str, ...]:
        """Host names of gateways, to be resolved into rows `ResolvedName`; kept up to date from the first call on."""
        if not self._hostnames_demanded:
            self.graph.pin(self.meshwide.entrances.hostnames, ALL)
            self._hostnames_demanded = True
        return self.graph.peek(self.meshwide.entrances.hostnames, ALL)

    def drain_preview(self, cluster: str) -> list[Move]:
        """What would move where, in the eyes of the config cluster's proxies, if the cluster were drained."""
        return Preview(self.graph, self.meshwide).drain(cluster)

    def placed(self) -> Iterator[tuple[str, Workload]]:
        """Every pod with its network: long in a large mesh."""
        return self._problems.placed()

    def pod(self, cluster: str, namespace: str, name: str) -> Workload | None:
        """The pod of that name as it was last observed."""
        return self.sources.workloads.get((cluster, namespace, name))

    def pods_on(self, cluster: str, node: str) -> Iterator[Workload]:
        """The pods that were bound to a node and have not finished."""
        rows = map(self.sources.workloads.get, self.sources.pods_on.get((cluster, node)))
        return (row for row in rows if row is not None)

    def table(self, name: str) -> list[tuple[Any, Any]]:
        """The rows of a table that are there now, sorted by key. Unknown names raise KeyError."""
        return self.graph.dump(name)

    def tables(self) -> list[str]:
        """The names of all tables, sources first, in the order of evaluation."""
        return list(self.graph.tables)

    @property
    def proxies(self) -> list[Proxy]:
        """The connected proxies."""
        rows = (self.sources.proxies.get(key) for key in self._ids)
        return [row for row in rows if row is not None]

    @property
    def revision(self) -> int:
        """Counts the calls of `apply`."""
        return self.graph.revision

    @property
    def recomputed(self) -> list[tuple[str, Any]]:
        """(table, key) of every row evaluated since the last revision began, in order."""
        return self.graph.recomputed
