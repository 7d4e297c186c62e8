"""Which way calls took and as whom the caller was seen: read from the access logs of the proxies on the way."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.base.labels import GATEWAY_NAME_LABEL, MANAGED_LABEL
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
_WAYPOINT = "istio.io-mesh-controller"
_PODS = "workloads"
"""The cluster by which a waypoint leads to pods that were called by their own addresses."""
_INTERNAL, _INNER_CONNECT_ORIGINATE = "envoy://", "inner_connect_originate"
ANY = "?"
"""In place of a pod: one that the log does not name."""


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

    `served`: the pods of a node that its proxy serves, by address; empty where the proxy is a pod's own. `waypoint` is
    the SPIFFE ID under which it calls on, if it is one.
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
    waypoint: str = ""

    @property
    def title(self) -> str:
        """As paths name it."""
        return f"{self.cluster}/{self.pod}"

    @property
    def says_of_ways(self) -> bool:
        """True for what calls go through, whoever answers them."""
        return self.gateway or bool(self.waypoint)

    def pods(self) -> tuple[tuple[str, str], ...]:
        """The pods that its proxy serves, by address."""
        return self.served if self.container == NODE_PROXY else ((self.ip, self.pod),)

    def serves(self, pods: set[str]) -> bool:
        """True if one of these is served."""
        return any(name in pods for _, name in self.pods())


def networks_of(world: World) -> dict[str, str]:
    """The network of each cluster and of each machine (`vm/<name>`)."""
    machines = {f"{MACHINES}/{machine.name}": machine.network for machine in world.machines}
    return {**{cluster.name: cluster.network for cluster in world.clusters}, **machines}


def mark_logs(state: StateDirectory, world: World) -> list[ProxyLog]:
    """Remember where each proxy's log ends now."""
    marks, networks = [], networks_of(world)
    domains = {cluster.name: cluster.trust_domain for cluster in world.clusters}
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
                    waypoint=waypoint_identity(pod, domains.get(cluster, "")),
                )
                marks.append(_with_seen(log, len(_lines(state, log))))
    return marks


def served_by(node: str, pods: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """The captured pods of a node: address and name."""
    return tuple((pod["ip"], pod["name"]) for pod in pods if pod["node"] == node and pod.get("captured"))


def is_gateway(labels: Mapping[str, str]) -> bool:
    """True for a pod through which other networks are entered."""
    return labels.get("istio") == _GATEWAY_LABEL or labels.get(MANAGED_LABEL) == _HBONE_GATEWAY


def waypoint_identity(pod: Mapping[str, Any], trust_domain: str) -> str:
    """The SPIFFE ID of a waypoint's pod, whose account is named like its Gateway; empty for any other pod."""
    labels = pod["labels"]
    if labels.get(MANAGED_LABEL) != _WAYPOINT:
        return ""
    return f"spiffe://{trust_domain}/ns/{pod['namespace']}/sa/{labels.get(GATEWAY_NAME_LABEL, '')}"


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
    """Count what servers' proxies, and waypoints, logged since `mark_logs`, by pod, path and identity.

    An inbound entry whose caller's address is a gateway's came through that gateway; one in the log of a node's proxy
    is for the pod whose address was called. Proxies write their logs now and then, so this waits until every call that
    such a pod answered is found, or some seconds.
    """
    proxied = {name for log in marks for _, name in log.pods()}
    instances = [item["body"].get("instance") for item in report["calls"] if item["body"]]
    answered = Counter(instance for instance in instances if instance in proxied)
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        counts = _count(state, marks, set(answered))
        if counts.total() >= answered.total() or time.monotonic() > deadline:
            return sorted((Hop(count, *key) for key, count in counts.items()), reverse=True)
        time.sleep(_POLL)


def _count(state: StateDirectory, marks: list[ProxyLog], answered: set[str]) -> Counter[tuple[str, str, str]]:
    lines = {log.title: _lines(state, log) for log in marks if log.says_of_ways or log.serves(answered)}
    whole = {log.title: new_entries(lines[log.title]) for log in marks if log.gateway}
    fresh = {log.title: new_entries(lines[log.title][log.seen :]) for log in marks if log.title in lines}
    return Trail(marks, whole, fresh).calls(answered)


_Found = tuple[tuple[str, str], list[ProxyLog], str]
"""((cluster, pod), what the call went through, who called)."""


class Trail:
    """The logs of proxies joined: by `title`, the whole ones of gateways, and of all what is new."""

    def __init__(
        self,
        marks: Iterable[ProxyLog],
        whole: Mapping[str, list[Document]],
        fresh: Mapping[str, list[Document]],
    ) -> None:
        self._marks = list(marks)
        self._gateways = [log for log in self._marks if log.gateway]
        self._waypoints = [log for log in self._marks if log.waypoint]
        self._at = {(log.network, log.ip): log for log in (*self._gateways, *self._waypoints)}
        self._servers = {(log.network, at): (log.cluster, name) for log in self._marks for at, name in log.pods()}
        self._carried = {log.pod: carried(whole.get(log.title, ())) for log in self._gateways}
        self._fresh = fresh

    def calls(self, answered: set[str]) -> Counter[tuple[str, str, str]]:
        """How often (pod, path, identity) is told of, of these pods.

        What a waypoint leads on is told by the waypoint, request by request: its tunnels stay open. Which pod takes a
        request beyond a gateway it does not know: that is `?` of the gateway's cluster.
        """
        counts: Counter[tuple[str, str, str]] = Counter()
        homes = {cluster for cluster, name in self._servers.values() if name in answered}
        wanted = {(cluster, name) for cluster, name in self._servers.values() if name in answered}
        wanted |= {(cluster, ANY) for cluster in homes}
        for log in self._marks:
            for entry in self._fresh.get(log.title, ()):
                found = self._by_waypoint(log, entry) if log.waypoint else self._served(log, entry)
                if found is not None and found[0] in wanted:
                    server, way, identity = found
                    counts["/".join(server), path_of(way), identity] += 1
        return counts

    def _by_waypoint(self, log: ProxyLog, entry: Mapping[str, Any]) -> _Found | None:
        listener, address = led_to(entry)
        way = [*self._entered(log), log]
        if listener == _INNER_CONNECT_ORIGINATE:
            gateway = next((one for one in self._gateways if one.wan_ip == address), None)
            return ((gateway.cluster, ANY), [*way, gateway], _caller(entry)) if gateway is not None else None
        server = self._servers.get((log.network, address))
        return (server, way, _caller(entry)) if server else None

    def _served(self, log: ProxyLog, entry: Mapping[str, Any]) -> _Found | None:
        server = server_of(log, entry)
        address, identity = str(entry.get("downstream_remote_address")), _caller(entry)
        last = self._at.get((log.network, host_of(address)))
        if not server or any(one.waypoint == identity for one in self._waypoints):
            return None
        return (log.cluster, server), before(last, address, self._gateways, self._carried), identity

    def _entered(self, waypoint: ProxyLog) -> list[ProxyLog]:
        """The gateway by which a waypoint's callers came, if all of them did: tunnels tell of no calls."""
        entries = [one for one in self._fresh.get(waypoint.title, ()) if one.get("method") == "CONNECT"]
        came = {host_of(one.get("downstream_remote_address")) for one in entries if one["direction"] == "inbound"}
        found = [one for one in self._gateways if one.network == waypoint.network and one.ip in came]
        return found if len(found) == len(came) == 1 else []


def led_to(entry: Mapping[str, Any]) -> tuple[str, str]:
    """By which internal listener ("" for none) and to which address a waypoint led a request; empty if it was none."""
    if entry["direction"] != "gateway" or entry.get("method") == "CONNECT":
        return "", ""
    if entry.get("upstream_cluster") == _PODS:
        return "", host_of(entry.get("downstream_local_address"))
    upstream = str(entry.get("upstream_host") or "")
    if not upstream.startswith(_INTERNAL):
        return "", host_of(upstream)
    listener, _, place = upstream.removeprefix(_INTERNAL).partition("/")
    return listener, host_of(place)


def _caller(entry: Mapping[str, Any]) -> str:
    return str(entry.get("downstream_peer_uri_san") or "none (plain text)")


def path_of(way: Iterable[ProxyLog]) -> str:
    """A way in words: what a call went through, in its order, by kind."""
    words: list[str] = []
    kind = ""
    for log in way:
        now = "waypoint" if log.waypoint else "gateway"
        words.append(log.title if now == kind else f"{now} {log.title}")
        kind = now
    return f"through {', '.join(words)}" if words else "direct"


def server_of(log: ProxyLog, entry: Mapping[str, Any]) -> str:
    """The pod that a call came in for, by an entry of its proxy's log; "" if the entry tells of something else.

    A sidecar logs a tunnel and what came through it; a node's proxy sees the tunnel alone.
    """
    if entry["direction"] != "inbound":
        return ""
    if log.container == PROXY:
        return "" if entry.get("method") == "CONNECT" else log.pod
    return dict(log.served).get(host_of(entry.get("downstream_local_address")), "")


def carried(entries: Iterable[Document]) -> dict[str, str]:
    """Whom a gateway's connections came from: its own address towards the server -> the address of the caller.

    Of its whole log: connections live longer than calls.
    """
    return {str(e.get("upstream_local_address")): str(e.get("downstream_remote_address")) for e in entries}


def before(
    last: ProxyLog | None, caller: str, gateways: Iterable[ProxyLog], came_from: Mapping[str, Mapping[str, str]]
) -> list[ProxyLog]:
    """The gateways on the way to a server, in the order of the way: `last` called it from the address `caller`."""
    if last is None:
        return []
    earlier = came_from[last.pod].get(caller, "")
    first = next((gateway for gateway in gateways if gateway.wan_ip and gateway.wan_ip == host_of(earlier)), None)
    return [first, last] if first is not None else [last]
