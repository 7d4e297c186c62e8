"""The wiring of peering: what we tell peers of our services, and which roots proxies trust for whom."""

from collections.abc import Mapping

import msgspec

from isthmus.derive import exports
from isthmus.graph.observed import Meshwide
from isthmus.graph.sources import ALL
from isthmus.ingest.peer_wire import write_bundle, write_service
from isthmus.model.mesh import HostKey
from isthmus.model.peering import OwnAuthority, PeerService, ServiceScope
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph
from isthmus.xds.resource import PEER_SERVICE, TRUST_BUNDLE, XdsResource

Named = Mapping[str, XdsResource]


class Peering:
    """Two tables of one row: all that there is, by name. Both are small, and whoever wants any of it wants all."""

    def __init__(self, graph: Graph, meshwide: Meshwide) -> None:
        self._meshwide = meshwide
        derived = graph.derived
        self.export: Derived[HostKey, PeerService | None] = derived("peering.export", self._export)
        self.encoded: Derived[HostKey, XdsResource | None] = derived("peering.encoded", self._encoded)
        self.exports: Derived[Key, Named] = derived("peering.exports", self._exports, {})
        self.bundles: Derived[Key, Named] = derived("peering.bundles", self._bundles, {})

    def _export(self, get: Get, host: HostKey) -> PeerService | None:
        """What the config cluster has of a service, if it is anybody else's business."""
        meshwide = self._meshwide
        cluster = meshwide.settings.config_cluster
        row = get(meshwide.sources.services, (cluster, *host))
        scope = get(meshwide.scopes.scopes, (cluster, *host))
        if row is None or scope is ServiceScope.LOCAL:
            return None
        space = get(meshwide.sources.namespaces, (cluster, "", row.namespace))
        keys = (key for key in get(meshwide.sources.slices_of_host, host) if key[0] == cluster)
        parts = (get(meshwide.endpoints, key) for key in keys)
        made = exports.exported(
            row,
            scope,
            (endpoint for part in parts if part is not None for endpoint in part.endpoints),
            network=get(meshwide.homes, cluster).network,
            traffic_distribution=row.traffic_distribution or (space.traffic_distribution if space else ""),
        )
        waypoint = meshwide.waypoints.beyond(get, cluster, host)
        if made is None or waypoint is None:
            return made
        # Whoever comes in is led to the waypoint, whose word is then that of the service.
        names = {*made.identities, *get(meshwide.local_identities, waypoint)}
        return msgspec.structs.replace(made, identities=tuple(sorted(names)))

    def _encoded(self, get: Get, host: HostKey) -> XdsResource | None:
        row = get(self.export, host)
        return None if row is None else XdsResource(PEER_SERVICE, "/".join(host), write_service(row))

    def _exports(self, get: Get, key: Key) -> Named:
        found = (get(self.encoded, host) for host in get(self._meshwide.scopes.bases, ALL))
        return {resource.name: resource for resource in found if resource is not None}

    def _bundles(self, get: Get, key: Key) -> Named:
        """The roots of every trust domain, once some are not those of the mesh: until then there is nothing to tell.

        Peers of one trust domain are believed by the roots of each of them.
        """
        sources = self._meshwide.sources
        rows = [get(sources.peer_bundles, found) for found in get(sources.all_peer_bundles, ALL)]
        peers = {row.name: "" for row in rows if row is not None}
        if not any(row is not None and row.roots for row in rows):
            return {}
        own = {domain for domain in get(self._meshwide.accepted_domains, ALL) if domain not in peers}
        own.update(get(self._meshwide.effective, ALL).trust_domains)
        for row in rows:
            if row is not None:
                peers[row.name] += row.roots and row.roots.rstrip() + "\n"
                own.update([] if row.roots else [row.name])
        mine = next(iter(get(sources.own_authorities, ALL)), None)
        authority = OwnAuthority(cluster="", name="") if mine is None else get(sources.own_authority, mine)
        assert authority is not None
        found = {}
        for domain in sorted({*own, *peers}):
            roots, is_own = peers.get(domain, ""), domain in own
            # Ours are told, too, though proxies have them by a file: that comes later, and is not confirmed by anybody.
            body = write_bundle(
                domain,
                roots + (authority.roots if is_own else ""),
                own=is_own,
                signer=authority.signer if domain == authority.name else "",
            )
            found[domain] = XdsResource(TRUST_BUNDLE, domain, body)
        return found
