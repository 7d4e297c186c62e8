"""A service that each cluster of the example `ambient` may have, and what its names mean there."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ambient import CLUSTERS, SCOPE, joined
from tests.lab.harness import Lab, eventually

NAMES = str(Path(__file__).parent / "names.py")
SPACE = "app"
SERVICE = "scoped"
SHORT, OWN = f"{SERVICE}.{SPACE}", f"{SERVICE}.{SPACE}.svc.cluster.local"
MESH = f"{SERVICE}.{SPACE}.mesh.internal"
PORT = 5000
FLAG, SPREAD = "istio.io/global", "networking.istio.io/traffic-distribution"
ABSENT = None

Labels = Mapping[str, str] | None
"""The labels of the service in a cluster; None: the cluster does not have it."""


@pytest.fixture(scope="module")
def linked(model: Lab) -> Iterator[Lab]:
    """All clusters are exposed and linked, no cluster has the service, and none is global."""
    with joined(model):
        for cluster in CLUSTERS:
            model.kubectl(cluster, "label", "service", "hello-world", "-n", SPACE, f"{SCOPE}-")
        yield model
        have_all(model, [ABSENT] * len(CLUSTERS))


def manifest(labels: Mapping[str, str], annotations: Mapping[str, str], spec: Mapping[str, Any]) -> str:
    """The service: the same pods as hello-world's."""
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    return json.dumps({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": SPACE, "labels": labels, "annotations": annotations},
        "spec": {"selector": {"app": "hello-world"}, "ports": ports, **spec},
    })  # fmt: skip


def have(lab: Lab, cluster: str, labels: Labels, spread: str = "", **spec: Any) -> None:
    """A cluster has the service with these labels and no others, or does not have it."""
    if labels is None:
        lab.kubectl(cluster, "delete", "service", SERVICE, "-n", SPACE, "--ignore-not-found")
        return
    annotations = {SPREAD: spread} if spread else {}
    lab.kubectl(cluster, "apply", "-f", "-", stdin=manifest(labels, annotations, spec))


def have_all(lab: Lab, states: Iterable[Labels], spread: str = "") -> None:
    """What `have` does, for all clusters in their order."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: have(lab, one[0], one[1], spread), zip(CLUSTERS, states, strict=True)))


@dataclass(frozen=True)
class Meaning:
    """What a name means to a pod: its addresses, and who answered how often, by `cluster/pod`."""

    addresses: tuple[str, ...]
    answers: Counter[str]
    failures: int

    @property
    def clusters(self) -> Counter[str]:
        """Answers by cluster."""
        found: Counter[str] = Counter()
        for pod, count in self.answers.items():
            found[pod.partition("/")[0]] += count
        return found

    @property
    def said(self) -> str:
        """`?` for a name that is not known, `-` if nobody answers, else who does, `!` if not always."""
        if not self.addresses:
            return "?"
        return (" ".join(sorted(self.clusters)) or "-") + ("!" if self.failures and self.answers else "")

    def shares(self) -> dict[str, float]:
        """Percent of the answers by cluster; nothing where a call failed."""
        total = self.answers.total()
        return {} if self.failures else {name: 100 * count / total for name, count in self.clusters.items()}


def meanings(
    lab: Lab, cluster: str, *names: str, count: int = 30, port: int = PORT, caller: str = f"{SPACE}/sleep"
) -> dict[str, Meaning]:
    """What names mean to a pod of a cluster, by `count` calls of each."""
    done = lab.exec(f"{cluster}/{caller}", sys.executable, NAMES, str(count), str(port), *names)
    found = json.loads(done.stdout)
    return {
        name: Meaning(tuple(one["addresses"]), Counter(one["answers"]), int(one["failures"]))
        for name, one in found.items()
    }


def everywhere(lab: Lab, *names: str, count: int = 30) -> dict[str, dict[str, Meaning]]:
    """What names mean in each cluster."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda cluster: meanings(lab, cluster, *names, count=count), CLUSTERS)
        return dict(zip(CLUSTERS, found, strict=True))


def becomes(heard: Callable[[], object], expected: object, *, within: float = 30) -> None:
    """Wait until what is heard is what is expected; who waits in vain is told what was heard last."""
    last: list[object] = []

    def fits() -> bool:
        last.append(heard())
        return last[-1] == expected

    try:
        eventually(fits, within=within, what="")
    except AssertionError:
        raise AssertionError(f"after {within} s: {last[-1]}, not {expected}") from None
