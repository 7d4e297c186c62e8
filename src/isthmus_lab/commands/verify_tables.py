"""What `isthmus lab verify` found, for people."""

from typing import Any

from rich.table import Table

from isthmus_lab.commands import show
from isthmus_lab.commands.reaches import Reach
from isthmus_lab.commands.verify import Report

Document = dict[str, Any]


def show_report(report: Report) -> None:
    """Print everything; sections without content are left out."""
    out = show.console()
    for part in tables(report):
        if part.row_count:
            out.print(part)
            out.print()
    for calls in report.calls:
        out.print(f"Calls: {calls.client} -> {calls.url}", style="bold")
        for part in show.call_tables(calls.report, {}):
            out.print(part)
        if calls.hops:
            out.print(show.hops_table(calls.hops))
        out.print()
    if not report.calls and not report.problems:
        out.print("Calls: none, because lab.yaml names none: write verify: {client: <cluster>/<workload>, url: …}.\n")
    for problem in report.problems:
        out.print(show.state_word(good=False, text=f"Problem: {problem}"))
    for line in next_steps(report):
        out.print(line)


def tables(report: Report) -> list[Table]:
    """Clusters, control planes, who reaches whom, gateways, services, what control planes complain of."""
    status = report.status
    clusters = [
        [name, show.network_words(c), c["role"], show.sources_words(c), c["apiServer"]["host"], c["apiServer"]["wan"]]
        for name, c in status["clusters"].items()
    ]
    names = list(status["clusters"])
    missing = {name: "?" if name in report.silent else "-" for name in names}
    services = [[s["name"], *(s["endpoints"].get(c, missing[c]) for c in names)] for s in report.services]
    gateways = [
        [g["cluster"], g["network"], g["name"], " ".join(g["addresses"]) or "none yet", " ".join(map(str, g["ports"]))]
        for g in report.gateways
    ]
    columns = ["CLUSTER", "NETWORK", "ROLE", "CONTROL PLANES", "API SERVER", "ON THE WAN"]
    return [
        show.table("Clusters", columns, clusters),
        show.control_planes_table(status),
        _reaches("Networks are apart: plain TCP", [r for r in report.reaches if r.apart]),
        _reaches("On one network, directly: plain TCP", [r for r in report.reaches if not r.apart]),
        show.table("Gateways", ["CLUSTER", "NETWORK", "SERVICE", "ADDRESS ON THE WAN", "PORTS"], gateways),
        show.table("Services: ready endpoints", ["SERVICE", *(f"IN {c.upper()}" for c in names)], services),
        show.table("Reported by control planes", ["CONTROL PLANE", "OBJECT", "WHAT"], map(_reported, report.reported)),
    ]


def _reaches(title: str, found: list[Reach]) -> Table:
    rows = [[r.client, r.target, r.address, show.state_word(good=r.good, text=r.outcome)] for r in found]
    return show.table(title, ["FROM", "TO", "ADDRESS", "OUTCOME"], rows)


def _reported(item: Document) -> list[object]:
    where = item["where"]
    name = "/".join(part for part in (where.get("namespace"), where.get("name")) if part)
    return [
        item["controlPlane"],
        f"{where.get('cluster', '')} {where.get('kind', '')} {name}",
        f"{item.get('field', '')}: {item.get('message', '')}",
    ]


def next_steps(report: Report) -> list[str]:
    """Commands to go on with."""
    names = list(report.status["clusters"])
    if not names:
        return []
    planes = report.status["controlPlanes"]
    return [
        "Next:",
        "  isthmus lab status",
        f"  isthmus lab kubeconfig --merge && kubectl --context {names[0]} get pods -A",
        *(f"  isthmus lab call {calls.client} {calls.url} --count 20" for calls in report.calls[:1]),
        *(f"  isthmus lab kill {plane['cluster']}/istiod --for 20s" for plane in planes[-1:]),
        "  isthmus lab down",
    ]
