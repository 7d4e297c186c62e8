"""A whole lab.yaml, from its file to a `World`."""

from pathlib import Path

import yaml

from isthmus.base.errors import UsageError
from isthmus_lab.labfile.clusters import check_room, read_drafts, read_links, read_networks, with_planes
from isthmus_lab.labfile.machines import read_machines
from isthmus_lab.labfile.planes import MULTI_PRIMARY, introduced, read_planes
from isthmus_lab.labfile.values import Reader
from isthmus_lab.world import MACHINES, Check, World

_FIELDS = {
    "name",
    "meshID",
    "include",
    "controlPlanes",
    "networks",
    "clusters",
    "links",
    "machines",
    "verify",
    "globalNames",
    "dataPlane",
}


class WorldError(UsageError):
    """`lab.yaml` is wrong; all its problems at once, one a line: object, field, what, remedy."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path} cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = problems


def load(path: Path) -> World:
    """Read `path`, a lab.yaml (whatever it is called) or the directory that holds one. WorldError: what is wrong."""
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
    world, problems = parse(raw, file.resolve())
    if world is not None:
        missing = [d for d in world.include if not d.is_dir()]
        problems = [f"lab: include: {d} is no directory; write paths as seen from {file}" for d in missing]
    if world is None or problems:
        raise WorldError(file, problems)
    return world


def parse(raw: object, file: Path) -> tuple[World | None, list[str]]:
    """Turn the document of a file into a World, or say everything that is wrong with it. Touches no file."""
    if not isinstance(raw, dict):
        return None, ["lab.yaml: the document must be a mapping with networks and clusters"]
    reader = Reader()
    reader.known("lab", raw, _FIELDS)
    networks = read_networks(reader, raw)
    drafts = read_drafts(reader, raw, networks)
    names = [draft.cluster.name for draft in drafts]
    planes = read_planes(reader, raw.get("controlPlanes", MULTI_PRIMARY), names)
    clusters = with_planes(reader, drafts, planes)
    check_room(reader, networks, clusters)
    world = World(
        name=reader.name("lab", "name", raw.get("name", file.parent.name)),
        mesh_id=reader.name("lab", "meshID", raw.get("meshID", "mesh1")),
        control_planes=introduced(reader, planes, clusters),
        networks=networks,
        clusters=clusters,
        links=read_links(reader, raw.get("links", "all"), sorted({n.name for n in networks})),
        file=file,
        include=_include(reader, raw.get("include", []), file.parent),
        global_names=reader.flag("lab", "globalNames", value=raw.get("globalNames", False)),
        check=_check(reader, raw.get("verify"), {*names, *([MACHINES] if "machines" in raw else [])}),
        machines=read_machines(reader, raw, networks, clusters),
    )
    return (None, reader.problems) if reader.problems else (world, [])


def _include(reader: Reader, raw: object, directory: Path) -> tuple[Path, ...]:
    """Further directories of manifests, relative to the lab's."""
    if not isinstance(raw, list) or not all(isinstance(item, str) and item for item in raw):
        reader.say("lab", "include", f"{raw!r} is not a list of directories", "write include: [../common]")
        return ()
    return tuple((directory / item).resolve() for item in raw)


def _check(reader: Reader, raw: object, clusters: set[str]) -> Check | None:
    """The optional section `verify`."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        reader.say("lab", "verify", f"{raw!r} is not a mapping", "write verify: {client: east/sleep, url: http://…}")
        return None
    reader.known("verify", raw, {"client", "url", "count"})
    given, url = raw.get("client", ""), str(raw.get("url", ""))
    clients = tuple(map(str, given)) if isinstance(given, list) and given else (str(given),)
    for client in clients:
        if client.partition("/")[0] not in clusters or "/" not in client:
            reader.say("verify", "client", f"{client!r} names no workload", "write <cluster>/<workload>")
    if not url.startswith("http://"):
        reader.say("verify", "url", f"{url!r} is no http URL", "write http://<service>.<namespace>:<port>/<path>")
    return Check(clients, url, reader.number("verify", "count", raw.get("count", 20), (1, 10000)))
