"""Who reaches whom without any mesh: plain TCP between the clusters of a lab, around the proxies."""

import json
from dataclasses import dataclass
from typing import Any

from isthmus.install.values import SYSTEM_NAMESPACE
from isthmus_lab.commands import run
from isthmus_lab.commands.find import Workload
from isthmus_lab.supervisor.state import StateDirectory

Document = dict[str, Any]
_STATUS_PORT, _HELLO_PORT, _NAME_SERVER = 15021, 5000, 53


@dataclass(frozen=True, slots=True)
class Reach:
    """One attempt to reach another cluster's pod or node directly.

    `apart`: the two are on different networks. `good`: the outcome is what that leads to.
    """

    client: str
    target: str
    address: str
    outcome: str
    apart: bool
    good: bool

    def document(self) -> Document:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def complaint(self) -> str:
        """What is wrong with it, in words."""
        verb = "reaches" if self.apart else "does not reach"
        return f"{self.client} {verb} {self.target} at {self.address} ({self.outcome})"


def try_all(state: StateDirectory, status: Document) -> list[Reach]:
    """From a pod of each cluster, plain TCP to a pod and a node of every other cluster."""
    networks = {name: cluster["network"] for name, cluster in status["clusters"].items()}
    found: list[Reach] = []
    for name, cluster in status["clusters"].items():
        own = _addresses(status, [c for c, network in networks.items() if network == networks[name]])
        client = _client(cluster["pods"])
        targets = [(other, t) for other in networks if other != name for t in _targets(status, other, own)]
        if client is None or not targets:
            continue
        workload = Workload(name, client["node"], client["namespace"], client["name"])
        pairs = [word for _, (_, ip, port) in targets for word in (ip, str(port))]
        _, out, _ = run.run_in(state, workload, run.python("isthmus_lab.apps.reach", *pairs))
        for (other, (what, ip, _)), line in zip(targets, out.splitlines(), strict=False):
            met = own if networks[other] != networks[name] else None
            found.append(judge(f"{name}/{client['name']}", what, ip, outcome=json.loads(line)["outcome"], own=met))
    return found


def judge(client: str, target: str, ip: str, *, outcome: str, own: dict[str, str] | None) -> Reach:
    """What an outcome means; `own` are the addresses of the caller's network, None if the target is one of them.

    Ranges may overlap: who answered at an address that exists on both sides is the one on the caller's side.
    """
    if own is None:
        return Reach(client, target, ip, outcome, apart=False, good=outcome in ("connected", "refused"))
    if outcome == "connected" and ip in own:
        return Reach(client, target, ip, f"meets its own network's {own[ip]} instead", apart=True, good=True)
    if outcome == "refused" and ip in own:
        return Reach(client, target, ip, f"refused, by its own network's {own[ip]}", apart=True, good=True)
    return Reach(client, target, ip, outcome, apart=True, good=outcome != "connected")


def _client(pods: list[Document]) -> Document | None:
    """A pod that has no way but its own network, at best an application's."""
    candidates = [p for p in pods if p["ready"] and p["ip"] and not p["wanIP"]]
    return min(candidates, key=lambda p: (p["namespace"] == SYSTEM_NAMESPACE, p["name"]), default=None)


def _addresses(status: Document, clusters: list[str]) -> dict[str, str]:
    """What the pods and nodes of these clusters are called, by address."""
    found: dict[str, str] = {}
    for name in clusters:
        cluster = status["clusters"][name]
        found |= {p["ip"]: f"pod {name}/{p['name']}" for p in cluster["pods"]}
        found |= {n["ip"]: f"node {name}/{n['name']}" for n in cluster["nodes"]}
    return found


def _targets(status: Document, name: str, own: dict[str, str]) -> list[tuple[str, str, int]]:
    """A pod, at best at an address that the caller's network does not have, and a node with its name server's port."""
    cluster = status["clusters"][name]
    pods = sorted((p for p in cluster["pods"] if p["ip"]), key=lambda p: (p["ip"] in own, p["name"]))
    found = [
        (f"pod {name}/{p['name']}", p["ip"], _STATUS_PORT if "istio-proxy" in p["pids"] else _HELLO_PORT)
        for p in pods[:1]
    ]
    return found + [(f"node {name}/{n['name']}", n["ip"], _NAME_SERVER) for n in cluster["nodes"][:1]]
