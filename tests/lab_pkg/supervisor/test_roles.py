"""What each cluster gets by its role: pure, over worlds of all kinds."""

from pathlib import Path
from typing import Any

from isthmus_lab.labfile.load import parse
from isthmus_lab.supervisor.roles import accounts, exposing_service, mesh_objects, objects_here, slices_of
from isthmus_lab.world import World

Json = dict[str, Any]
AT = ("198.18.1.1", "198.18.1.2")


def world(planes: object, clusters: dict[str, Json], networks: str = "a") -> World:
    """Clusters by name with further fields."""
    document = {
        "name": "x",
        "networks": [{"name": n} for n in networks],
        "controlPlanes": planes,
        "clusters": [{"name": n, "network": "a", "nodes": [{"name": "n1"}], **c} for n, c in clusters.items()],
    }
    made, problems = parse(document, Path("/lab/lab.yaml"))
    assert made is not None, problems
    return made


def installed(made: World, cluster: str) -> dict[tuple[str, str], Json]:
    """By kind and name."""
    objects = mesh_objects(made, cluster, {plane.name: AT for plane in made.control_planes})
    keys = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, objects, strict=True))


def deployments(found: dict[tuple[str, str], Json]) -> set[str]:
    return {name for kind, name in found if kind == "Deployment"}


def reached_at(found: dict[tuple[str, str], Json]) -> dict[str, tuple[str, ...]]:
    """Services that lead to control planes elsewhere, and their addresses."""
    slices = [o for (kind, _), o in found.items() if kind == "EndpointSlice"]
    return {
        o["metadata"]["labels"]["kubernetes.io/service-name"]: tuple(a for e in o["endpoints"] for a in e["addresses"])
        for o in slices
    }


def environment(found: dict[tuple[str, str], Json]) -> dict[str, str]:
    container = found["Deployment", "istiod"]["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item.get("value", "") for item in container["env"]}


PRIMARY_REMOTE: tuple[Json | list[Json], dict[str, Json]] = ([{"cluster": "east"}], {"east": {}, "west": {}})


def test_primary_and_remote_on_one_network() -> None:
    made = world(*PRIMARY_REMOTE)
    east, west = installed(made, "east"), installed(made, "west")
    assert deployments(east) == {"istiod", "istio-eastwestgateway"}
    assert ("Gateway", "istiod-gateway") in east
    assert deployments(west) == set()
    assert reached_at(west) == {"istiod": AT}
    assert exposing_service(made, made.plane("east")) == "istio-eastwestgateway"
    annotations = west["Namespace", "istio-system"]["metadata"]["annotations"]
    assert annotations == {"topology.istio.io/controlPlaneClusters": "east"}


def test_the_remote_of_another_network_has_a_gateway_whose_configuration_is_in_the_primary() -> None:
    made = world([{"cluster": "east"}], {"east": {}, "west": {"network": "b"}}, "ab")
    east, west = installed(made, "east"), installed(made, "west")
    assert deployments(west) == {"istio-eastwestgateway"}
    assert ("Gateway", "cross-network-gateway") in east
    assert not [key for key in west if key[0] == "Gateway"]
    assert west["Namespace", "istio-system"]["metadata"]["labels"]["topology.istio.io/network"] == "b"


def test_an_external_control_plane_is_reached_at_its_own_service() -> None:
    planes = [{"name": "out", "cluster": "mgmt", "config": "east"}]
    made = world(planes, {"mgmt": {"network": "c"}, "east": {}, "west": {"network": "b"}}, "abc")
    mgmt, east, west = (installed(made, name) for name in ("mgmt", "east", "west"))
    assert deployments(mgmt) == {"istiod"}
    assert not [key for key in mgmt if key[0] in ("CustomResourceDefinition", "MutatingWebhookConfiguration")]
    assert mgmt["Service", "istiod"]["spec"]["type"] == "LoadBalancer"
    pod = mgmt["Deployment", "istiod"]["spec"]["template"]
    assert pod["metadata"]["annotations"]["lab.isthmus.dev/wan"] == "true"
    assert environment(mgmt)["CLUSTER_ID"] == "east"
    assert exposing_service(made, made.plane("out")) == "istiod"
    for cluster in (east, west):
        assert deployments(cluster) == {"istio-eastwestgateway"}
        assert reached_at(cluster) == {"istiod": AT}
    assert ("Gateway", "cross-network-gateway") in east
    assert ("Gateway", "cross-network-gateway") not in west
    assert {("ServiceAccount", "istiod")} <= east.keys()
    needed = {(o["kind"], o["metadata"]["name"]) for o in accounts(made, "east")}
    assert needed <= east.keys(), "what is there early is what is there in the end"


def test_an_external_control_plane_of_gateways_elsewhere_still_finds_their_configuration() -> None:
    planes = [{"name": "out", "cluster": "mgmt", "config": "east"}]
    made = world(planes, {"mgmt": {}, "east": {"gateway": False}, "west": {"gateway": True}})
    assert ("Gateway", "cross-network-gateway") in installed(made, "east")


SHARED_AND_OWN: tuple[list[Json], dict[str, Json], str] = (
    [{"name": "shared", "cluster": "east"}, {"name": "own", "cluster": "north"}],
    {
        "east": {"controlPlanes": ["shared", "own"]},
        "west": {"controlPlanes": ["shared", "own"]},
        "north": {"network": "b", "controlPlanes": ["own", "shared"]},
    },
    "ab",
)


def test_every_proxy_has_both_control_planes_best_first() -> None:
    made = world(*SHARED_AND_OWN)
    east, west, north = (installed(made, name) for name in ("east", "west", "north"))
    assert reached_at(east) == {"istiod-own": AT}
    assert reached_at(west) == {"istiod": AT, "istiod-own": AT}
    assert reached_at(north) == {"istiod-shared": AT}
    assert environment(east)["PILOT_ADDRESS"] == "istiod.istio-system.svc:15012,istiod-own.istio-system.svc:15012"
    assert environment(north)["PILOT_ADDRESS"] == "istiod.istio-system.svc:15012,istiod-shared.istio-system.svc:15012"
    assert "istiod-shared.istio-system.svc" in environment(east)["ISTIOD_CUSTOM_HOST"]
    assert deployments(west) == {"istio-eastwestgateway"}


def test_what_runs_here_waits_for_no_address() -> None:
    made = world(*SHARED_AND_OWN)
    assert {"istiod", "istio-eastwestgateway"} == {
        o["metadata"]["name"] for o in objects_here(made, "east") if o["kind"] == "Deployment"
    }
    assert objects_here(made, "west") == []


def test_a_control_plane_that_moved_is_told_by_its_slices_alone() -> None:
    made = world(*SHARED_AND_OWN)
    moved = {name: slices_of(made, name, "own", ("198.18.9.9",)) for name in ("east", "west")}
    for found in moved.values():
        assert [o["metadata"]["name"] for o in found] == ["istiod-own-ipv4"]
        assert found[0]["endpoints"] == [{"addresses": ["198.18.9.9"]}]


def test_a_cluster_outside_of_the_mesh_gets_nothing() -> None:
    made = world([{"cluster": "east"}], {"east": {}, "west": {"controlPlanes": []}})
    assert installed(made, "west") == {}
    assert made.role("west") == "outside"
    assert deployments(installed(made, "east")) == {"istiod"}


def test_roles_have_names() -> None:
    made = world([{"name": "out", "cluster": "mgmt", "config": "east"}], {"mgmt": {}, "east": {}, "west": {}})
    assert [made.role(name) for name in ("mgmt", "east", "west")] == ["management", "config", "remote"]
    assert world(*PRIMARY_REMOTE).role("east") == "primary"


def test_trust_domains_and_replicas_are_passed_on() -> None:
    made = world([{"cluster": "east", "replicas": 2}], {"east": {"trustDomain": "east.example"}})
    found = installed(made, "east")
    assert environment(found)["TRUST_DOMAIN"] == "east.example"
    assert found["Deployment", "istiod"]["spec"]["replicas"] == 2


def test_nodes_have_proxies_where_the_data_plane_is_ambient() -> None:
    planes, clusters = PRIMARY_REMOTE
    mixed = world(planes, {**clusters, "west": {"dataPlane": "ambient"}})
    assert ("DaemonSet", "isthmus-node") not in installed(mixed, "east")
    assert ("DaemonSet", "isthmus-node") in installed(mixed, "west")
    assert environment(installed(mixed, "east")).get("ENABLE_HBONE") == "true", "sidecars meet ambient pods"
    alone = world("multi-primary", {"east": {"dataPlane": "ambient"}})
    assert ("DaemonSet", "isthmus-node") in installed(alone, "east")
    bare = world("none", {"east": {"dataPlane": "ambient"}})
    assert installed(bare, "east") == {}
