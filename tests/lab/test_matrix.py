"""The full matrix: every single fault of every model, in the lab, against what the produced resources promise.

    make test-all    # also writes docs/matrix.md

Who answers with real Envoys must be who answers on paper (`tests/models`), for the callers of every cluster.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from isthmus.base.labels import SERVICE_SCOPE_LABEL, TRAFFIC_DISTRIBUTION_ANNOTATION, USE_WAYPOINT_LABEL
from isthmus_lab.world import MACHINES
from tests.lab.conftest import Stage
from tests.lab.harness import Lab, eventually
from tests.models.faults import Fault, Survey, faults
from tests.models.guarantees import MODELS, Model

pytestmark = [pytest.mark.lab, pytest.mark.full]

RESULTS = os.environ.get("ISTHMUS_MATRIX", "")
"""Where to write the results; empty: nowhere."""

CASES = [(model, kind) for model in MODELS for kind in faults(model.survey().paper)]
SPACE = "istio-gateways"


@pytest.fixture(scope="module")
def results() -> Iterator[list[str]]:
    """Lines of the table, written when all cases are through."""
    lines: list[str] = []
    yield lines
    if RESULTS and lines:
        Path(RESULTS).write_text(document(lines, datetime.now(UTC)))


def document(lines: list[str], when: datetime) -> str:
    """The page with the last results."""
    head = [
        "# The full matrix, as it was last run",
        "",
        f"{when:%Y-%m-%d}, {len(lines)} faults, with real Envoys: every single part of every example is killed, and",
        "callers of every cluster that lives are answered by exactly the clusters that the produced resources promise.",
        "`make test-all` runs it and writes this page; [deployment models](deployment-models.md) says what it means.",
        "",
        "| example | killed | what | answered by |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *lines]) + "\n"


def targets(survey: Survey, fault: Fault) -> list[str]:
    """What `isthmus lab kill` is told. Whoever loses all nodes of a cluster loses what runs on them."""
    world = survey.paper.world
    machines = {machine.name for machine in world.machines}
    found = [f"{MACHINES if node in machines else cluster + '/node'}/{node}" for cluster, node in sorted(fault.nodes)]
    found += [f"{cluster}/node/{node}/proxy" for cluster, node in sorted(fault.node_proxies)]
    found += [f"{name}/waypoint" for name in sorted(fault.waypoints)]
    found += [f"{name}/apiserver" for name in sorted(fault.api_servers)]
    if not fault.nodes:
        found += [f"{world.plane(name).cluster}/istiod" for name in sorted(fault.planes)]
        found += [f"{name}/gateway" for name in sorted(fault.gateways)]
    return found


@contextmanager
def broken(lab: Lab, survey: Survey) -> Iterator[None]:
    """The lab while the survey's fault lasts."""
    with ExitStack() as stack:
        for pair in sorted(survey.fault.links):
            stack.enter_context(lab.cut(*pair))
        stack.enter_context(lab.killed(*targets(survey, survey.fault)))
        yield


def answering(lab: Lab, model: Model, survey: Survey, cluster: str) -> set[str]:
    """The clusters that answer callers of a cluster now; a call that fails counts as answered by nobody.

    A machine's application knows the machine's name only.
    """
    homes = {machine.name: machine.cluster for machine in survey.paper.world.machines}
    url = f"http://{model.host}:{model.port}/hello"
    calls = lab.call(f"{cluster}/{'/'.join(model.app)}", url, "--count", "40", "--timeout", "3", "--concurrency", "4")
    return {homes.get(call.cluster, call.cluster) if call.ok else "" for call in calls.calls}


def made(lab: Lab, model: Model) -> None:
    """Make the lab what the model is; what is so already stays."""
    if not model.linked:
        return
    clusters = [cluster.name for cluster in model.survey().paper.world.clusters]
    name, namespace, *_ = model.host.split(".")
    for cluster in clusters:
        lab.run("multicluster", "expose", "--context", cluster, "--namespace", SPACE)
    lab.run("multicluster", "link", "--contexts", ",".join(clusters), "--namespace", SPACE)
    distribution = f"{TRAFFIC_DISTRIBUTION_ANNOTATION}{f'={model.distribution}' if model.distribution else '-'}"
    through = f"{USE_WAYPOINT_LABEL}{'=waypoint' if model.waypoint else '-'}"
    for cluster in clusters:
        service = ("service", name, "-n", namespace, "--overwrite")
        lab.kubectl(cluster, "label", *service, f"{SERVICE_SCOPE_LABEL}=global")
        lab.kubectl(cluster, "annotate", *service, distribution)
        if model.waypoint:
            lab.run("waypoint", "apply", "--context", cluster, "--namespace", namespace, "--wait")
            ends = ("service", "waypoint", "-n", namespace, "--overwrite")
            lab.kubectl(cluster, "label", *ends, f"{SERVICE_SCOPE_LABEL}=global")
        lab.kubectl(cluster, "label", "namespace", namespace, "--overwrite", through)


def running(lab: Lab) -> list[dict[str, Any]]:
    """The pods that kubelets know of now."""
    clusters = lab.status()["clusters"]
    return [{**pod, "cluster": name} for name, cluster in clusters.items() for pod in cluster["pods"]]


def placed(lab: Lab, survey: Survey) -> None:
    """Put the pods on paper on the nodes where the lab has them: it may have chosen others."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for pod in running(lab):
        found.setdefault((pod["cluster"], pod["namespace"], _owner(pod["name"])), []).append(pod["node"])
    for nodes in found.values():
        nodes.sort(reverse=True)
    for one in survey.paper.proxies.values():
        meta = one.pod["metadata"]
        if nodes := found.get((one.cluster, meta["namespace"], _owner(meta["name"])), []):
            one.node = nodes.pop()


def _owner(pod: str) -> str:
    """The Deployment of a pod, by its name."""
    return pod.rsplit("-", 2)[0]


def becomes(lab: Lab, model: Model, survey: Survey) -> dict[str, set[str]]:
    """Wait until every living caller is answered as on paper."""
    expected = {cluster: {way.cluster for way in ways} or {""} for cluster, ways in survey.ways().items()}
    for cluster, wanted in expected.items():
        seen: list[set[str]] = []

        def same(cluster: str = cluster, wanted: set[str] = wanted, seen: list[set[str]] = seen) -> bool:
            seen.append(answering(lab, model, survey, cluster))
            return seen[-1] == wanted

        try:
            eventually(same, within=60, what=f"callers in {cluster} are answered by {sorted(wanted)}")
        except AssertionError as error:
            context = survey.paper.world.plane(survey.paper.world.cluster(cluster).sources[0]).config
            told = "\n".join(
                lab.run(*words, "--context", context, check=False).stdout
                for words in (("remote-clusters",), ("events",))
            )
            raise AssertionError(f"{error}; answered by {[sorted(one) for one in seen[-3:]]}\n{told}") from None
    return expected


@pytest.mark.parametrize(("model", "kind"), CASES, ids=[f"{model.name}-{kind}" for model, kind in CASES])
def test_what_is_promised_is_kept(stage: Stage, results: list[str], model: Model, kind: str) -> None:
    lab, calm = stage.lab(model.example), model.survey()
    made(lab, model)
    becomes(lab, model, calm)
    for fault in faults(calm.paper)[kind]:
        survey = replace(calm, fault=fault)
        placed(lab, survey)
        with broken(lab, survey):
            found = becomes(lab, model, survey)
        results.append(line(model.title, kind, fault.name, found))
        becomes(lab, model, calm)


def line(example: str, kind: str, name: str, found: dict[str, set[str]]) -> str:
    """One row of the table."""
    words = [f"{cluster}: {', '.join(sorted(who)) or 'nobody'}" for cluster, who in found.items()]
    return f"| {example} | {kind} | {name} | {'; '.join(words) or 'no caller is left'} |"
