"""A running lab: brings it up, keeps it, breaks and mends it on request."""

import asyncio
import contextlib
import json
import logging
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.net import fabric
from isthmus_lab.net.plan import Plan
from isthmus_lab.supervisor import manifests
from isthmus_lab.supervisor.cluster import ClusterControl, remove_stale_sockets
from isthmus_lab.supervisor.drills import Drills
from isthmus_lab.supervisor.processes import Processes
from isthmus_lab.supervisor.progress import Progress
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import World

if TYPE_CHECKING:
    from isthmus.trust.issue import PemPair

READY_SECONDS = 120.0
_API_SECONDS = 60.0
_POLL = 0.25
log = logging.getLogger("supervisor")


class Lab:
    """All of one lab. `state` is the inside view of its directory."""

    def __init__(self, world: World, plan: Plan, state: StateDirectory, host_fds: dict[str, int]) -> None:
        self.world = world
        self.plan = plan
        self.state = state
        self.processes = Processes()
        self.progress = Progress()
        self.clusters = {c.name: ClusterControl(c, plan.network(c.network), state) for c in plan.clusters}
        self.drills = Drills(world, plan, self.processes, self.clusters)
        self.down = asyncio.Event()
        self._host_fds = host_fds

    async def run(self) -> None:
        """Until `down` is set."""
        self.processes.watch()
        remove_stale_sockets(self.state.path / "clusters")
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(self._bring_up())]
            work += [group.create_task(self._keep_services(c)) for c in self.clusters.values()]
            await self.down.wait()
            for task in work:
                task.cancel()
        await self.processes.close([c.api_name for c in self.clusters.values()], 3.0)

    async def _keep_services(self, cluster: ClusterControl) -> None:
        await cluster.wait_for_api()
        await cluster.keep_services()

    async def _bring_up(self) -> None:
        try:
            await asyncio.to_thread(fabric.build, self.plan, self.world.links)
            await self.progress.say(f"{len(self.plan.networks)} networks and the WAN between them")
            for cluster in self.clusters.values():
                self._start_cluster(cluster)
            await asyncio.gather(*(self._populate(c) for c in self.clusters.values()))
            if self._has_mesh:
                await self._introduce()
            await self.until_ready(self.progress)
        except (IsthmusError, ApiError, OSError) as error:
            await self.progress.say(str(error), failed=True)
        except Exception as error:
            log.exception("bringing up")
            await self.progress.say(f"{type(error).__name__}: {error}", failed=True)
        finally:
            await self.progress.finish()

    def _start_cluster(self, cluster: ClusterControl) -> None:
        for node in cluster.plan.nodes:
            cluster.write_node_config(node)
        self.processes.start(cluster.api_program(self._host_fds[cluster.plan.name]))
        for node in cluster.plan.nodes:
            self.processes.start(cluster.node_program(node))

    async def _populate(self, cluster: ClusterControl) -> None:
        """Mesh and manifests, once: what was changed by hand since then stays, unless the manifests changed too."""
        name = cluster.plan.name
        try:
            async with asyncio.timeout(_API_SECONDS):
                await cluster.wait_for_api()
        except TimeoutError:
            remedy = f"See clusters/{name}/apiserver.log in the state directory."
            raise UnreachableError(f"{name}: the API server does not answer", remedy) from None
        await self.progress.say(f"{name}: API server answers")
        objects = await asyncio.to_thread(self._objects, cluster)
        mark, fingerprint = self.state.cluster(name) / "applied", manifests.fingerprint(objects)
        if _read(mark) == fingerprint:
            await self.progress.say(f"{name}: objects of the last run found again")
            return
        if self._has_mesh:
            from isthmus_lab.supervisor import mesh

            if self.world.plane_in(name):
                await mesh.ensure_cacerts(cluster, self._root)
        await manifests.Applier(cluster.client).apply(objects)
        mark.write_text(fingerprint)
        await self.progress.say(f"{name}: {len(objects)} objects applied")

    @property
    def _has_mesh(self) -> bool:
        return bool(self.world.control_planes)

    @cached_property
    def _root(self) -> "PemPair":
        from isthmus_lab.supervisor.mesh import RootAuthority

        return RootAuthority(self.state.path / "ca").load()

    def _objects(self, cluster: ClusterControl) -> list[manifests.Object]:
        objects = manifests.objects_for(self.world.directories, cluster.plan.name)
        if not self._has_mesh:
            return objects
        from isthmus_lab.supervisor import mesh

        return [*mesh.mesh_objects(self.world, cluster.plan.name), *objects]

    async def _introduce(self) -> None:
        """Give every control plane the credentials of the clusters it is to know."""
        from isthmus_lab.supervisor import mesh

        wanted = {p.config: p.knows for p in self.world.control_planes if p.knows}
        mark, words = self.state.path / "introduced", json.dumps(wanted, sort_keys=True)
        if not wanted or _read(mark) == words:
            return
        known = sorted({name for knows in wanted.values() for name in knows})
        made = await asyncio.gather(*(mesh.remote_secret_of(self.clusters[name]) for name in known))
        secrets = dict(zip(known, made, strict=True))
        for config, knows in wanted.items():
            await manifests.Applier(self.clusters[config].client).apply([secrets[name] for name in knows])
        mark.write_text(words)
        await self.progress.say(f"remote secrets: {'; '.join(mesh.acquaintances(self.world))}")

    async def until_ready(self, progress: Progress) -> None:
        """Wait for everything, at most READY_SECONDS, and say how it went."""
        deadline = time.monotonic() + READY_SECONDS
        words: list[str] = []
        while time.monotonic() < deadline:
            words = await self.unready()
            if not words:
                await progress.say("all pods are ready")
                return
            await asyncio.sleep(_POLL)
        for word in words:
            await progress.say(word, failed=True)

    async def unready(self) -> list[str]:
        """What is not ready anywhere, in words."""
        words: list[str] = []
        for cluster in self.clusters.values():
            try:
                words += await cluster.unready()
            except (UnreachableError, ApiError, FileNotFoundError) as error:
                words.append(f"{cluster.plan.name}: {error}")
        return words

    async def status(self) -> dict[str, Any]:
        """What only the supervisor knows: processes (pids of the lab's namespace), what is held and what is cut."""
        clusters = {}
        for name, cluster in self.clusters.items():
            clusters[name] = {
                "network": cluster.plan.network,
                "apiIP": cluster.plan.api_ip,
                "apiWanIP": cluster.plan.api_wan_ip,
                "nodes": [{"name": n.name, "ip": n.ip, "region": n.region, "zone": n.zone} for n in cluster.plan.nodes],
                "pods": list((await cluster.pods_on_nodes()).values()),
            }
        return {
            "name": self.world.name,
            "meshID": self.world.mesh_id,
            "clusters": clusters,
            "networks": {n.name: {"podCIDR": n.pod_cidr, "wanCIDR": n.wan_cidr} for n in self.plan.networks},
            "processes": {
                name: {"pid": c.pid, "restarts": c.restarts, "held": c.held}
                for name, c in self.processes.children.items()
            },
            "cut": self.drills.cuts(),
            "held": self.drills.held(),
            "up": self.progress.over,
        }


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""
