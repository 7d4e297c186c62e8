"""Control planes in lab.yaml: who runs where, whose proxies use it, what it knows, which clusters get a gateway."""

from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.labfile.load import parse
from isthmus_lab.world import World

NODES = [{"name": "n1"}]


def document(planes: object, *clusters: dict[str, Any], networks: str = "a") -> dict[str, Any]:
    """A lab.yaml with these control planes and clusters; `networks` are letters."""
    made = [{"network": "a", "nodes": NODES, **cluster} for cluster in clusters]
    return {
        "name": "x",
        "networks": [{"name": n} for n in networks],
        "controlPlanes": planes,
        "clusters": made or [{"name": n, "network": "a", "nodes": NODES} for n in ("east", "west")],
    }


def world(planes: object, *clusters: dict[str, Any], networks: str = "a") -> World:
    made, problems = parse(document(planes, *clusters, networks=networks), Path("/lab/lab.yaml"))
    assert problems == []
    assert made is not None
    return made


def sources(made: World) -> dict[str, tuple[str, ...]]:
    return {c.name: c.sources for c in made.clusters}


def knows(made: World) -> dict[str, tuple[str, ...]]:
    return {p.name: p.knows for p in made.control_planes}


def gateways(made: World) -> set[str]:
    return {c.name for c in made.clusters if c.gateway}


EAST, WEST, NORTH = {"name": "east"}, {"name": "west"}, {"name": "north"}


def test_multi_primary_is_one_in_each_cluster_that_knows_the_others() -> None:
    made = world("multi-primary", EAST, WEST | {"network": "b"}, networks="ab")
    assert sources(made) == {"east": ("east",), "west": ("west",)}
    assert knows(made) == {"east": ("west",), "west": ("east",)}
    assert gateways(made) == {"east", "west"}


def test_one_network_needs_no_gateway() -> None:
    assert gateways(world("multi-primary")) == set()
    assert gateways(world("multi-primary", EAST, WEST | {"gateway": True})) == {"west"}


def test_a_gateway_of_several_pods() -> None:
    made = world("multi-primary", EAST | {"gateway": 2}, WEST | {"gateway": False})
    assert [(c.gateway, c.gateway_pods) for c in made.clusters] == [(True, 2), (False, 1)]


def test_what_the_mesh_is_told_of_networks_decides_on_gateways() -> None:
    made = world("multi-primary", EAST, WEST | {"network": "b", "meshNetwork": "a"}, networks="ab")
    assert gateways(made) == set()
    assert [(c.network, c.mesh_network) for c in made.clusters] == [("a", "a"), ("b", "a")]
    assert world("multi-primary", EAST | {"meshNetwork": ""}).cluster("east").mesh_network == ""


def test_none() -> None:
    made = world("none")
    assert made.control_planes == ()
    assert sources(made) == {"east": (), "west": ()}
    assert gateways(made) == set()


def test_a_primary_serves_a_remote_through_its_gateway() -> None:
    made = world([{"cluster": "east"}])
    assert sources(made) == {"east": ("east",), "west": ("east",)}
    assert knows(made) == {"east": ("west",)}
    assert gateways(made) == {"east"}
    assert [c.name for c in made.served_from_afar("east")] == ["west"]


def test_external() -> None:
    made = world([{"name": "out", "cluster": "mgmt", "config": "east"}], {"name": "mgmt"}, EAST, WEST)
    assert sources(made) == {"mgmt": (), "east": ("out",), "west": ("out",)}
    assert knows(made) == {"out": ("west",)}
    assert made.plane("out").external
    assert made.plane_in("mgmt") == made.plane("out")
    assert made.plane_in("east") is None
    assert gateways(made) == set()
    assert [c.name for c in made.served_from_afar("out")] == ["east", "west"]


def test_shared_and_own() -> None:
    planes = [{"name": "shared", "cluster": "east"}, {"name": "own", "cluster": "north"}]
    both = {"controlPlanes": ["shared", "own"]}
    made = world(
        planes, EAST | both, WEST | both, NORTH | {"network": "b", "controlPlanes": ["own", "shared"]}, networks="ab"
    )
    assert sources(made) == {"east": ("shared", "own"), "west": ("shared", "own"), "north": ("own", "shared")}
    assert knows(made) == {"shared": ("west", "north"), "own": ("east", "west")}
    assert [p.name for p in made.sources_of("north")] == ["own", "shared"]
    assert gateways(made) == {"east", "west", "north"}


def test_nothing_exchanged() -> None:
    made = world([{"cluster": "east", "knows": []}, {"cluster": "west", "knows": []}])
    assert knows(made) == {"east": (), "west": ()}
    assert sources(made) == {"east": ("east",), "west": ("west",)}


def test_clusters_of_one_network_get_services_ranges_of_their_own() -> None:
    made = world("multi-primary", EAST, WEST, NORTH | {"network": "b"}, networks="ab")
    assert [c.service_cidr for c in made.clusters] == ["10.96.0.0/16", "10.97.0.0/16", "10.96.0.0/16"]


def test_what_a_gateway_exposes() -> None:
    made = world("multi-primary", EAST, WEST | {"exposes": ["*.shop.svc.cluster.local"]})
    assert [c.exposes for c in made.clusters] == [("*.local",), ("*.shop.svc.cluster.local",)]


def test_trust_domain_and_replicas() -> None:
    made = world([{"cluster": "east", "replicas": 2}], EAST, WEST | {"trustDomain": "west.example"})
    assert [c.trust_domain for c in made.clusters] == ["cluster.local", "west.example"]
    assert made.plane("east").replicas == 2


@pytest.mark.parametrize(
    ("planes", "changes", "said"),
    [
        ([{"cluster": "est"}], {}, "control plane est: cluster: 'est' is not a cluster; use one of east, west"),
        ([{"cluster": "east", "config": "mars"}], {}, "control plane east: config: 'mars' is not a cluster; use one"),
        ([{"cluster": "east", "color": 1}], {}, "control plane east: color: unknown field; known are cluster, config"),
        ([{"cluster": "east", "replicas": 0}], {}, "control plane east: replicas: 0 is not between 1 and 5"),
        ([{"cluster": "east", "replicas": True}], {}, "control plane east: replicas: True is not between 1 and 5"),
        ([{"cluster": "east", "knows": "all"}], {}, "control plane east: knows: 'all' is not a list; write a list of"),
        ([{"cluster": "east", "knows": ["west", "west"]}], {}, "knows: 'west' appears more than once; name it once"),
        ([{"cluster": "east", "knows": [{}]}], {}, "control plane east: knows: {} is unknown; write a list of east, w"),
        ([{"cluster": "east"}, {"cluster": "east"}], {}, "lab: controlPlanes: 'east' appears more than once"),
        (
            [{"name": "a", "cluster": "east"}, {"name": "b", "cluster": "east"}],
            {"controlPlanes": ["a"]},
            "lab: controlPlanes: 'east' runs more than one control plane; let each run in its own cluster",
        ),
        (
            [{"cluster": "east", "knows": []}],
            {},
            "cluster west: controlPlanes: 'east' does not know this cluster, so it refuses its proxies; "
            "add west to knows of control plane east",
        ),
        ("multi-primary", {"controlPlanes": ["east", "x"]}, "cluster west: controlPlanes: 'x' is unknown; write a"),
        ("none", {"gateway": True}, "cluster west: gateway: no control plane serves this cluster; write gateway: fal"),
        ("multi-primary", {"gateway": "yes"}, "cluster west: gateway: 'yes' is neither true nor false"),
        ("multi-primary", {"trustDomain": "Ä.b"}, "cluster west: trustDomain: 'Ä.b' is not a domain; write a DNS name"),
        ("multi-primary", {"exposes": "*"}, "cluster west: exposes: '*' is not a host; write a list such as"),
        ("multi-primary", {"exposes": [1]}, "cluster west: exposes: 1 is not a host"),
        ("multi-primary", {"meshNetwork": 7}, "cluster west: meshNetwork: 7 is not a name"),
    ],
)
def test_what_is_wrong(planes: object, changes: dict[str, Any], said: str) -> None:
    made, problems = parse(document(planes, EAST, WEST | changes), Path("/lab/lab.yaml"))
    assert made is None
    assert any(said in problem for problem in problems), problems


def test_a_cluster_must_choose_among_several_elsewhere() -> None:
    planes = [{"cluster": "east"}, {"cluster": "west"}]
    made, problems = parse(document(planes, EAST, WEST, NORTH), Path("/lab/lab.yaml"))
    assert made is None
    assert problems == [
        "cluster north: controlPlanes: none runs in this cluster, and there are several: east, west; "
        "name those that its proxies use, the best first"
    ]
