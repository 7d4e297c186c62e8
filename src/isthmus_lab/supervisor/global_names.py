"""Gives every cluster the global names of all: what `isthmus global-entries` prints for each, applied everywhere."""

import asyncio
import contextlib
import logging
from typing import Any

from isthmus.base.errors import UnreachableError
from isthmus.install.global_names import Home, global_entries, without_pods
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.kubelet.informer import Informer
from isthmus_lab.supervisor import manifests
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.world import World

log = logging.getLogger("supervisor")

_RETRY = 1.0
_PATIENCE = 60.0

Object = dict[str, Any]


class GlobalNames:
    """Follows what each cluster offers. Clouds give a load balancer one address for its life; here it may change."""

    def __init__(self, world: World, clusters: dict[str, ClusterControl]) -> None:
        self._world = world
        self._clusters = clusters
        self._given: dict[str, list[Object]] = {}

    async def exchange(self) -> int:
        """Once, as soon as every cluster has something to offer or has had enough time; how many entries there are."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                for name in self._clusters:
                    while not await self._give(name):  # noqa: ASYNC110 - what is waited for has no event
                        await asyncio.sleep(_RETRY / 4)
        return sum(map(len, self._given.values()))

    async def keep(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._clusters:
                group.create_task(self._follow(name))

    async def _follow(self, name: str) -> None:
        changed = asyncio.Event()
        services = Informer(self._clusters[name].client, "/api/v1/services", lambda _kind, _object: changed.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(services.run())
            while True:
                await changed.wait()
                changed.clear()
                if not await self._give(name):
                    await asyncio.sleep(_RETRY)
                    changed.set()

    async def _give(self, name: str) -> bool:
        """Tell every cluster what this one offers; False if that is not known yet, or one could not be told."""
        try:
            services = (await self._clusters[name].client.get("/api/v1/services")).get("items") or []
            pods = (await self._clusters[name].client.get("/api/v1/pods")).get("items") or []
            home = Home(name, self._world.cluster(name).trust_domain)
            offered = global_entries(home, services, pods)
            if without_pods(services, pods) and name not in self._given:
                return False
            if offered and offered != self._given.get(name):
                for cluster in self._clusters.values():
                    await manifests.Applier(cluster.client).apply(offered)
                self._given[name] = offered
        except (UnreachableError, ApiError, OSError) as error:
            log.info("global names of %s: %s", name, error)
            return False
        return name in self._given
