"""Which way calls took and as whom the caller was seen: read from the access logs of the proxies on the way."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus_lab.commands import talk
from isthmus_lab.commands.talk import LabError
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import MACHINES, World

Document = dict[str, Any]
PROXY = "istio-proxy"
_LOG_SECONDS = 12.0
_POLL = 0.2
_GATEWAY_LABEL = "eastwestgateway"


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """Calls that one pod answered: the path they took and the identity that the pod's proxy verified."""

    calls: int
    pod: str
    path: str
    identity: str

    def document(self) -> Document:
        """As JSON."""
        return {"calls": self.calls, "pod": self.pod, "path": self.path, "identity": self.identity}

    def row(self) -> list[object]:
        """For a table."""
        return [self.calls, self.pod, self.path, self.identity]


@dataclass(frozen=True, slots=True)
class ProxyLog:
    """A proxy and how many lines it had written before."""

    cluster: str
    network: str
    node: str
    namespace: str
    pod: str
    ip: str
    wan_ip: str
    gateway: bool
    seen: int


def networks_of(world: World) -> dict[str, str]:
    """The network of each cluster and of each machine, for `mark_logs`."""
    machines = {f"{MACHINES}/{machine.name}": machine.network for machine in world.machines}
    return {**{cluster.name: cluster.network for cluster in world.clusters}, **machines}


def mark_logs(state: StateDirectory, networks: Mapping[str, str]) -> list[ProxyLog]:
    """Remember where each proxy's log ends now; `networks` has the network of each cluster and of `vm/<machine>`."""
    marks = []
    clusters = dict.fromkeys(MACHINES if name.startswith(f"{MACHINES}/") else name for name in networks)
    for cluster in clusters:
        for pod in talk.pods_of(state, cluster):
            if PROXY in pod["pids"]:
                log = ProxyLog(
                    cluster=cluster,
                    network=networks.get(cluster) or networks[f"{MACHINES}/{pod['name']}"],
                    node=pod["node"],
                    namespace=pod["namespace"],
                    pod=pod["name"],
                    ip=pod["ip"],
                    wan_ip=pod["wanIP"],
                    gateway=pod["labels"].get("istio") == _GATEWAY_LABEL,
                    seen=0,
                )
                marks.append(_with_seen(log, len(_lines(state, log))))
    return marks


def _with_seen(log: ProxyLog, seen: int) -> ProxyLog:
    values = {name: getattr(log, name) for name in ProxyLog.__slots__}
    return ProxyLog(**{**values, "seen": seen})


def _lines(state: StateDirectory, log: ProxyLog) -> list[str]:
    out = io.BytesIO()
    request = {"namespace": log.namespace, "pod": log.pod, "container": PROXY, "follow": False, "previous": False}
    try:
        with talk.kubelet(state, log.cluster, log.node) as sock:
            talk.logs(sock, request, out)
    except LabError:
        return []
    return out.getvalue().decode(errors="replace").splitlines()


def new_entries(lines: Iterable[str]) -> list[Document]:
    """The access log entries among lines of a proxy's log."""
    found = []
    for line in lines:
        if line.startswith("{"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "direction" in entry:
                found.append(entry)
    return found


def host_of(address: object) -> str:
    """`10.0.0.1:80` without the port."""
    return str(address or "").rpartition(":")[0]


def follow_calls(state: StateDirectory, marks: list[ProxyLog], report: Document) -> list[Hop]:
    """Count what servers' proxies logged since `mark_logs`, by pod, path and identity.

    An inbound entry whose caller's address is a gateway's came through that gateway. Proxies write their logs now and
    then, so this waits until every call that such a pod answered is found, or some seconds.
    """
    proxied = {log.pod for log in marks}
    instances = [item["body"].get("instance") for item in report["calls"] if item["body"]]
    answered = Counter(instance for instance in instances if instance in proxied)
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        counts = _count(state, marks, set(answered))
        if counts.total() >= answered.total() or time.monotonic() > deadline:
            return sorted((Hop(count, *key) for key, count in counts.items()), reverse=True)
        time.sleep(_POLL)


def _count(state: StateDirectory, marks: list[ProxyLog], answered: set[str]) -> Counter[tuple[str, str, str]]:
    gateways = [log for log in marks if log.gateway]
    at = {(log.network, log.ip): log for log in gateways}
    carried = {log.pod: _carried(state, log) for log in gateways}
    counts: Counter[tuple[str, str, str]] = Counter()
    for log in marks:
        if log.pod not in answered:
            continue
        for entry in new_entries(_lines(state, log)[log.seen :]):
            if entry["direction"] == "inbound":
                caller = str(entry.get("downstream_remote_address"))
                last = at.get((log.network, host_of(caller)))
                names = [f"{gateway.cluster}/{gateway.pod}" for gateway in before(last, caller, gateways, carried)]
                path = f"through gateway {', '.join(names)}" if names else "direct"
                identity = str(entry.get("downstream_peer_uri_san") or "none (plain text)")
                counts[(f"{log.cluster}/{log.pod}", path, identity)] += 1
    return counts


def _carried(state: StateDirectory, gateway: ProxyLog) -> dict[str, str]:
    """Whom a gateway's connections came from: its own address towards the server -> the address of the caller.

    The whole log is read: connections live longer than calls.
    """
    entries = new_entries(_lines(state, gateway))
    return {str(e.get("upstream_local_address")): str(e.get("downstream_remote_address")) for e in entries}


def before(
    last: ProxyLog | None, caller: str, gateways: Iterable[ProxyLog], carried: Mapping[str, Mapping[str, str]]
) -> list[ProxyLog]:
    """The gateways on the way to a server, in the order of the way: `last` called it from the address `caller`."""
    if last is None:
        return []
    earlier = carried[last.pod].get(caller, "")
    first = next((gateway for gateway in gateways if gateway.wan_ip and gateway.wan_ip == host_of(earlier)), None)
    return [first, last] if first is not None else [last]
