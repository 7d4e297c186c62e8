"""`isthmus lab verify`: what a newcomer wants to see proven."""

import json
from dataclasses import dataclass, field
from typing import Any

from isthmus.base.errors import IsthmusError
from isthmus.install.values import SYSTEM_NAMESPACE
from isthmus_lab.commands import reaches, run, talk
from isthmus_lab.commands.find import Workload
from isthmus_lab.commands.hops import Hop
from isthmus_lab.commands.reaches import Reach
from isthmus_lab.commands.status import gather as gather_status
from isthmus_lab.kubelet.services import is_ready, slices_by_service
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import Check, World

Document = dict[str, Any]
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease", "default")
_REPORTED = ("isthmus", "debug", "request", "GET", "/debug/problems")


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one client: what the load client reports, and the way the calls took."""

    client: str
    url: str
    report: Document
    hops: list[Hop]

    def document(self) -> Document:
        """As JSON."""
        return {
            "client": self.client,
            "url": self.url,
            "summary": self.report["summary"],
            "identities": run.identities(self.report),
            "hops": [hop.document() for hop in self.hops],
        }


@dataclass
class Report:
    """Everything that was found. `reported` is what control planes say of objects; `problems` fail the command.

    The API servers of `silent` clusters do not answer: what is in them is not known.
    """

    status: Document
    reaches: list[Reach] = field(default_factory=list)
    gateways: list[Document] = field(default_factory=list)
    services: list[Document] = field(default_factory=list)
    calls: list[Calls] = field(default_factory=list)
    reported: list[Document] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def document(self) -> Document:
        """As JSON."""
        return {
            "clusters": self.status["clusters"],
            "controlPlanes": self.status["controlPlanes"],
            "unreachable": [r.document() for r in self.reaches if r.apart],
            "reachable": [r.document() for r in self.reaches if not r.apart],
            "gateways": self.gateways,
            "services": self.services,
            "calls": [calls.document() for calls in self.calls],
            "reported": self.reported,
            "problems": self.problems,
        }


def gather(state: StateDirectory, world: World) -> Report:
    """Ask and try everything; what is wrong is in `problems`."""
    report = Report(gather_status(state))
    clusters = report.status["clusters"]
    report.problems += [f"{p} is not ready" for p in _unready(report.status)]
    report.reaches = reaches.try_all(state, report.status)
    report.problems += [reach.complaint for reach in report.reaches if not reach.good]
    answering = _answering(state, report)
    for name in answering:
        report.gateways += gateways_of(state, name, clusters[name]["meshNetwork"])
    report.services = services_of(state, answering)
    if world.check is not None:
        for client in world.check.clients:
            _call(state, world.check, client, report)
    for plane in report.status["controlPlanes"]:
        report.reported += _reported_by(state, report.status, plane)
    return report


def _answering(state: StateDirectory, report: Report) -> list[str]:
    """The clusters whose API servers answer; the others are problems, and do not keep the rest from being shown."""
    found = []
    for name in report.status["clusters"]:
        try:
            talk.api(state, name, "/version")
        except IsthmusError as error:
            report.problems.append(f"{name}: {error}")
            report.silent.append(name)
        else:
            found.append(name)
    return found


def _call(state: StateDirectory, check: Check, client: str, report: Report) -> None:
    try:
        found, hops = run.traced_call(state, client, check.url, [f"--count={check.count}"])
    except IsthmusError as error:
        report.problems.append(f"{client}: {error}")
        return
    report.calls.append(Calls(client, check.url, found, hops))
    summary = found["summary"]
    if summary["failed"]:
        report.problems.append(f"{client}: {summary['failed']} of {summary['count']} calls failed: {summary['errors']}")


def _unready(status: Document) -> list[str]:
    return [
        f"{name}/{pod['namespace']}/{pod['name']}"
        for name, cluster in status["clusters"].items()
        for pod in cluster["pods"]
        if not pod["ready"]
    ]


def _reported_by(state: StateDirectory, status: Document, plane: Document) -> list[Document]:
    """What a control plane says of broken objects; nothing if none of its pods answers, which is told elsewhere."""
    for pod in status["clusters"][plane["cluster"]]["pods"]:
        if pod["namespace"] == SYSTEM_NAMESPACE and pod["name"].startswith("istiod") and pod["ready"]:
            workload = Workload(plane["cluster"], pod["node"], pod["namespace"], pod["name"])
            code, out, _ = run.run_in(state, workload, list(_REPORTED))
            found: list[Document] = json.loads(out) if code == 0 and out.startswith("[") else []
            return [{"controlPlane": plane["name"], **item} for item in found]
    return []


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
