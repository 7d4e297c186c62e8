"""The declared clusters together: which declaration counts for which cluster, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from isthmus.base.errors import ObjectRef, Problem, Severity
from isthmus.derive.liveness import Policy, policy
from isthmus.model.liveness import ClusterState, Liveness, LivenessPolicy, MeshCluster
from isthmus.model.rows import Row


class Declared(msgspec.Struct, frozen=True):
    """What the operator said: of each cluster, and of all."""

    clusters: Mapping[str, MeshCluster]
    mesh: Liveness = Liveness()
    problems: tuple[Problem, ...] = ()

    def policy(self, cluster: str) -> Policy:
        """How the life of a cluster is judged."""
        own = self.clusters.get(cluster)
        return policy(self.mesh, own.liveness if own else Liveness())

    def required(self) -> list[str]:
        """The clusters without which a control plane must not be ready."""
        return sorted(name for name, row in self.clusters.items() if row.required)


def declared(clusters: Iterable[MeshCluster], policies: Iterable[LivenessPolicy], config: str) -> Declared:
    """The declarations of the config cluster. Of several about one thing the oldest counts, the others are reported."""
    found: dict[str, MeshCluster] = {}
    problems: list[Problem] = []
    for row in sorted((row for row in clusters if row.cluster == config), key=_age):
        first = found.setdefault(row.subject, row)
        if first is not row:
            problems.append(_second(row, "MeshCluster", f"cluster {row.subject} is declared by {first.name} already"))
    ruling = sorted((row for row in policies if row.cluster == config), key=_age)
    problems += [_second(row, "LivenessPolicy", f"{ruling[0].name} is in force already") for row in ruling[1:]]
    return Declared(found, ruling[0].liveness if ruling else Liveness(), tuple(problems))


def missing(found: Declared, reached: Mapping[str, bool]) -> Iterator[Problem]:
    """Declared clusters that were never reached: an error for a required one. `reached`: of each known cluster."""
    for name, row in sorted(found.clusters.items()):
        if reached.get(name):
            continue
        secret = "was never reached" if name in reached else "is not known: no remote secret names it"
        if row.required:
            text = f"required cluster {name} {secret}; a control plane that starts now is not ready"
            yield Problem(_where(row, "MeshCluster"), "spec.required", text, _REMEDY)
        elif name not in reached:
            yield Problem(_where(row, "MeshCluster"), "spec.cluster", f"cluster {name} {secret}", _REMEDY, _WARNING)


def wanted_state(row: MeshCluster | None) -> ClusterState:
    """The state that is wanted of a cluster, declared or not."""
    return row.state if row is not None else ClusterState.ACTIVE


_REMEDY = "Create its remote secret with isthmus create-remote-secret, see isthmus remote-clusters, or delete this"
_WARNING = Severity.WARNING


def _age(row: MeshCluster | LivenessPolicy) -> tuple[str, str]:
    return (row.created, row.name)


def _where(row: Row, kind: str) -> ObjectRef:
    return ObjectRef(row.cluster, kind, row.namespace, row.name)


def _second(row: Row, kind: str, message: str) -> Problem:
    return Problem(_where(row, kind), "metadata.name", f"{message}, so this has no effect", "Delete one of them")
