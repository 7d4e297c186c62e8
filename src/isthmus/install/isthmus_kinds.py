"""Schemas of `isthmus.dev`: what exists nowhere else."""

from isthmus.install.schema import boolean, integer, listing, record, text
from isthmus.install.values import Manifest

_SIGNALS = ("apiServer", "gateway", "dataPlane")
_ACTIONS = ("keep", "demote", "drain", "drop")
_STATES = ("active", "cordoned", "drained")


def _liveness() -> dict[str, Manifest]:
    signals = listing(text(choices=_SIGNALS))
    rule = record(
        {"when": signals, "unless": signals, "action": text(choices=_ACTIONS), "after": text("Such as 30s or 5m.")},
        required=("when", "action"),
    )
    return {
        "rules": listing(rule),
        "recovery": text("How long no rule must have held before the cluster is taken back, such as 10s."),
        "minimumHealthyPercent": integer(least=0, most=100),
        "gatewayProbe": record({"interval": text(), "timeout": text()}),
    }


def liveness_policy() -> Manifest:
    """LivenessPolicy.spec."""
    return record(_liveness(), description="How the life of every cluster is judged.")


def mesh_cluster() -> Manifest:
    """MeshCluster.spec."""
    drain = record(
        {
            "over": text("How long draining takes, such as 20s."),
            "steps": integer(least=1, most=100),
            "maxFailingPercent": integer(least=0, most=100),
        }
    )
    return record(
        {
            "cluster": text("The cluster's name in the mesh; the object's own name if left out."),
            "required": boolean(),
            "state": text("active, cordoned or drained.", choices=_STATES),
            "drain": drain,
            "liveness": record(_liveness(), description="What differs from the LivenessPolicy."),
        }
    )
