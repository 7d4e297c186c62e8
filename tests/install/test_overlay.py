"""What users lay over what is made for a Gateway."""

from typing import Any

import pytest

from isthmus.base.errors import UsageError
from isthmus.install.managed_gateway import managed_gateway
from isthmus.install.overlay import laid_over, overlays
from isthmus.install.values import MeshValues
from isthmus.model.managed import Listener, ManagedGateway

ROW = ManagedGateway(
    cluster="east", namespace="gw", name="ew", class_name="istio-eastwest", uid="u", network="n",
    listeners=(Listener("cross-network", 15008, "HBONE"),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("base", "part", "found"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        (
            {"a": [{"name": "x", "v": 1, "w": 1}, {"name": "y"}]},
            {"a": [{"name": "x", "v": 2}, {"name": "z"}]},
            {"a": [{"name": "x", "v": 2, "w": 1}, {"name": "y"}, {"name": "z"}]},
        ),
    ],
)
def test_parts_are_merged(base: Any, part: Any, found: Any) -> None:
    assert laid_over(base, part) == found


@pytest.mark.parametrize(
    ("data", "said"),
    [({"deploy": "{}"}, "data.deploy"), ({"service": "{"}, "no YAML"), ({"service": "text"}, "no object")],
)
def test_what_is_not_understood_is_told(data: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        overlays(data)


def made(**data: str) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in managed_gateway(ROW, MeshValues(cluster="east"), overlays(data))}


def test_scaling_is_made_where_it_is_asked_for() -> None:
    assert set(made()) == {"ServiceAccount", "Service", "Deployment"}
    found = made(
        horizontalPodAutoscaler="spec: {minReplicas: 2, maxReplicas: 5}", podDisruptionBudget="spec: {minAvailable: 1}"
    )
    scaler, budget = found["HorizontalPodAutoscaler"], found["PodDisruptionBudget"]
    assert scaler["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "ew"},
        "minReplicas": 2,
        "maxReplicas": 5,
    }
    assert budget["spec"]["selector"] == {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "ew"}}
    assert {item["metadata"]["ownerReferences"][0]["uid"] for item in found.values()} == {"u"}


def test_a_part_changes_what_runs_and_not_whose_it_is() -> None:
    found = made(
        deployment="""
metadata: {name: other, labels: {gateway.istio.io/managed: nobody, team: net}, ownerReferences: []}
spec: {replicas: 2, template: {spec: {containers: [{name: istio-proxy, resources: {limits: {cpu: "2"}}}]}}}
"""
    )["Deployment"]
    assert found["spec"]["replicas"] == 2
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "2"} | {
        key: value for key, value in container["resources"]["limits"].items() if key != "cpu"
    }
    assert container["args"][0] == "proxy"
    meta = found["metadata"]
    assert (meta["name"], meta["labels"]["gateway.istio.io/managed"], meta["labels"]["team"]) == (
        "ew", "istio.io-eastwest-controller", "net",
    )  # fmt: skip
    assert meta["ownerReferences"][0]["uid"] == "u"
