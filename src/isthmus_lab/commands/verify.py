"""`isthmus lab verify`: what a newcomer wants to see proven."""

import json
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.errors import IsthmusError
from isthmus.install.values import SYSTEM_NAMESPACE
from isthmus_lab.commands import run, show, talk
from isthmus_lab.commands.find import Workload
from isthmus_lab.commands.hops import Hop
from isthmus_lab.commands.status import gather as gather_status
from isthmus_lab.kubelet.services import is_ready, slices_by_service
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import World

Document = dict[str, Any]
_API_PORT = 6443
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease", "default")


@dataclass(frozen=True, slots=True)
class Reach:
    """One attempt to reach another network's pod or node directly. `good`: it failed, or met somebody of one's own."""

    client: str
    target: str
    address: str
    outcome: str
    good: bool


@dataclass
class Report:
    """Everything that was found."""

    status: Document
    reaches: list[Reach] = field(default_factory=list)
    gateways: list[Document] = field(default_factory=list)
    services: list[Document] = field(default_factory=list)
    calls: Document = field(default_factory=dict)
    hops: list[Hop] = field(default_factory=list)
    target: str = ""
    problems: list[str] = field(default_factory=list)

    def document(self) -> Document:
        """As JSON."""
        return {
            "clusters": self.status["clusters"],
            "unreachable": [vars_of(r) for r in self.reaches],
            "gateways": self.gateways,
            "services": self.services,
            "calls": self.calls.get("summary", {}),
            "identities": run.identities(self.calls) if self.calls else {},
            "hops": [hop.document() for hop in self.hops],
            "problems": self.problems,
        }


def vars_of(reach: Reach) -> Document:
    """A reach as JSON."""
    return {name: getattr(reach, name) for name in Reach.__slots__}


def gather(state: StateDirectory, world: World) -> Report:
    """Ask and try everything; what is wrong is in `problems`."""
    report = Report(gather_status(state))
    report.problems += [f"{p} is not ready" for p in _unready(report.status)]
    clusters = {c.name: c.network for c in world.clusters}
    report.reaches = check_apart(state, report.status, clusters)
    report.problems += [f"{r.client} reaches {r.target} at {r.address}" for r in report.reaches if not r.good]
    for name, network in clusters.items():
        report.gateways += gateways_of(state, name, network)
    report.services = services_of(state, list(clusters))
    if world.check is not None:
        report.target = f"{world.check.client} -> {world.check.url}"
        try:
            _call(state, world, report)
        except IsthmusError as error:
            report.problems.append(str(error))
    return report


def _call(state: StateDirectory, world: World, report: Report) -> None:
    assert world.check is not None
    arguments = [f"--count={world.check.count}"]
    report.calls, report.hops = run.traced_call(state, world.check.client, world.check.url, arguments)
    summary = report.calls["summary"]
    if summary["failed"]:
        report.problems.append(f"{summary['failed']} of {summary['count']} calls failed: {summary['errors']}")


def _unready(status: Document) -> list[str]:
    return [
        f"{name}/{pod['namespace']}/{pod['name']}"
        for name, cluster in status["clusters"].items()
        for pod in cluster["pods"]
        if not pod["ready"]
    ]


def check_apart(state: StateDirectory, status: Document, networks: dict[str, str]) -> list[Reach]:
    """From a pod of each cluster, plain TCP to a pod and a node of every cluster on another network."""
    found: list[Reach] = []
    for name, cluster in status["clusters"].items():
        own = _addresses(status, [c for c, network in networks.items() if network == networks[name]])
        candidates = [p for p in cluster["pods"] if p["ready"] and p["ip"] and not p["wanIP"]]
        client = min(candidates, key=lambda p: (p["namespace"] == SYSTEM_NAMESPACE, p["name"]), default=None)
        others = [c for c, network in networks.items() if network != networks[name]]
        targets = [t for other in others for t in _targets(status["clusters"][other], other, own)]
        if client is None or not targets:
            continue
        workload = Workload(name, client["node"], client["namespace"], client["name"])
        pairs = [word for _, ip, port in targets for word in (ip, str(port))]
        _, out, _ = run.run_in(state, workload, run.python("isthmus_lab.apps.reach", *pairs))
        for (what, ip, _), line in zip(targets, out.splitlines(), strict=False):
            found.append(judge(f"{name}/{client['name']}", what, ip, outcome=json.loads(line)["outcome"], own=own))
    return found


def _addresses(status: Document, clusters: list[str]) -> dict[str, str]:
    """What the pods and nodes of these clusters are called, by address."""
    found: dict[str, str] = {}
    for name in clusters:
        cluster = status["clusters"][name]
        found |= {p["ip"]: f"pod {name}/{p['name']}" for p in cluster["pods"]}
        found |= {n["ip"]: f"node {name}/{n['name']}" for n in cluster["nodes"]}
    return found


def judge(client: str, target: str, ip: str, *, outcome: str, own: dict[str, str]) -> Reach:
    """Ranges may overlap: who answered at an address that exists on both sides is the one on the caller's side."""
    if outcome == "connected" and ip in own:
        return Reach(client, target, ip, f"meets its own network's {own[ip]} instead", True)
    if outcome == "refused" and ip in own:
        return Reach(client, target, ip, f"refused, by its own network's {own[ip]}", True)
    return Reach(client, target, ip, outcome, outcome != "connected")


def _targets(cluster: Document, name: str, own: dict[str, str]) -> list[tuple[str, str, int]]:
    """A pod, at best at an address that the caller's network does not have, and a node with its API server's port."""
    pods = sorted((p for p in cluster["pods"] if p["ip"]), key=lambda p: (p["ip"] in own, p["name"]))
    found = [(f"pod {name}/{p['name']}", p["ip"], 15021 if "istio-proxy" in p["pids"] else 5000) for p in pods[:1]]
    return found + [(f"node {name}/{n['name']}", n["ip"], 53) for n in cluster["nodes"][:1]]


def gateways_of(state: StateDirectory, cluster: str, network: str) -> list[Document]:
    """East-west gateways with the addresses that other networks use."""
    found = []
    for service in talk.api(state, cluster, "/api/v1/services")["items"]:
        labels = service["metadata"].get("labels") or {}
        if "topology.istio.io/network" in labels:
            ingress = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
            found.append(
                {
                    "cluster": cluster,
                    "network": network,
                    "name": f"{service['metadata']['namespace']}/{service['metadata']['name']}",
                    "addresses": [i["ip"] for i in ingress if i.get("ip")],
                    "ports": [p["port"] for p in service["spec"]["ports"]],
                }
            )
    return found


def services_of(state: StateDirectory, clusters: list[str]) -> list[Document]:
    """Services with ready endpoints by cluster; the same name in two clusters is the same service."""
    found: dict[str, dict[str, int]] = {}
    for cluster in clusters:
        slices = talk.api(state, cluster, "/apis/discovery.k8s.io/v1/endpointslices")["items"]
        by_service = slices_by_service(slices)
        for service in talk.api(state, cluster, "/api/v1/services")["items"]:
            meta = service["metadata"]
            if meta["namespace"] not in _SYSTEM:
                key = f"{meta['namespace']}/{meta['name']}"
                endpoints = [e for s in by_service.get(key, []) for e in s.get("endpoints") or []]
                ready = {a for e in endpoints if is_ready(e) for a in e["addresses"]}
                found.setdefault(key, {})[cluster] = len(ready)
    return [{"name": name, "endpoints": counts} for name, counts in sorted(found.items())]


def show_report(report: Report) -> None:
    """For people."""
    out = show.console()
    for part in _tables(report):
        out.print(part)
        out.print()
    if report.calls:
        out.print(f"Calls: {report.target}", style="bold")
        for part in show.call_tables(report.calls, {}):
            out.print(part)
        if report.hops:
            out.print(show.hops_table(report.hops))
        out.print()
    for problem in report.problems:
        out.print(show.state_word(good=False, text=f"Problem: {problem}"))
    for line in _next_steps(report):
        out.print(line)


def _tables(report: Report) -> list[Any]:
    status = report.status
    clusters = []
    for name, cluster in status["clusters"].items():
        planes = [p for p in cluster["pods"] if p["name"].startswith("istiod-")]
        plane = ", ".join(f"{p['name']} ({'ready' if p['ready'] else 'not ready'})" for p in planes) or "none"
        clusters.append([name, cluster["network"], plane, cluster["apiServer"]["host"], cluster["apiServer"]["wan"]])
    reaches = [[r.client, r.target, r.address, show.state_word(good=r.good, text=r.outcome)] for r in report.reaches]
    names = list(status["clusters"])
    services = [[s["name"], *(s["endpoints"].get(c, "-") for c in names)] for s in report.services]
    gateways = [
        [g["cluster"], g["network"], g["name"], " ".join(g["addresses"]) or "none yet", " ".join(map(str, g["ports"]))]
        for g in report.gateways
    ]
    return [
        show.table("Clusters", ["CLUSTER", "NETWORK", "CONTROL PLANE", "API SERVER", "ON THE WAN"], clusters),
        show.table("Networks are apart: plain TCP", ["FROM", "TO", "ADDRESS", "OUTCOME"], reaches),
        show.table("Gateways", ["CLUSTER", "NETWORK", "SERVICE", "ADDRESS ON THE WAN", "PORTS"], gateways),
        show.table("Services: ready endpoints", ["SERVICE", *(f"IN {c.upper()}" for c in names)], services),
    ]


def _next_steps(report: Report) -> list[str]:
    names = list(report.status["clusters"])
    if not names:
        return []
    last = names[-1]
    return [
        "Next:",
        "  isthmus lab status",
        f"  isthmus lab kubeconfig --merge && kubectl --context {names[0]} get pods -A",
        *([f"  isthmus lab call {report.target.replace(' -> ', ' ')} --count 20"] if report.target else []),
        f"  isthmus lab kill {last}/istiod --for 20s",
        "  isthmus lab down",
    ]
