"""A cluster served from outside: where its control planes are, who may write there, what its webhook says."""

from collections.abc import Iterable
from typing import Any

import pytest

from isthmus.base.errors import UsageError
from isthmus.edge.webhook_server import path_environment
from isthmus.install import access
from isthmus.install.manifests import control_plane, east_west_gateway, remote
from isthmus.install.values import (
    ControlPlaneValues,
    GatewayValues,
    MeshValues,
    RemoteControlPlane,
    RemoteValues,
)

Json = dict[str, Any]
WEST = MeshValues(cluster="west", network="net-west")
SHARED = RemoteControlPlane(name="shared", cluster="east", addresses=("198.18.0.9", "198.18.0.10"), injects=True)
OWN = RemoteControlPlane(name="own", addresses=("istiod.example.com",))
TWO = MeshValues(
    cluster="west",
    network="net-west",
    discovery=("istiod.istio-system.svc:15012", "istiod-own.istio-system.svc:15012"),
)


def made(mesh: MeshValues = WEST, planes: Iterable[RemoteControlPlane] = (SHARED,), **values: Any) -> list[Json]:
    return remote(RemoteValues(mesh=mesh, control_planes=tuple(planes), crds=False, **values))


def one(manifests: Iterable[Json], kind: str, name: str) -> Json:
    (found,) = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def kinds(manifests: Iterable[Json]) -> set[str]:
    return {item["kind"] for item in manifests}


def test_a_remote_runs_nothing_of_its_own() -> None:
    assert kinds(made()).isdisjoint({"Deployment", "HorizontalPodAutoscaler", "Pod"})
    assert "CustomResourceDefinition" in kinds(remote(RemoteValues(mesh=WEST, control_planes=(SHARED,))))


def test_istiod_is_at_the_addresses_of_the_control_plane() -> None:
    found = made()
    ports = one(found, "Service", "istiod")["spec"]["ports"]
    assert {(p["name"], p["port"], p["targetPort"]) for p in ports} == {
        ("https-dns", 15012, 15012),
        ("https-webhook", 443, 15017),
    }
    assert "selector" not in one(found, "Service", "istiod")["spec"]
    slices = one(found, "EndpointSlice", "istiod-ipv4")
    assert slices["metadata"]["labels"]["kubernetes.io/service-name"] == "istiod"
    assert {(p["name"], p["port"]) for p in slices["ports"]} == {("https-dns", 15012), ("https-webhook", 15017)}
    assert [a for e in slices["endpoints"] for a in e["addresses"]] == ["198.18.0.9", "198.18.0.10"]


def test_the_service_has_the_ports_that_it_has_in_a_primary_but_for_peers() -> None:
    own = one(control_plane(ControlPlaneValues(mesh=WEST)), "Service", "istiod")["spec"]["ports"]
    peers = [port for port in own if port["name"] == "tls-peers"]
    assert one(made(), "Service", "istiod")["spec"]["ports"] == [port for port in own if port not in peers]
    assert [port["port"] for port in peers] == [15013]


def test_a_slice_holds_one_ip_version() -> None:
    found = made(planes=[RemoteControlPlane(name="c", addresses=("10.0.0.1", "2001:db8::1"))])
    assert {s["addressType"]: s["endpoints"] for s in found if s["kind"] == "EndpointSlice"} == {
        "IPv4": [{"addresses": ["10.0.0.1"]}],
        "IPv6": [{"addresses": ["2001:db8::1"]}],
    }


def test_a_host_name_becomes_an_external_name_and_further_control_planes_have_names() -> None:
    found = made(planes=[SHARED, OWN])
    assert one(found, "Service", "istiod-own")["spec"]["externalName"] == "istiod.example.com"
    assert not [s for s in found if s["kind"] == "EndpointSlice" and s["metadata"]["name"].startswith("istiod-own")]


def test_only_who_injects_may_write_and_only_roots_the_webhook_and_what_gateways_ask_for() -> None:
    found = made(planes=[SHARED, OWN])
    system = one(found, "Namespace", "istio-system")["metadata"]
    assert system["annotations"] == {"topology.istio.io/controlPlaneClusters": "east"}
    assert system["labels"] == {"topology.istio.io/network": "net-west"}
    rules = one(found, "ClusterRole", "istio-reader-clusterrole-istio-system")["rules"]
    assert [rule for rule in rules if rule not in access.READER_RULES] == [
        *access.ROOT_RULES,
        *access.GATEWAY_RULES,
        *access.webhook_rules("istio-sidecar-injector"),
    ]


def test_nobody_may_write_where_nobody_injects() -> None:
    found = made(planes=[OWN])
    assert "annotations" not in one(found, "Namespace", "istio-system")["metadata"]
    assert one(found, "ClusterRole", "istio-reader-clusterrole-istio-system")["rules"] == list(access.READER_RULES)


def test_a_primary_lets_readers_write_nothing() -> None:
    found = control_plane(ControlPlaneValues(mesh=WEST))
    assert one(found, "ClusterRole", "istio-reader-clusterrole-istio-system")["rules"] == list(access.READER_RULES)


def path_of(manifests: Iterable[Json]) -> str:
    hooks = one(manifests, "MutatingWebhookConfiguration", "istio-sidecar-injector")["webhooks"]
    (path,) = {hook["clientConfig"]["service"]["path"] for hook in hooks}
    return str(path)


def test_the_webhook_says_whose_pods_they_are_and_where_their_control_planes_are() -> None:
    path = path_of(made(TWO, [SHARED, OWN]))
    assert path == (
        "/inject/cluster/west/net/net-west/discovery/istiod.istio-system.svc/discovery/istiod-own.istio-system.svc"
    )
    assert path_environment(path.removeprefix("/inject/")) == {
        "ISTIO_META_CLUSTER_ID": "west",
        "ISTIO_META_NETWORK": "net-west",
        "PILOT_ADDRESS": "istiod.istio-system.svc,istiod-own.istio-system.svc",
    }


@pytest.mark.parametrize("network", ["a/b", "net-west"])
def test_the_path_brings_names_through(network: str) -> None:
    path = path_of(made(MeshValues(cluster="west", network=network, discovery=("10.0.0.1:4443",))))
    found = path_environment(path.removeprefix("/inject/"))
    assert (found["ISTIO_META_NETWORK"], found["PILOT_ADDRESS"]) == (network, "10.0.0.1:4443")


def test_a_url_takes_the_place_of_the_service() -> None:
    found = made(injection_url="https://istiod.example.com:15017/inject/")
    hooks = one(found, "MutatingWebhookConfiguration", "istio-sidecar-injector")["webhooks"]
    assert {hook["clientConfig"]["url"] for hook in hooks} == {
        "https://istiod.example.com:15017/inject/cluster/west/net/net-west"
    }


@pytest.mark.parametrize(
    ("mesh", "planes"),
    [
        (WEST, []),
        (WEST, [RemoteControlPlane(name="c", addresses=())]),
        (WEST, [RemoteControlPlane(name="c", addresses=("a.example", "b.example"))]),
        (MeshValues(cluster="Not_Dns"), [SHARED]),
    ],
)
def test_what_could_not_work_is_refused(mesh: MeshValues, planes: list[RemoteControlPlane]) -> None:
    with pytest.raises(UsageError):
        made(mesh, planes)


def test_a_config_cluster_lets_the_external_control_plane_read_everything() -> None:
    found = made(config=True)
    rules = one(found, "ClusterRole", "istiod-clusterrole-istio-system")["rules"]
    assert rules == [*access.ISTIOD_RULES, *access.webhook_rules("istio-sidecar-injector")]
    assert not [item for item in made() if item["metadata"]["name"] == "istiod" and item["kind"] == "ServiceAccount"]


def external() -> list[Json]:
    mesh = MeshValues(cluster="mgmt")
    return control_plane(ControlPlaneValues(mesh=mesh, config_cluster="east", service_type="LoadBalancer", name="ext"))


def test_an_external_control_plane_may_do_nothing_where_it_runs_but_keep_secrets() -> None:
    found = external()
    assert kinds(found).isdisjoint({"ClusterRole", "MutatingWebhookConfiguration", "CustomResourceDefinition"})
    assert one(found, "Role", "istiod")["rules"] == list(access.SECRET_RULES)


def test_an_external_control_plane_is_reached_from_outside_and_configured_from_its_config_cluster() -> None:
    found = external()
    service = one(found, "Service", "istiod")["spec"]
    assert service["type"] == "LoadBalancer"
    ports = {(p["port"], p["targetPort"]) for p in service["ports"]}
    assert ports == {(15012, 15012), (15013, 15013), (443, 15017), (15017, 15017)}
    spec = one(found, "Deployment", "istiod")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert (env["CLUSTER_ID"], env["LOCAL_CLUSTER_SECRET_WATCHER"], env["EXTERNAL_ISTIOD"]) == ("east", "true", "true")
    assert env["ISTIOD_CUSTOM_HOST"] == "istiod-ext.istio-system.svc"
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "istio-kubeconfig"]
    assert container["args"] == ["serve", "--kubeconfig", f"{mount['mountPath']}/config"]
    assert {"name": "istio-kubeconfig", "secret": {"secretName": "istio-kubeconfig"}} in spec["volumes"]


def test_a_primary_names_the_other_control_planes_of_its_proxies() -> None:
    found = control_plane(ControlPlaneValues(mesh=TWO, others=(OWN,), name="shared"))
    assert one(found, "Service", "istiod-own")["spec"]["type"] == "ExternalName"
    (container,) = one(found, "Deployment", "istiod")["spec"]["template"]["spec"]["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert env["PILOT_ADDRESS"] == "istiod.istio-system.svc:15012,istiod-own.istio-system.svc:15012"


def test_the_control_plane_is_passed_through_the_gateway_with_its_own_tls() -> None:
    found = east_west_gateway(GatewayValues(mesh=WEST, expose_control_plane=True))
    servers = one(found, "Gateway", "istiod-gateway")["spec"]["servers"]
    assert {(s["port"]["number"], s["tls"]["mode"]) for s in servers} == {
        (15012, "PASSTHROUGH"),
        (15017, "PASSTHROUGH"),
    }
    routes = one(found, "VirtualService", "istiod-vs")["spec"]["tls"]
    assert {(r["match"][0]["port"], r["route"][0]["destination"]["port"]["number"]) for r in routes} == {
        (15012, 15012),
        (15017, 443),
    }
    assert all(s["hosts"] == ["./*"] for s in servers), "VirtualServices of other namespaces must not bind to it"
    assert "VirtualService" not in kinds(east_west_gateway(GatewayValues(mesh=WEST)))
