"""Tables for people: colours only on a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus_lab.commands.hops import Hop
from isthmus_lab.world import MACHINES, DataPlane

Document = dict[str, Any]


def console() -> Console:
    """Standard output, as wide as the content needs: a narrow terminal wraps lines, not cells. Colours on terminals."""
    terminal = Console().is_terminal
    return Console(highlight=False, soft_wrap=True, width=240, no_color=not terminal)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; cells are taken literally."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, header_style="bold", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def state_word(*, good: bool, text: str) -> Text:
    """A word in green or red."""
    return Text(text, style="green" if good else "red")


def print_json(document: Document) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def hops_table(hops: Iterable[Hop]) -> Table:
    """Who answered, by which way, and whom the server's proxy took the caller for."""
    columns = ["CALLS", "ANSWERED BY", "PATH", "CLIENT IDENTITY (SEEN BY THE SERVER'S PROXY)"]
    return table("", columns, [hop.row() for hop in hops])


def status_tables(document: Document) -> list[Table]:
    """`isthmus lab status` for people."""
    clusters, nodes, pods = [], [], []
    for name, cluster in document["clusters"].items():
        api = cluster["apiServer"]
        mesh = [network_words(cluster), role_words(cluster), sources_words(cluster)]
        clusters.append([name, *mesh, api["host"], api["wan"], _alive(api), api["pid"] or "-"])
        for node in cluster["nodes"]:
            place = f"{node['region']}/{node['zone']}"
            nodes.append([name, node["name"], place, node["ip"], _alive(node), node["pid"] or "-"])
        for pod in cluster["pods"]:
            ready = state_word(good=pod["ready"], text="ready" if pod["ready"] else "not ready")
            if pod["held"]:
                ready = state_word(good=False, text="killed")
            where = pod["ip"] + (f", WAN {pod['wanIP']}" if pod["wanIP"] else "")
            pids = " ".join(f"{container}={pid}" for container, pid in pod["pids"].items())
            full = f"{pod['namespace']}/{pod['name']}"
            pods.append([name, full, pod["node"], where, ready, pod["restarts"], pids])
    columns = ["CLUSTER", "NETWORK", "ROLE", "CONTROL PLANES", "API SERVER", "ON THE WAN", "STATE", "PID"]
    return [
        table("Clusters", columns, clusters),
        *([control_planes_table(document)] if document["controlPlanes"] else []),
        table("Nodes", ["CLUSTER", "NODE", "REGION/ZONE", "ADDRESS", "STATE", "PID"], nodes),
        table("Pods", ["CLUSTER", "POD", "NODE", "ADDRESS", "STATE", "RESTARTS", "PIDS"], pods),
        *([machines_table(document)] if document["machines"] else []),
    ]


def machines_table(document: Document) -> Table:
    """Machines beside the clusters, and what runs on them."""
    rows = []
    for name, machine in document["machines"].items():
        state = state_word(good=machine["ready"], text="ready" if machine["ready"] else "not ready")
        if machine["held"]:
            state = state_word(good=False, text="killed")
        where = machine["ip"] + (f", WAN {machine['wanIP']}" if machine["wanIP"] else "")
        joins = f"{machine['group']} of {machine['cluster']}" if machine["group"] else "outside of the mesh"
        pids = " ".join(f"{service}={pid}" for service, pid in machine["pids"].items())
        rows.append([f"{MACHINES}/{name}", machine["network"], joins, where, state, pids])
    return table("Machines", ["MACHINE", "NETWORK", "WORKLOAD GROUP", "ADDRESS", "STATE", "PIDS"], rows)


def listing_tables(document: Document) -> list[Table]:
    """`isthmus lab list` for people."""
    examples = []
    for item in document["examples"]:
        clusters = ", ".join(f"{name} ({role})" for name, role in item["clusters"].items())
        wrong = state_word(good=False, text="lab.yaml cannot be used: " + "; ".join(item["problems"]))
        examples.append([item["directory"], item["title"], wrong if item["problems"] else clusters])
    labs = [
        [lab["name"], state_word(good=lab["running"], text="running" if lab["running"] else "ended"), lab["state"]]
        for lab in document["labs"]
    ]
    return [
        table("Examples", ["DIRECTORY", "WHAT", "CLUSTERS"], examples),
        table("Labs", ["NAME", "STATE", "DIRECTORY OF ITS STATE"], labs),
    ]


def role_words(cluster: Document) -> str:
    """What a cluster is in the mesh, and that its pods have no sidecars, where that is so."""
    plane = cluster["dataPlane"]
    return str(cluster["role"]) if plane == DataPlane.SIDECAR else f"{cluster['role']}, {plane}"


def network_words(cluster: Document) -> str:
    """The network that the mesh is told, and the one that it really is if that is another."""
    told, real = cluster["meshNetwork"], cluster["network"]
    return str(real) if told == real else f"{told or '(none)'} (really {real})"


def sources_words(cluster: Document) -> str:
    """The control planes that a cluster's proxies use, best first."""
    return ", ".join(cluster["controlPlanes"]) or "-"


def control_planes_table(document: Document) -> Table:
    """Where control planes run, what they read and know, who uses them, whether their pods are ready."""
    rows = []
    for plane in document["controlPlanes"]:
        pods = [p for p in document["clusters"][plane["cluster"]]["pods"] if p["name"].startswith("istiod-")]
        ready = sum(p["ready"] for p in pods)
        state = state_word(good=0 < len(pods) == ready, text=f"{ready} of {len(pods)} ready")
        users = [name for name, c in document["clusters"].items() if plane["name"] in c["controlPlanes"]]
        words = [" ".join(part) or "-" for part in (plane["knows"], users)]
        rows.append([plane["name"], plane["cluster"], plane["config"], *words, state])
    columns = ["CONTROL PLANE", "RUNS IN", "READS", "KNOWS ALSO", "USED BY", "PODS"]
    return table("Control planes", columns, rows)


def _alive(process: Document) -> Text:
    if process["held"]:
        return state_word(good=False, text="killed")
    return state_word(good=process["running"], text="running" if process["running"] else "starting")


def call_tables(report: Document, identities: dict[str, int]) -> list[Table]:
    """`isthmus lab call` for people: who answered, as whom the caller was seen, what failed."""
    summary = report["summary"]
    good = max(summary["good"], 1)
    shares = [
        [cluster or "(no name)", count, f"{100 * count / good:.0f} %"] for cluster, count in summary["clusters"].items()
    ]
    found = [table("", ["ANSWERED BY", "CALLS", "SHARE"], shares)] if shares else []
    if identities:
        found.append(table("", ["CLIENT IDENTITY SEEN", "CALLS"], identities.items()))
    if summary["errors"]:
        found.append(table("", ["ERROR", "CALLS"], summary["errors"].items()))
    return found
