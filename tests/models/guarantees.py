"""The table of guarantees in docs/deployment-models.md: what survives the loss of what, computed for every example.

python -m tests.models.guarantees    # writes the table anew
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from isthmus_lab.world import ControlPlane
from tests.models.faults import Fault, Survey, faults
from tests.models.follow import Ways
from tests.models.linking import linked, shared, through_waypoint
from tests.models.paper import Paper

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "deployment-models.md"
BEGIN, END = "<!-- guarantees: begin -->", "<!-- guarantees: end -->"
KINDS = ("API server", "control plane", "gateway", "link", "node", "cluster", "node proxy", "waypoint")


@dataclass(frozen=True)
class Model:
    """An example with the call that is asked of every cluster's callers.

    `linked`: all clusters are linked first, and the service is global everywhere, with this `distribution` if one is
    said. `waypoint`: calls of it go through one.
    """

    example: str
    host: str = "helloworld.sample"
    port: int = 5000
    app: tuple[str, str] = ("sample", "sleep")
    linked: bool = False
    distribution: str = ""
    waypoint: bool = False

    @property
    def name(self) -> str:
        """The example, and how the call differs."""
        return ", ".join(filter(None, (self.example, self.distribution, "waypoint" * self.waypoint)))

    @property
    def title(self) -> str:
        """The name as tables have it."""
        return self.name.replace(self.example, f"`{self.example}`", 1)

    def survey(self) -> Survey:
        """The example on paper, with that call."""
        paper = Paper(self.example)
        if self.linked:
            linked(paper)
            shared(paper, self.host, self.distribution)
        if self.waypoint:
            through_waypoint(paper, self.host.split(".")[1])
        return Survey(paper, self.host, self.port, self.app)


def ambient(example: str, distribution: str = "", *, waypoint: bool = False) -> Model:
    """An ambient example whose clusters are linked, and call each other by the mesh-wide name."""
    host = "hello-world.app.mesh.internal"
    return Model(example, host, app=("app", "sleep"), linked=True, distribution=distribution, waypoint=waypoint)


MODELS: tuple[Model, ...] = (
    Model("single-cluster"),
    Model("flat-network"),
    Model("two-networks"),
    Model("primary-remote"),
    Model("primary-remote-two-networks"),
    Model("external-control-plane"),
    Model("shared-and-own"),
    Model("replicated", "helloworld.sample.global"),
    Model("blue-green"),
    Model("blue-green-isolated"),
    Model("vm", "inventory.sample", 80),
    Model("three-regions", "nearest.sample"),
    Model("tenancy", "catalog.shared", app=("shop", "storefront")),
    ambient("ambient"),
    ambient("ambient", "Any"),
    ambient("ambient", "Any", waypoint=True),
    ambient("ambient/mixed.yaml", "Any"),
)


def table(models: Iterable[Model] = MODELS) -> str:
    """The whole table in Markdown."""
    lines = ["| example | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for model in models:
        cells = row(model)
        example, *marks = model.name.split(", ")
        lines.append(
            f"| {', '.join((f'`{example}`', *marks))} | " + " | ".join(cells.get(kind, "-") for kind in KINDS) + " |"
        )
    return "\n".join(lines)


def row(model: Model) -> dict[str, str]:
    """The cells of one example by kind of fault."""
    survey = model.survey()
    calm = survey.ways()
    cells = {}
    for kind, every in faults(survey.paper).items():
        words = {fault.name: outcome(replace(survey, fault=fault), calm) for fault in every}
        cells[kind] = _cell(words)
    return cells


def outcome(survey: Survey, calm: dict[str, Ways]) -> str:
    """What callers and proxies meet under a fault, in words."""
    ways = survey.ways()
    if not ways:
        return "nobody is left"
    lost = sorted(cluster for cluster, found in ways.items() if calm[cluster] and not found)
    traffic = "same" if all(found.keys() == calm[cluster].keys() for cluster, found in ways.items()) else "rest"
    if lost:
        traffic = f"{_named(lost, survey.fault)} unanswered"
    frozen = sorted(cluster for cluster in ways if not informed(survey.paper, survey.fault, cluster))
    return traffic + (f"; {_named(frozen, survey.fault)} frozen" if frozen else "")


def _named(clusters: list[str], fault: Fault) -> str:
    return "that cluster" if clusters == [fault.cluster] else ", ".join(clusters)


def informed(paper: Paper, fault: Fault, cluster: str) -> bool:
    """Whether proxies of that cluster reach a living control plane, so that they learn of changes."""
    sources = (paper.world.plane(name) for name in paper.world.cluster(cluster).sources)
    return any(_reaches(paper, fault, plane, cluster) for plane in sources)


def _reaches(paper: Paper, fault: Fault, plane: ControlPlane, cluster: str) -> bool:
    if plane.name in fault.planes or not _runs(paper, fault, plane):
        return False
    if plane.cluster == cluster:
        return True
    here, there = (paper.world.cluster(name) for name in (cluster, plane.cluster))
    if (min(here.network, there.network), max(here.network, there.network)) in fault.links:
        return False
    # Proxies of other clusters come through the gateway beside the control plane, if there is one.
    return not there.gateway or plane.cluster not in fault.gateways


def _runs(paper: Paper, fault: Fault, plane: ControlPlane) -> bool:
    """Whether a replica is on a node that lives."""
    pods = (p for p in paper.clusters[plane.cluster].objects("Pod") if p["metadata"]["labels"].get("app") == "istiod")
    return any((plane.cluster, pod["spec"]["nodeName"]) not in fault.nodes for pod in pods)


def _cell(words: dict[str, str]) -> str:
    if not words:
        return "-"
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "<br>".join(f"{name}: {word}" for name, word in words.items())


def written(text: str, fresh: str) -> str:
    """The document with the table replaced."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{fresh}\n{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(), table()))
