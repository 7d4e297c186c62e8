"""A running lab: brings it up, keeps it, breaks and mends it on request."""

import asyncio
import logging
import time
from dataclasses import asdict
from typing import Any

from isthmus.base.errors import IsthmusError, UnreachableError
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.net import fabric
from isthmus_lab.net.plan import Plan
from isthmus_lab.supervisor.cluster import ClusterControl, remove_stale_sockets
from isthmus_lab.supervisor.drills import Drills
from isthmus_lab.supervisor.global_names import GlobalNames
from isthmus_lab.supervisor.install import Installer
from isthmus_lab.supervisor.machines import Machines, names
from isthmus_lab.supervisor.processes import Processes
from isthmus_lab.supervisor.progress import Progress
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import World

READY_SECONDS = 120.0
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
        self.machines = Machines(world, plan, state, self.clusters, self.processes)
        self.drills = Drills(world, plan, self.processes, self.clusters)
        self.down = asyncio.Event()
        self._host_fds = host_fds
        self._installer = Installer(world, state, self.clusters, self.progress)
        self._global_names = GlobalNames(world, self.clusters)
        self._installed = asyncio.Event()

    async def run(self) -> None:
        """Until `down` is set."""
        self.processes.watch()
        remove_stale_sockets(self.state.path / "clusters")
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(self._bring_up()), group.create_task(self._keep_addresses())]
            work += [group.create_task(self._keep_services(c)) for c in self.clusters.values()]
            await self.down.wait()
            for task in work:
                task.cancel()
        await self.processes.close([c.api_name for c in self.clusters.values()], 3.0)

    async def _keep_services(self, cluster: ClusterControl) -> None:
        await cluster.wait_for_api()
        await cluster.keep_services()

    async def _keep_addresses(self) -> None:
        await self._installed.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._installer.keep_addresses())
            if self.world.global_names:
                group.create_task(self._global_names.keep())

    async def _bring_up(self) -> None:
        try:
            await asyncio.to_thread(fabric.build, self.plan, self.world.links)
            await self.progress.say(f"{len(self.plan.networks)} networks and the WAN between them")
            for cluster in self.clusters.values():
                self._start_cluster(cluster)
            await self._installer.run()
            self._installed.set()
            await self.machines.start(self.progress)
            await self.until_ready(self.progress)
            if self.world.global_names:
                count = await self._global_names.exchange()
                await self.progress.say(f"global names: every cluster has the {count} ServiceEntries of all")
        except (IsthmusError, ApiError, OSError) as error:
            await self.progress.say(str(error), failed=True)
        except Exception as error:
            log.exception("bringing up")
            await self.progress.say(f"{type(error).__name__}: {error}", failed=True)
        finally:
            await self.progress.finish()

    def _start_cluster(self, cluster: ClusterControl) -> None:
        for node in cluster.plan.nodes:
            cluster.write_node_config(node, names(self.world, list(self.plan.machines), cluster.plan.network))
        self.processes.start(cluster.api_program(self._host_fds[cluster.plan.name]))
        for node in cluster.plan.nodes:
            self.processes.start(cluster.node_program(node))

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
        return words + await self.machines.unready()

    async def status(self) -> dict[str, Any]:
        """What only the supervisor knows: processes (pids of the lab's namespace), what is held and what is cut."""
        clusters = {}
        for name, cluster in self.clusters.items():
            clusters[name] = {
                "network": cluster.plan.network,
                "meshNetwork": self.world.cluster(name).mesh_network,
                "role": self.world.role(name),
                "controlPlanes": list(self.world.cluster(name).sources),
                "trustDomain": self.world.cluster(name).trust_domain,
                "dataPlane": self.world.cluster(name).data_plane.value,
                "apiIP": cluster.plan.api_ip,
                "apiWanIP": cluster.plan.api_wan_ip,
                "nodes": [{"name": n.name, "ip": n.ip, "region": n.region, "zone": n.zone} for n in cluster.plan.nodes],
                "pods": list((await cluster.pods_on_nodes()).values()),
            }
        return {
            "name": self.world.name,
            "meshID": self.world.mesh_id,
            "controlPlanes": [asdict(plane) for plane in self.world.control_planes],
            "clusters": clusters,
            "machines": await self.machines.status(),
            "networks": {n.name: {"podCIDR": n.pod_cidr, "wanCIDR": n.wan_cidr} for n in self.plan.networks},
            "processes": {
                name: {"pid": c.pid, "restarts": c.restarts, "held": c.held}
                for name, c in self.processes.children.items()
            },
            "cut": self.drills.cuts(),
            "held": self.drills.held(),
            "up": self.progress.over,
        }
