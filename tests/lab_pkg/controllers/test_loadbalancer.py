"""LoadBalancer Services: the WAN addresses of the pods behind them."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus_lab.controllers import loadbalancer
from isthmus_lab.controllers.plan import Patch
from tests.lab_pkg.controllers.world import NOW, START, Json, pod, service, view

APP = {"app": "gw"}


def gateway(name: str, wan: str, *, state: str = "ready") -> Json:
    made = pod(name, labels=APP, ip="10.0.0.1", ready=state == "ready")
    made["metadata"]["annotations"] = {loadbalancer.WAN_ADDRESS: wan} if wan else {}
    if state == "deleting":
        made["metadata"]["deletionTimestamp"] = START
    if state == "failed":
        made["status"]["phase"] = "Failed"
    return made


def balancer(addresses: list[str], kind: str = "LoadBalancer") -> Json:
    made = service("web", APP, type=kind)
    status = {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in addresses]} if addresses else {}
    made["status"] = {"loadBalancer": status}
    return made


def written(svc: Json, pods: list[Json]) -> Any:
    """The addresses that are written; None for no write."""
    actions = loadbalancer.desired(view(services=[svc], pods=pods), ("ns", "web"), NOW).actions
    if not actions:
        return None
    (action,) = actions
    assert isinstance(action, Patch)
    assert action.subresource == "status"
    ingress = action.patch["status"]["loadBalancer"]["ingress"]
    return [item["ip"] for item in ingress] if ingress else []


@pytest.mark.parametrize(
    ("pods", "addresses"),
    [
        ([gateway("a", "198.18.0.10"), gateway("b", "198.18.0.9")], ["198.18.0.9", "198.18.0.10"]),
        ([gateway("a", "198.18.0.1", state="unready")], ["198.18.0.1"]),
        ([gateway("a", "198.18.0.1", state="deleting")], ["198.18.0.1"]),
        ([gateway("a", "198.18.0.1", state="deleting"), gateway("b", "198.18.0.2")], ["198.18.0.2"]),
        ([gateway("a", "198.18.0.1"), gateway("b", "198.18.0.2", state="unready")], ["198.18.0.1"]),
        (
            [gateway("a", "198.18.0.1", state="deleting"), gateway("b", "198.18.0.2", state="unready")],
            ["198.18.0.1", "198.18.0.2"],
        ),
        ([gateway("a", "198.18.0.1", state="deleting"), gateway("b", "")], ["198.18.0.1"]),
        ([gateway("a", "198.18.0.1", state="failed")], None),
        ([gateway("a", "")], None),
        ([], None),
    ],
    ids=[
        "sorted",
        "unready",
        "deleting alone",
        "deleting",
        "coming",
        "replaced",
        "until replaced",
        "failed",
        "no address",
        "no pod",
    ],
)
def test_addresses(pods: list[Json], addresses: list[str] | None) -> None:
    assert written(balancer([]), pods) == addresses


def test_what_is_right_is_not_written_again() -> None:
    assert written(balancer(["198.18.0.1"]), [gateway("a", "198.18.0.1")]) is None


@pytest.mark.parametrize("kind", ["LoadBalancer", "ClusterIP"])
def test_addresses_are_taken_back(kind: str) -> None:
    pods = [] if kind == "LoadBalancer" else [gateway("a", "198.18.0.1")]
    assert written(balancer(["198.18.0.1"], kind), pods) == []
