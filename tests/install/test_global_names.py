"""What a cluster tells others of its services, and its gateway's way out."""

from typing import Any

import pytest

from isthmus.derive import globals as derived
from isthmus.install import global_names
from isthmus.install.global_names import Home, global_entries, without_pods
from isthmus.install.manifests import east_west_gateway
from isthmus.install.values import GatewayValues, MeshValues

Json = dict[str, Any]
WEST = Home("west")
FRONT = {"app": "web"}


def service(name: str = "web", *ports: Json, marked: bool = True, **spec: Any) -> Json:
    marks = {"istio.io/global": "true"} if marked else {}
    listed = list(ports) or [{"name": "http", "port": 5000}]
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": marks},
        "spec": {"selector": FRONT, "ports": listed, **spec},
    }


def gateway(*ingress: Json, port: int = 15443, mark: str = "", external: tuple[str, ...] = ()) -> Json:
    marks = {"topology.istio.io/network": "net-west"} | ({"networking.istio.io/gatewayPort": mark} if mark else {})
    return {
        "metadata": {"name": "gw", "namespace": "istio-system", "labels": marks},
        "spec": {"ports": [{"name": "tls", "port": port}], "externalIPs": list(external)},
        "status": {"loadBalancer": {"ingress": list(ingress)}},
    }


def pod(account: str = "web", namespace: str = "shop", **marks: str) -> Json:
    return {
        "metadata": {"name": "p", "namespace": namespace, "labels": marks or FRONT},
        "spec": {"serviceAccountName": account},
    }


def test_an_entry_names_gateways_ports_and_identities() -> None:
    (entry,) = global_entries(WEST, [service(), gateway({"ip": "172.18.0.2"})], [pod(), pod("other"), pod("web")])
    assert entry["metadata"] == {"name": "web-global-west", "namespace": "shop"}
    assert entry["spec"] == {
        "hosts": ["web.shop.global"],
        "location": "MESH_INTERNAL",
        "resolution": "DNS",
        "ports": [{"number": 5000, "name": "http", "protocol": "HTTP"}],
        "endpoints": [
            {
                "address": "172.18.0.2",
                "network": "net-west",
                "labels": {"topology.istio.io/cluster": "west"},
                "ports": {"http": 15443},
            }
        ],
        "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/other", "spiffe://cluster.local/ns/shop/sa/web"],
    }


@pytest.mark.parametrize(
    ("found", "addresses"),
    [
        (gateway({"ip": "1.1.1.1"}, {"hostname": "lb.example"}), [("1.1.1.1", 15443), ("lb.example", 15443)]),
        (gateway(external=("2.2.2.2",)), [("2.2.2.2", 15443)]),
        (gateway({"ip": "1.1.1.1"}, port=443, mark="443"), [("1.1.1.1", 443)]),
        (gateway({"ip": "1.1.1.1"}, port=443), []),
        (gateway(), []),
    ],
)
def test_which_gateways_lead_in(found: Json, addresses: list[tuple[str, int]]) -> None:
    entries = global_entries(WEST, [service(), found], [pod()])
    endpoints = [end for entry in entries for end in entry["spec"]["endpoints"]]
    assert [(end["address"], end["ports"]["http"]) for end in endpoints] == addresses


def test_only_marked_services_are_offered_in_order() -> None:
    services = [service("b"), service("c", marked=False), service("a"), gateway({"ip": "1.1.1.1"})]
    assert [entry["spec"]["hosts"] for entry in global_entries(WEST, services, [])] == [
        ["a.shop.global"],
        ["b.shop.global"],
    ]


@pytest.mark.parametrize(
    ("port", "found"),
    [
        ({"name": "grpc-api", "port": 80}, {"number": 80, "name": "grpc-api", "protocol": "GRPC"}),
        ({"name": "x", "port": 80, "appProtocol": "http2"}, {"number": 80, "name": "x", "protocol": "HTTP2"}),
        ({"name": "mysql", "port": 3306}, {"number": 3306, "name": "mysql", "protocol": "TCP"}),
        ({"port": 9000}, {"number": 9000, "name": "tcp-9000", "protocol": "TCP"}),
    ],
)
def test_ports_say_what_they_speak(port: Json, found: Json) -> None:
    (entry,) = global_entries(WEST, [service("web", port), gateway({"ip": "1.1.1.1"})], [])
    assert entry["spec"]["ports"] == [found]


def test_udp_is_not_offered() -> None:
    dns = service("web", {"name": "dns", "port": 53, "protocol": "UDP"})
    assert global_entries(WEST, [dns, gateway({"ip": "1.1.1.1"})], []) == []


def test_without_pods_no_identity_is_named_and_that_is_told() -> None:
    services = [service(), gateway({"ip": "1.1.1.1"})]
    (entry,) = global_entries(WEST, services, [pod(namespace="other"), pod(app="other")])
    assert "subjectAltNames" not in entry["spec"]
    assert without_pods(services, []) == ["shop/web"]
    assert without_pods(services, [pod()]) == []


def test_the_names_are_those_that_the_mesh_goes_by() -> None:
    assert f"*.{derived.SUFFIX}" == global_names.GLOBAL_HOSTS
    assert derived.hostname("web", "shop") == "web.shop.global"


def test_a_gateway_for_global_names_lets_them_in_and_its_own_pods_out() -> None:
    values = GatewayValues(mesh=MeshValues(cluster="west", network="net-west"), global_names=True)
    made = {(item["kind"], item["metadata"]["name"]): item for item in east_west_gateway(values)}
    exposed = made["Gateway", "cross-network-gateway"]["spec"]["servers"][0]["hosts"]
    assert exposed == ["*.local", "*.global"]
    egress = made["Service", "istio-eastwestgateway-egress"]
    assert egress["spec"]["type"] == "ClusterIP"
    assert egress["metadata"]["labels"]["networking.isthmus.dev/egressPort"] == "15445"
    assert "topology.istio.io/network" not in egress["metadata"]["labels"]
    (port,) = egress["spec"]["ports"]
    assert port["port"] == port["targetPort"] == 15445
    outside = made["Service", "istio-eastwestgateway"]["spec"]["ports"]
    assert 15445 not in [known["port"] for known in outside]
    pods = made["Deployment", "istio-eastwestgateway"]["spec"]["template"]
    assert egress["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
