"""core/v1 Endpoints: one object per service, gone with it."""

from __future__ import annotations

from isthmus_lab.controllers import old_endpoints
from isthmus_lab.controllers.client import ENDPOINTS, POD, SERVICE
from tests.lab_pkg.controllers.world import Json, Simulation, pod, service

APP = {"app": "web"}


def simulation(*pods: Json) -> Simulation:
    world = Simulation([old_endpoints.CONTROLLER])
    world.put(SERVICE, service("web", APP))
    for item in pods:
        world.put(POD, item)
    world.settle()
    return world


def test_addresses_are_split_by_readiness() -> None:
    world = simulation(pod("a", labels=APP, on="n", ip="10.0.0.1", ready=True), pod("b", labels=APP, ip="10.0.0.2"))
    (made,) = world.view.endpoints
    (subset,) = made["subsets"]
    assert [item["ip"] for item in subset["addresses"]] == ["10.0.0.1"]
    assert [item["ip"] for item in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["addresses"][0]["nodeName"] == "n"
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


def test_they_go_with_their_service_and_others_stay() -> None:
    world = simulation()
    world.put(ENDPOINTS, {"metadata": {"name": "mine", "namespace": "ns"}, "subsets": []})
    (svc,) = world.view.services
    world.gone(SERVICE, svc)
    world.settle()
    assert [item["metadata"]["name"] for item in world.view.endpoints] == ["mine"]


def test_services_without_selector_are_left_alone() -> None:
    world = Simulation([old_endpoints.CONTROLLER])
    world.put(SERVICE, service("web", None))
    world.settle()
    assert world.written == []
