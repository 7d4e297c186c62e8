"""ClusterIPs and node ports."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from isthmus_lab.apiserver.allocation import Allocator
from isthmus_lab.apiserver.errors import ApiError
from isthmus_lab.apiserver.inprocess import InProcess
from isthmus_lab.apiserver.store import Store

SERVICES = "/api/v1/namespaces/default/services"
MERGE = {"content_type": "application/merge-patch+json"}


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def make(api: InProcess, name: str = "s", **spec: Any) -> dict[str, Any]:
    reply = await api.request("POST", SERVICES, service(name, **spec))
    assert reply.status == 201, reply.body
    return dict(reply.body["spec"])


async def test_the_servers_own_service_has_the_first_address(api: InProcess) -> None:
    spec = (await api.request("GET", f"{SERVICES}/kubernetes")).body["spec"]
    assert spec["clusterIP"] == "10.96.0.1"
    assert spec["ports"][0]["targetPort"] == 6443
    target = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    slice_ = (await api.request("GET", target)).body
    assert slice_["endpoints"][0]["addresses"] == ["10.0.0.5"]


async def test_addresses_differ_and_stay(api: InProcess) -> None:
    specs = [await make(api, f"s{index}") for index in range(20)]
    addresses = {spec["clusterIP"] for spec in specs}
    assert len(addresses) == 20
    assert all(spec["clusterIPs"] == [spec["clusterIP"]] for spec in specs)
    replaced = (await api.request("PUT", f"{SERVICES}/s0", service("s0"))).body
    assert replaced["spec"]["clusterIP"] == specs[0]["clusterIP"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"clusterIP": "10.96.0.1"}, "provided IP is already allocated"),
        ({"clusterIP": "192.168.0.1"}, "is not in the valid range 10.96.0.0/16"),
        ({"clusterIP": "many"}, "must be a valid IP address"),
        ({"type": "NodePort", "clusterIP": "None"}, "may not be set to 'None' for NodePort services"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}, "not in the valid range"),
        ({"type": "Magic"}, 'spec.type: Unsupported value: "Magic"'),
        ({"type": "ExternalName", "ports": []}, "spec.externalName: Required value"),
        ({"ports": []}, "spec.ports: Required value"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, 'spec.ports[1].name: Duplicate value: "a"'),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}, "spec.ports[1]: Duplicate value"),
        ({"ports": [{"port": 70000}]}, "must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 80, "targetPort": "Not_A_Name"}]}, "spec.ports[0].targetPort: Invalid value"),
        ({"ports": [{"port": 80, "protocol": "ICMP"}]}, 'spec.ports[0].protocol: Unsupported value: "ICMP"'),
        ({"selector": {"a b": "c"}}, "spec.selector: Invalid value"),
    ],
)
async def test_services_that_cannot_be(api: InProcess, spec: dict[str, Any], says: str) -> None:
    reply = await api.request("POST", SERVICES, service(**spec))
    assert reply.status == 422, reply.body
    assert says in reply.body["message"]


async def test_an_address_can_be_chosen_and_is_free_again(api: InProcess) -> None:
    assert (await make(api, "a", clusterIP="10.96.7.7"))["clusterIP"] == "10.96.7.7"
    assert (await api.request("POST", SERVICES, service("b", clusterIP="10.96.7.7"))).status == 422
    await api.request("DELETE", f"{SERVICES}/a")
    assert (await make(api, "b", clusterIP="10.96.7.7"))["clusterIP"] == "10.96.7.7"


async def test_headless_and_external_services_have_none(api: InProcess) -> None:
    assert (await make(api, "h", clusterIP="None", ports=[]))["clusterIPs"] == ["None"]
    external = await make(api, "e", type="ExternalName", externalName="example.com", ports=[])
    assert "clusterIP" not in external


async def test_an_address_may_not_change(api: InProcess) -> None:
    await make(api, "a")
    reply = await api.request("PATCH", f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.9.9"}}, **MERGE)
    assert "may not change once set" in reply.body["message"]


async def test_node_ports(api: InProcess) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30001}]
    given = (await make(api, "n", type="LoadBalancer", ports=ports))["ports"]
    assert given[1]["nodePort"] == 30001
    assert 30000 <= given[0]["nodePort"] < 32768
    clash = await api.request("POST", SERVICES, service("m", type="NodePort", ports=[ports[1]]))
    assert "provided port is already allocated" in clash.body["message"]
    kept = (await api.request("PUT", f"{SERVICES}/n", service("n", type="LoadBalancer", ports=ports))).body
    assert kept["spec"]["ports"][0]["nodePort"] == given[0]["nodePort"]
    plain = (await api.request("PATCH", f"{SERVICES}/n", {"spec": {"type": "ClusterIP"}}, **MERGE)).body
    assert not any("nodePort" in port for port in plain["spec"]["ports"])
    without = await make(api, "w", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in without["ports"][0]


def test_a_small_range_can_be_used_up(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    allocator = Allocator(store, "10.0.0.0/29", random.Random(1))
    given = set()
    for index in range(6):
        obj: dict[str, Any] = {"metadata": {"name": f"s{index}", "namespace": "ns"}, "spec": {}}
        allocator.assign(obj, None)
        store.create("services", obj)
        given.add(obj["spec"]["clusterIP"])
    assert given == {f"10.0.0.{last}" for last in range(1, 7)}
    with pytest.raises(ApiError, match="range is full"):
        allocator.assign({"metadata": {"name": "more", "namespace": "ns"}, "spec": {}}, None)
    again = Allocator(store, "10.0.0.0/29", random.Random(1))  # a restart
    with pytest.raises(ApiError, match="range is full"):
        again.assign({"metadata": {"name": "more", "namespace": "ns"}, "spec": {}}, None)
    store.close()
