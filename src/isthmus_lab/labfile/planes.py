"""Control planes of a lab.yaml: where they run, what they know, whose proxies use them."""

from dataclasses import dataclass, field, replace

from isthmus_lab.labfile.values import Raw, Reader, words
from isthmus_lab.world import Cluster, ControlPlane

MULTI_PRIMARY = "multi-primary"
NONE = "none"
MAX_REPLICAS = 5
_REMEDY = f"use one of {MULTI_PRIMARY}, {NONE}, or write controlPlanes: [{{name: …, cluster: …}}]"


@dataclass
class Planes:
    """The control planes by name; `knows` is None where nothing is written: all clusters of the mesh."""

    made: dict[str, ControlPlane] = field(default_factory=dict)
    knows: dict[str, tuple[str, ...] | None] = field(default_factory=dict)

    def add(self, plane: ControlPlane, knows: tuple[str, ...] | None) -> None:
        """A further one."""
        self.made[plane.name] = plane
        self.knows[plane.name] = knows

    def home(self, name: str) -> str:
        """The cluster that runs it."""
        return self.made[name].cluster

    def sources(self, reader: Reader, where: str, cluster: str, raw: object) -> tuple[str, ...]:
        """The control planes that serve a cluster, best first: what is written, or its own, or the only one."""
        if raw is not None:
            return reader.names_of(where, "controlPlanes", raw, self.made)
        own = [p.name for p in self.made.values() if p.config == cluster]
        if own:
            return (min(own, key=lambda name: self.home(name) != cluster),)
        if any(p.cluster == cluster for p in self.made.values()):
            return ()  # it runs a control plane for others and is not part of the mesh itself
        if len(self.made) > 1:
            message = f"none runs in this cluster, and there are several: {words(self.made)}"
            reader.say(where, "controlPlanes", message, "name those that its proxies use, the best first")
        return tuple(self.made)[:1]


def read_planes(reader: Reader, raw: object, clusters: list[str]) -> Planes:
    """The section `controlPlanes`: a word or a list."""
    planes = Planes()
    if raw == MULTI_PRIMARY:
        for name in clusters:
            planes.add(ControlPlane(name, name, name), None)
    elif isinstance(raw, list):
        for item in reader.items("lab", "controlPlanes", {"controlPlanes": raw}):
            _read_plane(reader, item, clusters, planes)
        homes = [plane.cluster for plane in planes.made.values()]
        for double in sorted({home for home in homes if home and homes.count(home) > 1}):
            message = f"{double!r} runs more than one control plane"
            reader.say("lab", "controlPlanes", message, "let each run in its own cluster; replicas: 2 makes copies")
    elif raw != NONE:
        reader.say("lab", "controlPlanes", f"{raw!r} is not known", _REMEDY)
    return planes


def _read_plane(reader: Reader, raw: Raw, clusters: list[str], planes: Planes) -> None:
    where = f"control plane {raw.get('name', raw.get('cluster', len(planes.made)))}"
    reader.known(where, raw, {"name", "cluster", "config", "knows", "replicas"})
    cluster = reader.one_of(where, "cluster", raw.get("cluster"), clusters, kind="cluster")
    name = reader.name(where, "name", raw["name"]) if "name" in raw else cluster
    config = reader.one_of(where, "config", raw.get("config", cluster), clusters, kind="cluster") if cluster else ""
    if name in planes.made:
        reader.say("lab", "controlPlanes", f"{name!r} appears more than once", "give each its own name")
    replicas = reader.number(where, "replicas", raw.get("replicas", 1), (1, MAX_REPLICAS))
    knows = reader.names_of(where, "knows", raw["knows"], clusters) if "knows" in raw else None
    planes.add(ControlPlane(name, cluster, config, (), replicas), knows)


def introduced(reader: Reader, planes: Planes, clusters: tuple[Cluster, ...]) -> tuple[ControlPlane, ...]:
    """The control planes with the clusters they know; one must know every cluster whose proxies it serves."""
    members = [c.name for c in clusters if c.sources]
    found = []
    for name, plane in planes.made.items():
        knows = planes.knows[name]
        others = tuple(c for c in (members if knows is None else knows) if c != plane.config)
        found.append(replace(plane, knows=others))
        for cluster in clusters:
            if name in cluster.sources and cluster.name not in (*others, plane.config):
                message = f"{name!r} does not know this cluster, so it refuses its proxies"
                remedy = f"add {cluster.name} to knows of control plane {name}"
                reader.say(f"cluster {cluster.name}", "controlPlanes", message, remedy)
    return tuple(found)
