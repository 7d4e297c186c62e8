"""Which way calls took and as whom the caller was seen: read from the access logs of the proxies on the way."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.labels import MANAGED_LABEL
from isthmus_lab.commands import talk
from isthmus_lab.commands.talk import LabError
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import MACHINES, World

Document = dict[str, Any]
PROXY = "istio-proxy"
NODE_PROXY = "node-proxy"
_LOG_SECONDS = 12.0
_POLL = 0.2
_GATEWAY_LABEL = "eastwestgateway"
_HBONE_GATEWAY = "istio.io-eastwest-controller"


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
    """A proxy and how many lines it had written before.

    `served`: the pods of a node that its proxy serves, by address; empty where the proxy is a pod's own.
    """

    cluster: str
    network: str
    node: str
    namespace: str
    pod: str
    ip: str
    wan_ip: str
    gateway: bool
    seen: int
    container: str = PROXY
    served: tuple[tuple[str, str], ...] = ()


def networks_of(world: World) -> dict[str, str]:
    """The network of each cluster and of each machine, for `mark_logs`."""
    machines = {f"{MACHINES}/{machine.name}": machine.network for machine in world.machines}
    return {**{cluster.name: cluster.network for cluster in world.clusters}, **machines}


def mark_logs(state: StateDirectory, networks: Mapping[str, str]) -> list[ProxyLog]:
    """Remember where each proxy's log ends now; `networks` has the network of each cluster and of `vm/<machine>`."""
    marks = []
    clusters = dict.fromkeys(MACHINES if name.startswith(f"{MACHINES}/") else name for name in networks)
    for cluster in clusters:
        pods = talk.pods_of(state, cluster)
        for pod in pods:
            container = next((name for name in (PROXY, NODE_PROXY) if name in pod["pids"]), "")
            if container:
                log = ProxyLog(
                    cluster=cluster,
                    network=networks.get(cluster) or networks[f"{MACHINES}/{pod['name']}"],
                    node=pod["node"],
                    namespace=pod["namespace"],
                    pod=pod["name"],
                    ip=pod["ip"],
                    wan_ip=pod["wanIP"],
                    gateway=is_gateway(pod["labels"]),
                    seen=0,
                    container=container,
                    served=served_by(pod["node"], pods) if container == NODE_PROXY else (),
                )
                marks.append(_with_seen(log, len(_lines(state, log))))
    return marks


def served_by(node: str, pods: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The captured pods of a node: address and name."""
    return tuple((pod["ip"], pod["name"]) for pod in pods if pod["node"] == node and pod.get("captured"))


def is_gateway(labels: Mapping[str, str]) -> bool:
    """True for a pod through which other networks are entered."""
    return labels.get("istio") == _GATEWAY_LABEL or labels.get(MANAGED_LABEL) == _HBONE_GATEWAY


def _with_seen(log: ProxyLog, seen: int) -> ProxyLog:
    values = {name: getattr(log, name) for name in ProxyLog.__slots__}
    return ProxyLog(**{**values, "seen": seen})


def _lines(state: StateDirectory, log: ProxyLog) -> list[str]:
    out = io.BytesIO()
    request = {
        "namespace": log.namespace,
        "pod": log.pod,
        "container": log.container,
        "follow": False,
        "previous": False,
    }
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

    An inbound entry whose caller's address is a gateway's came through that gateway; one in the log of a node's proxy
    is for the pod whose address was called. Proxies write their logs now and then, so this waits until every call that
    such a pod answered is found, or some seconds.
    """
    proxied = {log.pod for log in marks} | {name for log in marks for _, name in log.served}
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
        if not answered & {log.pod, *(name for _, name in log.served)}:
            continue
        for entry in new_entries(_lines(state, log)[log.seen :]):
            server = server_of(log, entry)
            if server in answered:
                caller = str(entry.get("downstream_remote_address"))
                last = at.get((log.network, host_of(caller)))
                names = [f"{gateway.cluster}/{gateway.pod}" for gateway in before(last, caller, gateways, carried)]
                path = f"through gateway {', '.join(names)}" if names else "direct"
                identity = str(entry.get("downstream_peer_uri_san") or "none (plain text)")
                counts[(f"{log.cluster}/{server}", path, identity)] += 1
    return counts


def server_of(log: ProxyLog, entry: Mapping[str, Any]) -> str:
    """The pod that a call came in for, by an entry of its proxy's log; "" if the entry tells of something else.

    A sidecar logs a tunnel and what came through it; a node's proxy sees the tunnel alone.
    """
    if entry["direction"] != "inbound":
        return ""
    if log.container == PROXY:
        return "" if entry.get("method") == "CONNECT" else log.pod
    return dict(log.served).get(host_of(entry.get("downstream_local_address")), "")


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
