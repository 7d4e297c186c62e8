"""Every example is made of manifests that a cluster with our definitions accepts, unknown fields and all."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from isthmus.base.errors import Problem
from isthmus.ingest.kinds import KINDS, observer
from isthmus.ingest.place import Place
from isthmus.install.manifests import definitions
from isthmus_lab.apiserver.inprocess import Loopback
from isthmus_lab.kubelet.client import APPLY, ApiClient
from isthmus_lab.kubelet.images import find
from isthmus_lab.labfile.load import load
from isthmus_lab.supervisor.manifests import Applier, identity, in_order, objects_in
from isthmus_lab.supervisor.roles import mesh_objects
from isthmus_lab.world import Cluster, World

EXAMPLES = sorted(path.parent for path in (Path(__file__).parent.parent / "examples").glob("*/lab.yaml"))
PLACES = [(example, cluster) for example in EXAMPLES for cluster in load(example).clusters]
Json = dict[str, Any]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Path | Cluster) else str(value)


def installed(world: World, cluster: Cluster) -> list[Json]:
    """What the lab installs, and the definitions where it leaves them out."""
    mesh = mesh_objects(world, cluster.name, {plane.name: ("198.18.0.9",) for plane in world.control_planes})
    made = {identity(item): item for item in [*definitions(gateway_api=True), *mesh]}
    return list(made.values())


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_file_belongs_to_all_or_to_a_cluster(example: Path) -> None:
    known = {"all", *(cluster.name for cluster in load(example).clusters)}
    assert {path.parent.name for path in example.glob("*/*.yaml")} <= known


@pytest.mark.parametrize(("example", "cluster"), PLACES, ids=name_of)
def test_a_cluster_accepts_everything(example: Path, cluster: Cluster, tmp_path: Path) -> None:
    """With strict field validation, so that a misspelt field is found."""
    objects = [*installed(load(example), cluster), *objects_in(load(example), cluster.name)]
    query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}

    async def scenario(server: Loopback) -> None:
        client = ApiClient(str(server.unix), server.token())
        applier = Applier(client)
        for item in in_order(objects):
            await client.request("PATCH", await applier.path(item), body=item, kind=APPLY, query=query)

    with Loopback(tmp_path, cluster=cluster.name) as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize(("example", "cluster"), PLACES, ids=name_of)
def test_names_and_references_fit(example: Path, cluster: Cluster) -> None:
    objects = [*installed(load(example), cluster), *objects_in(load(example), cluster.name)]
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(keys) == len(set(keys))
    namespaces = {name for kind, _, name in keys if kind == "Namespace"} | {None}
    assert {namespace for _, namespace, _ in keys} <= namespaces
    for item in objects:
        if item["kind"] == "Deployment":
            spec = item["spec"]["template"]["spec"]
            account = spec.get("serviceAccountName", "default")
            assert account == "default" or ("ServiceAccount", item["metadata"]["namespace"], account) in keys
            for container in spec["containers"]:
                assert find(container["image"]).argv


@pytest.mark.parametrize(("example", "cluster"), PLACES, ids=name_of)
def test_the_control_plane_finds_nothing_wrong(example: Path, cluster: Cluster) -> None:
    objects = [*installed(load(example), cluster), *objects_in(load(example), cluster.name)]
    assert problems(objects, cluster.name) == []


def problems(objects: list[Json], cluster: str) -> list[Problem]:
    """What ingest says about objects of kinds it reads."""
    by_kind = {kind.name: kind for kind in KINDS}
    found: list[Problem] = []
    for item in objects:
        if item["kind"] in by_kind:
            observe = observer(by_kind[item["kind"]], Place(cluster=cluster))
            found += observe(msgspec.json.encode(item)).problems
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_the_same_service_has_the_same_ports_everywhere(example: Path) -> None:
    """Namespace sameness: differing ports would only be logged (AG1)."""
    ports: dict[tuple[str, str], list[Json]] = {}
    for cluster in load(example).clusters:
        for item in objects_in(load(example), cluster.name):
            if item["kind"] == "Service":
                key = (item["metadata"]["namespace"], item["metadata"]["name"])
                assert ports.setdefault(key, item["spec"]["ports"]) == item["spec"]["ports"]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_no_plain_yaml_booleans_where_text_is_meant(example: Path) -> None:
    """A bare `y` or `on` is a boolean to YAML 1.1; labels, annotations and environment must be text."""
    for path in example.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            for mapping in text_mappings(document):
                assert all(isinstance(value, str) for value in mapping.values()), f"{path}: {mapping}"


def text_mappings(value: Any) -> list[Json]:
    found: list[Json] = []
    if isinstance(value, dict):
        found += [value[key] for key in ("labels", "annotations", "matchLabels") if isinstance(value.get(key), dict)]
        for inner in value.values():
            found += text_mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            found += text_mappings(inner)
    return found
