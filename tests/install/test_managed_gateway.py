"""What runs for a Gateway."""

from typing import Any

import pytest

from isthmus.install.managed_gateway import CONTROLLERS, gateway_classes, managed_gateway
from isthmus.install.values import MeshValues
from isthmus.model.managed import CLASS_ALIASES, Listener, ManagedGateway
from isthmus.model.rows import labels

Json = dict[str, Any]
MESH = MeshValues(cluster="east", network="net-east", trust_domain="east.example")
NETWORK = "topology.istio.io/network"
LISTENERS = (
    Listener("cross-network-with-a-long-name", 15008, "HBONE", "Passthrough"),
    Listener("xds-tls", 15012, "TLS", "Passthrough"),
    Listener("again", 15012, "TLS", "Passthrough", hostname="a.example"),
    Listener("broken", 80, "HTTP", fault="UnsupportedProtocol"),
)


def made(kind: str = "istio-eastwest", **fields: Any) -> dict[str, Json]:
    row = ManagedGateway(
        cluster="east",
        namespace="gws",
        name="ew",
        class_name=kind,
        uid="u-1",
        **({"network": "net-east", "listeners": LISTENERS} | fields),
    )
    return {item["kind"]: item for item in managed_gateway(row, MESH)}


def test_everything_is_owned_by_the_gateway_and_marked_as_ours() -> None:
    found = made()
    assert list(found) == ["ServiceAccount", "Service", "Deployment"]
    for item in found.values():
        meta = item["metadata"]
        assert (meta["name"], meta["namespace"]) == ("ew", "gws")
        [owner] = meta["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Gateway", "u-1", True)
        assert meta["labels"]["gateway.istio.io/managed"] == "istio.io-eastwest-controller"
        assert meta["labels"]["gateway.networking.k8s.io/gateway-name"] == "ew"


def test_ports_are_those_of_listeners_that_have_an_effect_each_once() -> None:
    found = made()
    ports = {port["name"]: port["port"] for port in found["Service"]["spec"]["ports"]}
    assert ports == {"status-port": 15021, "cross-network-with-a-long-name": 15008, "xds-tls": 15012}
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {port["containerPort"] for port in container["ports"]} == {15021, 15008, 15012}
    assert all(len(port["name"]) <= 15 for port in container["ports"])


def test_pods_say_who_they_are_and_nobody_captures_them() -> None:
    spec = made()["Deployment"]["spec"]
    template = spec["template"]
    assert "replicas" not in spec, "their number is somebody else's"
    assert template["metadata"]["labels"]["istio.io/dataplane-mode"] == "none"
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    [container] = template["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert container["args"][:2] == ["proxy", "router"]
    assert env["ISTIO_META_NETWORK"] == env["ISTIO_META_REQUESTED_NETWORK_VIEW"] == "net-east"
    assert env["TRUST_DOMAIN"] == "east.example"
    assert template["spec"]["serviceAccountName"] == "ew"


@pytest.mark.parametrize(
    ("kind", "said", "service", "entrance"),
    [
        ("istio-eastwest", "", "LoadBalancer", True),
        ("istio-eastwest", "NodePort", "NodePort", True),
        ("istio-waypoint", "", "ClusterIP", False),
    ],
)
def test_only_an_east_west_gateway_is_an_entrance_of_its_network(
    kind: str, said: str, service: str, entrance: bool
) -> None:
    found = made(kind, service_type=said)
    assert found["Service"]["spec"]["type"] == service
    assert (NETWORK in found["Service"]["metadata"]["labels"]) is entrance
    assert found["Deployment"]["spec"]["template"]["metadata"]["labels"][NETWORK] == "net-east"


def test_a_gateway_without_network_is_in_the_clusters() -> None:
    assert made("istio-waypoint", network="")["Deployment"]["metadata"]["labels"][NETWORK] == "net-east"


def test_what_infrastructure_says_goes_on_everything() -> None:
    found = made(extra_labels=labels({"team": "net"}), extra_annotations=labels({"cloud/lb": "internal"}))
    for item in (*found.values(), found["Deployment"]["spec"]["template"]):
        assert item["metadata"]["labels"]["team"] == "net"
        assert item["metadata"]["annotations"]["cloud/lb"] == "internal"


def test_classes_fit_the_gateway_apis_limits() -> None:
    assert {item["metadata"]["name"] for item in gateway_classes()} == {*CONTROLLERS, *CLASS_ALIASES}
    assert all(len(item["spec"]["description"]) <= 64 for item in gateway_classes())
