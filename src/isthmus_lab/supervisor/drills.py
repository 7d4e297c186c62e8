"""What can be broken and mended: API servers, control planes, gateways, nodes, pods, the WAN between networks."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from isthmus.base.errors import UnreachableError, UsageError
from isthmus.base.labels import MANAGED_LABEL
from isthmus.install.node import NODE_NAME
from isthmus_lab.net import fabric
from isthmus_lab.net.plan import Plan
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.supervisor.processes import Processes
from isthmus_lab.world import World

_ROLES = {
    "istiod": {("app", "istiod")},
    "gateway": {("istio", "eastwestgateway"), (MANAGED_LABEL, "istio.io-eastwest-controller")},
    "waypoint": {(MANAGED_LABEL, "istio.io-mesh-controller")},
}
"""Labels one of which its pods have, whatever their namespace."""

_NODE, _NODE_PROXY = "node/", "/proxy"
"""`node/<n>/proxy` is the proxy of a node's ambient pods, and its agent: they live and die together."""


def _names(pods: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What some of these pods are called by role."""
    for role, marks in _ROLES.items():
        if any(marks & p["labels"].items() for p in pods):
            yield role
    for node in sorted(p["node"] for p in pods if p["labels"].get("app") == NODE_NAME):
        yield f"{_NODE}{node}{_NODE_PROXY}"


@dataclass(frozen=True, slots=True)
class PodTarget:
    """A pod that was found by name or role, and the node it is on."""

    cluster: str
    node: str
    namespace: str
    name: str


class Drills:
    """Breaks things so that they stay broken until mended."""

    def __init__(self, world: World, plan: Plan, processes: Processes, clusters: dict[str, ClusterControl]) -> None:
        self._world = world
        self._plan = plan
        self._processes = processes
        self._clusters = clusters
        self._cut: set[tuple[str, str]] = set()
        self._pods: dict[str, list[PodTarget]] = {}
        self._timers: set[asyncio.Task[None]] = set()

    def cuts(self) -> list[list[str]]:
        """Pairs of networks that are cut now."""
        return [list(pair) for pair in sorted(self._cut)]

    def held(self) -> list[str]:
        """Targets that are kept dead now."""
        children = [name for name, child in self._processes.children.items() if child.held]
        return sorted([*children, *self._pods])

    async def kill(self, target: str, seconds: float | None) -> list[str]:
        """SIGKILL `<cluster>/<apiserver|istiod|gateway|waypoint|node/<n>|node/<n>/proxy|[<namespace>/]<pod>>`; what was
        killed.

        It stays dead until `restore`, or for `seconds`. UsageError: no such thing.
        """
        if target in self._processes.children:
            self._processes.kill(target)
            killed = [target]
        else:
            pods = await self._find(target)
            self._pods[target] = pods
            for pod in pods:
                await self._tell(pod, "hold")
            killed = [f"{p.cluster}/{p.namespace}/{p.name}" for p in pods]
        if seconds is not None:
            self._later(seconds, self.restore(target))
        return killed

    async def restore(self, target: str) -> None:
        """Start what was killed under this name. UsageError: nothing is held under it."""
        if target in self._processes.children:
            await self._processes.restore(target)
            return
        if target not in self._pods:
            raise UsageError(f"{target} was not killed", f"Killed are: {', '.join(self.held()) or 'none'}.")
        for pod in self._pods.pop(target):
            with contextlib.suppress(UnreachableError):
                await self._tell(pod, "release")

    async def restore_all(self) -> list[str]:
        """Mend everything; what was mended."""
        held = self.held()
        for target in held:
            await self.restore(target)
        cuts = [" - ".join(pair) for pair in self.cuts()]
        self._cut.clear()
        self._join()
        return held + cuts

    def partition(self, names: list[str], seconds: float | None) -> list[list[str]]:
        """Cut two networks from each other, or one from all others; clusters stand for their network. UsageError."""
        pairs = self._pairs(names)
        self._cut |= pairs
        self._join()
        if seconds is not None:
            self._later(seconds, self._heal(pairs))
        return self.cuts()

    def heal(self, names: list[str]) -> list[list[str]]:
        """Undo `partition` of the same names; what is still cut."""
        self._cut -= self._pairs(names)
        self._join()
        return self.cuts()

    async def _heal(self, pairs: set[tuple[str, str]]) -> None:
        self._cut -= pairs
        self._join()

    def _join(self) -> None:
        fabric.join(self._plan, frozenset(self._world.links - self._cut))

    def _pairs(self, names: list[str]) -> set[tuple[str, str]]:
        networks = [self._network(name) for name in names]
        every = [n.name for n in self._world.networks]
        if len(networks) == 1:
            chosen = [(networks[0], other) for other in every if other != networks[0]]
        elif len(networks) == 2 and networks[0] != networks[1]:
            chosen = [(networks[0], networks[1])]
        else:
            raise UsageError("give one network, or two different ones", f"Networks: {', '.join(every)}.")
        known = set(combinations(sorted(every), 2))
        return {(min(p), max(p)) for p in chosen} & known

    def _network(self, name: str) -> str:
        if any(n.name == name for n in self._world.networks):
            return name
        return self._world.cluster(name).network

    def _later(self, seconds: float, action: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            with contextlib.suppress(UsageError):
                await action

        task = asyncio.create_task(wait())
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    async def _find(self, target: str) -> list[PodTarget]:
        cluster_name, _, rest = target.partition("/")
        cluster = self._clusters[self._world.cluster(cluster_name).name]
        pods = list((await cluster.pods_on_nodes()).values())
        if rest in _ROLES:
            found = [p for p in pods if _ROLES[rest] & p["labels"].items()]
        elif rest.startswith(_NODE) and rest.endswith(_NODE_PROXY):
            node = rest.removeprefix(_NODE).removesuffix(_NODE_PROXY)
            found = [p for p in pods if p["node"] == node and p["labels"].get("app") == NODE_NAME]
        else:
            namespace, _, name = rest.rpartition("/")
            found = [p for p in pods if p["name"] == name and namespace in ("", p["namespace"])]
        if not found:
            known = ["apiserver", *_names(pods), *(f"node/{n.name}" for n in cluster.plan.nodes), "a pod's name"]
            raise UsageError(f"nothing in {cluster_name} is called {rest!r}", f"Use one of: {', '.join(known)}.")
        return [PodTarget(cluster_name, p["node"], p["namespace"], p["name"]) for p in found]

    async def _tell(self, pod: PodTarget, what: str) -> None:
        message = {what: {"namespace": pod.namespace, "pod": pod.name}}
        answer = await self._clusters[pod.cluster].ask_kubelet(pod.node, message)
        if not answer.get("ok"):
            raise UnreachableError(f"{pod.namespace}/{pod.name}: {answer.get('error', 'no answer')}")
