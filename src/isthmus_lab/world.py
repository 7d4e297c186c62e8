"""What a lab is made of: `lab.yaml` parsed and checked before anything is started."""

import ipaddress
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from isthmus.base.errors import UsageError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_DEFAULT_POD_CIDR = "10.10.0.0/16"
_DEFAULT_SERVICE_CIDR = "10.96.0.0/16"
MAX_NETWORKS = 30
CONTROL_PLANES = ("multi-primary", "none")


@dataclass(frozen=True, slots=True)
class Network:
    """Workloads that reach each other directly. Two may use the same `pod_cidr`: nothing routes between them."""

    name: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster, in a region and a zone."""

    name: str
    region: str
    zone: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server and the nodes that run its pods; all nodes sit on one network."""

    name: str
    network: str
    service_cidr: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What `lab verify` calls, and from where (`<cluster>/[<namespace>/]<workload>`)."""

    client: str
    url: str
    count: int


@dataclass(frozen=True, slots=True)
class World:
    """A whole lab. `links` are the pairs of networks whose WAN segments reach each other, each pair sorted."""

    name: str
    mesh_id: str
    control_planes: str
    networks: tuple[Network, ...]
    clusters: tuple[Cluster, ...]
    links: frozenset[tuple[str, str]]
    directory: Path
    check: Check | None = None

    def network(self, name: str) -> Network:
        """The network of that name, which validation made sure exists."""
        return next(n for n in self.networks if n.name == name)

    def cluster(self, name: str) -> Cluster:
        """The cluster of that name. UsageError: there is none."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise UsageError(f"no cluster {name!r} in this lab", f"It has: {', '.join(c.name for c in self.clusters)}.")


class WorldError(UsageError):
    """`lab.yaml` is wrong; all its problems at once, one a line: object, field, what, remedy."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path} cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = problems


def load(path: Path) -> World:
    """Read `path`, a lab.yaml or the directory that holds one. WorldError: what is wrong with it."""
    file = path / "lab.yaml" if path.is_dir() else path
    try:
        text = file.read_text()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", "Give a directory with a lab.yaml.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text: {error}", "Write it in UTF-8.") from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is not YAML: {error}", "Correct that line.") from error
    world, problems = parse(raw, file.resolve().parent)
    if world is None:
        raise WorldError(file, problems)
    return world


def parse(raw: object, directory: Path) -> tuple[World | None, list[str]]:
    """Turn the document into a World, or say everything that is wrong with it."""
    if not isinstance(raw, dict):
        return None, ["lab.yaml: the document must be a mapping with networks and clusters"]
    reader = _Reader()
    reader.known("lab", raw, {"name", "meshID", "controlPlanes", "networks", "clusters", "links", "verify"})
    name = reader.name("lab", "name", raw.get("name", directory.name))
    networks = tuple(reader.network(i, item) for i, item in enumerate(reader.items("lab", "networks", raw)))
    reader.unique("networks", [n.name for n in networks])
    if len(networks) > MAX_NETWORKS:
        reader.say("lab", "networks", f"{len(networks)} networks", f"the WAN has room for {MAX_NETWORKS}")
    known = {n.name for n in networks}
    clusters = tuple(reader.cluster(i, item, known) for i, item in enumerate(reader.items("lab", "clusters", raw)))
    reader.unique("clusters", [c.name for c in clusters])
    reader.room(networks, clusters)
    links = reader.links(raw.get("links", "all"), sorted(known))
    planes = raw.get("controlPlanes", "multi-primary")
    if planes not in CONTROL_PLANES:
        reader.say("lab", "controlPlanes", f"{planes!r} is not known", f"use one of {', '.join(CONTROL_PLANES)}")
    mesh_id = reader.name("lab", "meshID", raw.get("meshID", "mesh1"))
    check = reader.check(raw.get("verify"), {c.name for c in clusters})
    if reader.problems:
        return None, reader.problems
    return World(name, mesh_id, str(planes), networks, clusters, links, directory, check), []


class _Reader:
    """Reads values and collects what is wrong, so that one run reports all of it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, where: str, field: str, message: str, remedy: str) -> None:
        self.problems.append(f"{where}: {field}: {message}; {remedy}")

    def known(self, where: str, raw: dict[str, Any], fields: set[str]) -> None:
        for extra in sorted(str(k) for k in raw.keys() - fields):
            self.say(where, extra, "unknown field", f"known are {', '.join(sorted(fields))}")

    def items(self, where: str, field: str, raw: dict[str, Any]) -> list[dict[str, Any]]:
        value = raw.get(field)
        if not isinstance(value, list) or not value:
            self.say(where, field, "a list with at least one entry is needed", f"write {field}: [{{name: …}}]")
            return []
        good = [item for item in value if isinstance(item, dict)]
        if len(good) != len(value):
            self.say(where, field, "every entry must be a mapping", "write {name: …}")
        return good

    def name(self, where: str, field: str, value: object) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            self.say(where, field, f"{value!r} is not a name", "use at most 32 of a-z, 0-9 and '-', no '-' at the ends")
            return ""
        return value

    def unique(self, field: str, names: list[str]) -> None:
        for name in sorted({n for n in names if n and names.count(n) > 1}):
            self.say("lab", field, f"{name!r} appears more than once", "give each its own name")

    def network(self, index: int, raw: dict[str, Any]) -> Network:
        where = f"network {raw.get('name', index)}"
        self.known(where, raw, {"name", "podCIDR"})
        name = self.name(where, "name", raw.get("name"))
        return Network(name, self.cidr(where, "podCIDR", raw.get("podCIDR", _DEFAULT_POD_CIDR), 22))

    def cidr(self, where: str, field: str, value: object, longest: int) -> str:
        """An IPv4 range with at least as many addresses as `/longest`, outside of what the lab itself uses."""
        try:
            net = ipaddress.IPv4Network(value)
        except (ValueError, TypeError) as error:
            self.say(where, field, f"{value!r} is not an IPv4 range ({error})", f"write {_DEFAULT_POD_CIDR}")
            return _DEFAULT_POD_CIDR
        if net.prefixlen > longest:
            self.say(where, field, f"{net} is too small", f"use /{longest} or larger")
        for taken in ("127.0.0.0/8", "198.18.0.0/15", "169.254.0.0/16"):
            if net.overlaps(ipaddress.IPv4Network(taken)):
                self.say(where, field, f"{net} overlaps {taken}", "that range is taken by loopback, WAN or link-local")
        return str(net)

    def cluster(self, index: int, raw: dict[str, Any], networks: set[str]) -> Cluster:
        where = f"cluster {raw.get('name', index)}"
        self.known(where, raw, {"name", "network", "serviceCIDR", "nodes"})
        name = self.name(where, "name", raw.get("name"))
        network = raw.get("network")
        if not isinstance(network, str) or network not in networks:
            self.say(where, "network", f"{network!r} is not a network", f"use one of {', '.join(sorted(networks))}")
        service = self.cidr(where, "serviceCIDR", raw.get("serviceCIDR", _DEFAULT_SERVICE_CIDR), 24)
        nodes = tuple(self.node(where, name, i, item) for i, item in enumerate(self.items(where, "nodes", raw)))
        names = [n.name for n in nodes]
        for double in sorted({n for n in names if n and names.count(n) > 1}):
            self.say(where, "nodes", f"{double!r} appears more than once", "give each its own name")
        return Cluster(name, str(network), service, nodes)

    def node(self, cluster: str, prefix: str, index: int, raw: dict[str, Any]) -> Node:
        where = f"{cluster} node {raw.get('name', index)}"
        self.known(where, raw, {"name", "region", "zone"})
        name = self.name(where, "name", raw.get("name"))
        region = self.name(where, "region", raw.get("region", f"{prefix}-region"))
        return Node(name, region, self.name(where, "zone", raw.get("zone", f"{region}-a")))

    def room(self, networks: tuple[Network, ...], clusters: tuple[Cluster, ...]) -> None:
        """Each node takes 256 addresses of its network, and so does the network itself (router, nodes, API servers)."""
        for network in networks:
            members = [c for c in clusters if c.network == network.name]
            nodes = sum(len(c.nodes) for c in members)
            net = ipaddress.IPv4Network(network.pod_cidr)
            blocks = min(net.num_addresses // 256, 60)
            if nodes + 1 > blocks or len(members) > 40:
                message = f"{nodes} nodes and {len(members)} clusters do not fit into {net}"
                self.say(f"network {network.name}", "podCIDR", message, f"room for {blocks - 1} nodes and 40 clusters")
            for cluster in members:
                if net.overlaps(ipaddress.IPv4Network(cluster.service_cidr)):
                    message = f"{cluster.service_cidr} overlaps the pods of network {network.name} ({net})"
                    self.say(f"cluster {cluster.name}", "serviceCIDR", message, "choose another range")

    def check(self, raw: object, clusters: set[str]) -> Check | None:
        """The optional `verify` section."""
        if raw is None:
            return None
        if not isinstance(raw, dict):
            self.say("lab", "verify", f"{raw!r} is not a mapping", "write verify: {client: east/sleep, url: http://…}")
            return None
        self.known("verify", raw, {"client", "url", "count"})
        client, url, count = str(raw.get("client", "")), str(raw.get("url", "")), raw.get("count", 20)
        if client.partition("/")[0] not in clusters or "/" not in client:
            self.say("verify", "client", f"{client!r} names no workload", "write <cluster>/<workload>")
        if not url.startswith("http://"):
            self.say("verify", "url", f"{url!r} is no http URL", "write http://<service>.<namespace>:<port>/<path>")
        if not isinstance(count, int) or not 1 <= count <= 10000:
            self.say("verify", "count", f"{count!r} is not between 1 and 10000", "write a number")
            count = 1
        return Check(client, url, count)

    def links(self, raw: object, networks: list[str]) -> frozenset[tuple[str, str]]:
        every = frozenset(combinations(networks, 2))
        if raw == "all":
            return every
        if not isinstance(raw, list):
            self.say("lab", "links", f"{raw!r} is neither 'all' nor a list", "write links: [[a, b]]")
            return every
        found: set[tuple[str, str]] = set()
        for item in raw:
            pair = tuple(sorted(str(n) for n in item)) if isinstance(item, list) else ()
            if len(pair) == 2 and pair in every:
                found.add((pair[0], pair[1]))
            else:
                self.say("lab", "links", f"{item!r} is not a pair of two networks", f"networks: {', '.join(networks)}")
        return frozenset(found)
