"""MeshCluster and LivenessPolicy."""

from typing import Any

import pytest

from isthmus.model.liveness import (
    Action,
    ClusterState,
    DrainPlan,
    Liveness,
    LivenessPolicy,
    LivenessRule,
    MeshCluster,
    Signal,
)
from tests.ingest.check import check, complaints


def test_what_is_left_out_has_defaults() -> None:
    found = check("MeshCluster", {"metadata": {"name": "west"}})
    assert found.rows == (MeshCluster(cluster="east", namespace="a", name="west", subject="west"),)
    assert not found.problems


def test_everything_is_read() -> None:
    spec = {
        "cluster": "Kubernetes",
        "required": True,
        "state": "drained",
        "drain": {"over": "1m", "steps": 10, "maxFailingPercent": 0},
        "liveness": {
            "rules": [{"when": ["gateway"], "unless": ["dataPlane"], "action": "drain", "after": "1m30s"}],
            "recovery": "20s",
            "minimumHealthyPercent": 66,
            "gatewayProbe": {"interval": "1s", "timeout": "500ms"},
        },
    }
    (row,) = check("MeshCluster", {"spec": spec}).rows or ()
    assert row == MeshCluster(
        cluster="east",
        namespace="a",
        name="x",
        subject="Kubernetes",
        required=True,
        state=ClusterState.DRAINED,
        drain=DrainPlan(over=60.0, steps=10, max_failing=0),
        liveness=Liveness(
            rules=(LivenessRule((Signal.GATEWAY,), Action.DRAIN, 90.0, (Signal.DATA_PLANE,)),),
            recovery=20.0,
            minimum_healthy=66,
            probe_interval=1.0,
            probe_timeout=0.5,
        ),
    )


def test_the_rule_of_the_mesh_has_the_same_fields() -> None:
    (row,) = check("LivenessPolicy", {"spec": {"rules": [], "recovery": "1s"}}).rows or ()
    assert isinstance(row, LivenessPolicy)
    assert row.liveness == Liveness(rules=(), recovery=1.0)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"required": "yes"}, "spec.required"),
        ({"state": "gone"}, "spec.state"),
        ({"drain": {"over": "soon"}}, "spec.drain.over"),
        ({"drain": {"steps": 0}}, "spec.drain.steps"),
        ({"drain": {"maxFailingPercent": 101}}, "spec.drain.maxFailingPercent"),
        ({"liveness": {"rules": [{"action": "drop"}]}}, "spec.liveness.rules[0].when"),
        ({"liveness": {"rules": [{"when": ["gateway"]}]}}, "spec.liveness.rules[0].action"),
        ({"liveness": {"rules": [{"when": ["gatway"], "action": "keep"}]}}, "spec.liveness.rules[0].when[0]"),
        ({"liveness": {"rules": [{"when": ["gateway"], "action": "kill"}]}}, "spec.liveness.rules[0].action"),
        ({"liveness": {"gatewayProbe": {"interval": "1ms"}}}, "spec.liveness.gatewayProbe.interval"),
        ({"liveness": {"minimumHealthyPercent": -1}}, "spec.liveness.minimumHealthyPercent"),
    ],
)
def test_what_is_wrong_is_refused_and_named(spec: Any, field: str) -> None:
    found = check("MeshCluster", {"spec": spec})
    assert found.rows is None
    assert field in [name for name, _ in complaints(found)]
    assert all(problem.remedy for problem in found.problems)
