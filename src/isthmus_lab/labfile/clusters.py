"""Networks, clusters and nodes of a lab.yaml."""

import ipaddress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from isthmus_lab.labfile.planes import Planes
from isthmus_lab.labfile.values import DEFAULT_POD_CIDR, Raw, Reader, words
from isthmus_lab.world import DEFAULT_TRUST_DOMAIN, EVERY_HOST, Cluster, DataPlane, Network, Node

MAX_NETWORKS = 30
MAX_GATEWAY_PODS = 9
_FIRST_SERVICE_CIDR = 96
_FIELDS = {
    "name",
    "network",
    "serviceCIDR",
    "nodes",
    "controlPlanes",
    "trustDomain",
    "gateway",
    "meshNetwork",
    "exposes",
    "dataPlane",
}


def read_networks(reader: Reader, raw: Raw) -> tuple[Network, ...]:
    """The networks; their number is bounded by the WAN."""
    networks = tuple(_network(reader, i, item) for i, item in enumerate(reader.items("lab", "networks", raw)))
    reader.unique("lab", "networks", [n.name for n in networks])
    if len(networks) > MAX_NETWORKS:
        reader.say("lab", "networks", f"{len(networks)} networks", f"the WAN has room for {MAX_NETWORKS}")
    return networks


def _network(reader: Reader, index: int, raw: Raw) -> Network:
    where = f"network {raw.get('name', index)}"
    reader.known(where, raw, {"name", "podCIDR"})
    name = reader.name(where, "name", raw.get("name"))
    return Network(name, reader.cidr(where, "podCIDR", raw.get("podCIDR", DEFAULT_POD_CIDR), 22))


@dataclass(frozen=True, slots=True)
class Draft:
    """A cluster as far as it can be told without its control planes, and the rest of what was written."""

    cluster: Cluster
    where: str
    raw: Raw


def read_drafts(reader: Reader, raw: Raw, networks: tuple[Network, ...]) -> list[Draft]:
    """The clusters without what depends on control planes."""
    known = {n.name for n in networks}
    places: dict[object, int] = {}
    drafts = []
    for index, item in enumerate(reader.items("lab", "clusters", raw)):
        network = item.get("network")
        key = network if isinstance(network, str) else None
        whole = {"dataPlane": raw.get("dataPlane", DataPlane.SIDECAR), **item}
        drafts.append(_draft(reader, index, whole, known=known, place=places.get(key, 0)))
        places[key] = places.get(key, 0) + 1
    reader.unique("lab", "clusters", [d.cluster.name for d in drafts])
    return drafts


def _draft(reader: Reader, index: int, raw: Raw, *, known: set[str], place: int) -> Draft:
    """`place` counts the clusters of a network: they get ranges of ClusterIPs that do not overlap."""
    where = f"cluster {raw.get('name', index)}"
    reader.known(where, raw, _FIELDS)
    name = reader.name(where, "name", raw.get("name"))
    network = reader.one_of(where, "network", raw.get("network"), known, kind="network")
    default = f"10.{_FIRST_SERVICE_CIDR + place}.0.0/16"
    nodes = tuple(_node(reader, where, name, i, item) for i, item in enumerate(reader.items(where, "nodes", raw)))
    reader.unique(where, "nodes", [n.name for n in nodes])
    mesh_network = raw.get("meshNetwork", network)
    made = Cluster(
        name=name,
        network=network,
        service_cidr=reader.cidr(where, "serviceCIDR", raw.get("serviceCIDR", default), 24),
        nodes=nodes,
        mesh_network=reader.name(where, "meshNetwork", mesh_network) if mesh_network else "",
        trust_domain=reader.domain(
            where, "trustDomain", raw.get("trustDomain", DEFAULT_TRUST_DOMAIN), DEFAULT_TRUST_DOMAIN
        ),
        exposes=reader.hosts(where, "exposes", raw.get("exposes", list(EVERY_HOST))),
        data_plane=DataPlane(
            reader.one_of(where, "dataPlane", raw["dataPlane"], list(DataPlane), kind="data plane") or DataPlane.SIDECAR
        ),
    )
    return Draft(made, where, raw)


def _node(reader: Reader, cluster: str, prefix: str, index: int, raw: Raw) -> Node:
    where = f"{cluster} node {raw.get('name', index)}"
    reader.known(where, raw, {"name", "region", "zone"})
    name = reader.name(where, "name", raw.get("name"))
    region = reader.name(where, "region", raw.get("region", f"{prefix}-region"))
    return Node(name, region, reader.name(where, "zone", raw.get("zone", f"{region}-a")))


def with_planes(reader: Reader, drafts: list[Draft], planes: Planes) -> tuple[Cluster, ...]:
    """The clusters with their sources and, where those make one useful, a gateway."""
    served = [
        replace(d.cluster, sources=planes.sources(reader, d.where, d.cluster.name, d.raw.get("controlPlanes")))
        for d in drafts
    ]
    apart = len({c.mesh_network for c in served if c.sources}) > 1
    homes = {planes.home(source): source for c in served for source in c.sources if planes.home(source) != c.name}
    return tuple(
        _with_gateway(reader, draft, cluster, useful=apart or cluster.name in homes)
        for draft, cluster in zip(drafts, served, strict=True)
    )


def _with_gateway(reader: Reader, draft: Draft, cluster: Cluster, *, useful: bool) -> Cluster:
    """The gateway and its pods: true, false or their number. By default one where the mesh has several networks, and
    where a control plane serves other clusters through it; ambient clusters are entered by what `expose` makes.
    """
    if "gateway" not in draft.raw:
        ambient = cluster.data_plane is DataPlane.AMBIENT
        return replace(cluster, gateway=bool(cluster.sources) and useful and not ambient)
    said = draft.raw["gateway"]
    if isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= MAX_GATEWAY_PODS:
        cluster, said = replace(cluster, gateway_pods=said), True
    wanted = reader.flag(draft.where, "gateway", value=said)
    if wanted and not cluster.sources:
        reader.say(draft.where, "gateway", "no control plane serves this cluster", "write gateway: false")
    return replace(cluster, gateway=wanted)


def check_room(reader: Reader, networks: tuple[Network, ...], clusters: tuple[Cluster, ...]) -> None:
    """Each node takes 256 addresses of its network, and so does the network itself (router, nodes, API servers)."""
    for network in networks:
        members = [c for c in clusters if c.network == network.name]
        nodes = sum(len(c.nodes) for c in members)
        net = ipaddress.IPv4Network(network.pod_cidr)
        blocks = min(net.num_addresses // 256, 60)
        if nodes + 1 > blocks or len(members) > 40:
            message = f"{nodes} nodes and {len(members)} clusters do not fit into {net}"
            reader.say(f"network {network.name}", "podCIDR", message, f"room for {blocks - 1} nodes and 40 clusters")
        for cluster in members:
            if net.overlaps(ipaddress.IPv4Network(cluster.service_cidr)):
                message = f"{cluster.service_cidr} overlaps the pods of network {network.name} ({net})"
                reader.say(f"cluster {cluster.name}", "serviceCIDR", message, "choose another range")


def read_links(reader: Reader, raw: Any, networks: list[str]) -> frozenset[tuple[str, str]]:
    """Pairs of networks whose WAN segments are joined, each pair sorted."""
    every = frozenset(combinations(networks, 2))
    if raw == "all":
        return every
    if not isinstance(raw, list):
        reader.say("lab", "links", f"{raw!r} is neither 'all' nor a list", "write links: [[a, b]]")
        return every
    found: set[tuple[str, str]] = set()
    for item in raw:
        pair = tuple(sorted(str(n) for n in item)) if isinstance(item, list) else ()
        if len(pair) == 2 and pair in every:
            found.add((pair[0], pair[1]))
        else:
            reader.say("lab", "links", f"{item!r} is not a pair of two networks", f"networks: {words(networks)}")
    return frozenset(found)
