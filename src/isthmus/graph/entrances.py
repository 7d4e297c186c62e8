"""The wiring of the ways into networks: their gateways, and the host names by which those are reached."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from isthmus.base.names import spiffe_id
from isthmus.derive import globals as global_names
from isthmus.derive import networks
from isthmus.graph.sources import ALL, Sources
from isthmus.model.mesh import NetworkGateway
from isthmus.model.mesh_config import NetworkDefinition, NetworkEntry
from isthmus.model.networks import ApiGateway
from isthmus.model.rows import Node, Service
from isthmus.tables.changes import Key
from isthmus.tables.graph import Derived, Get, Graph

if TYPE_CHECKING:
    from isthmus.graph.observed import Meshwide


class Entrances:
    """How each network is entered. Reads Meshwide's rows that are declared before it."""

    def __init__(self, graph: Graph, sources: Sources, meshwide: "Meshwide") -> None:
        self.sources = sources
        self.meshwide = meshwide
        self.gateways: Derived[str, tuple[NetworkGateway, ...]] = graph.derived("derive.gateways", self._gateways, ())
        self.hostnames: Derived[Key, tuple[str, ...]] = graph.derived("derive.hostnames", self._hostnames, ())

    def _gateways(self, get: Get, network: str) -> tuple[NetworkGateway, ...]:
        """The ways into a network: labelled Services, `meshNetworks`, Gateway API and links, as one set (NW8)."""
        found: set[NetworkGateway] = set()
        for key in get(self.sources.gateway_services, network):
            row = get(self.sources.services, key)
            if row is not None:
                found.update(self.gateways_of_service(get, row))
        for definition in get(self.meshwide.definitions, ALL):
            if definition.name == network:
                found.update(self.defined_gateways(get, definition))
        for key in get(self.sources.api_gateways_to, network):
            described = get(self.sources.api_gateways, key)
            if described is not None:
                found.update(self.described_gateways(get, described))
        for key in get(self.sources.links_to, network):
            link = get(self.sources.peer_links, key)
            if link is not None:
                told = get(self.sources.peer_entrances, (link.peer, "", network))
                now = link if told is None else msgspec.structs.replace(link, addresses=told.addresses)
                found.update(networks.gateways_of_link(now, partial(self.resolve, get)))
        return networks.merged(found)

    def gateways_of_service(self, get: Get, row: Service) -> tuple[NetworkGateway, ...]:
        """The gateways that a labelled Service stands for."""
        found = networks.gateways_of_service(row, self._nodes_for(get, row), partial(self.resolve, get))
        if not any(gateway.hbone_port for gateway in found):
            return found
        slices = (key for key in get(self.sources.slices_of_host, (row.namespace, row.name)) if key[0] == row.cluster)
        return networks.kept_by(found, {name for key in slices for name in get(self.meshwide.slice_identities, key)})

    def defined_gateways(self, get: Get, definition: NetworkDefinition) -> Iterator[NetworkGateway]:
        """The gateways that `meshNetworks` gives to a network (NW7)."""
        for entry in definition.gateways:
            if entry.address:
                yield from networks.gateways_at(definition.name, "", entry, partial(self.resolve, get))
            for row in self.entry_services(get, definition, entry):
                nodes = self._nodes_for(get, row)
                resolve = partial(self.resolve, get)
                yield from networks.gateways_of_registry_service(definition.name, entry, row, nodes, resolve)

    def entry_services(self, get: Get, definition: NetworkDefinition, entry: NetworkEntry) -> Iterator[Service]:
        """The Services that a `registryServiceName` means: in the clusters of the same network only (NW7)."""
        for cluster in definition.registries if entry.service else ():
            row = get(self.sources.services, (cluster, *networks.registry_service(entry)))
            if row is not None:
                yield row

    def described_gateways(self, get: Get, row: ApiGateway) -> Iterator[NetworkGateway]:
        """The gateways of a Gateway API object; a remote one is the config cluster's to describe (NW12).

        What is run for one has an account of its name.
        """
        if row.remote and row.cluster != self.meshwide.settings.config_cluster:
            return
        managed = get(self.sources.managed_gateways, row.key)
        account = (
            spiffe_id(get(self.meshwide.trust_domain, row.cluster), row.namespace, row.name)
            if managed is not None
            else ""
        )
        for entry in row.entries:
            found = networks.gateways_at(row.network, row.cluster, entry, partial(self.resolve, get))
            yield from networks.kept_by(found, (account,)) if account else found

    def resolve(self, get: Get, name: str) -> tuple[str, ...]:
        """The addresses that a host name was last found to have (SH26)."""
        row = get(self.sources.resolved_names, (self.meshwide.settings.config_cluster, "", name))
        return row.addresses if row is not None else ()

    def _hostnames(self, get: Get, key: Key) -> tuple[str, ...]:
        """The host names of gateways: what somebody must resolve."""
        found: set[str] = set()
        for row in self._gateway_services(get):
            found.update(networks.names_in((*row.ingress_addresses, *row.external_ips)))
        for definition in get(self.meshwide.definitions, ALL):
            found.update(networks.names_in(entry.address for entry in definition.gateways if entry.address))
        for at in get(self.sources.all_api_gateways, ALL):
            described = get(self.sources.api_gateways, at)
            if described is not None:
                found.update(networks.names_in(entry.address for entry in described.entries))
        for at in get(self.sources.all_links, ALL):
            link = get(self.sources.peer_links, at)
            if link is not None:
                found.update(networks.names_in(link.addresses))
        for host in get(self.meshwide.external.hosts, ALL):
            if global_names.meaning(host[1]) is not None:
                parts = get(self.meshwide.external.endpoints, host)
                found.update(networks.names_in(one.address for part in parts for one in part.endpoints))
        return tuple(sorted(found))

    def _gateway_services(self, get: Get) -> Iterator[Service]:
        for key in get(self.sources.all_gateway_services, ALL):
            row = get(self.sources.services, key)
            if row is not None:
                yield row
        for definition in get(self.meshwide.definitions, ALL):
            for entry in definition.gateways:
                yield from self.entry_services(get, definition, entry)

    def _nodes_for(self, get: Get, row: Service) -> list[Node]:
        """The nodes of a gateway's cluster, where it is reached by them."""
        keys = get(self.sources.nodes_of, row.cluster) if networks.by_node_port(row) else ()
        return [node for key in keys if (node := get(self.sources.nodes, key)) is not None]
