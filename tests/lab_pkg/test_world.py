"""lab.yaml: what is accepted, and what is said about what is not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.base.errors import UsageError
from isthmus_lab.labfile.load import WorldError, load, parse
from isthmus_lab.world import DataPlane, World

HERE = Path("/lab/lab.yaml")


def document(**changes: Any) -> dict[str, Any]:
    """A good lab.yaml with some fields changed; None removes one."""
    good: dict[str, Any] = {
        "name": "two",
        "networks": [{"name": "a", "podCIDR": "10.10.0.0/16"}, {"name": "b", "podCIDR": "10.10.0.0/16"}],
        "clusters": [
            {"name": "east", "network": "a", "nodes": [{"name": "n1", "region": "eu", "zone": "eu-a"}]},
            {"name": "west", "network": "b", "nodes": [{"name": "n1"}]},
        ],
    }
    return {key: value for key, value in (good | changes).items() if value is not None}


def good(**changes: Any) -> World:
    world, problems = parse(document(**changes), HERE)
    assert problems == []
    assert world is not None
    return world


def test_two_networks_may_use_the_same_range() -> None:
    world = good()
    assert [n.pod_cidr for n in world.networks] == ["10.10.0.0/16"] * 2
    assert world.links == {("a", "b")}
    assert world.cluster("west").nodes[0].zone == "west-region-a"


def test_links_may_be_left_out_pair_by_pair() -> None:
    assert good(links=[]).links == frozenset()
    assert good(links=[["b", "a"]]).links == {("a", "b")}


def test_global_names_are_a_choice() -> None:
    assert (good().global_names, good(globalNames=True).global_names) == (False, True)


def test_the_data_plane_is_chosen_for_the_lab_or_for_a_cluster() -> None:
    assert {cluster.data_plane for cluster in good().clusters} == {DataPlane.SIDECAR}
    assert {cluster.data_plane for cluster in good(dataPlane="ambient").clusters} == {DataPlane.AMBIENT}
    clusters = document()["clusters"]
    clusters[1]["dataPlane"] = "sidecar"
    mixed = good(dataPlane="ambient", clusters=clusters)
    assert [cluster.data_plane for cluster in mixed.clusters] == [DataPlane.AMBIENT, DataPlane.SIDECAR]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataPlane": "magic"}, "cluster east: dataPlane: 'magic' is not a data plane; use one of ambient, sidecar"),
        ({"globalNames": "yes"}, "lab: globalNames: 'yes' is neither true nor false; write globalNames: true"),
        ({"networks": []}, "lab: networks: a list with at least one entry is needed; write networks: [{name: …}]"),
        ({"color": "red"}, "lab: color: unknown field; known are"),
        ({"name": "Ä"}, "lab: name: 'Ä' is not a name; use at most 32 of a-z"),
        ({"networks": [{"name": "a"}, {"name": "a"}]}, "lab: networks: 'a' appears more than once"),
        ({"networks": [{"name": "a", "podCIDR": "10.0.0.0/33"}, {"name": "b"}]}, "network a: podCIDR: '10.0.0.0/33'"),
        ({"networks": [{"name": "a", "podCIDR": "10.0.0.0/24"}, {"name": "b"}]}, "10.0.0.0/24 is too small; use /22"),
        ({"networks": [{"name": "a", "podCIDR": "198.18.0.0/16"}, {"name": "b"}]}, "overlaps 198.18.0.0/15"),
        ({"networks": [{"name": "a", "podCIDR": "10.96.0.0/14"}, {"name": "b"}]}, "cluster east: serviceCIDR: 10.96"),
        ({"clusters": [{"name": "east", "network": "c", "nodes": [{"name": "n"}]}]}, "network: 'c' is not a network"),
        ({"clusters": [{"name": "east", "network": ["a"]}]}, "network: ['a'] is not a network; use one of a"),
        ({"clusters": [{"name": "east", "network": "a"}]}, "cluster east: nodes: a list with at least one entry"),
        (
            {"controlPlanes": "many"},
            "lab: controlPlanes: 'many' is not known; use one of multi-primary, none, or write controlPlanes: [{",
        ),
        ({"controlPlanes": []}, "lab: controlPlanes: a list with at least one entry is needed"),
        ({"include": "../common"}, "lab: include: '../common' is not a list of directories; write include: [../"),
        ({"links": [["a", "z"]]}, "lab: links: ['a', 'z'] is not a pair of two networks; networks: a, b"),
        ({"links": "some"}, "lab: links: 'some' is neither 'all' nor a list"),
        ({"verify": {"client": "north/x", "url": "http://a"}}, "verify: client: 'north/x' names no workload"),
        ({"verify": {"client": "east/x", "url": "ftp://a"}}, "verify: url: 'ftp://a' is no http URL"),
    ],
)
def test_what_is_wrong_is_said_with_object_field_and_remedy(changes: dict[str, Any], said: str) -> None:
    world, problems = parse(document(**changes), HERE)
    assert world is None
    assert any(said in problem for problem in problems), problems


def test_all_problems_are_told_at_once() -> None:
    _, problems = parse(document(name="-", controlPlanes="x", links="y"), HERE)
    assert len(problems) == 3


def test_too_many_nodes_for_a_range() -> None:
    nodes = [{"name": f"n{i}"} for i in range(4)]
    clusters = [{"name": "east", "network": "a", "nodes": nodes}]
    _, problems = parse(document(networks=[{"name": "a", "podCIDR": "10.0.0.0/22"}], clusters=clusters), HERE)
    assert problems == [
        "network a: podCIDR: 4 nodes and 1 clusters do not fit into 10.0.0.0/22; room for 3 nodes and 40 clusters"
    ]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("networks: [")
    with pytest.raises(Exception, match="is not YAML"):
        load(tmp_path)
    (tmp_path / "lab.yaml").write_text("networks: []")
    with pytest.raises(WorldError, match="cannot be used"):
        load(tmp_path)
    (tmp_path / "lab.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not text"):
        load(tmp_path)
    with pytest.raises(Exception, match="cannot read"):
        load(tmp_path / "nowhere")


def test_an_included_directory_must_exist(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "common").mkdir()
    (tmp_path / "mine" / "lab.yaml").write_text(yaml.safe_dump(document(include=["../common"])))
    world = load(tmp_path / "mine")
    assert world.directories == (tmp_path / "common", tmp_path / "mine")
    (tmp_path / "mine" / "lab.yaml").write_text(yaml.safe_dump(document(include=["../comon"])))
    with pytest.raises(WorldError, match="comon is no directory"):
        load(tmp_path / "mine")


def test_the_example_is_good() -> None:
    world = load(Path(__file__).parents[2] / "examples" / "two-networks")
    assert len({n.pod_cidr for n in world.networks}) == 1
    assert len({c.network for c in world.clusters}) == 2
