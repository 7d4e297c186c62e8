"""Installs the mesh and the example's objects, in the order in which a user would."""

import asyncio
import contextlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.base.errors import UnreachableError
from isthmus.install.values import SYSTEM_NAMESPACE
from isthmus_lab.kubelet.client import ApiError
from isthmus_lab.kubelet.informer import Informer
from isthmus_lab.supervisor import manifests, mesh, roles
from isthmus_lab.supervisor.cluster import ClusterControl
from isthmus_lab.supervisor.progress import Progress
from isthmus_lab.supervisor.state import StateDirectory
from isthmus_lab.world import ControlPlane, World

if TYPE_CHECKING:
    from isthmus.trust.issue import PemPair

_API_SECONDS = 60.0
_ADDRESS_SECONDS = 60.0
_POLL = 0.1
_RETRY = 1.0


class Installer:
    """Everything once: what was changed by hand since then stays, unless the manifests changed too."""

    def __init__(
        self, world: World, state: StateDirectory, clusters: dict[str, ClusterControl], progress: Progress
    ) -> None:
        self._world = world
        self._state = state
        self._clusters = clusters
        self._progress = progress
        self._answers = {name: asyncio.Event() for name in clusters}
        self._homes = {plane.cluster: asyncio.Event() for plane in world.control_planes}
        self._introduced = _read_json(state.path / "introduced")

    async def run(self) -> None:
        """All clusters at a time; one waits for another only where it needs something of it."""
        known = set(self._introduced)
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._clusters:
                    group.create_task(self._cluster(name))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if self._introduced.keys() != known:
            words = [f"control plane {p.name} knows {' '.join(p.knows)}" for p in self._world.control_planes if p.knows]
            await self._progress.say(f"remote secrets: {'; '.join(words) or 'none'}")

    async def _cluster(self, name: str) -> None:
        cluster, world = self._clusters[name], self._world
        await self._wait_for_api(name)
        plane = world.plane_in(name)
        if plane is not None:
            await mesh.ensure_cacerts(cluster, self._root, mesh.bound_to(world, plane))
            if plane.external:
                await self._give_config(plane)
        own = manifests.objects_in(world, name)
        early = world.serves_itself(name) or not world.cluster(name).sources
        count = await self._apply(name, "applied", [*roles.objects_here(world, name), *(own if early else [])])
        if name in self._homes:
            self._homes[name].set()
        if world.afar(name):
            count += await self._apply_afar(name)
        await self._introduce(name)
        if not early:
            count += await self._apply(name, "applied-own", own)
        words = f"{count} objects applied" if count else "objects of the last run found again"
        await self._progress.say(f"{name}: {words}")

    async def _wait_for_api(self, name: str) -> None:
        try:
            async with asyncio.timeout(_API_SECONDS):
                await self._clusters[name].wait_for_api()
        except TimeoutError:
            remedy = f"See clusters/{name}/apiserver.log in the state directory."
            raise UnreachableError(f"{name}: the API server does not answer", remedy) from None
        await self._progress.say(f"{name}: API server answers")
        self._answers[name].set()

    @cached_property
    def _root(self) -> "PemPair":
        return mesh.RootAuthority(self._state.path / "ca").load()

    async def _apply(self, name: str, mark: str, objects: list[manifests.Object]) -> int:
        """Apply unless the same was applied before; how many were."""
        file, fingerprint = self._state.cluster(name) / mark, manifests.fingerprint(objects)
        if not objects or _read(file) == fingerprint:
            return 0
        await manifests.Applier(self._clusters[name].client).apply(objects)
        file.write_text(fingerprint)
        return len(objects)

    async def _give_config(self, plane: ControlPlane) -> None:
        """An external control plane gets the credentials of its config cluster before it starts (PR4)."""
        home, config = self._clusters[plane.cluster], self._clusters[plane.config]
        key = f"{plane.cluster} reads {plane.config}"
        if key in self._introduced:
            return
        await self._answers[plane.config].wait()
        await manifests.Applier(config.client).apply(roles.accounts(self._world, plane.config))
        await home.ensure_namespace(SYSTEM_NAMESPACE)
        await manifests.Applier(home.client).apply([await mesh.config_secret_of(config)])
        self._note(key)
        words = f"control plane {plane.name} in {plane.cluster} reads its configuration in {plane.config}"
        await self._progress.say(words)

    async def _introduce(self, name: str) -> None:
        """Give the control planes that are to know this cluster its credentials."""
        readers = [p for p in self._world.control_planes if name in p.knows]
        missing = [p for p in readers if f"{p.cluster} knows {name}" not in self._introduced]
        if not missing:
            return
        secret = await mesh.remote_secret_of(self._clusters[name])
        for plane in missing:
            await self._homes[plane.cluster].wait()
            await manifests.Applier(self._clusters[plane.cluster].client).apply([secret])
            self._note(f"{plane.cluster} knows {name}")

    def _note(self, key: str) -> None:
        self._introduced[key] = True
        (self._state.path / "introduced").write_text(json.dumps(self._introduced, indent=1))

    # Control planes in other clusters.

    async def _apply_afar(self, name: str) -> int:
        planes = self._world.afar(name)
        addresses = {plane.name: await self._address(plane) for plane in planes}
        objects = roles.objects_afar(self._world, name, addresses)
        count = await self._apply(name, "applied-afar", [o for o in objects if not roles.is_address(o)])
        await manifests.Applier(self._clusters[name].client).apply(o for o in objects if roles.is_address(o))
        if count:
            words = ", ".join(f"{plane.name} at {' '.join(addresses[plane.name])}" for plane in planes)
            await self._progress.say(f"{name}: uses control plane {words}")
        return count

    async def _address(self, plane: ControlPlane) -> tuple[str, ...]:
        """Where a control plane is reached on the WAN, once it is."""
        await self._homes[plane.cluster].wait()
        service = roles.exposing_service(self._world, plane)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ADDRESS_SECONDS):
                while True:
                    if found := await mesh.addresses_of(self._clusters[plane.cluster], service):
                        return found
                    await asyncio.sleep(_POLL)
        remedy = f"See kubectl --context {plane.cluster} describe -n {SYSTEM_NAMESPACE} service {service}."
        raise UnreachableError(f"control plane {plane.name} got no address on the WAN", remedy)

    async def keep_addresses(self) -> None:
        """Follow the addresses of control planes, until cancelled.

        Clouds give a load balancer one address for its life; here it is that of its pods, which come and go.
        """
        async with asyncio.TaskGroup() as group:
            for plane in self._world.control_planes:
                if self._world.served_from_afar(plane.name):
                    group.create_task(self._follow(plane))

    async def _follow(self, plane: ControlPlane) -> None:
        changed = asyncio.Event()
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services"
        services = Informer(self._clusters[plane.cluster].client, path, lambda _kind, _object: changed.set())
        service = roles.exposing_service(self._world, plane)
        known: tuple[str, ...] = ()
        async with asyncio.TaskGroup() as group:
            group.create_task(services.run())
            while True:
                await changed.wait()
                changed.clear()
                with contextlib.suppress(UnreachableError, ApiError):
                    now = await mesh.addresses_of(self._clusters[plane.cluster], service)
                    if not now or now == known:
                        continue
                    if await self._move(plane, now):
                        known = now
                        continue
                await asyncio.sleep(_RETRY)
                changed.set()

    async def _move(self, plane: ControlPlane, addresses: tuple[str, ...]) -> bool:
        """Tell the clusters that use a control plane from afar where it is now; False if one could not be told."""
        good = True
        for cluster in self._world.served_from_afar(plane.name):
            slices = roles.slices_of(self._world, cluster.name, plane.name, addresses)
            try:
                await manifests.Applier(self._clusters[cluster.name].client).apply(slices)
            except (UnreachableError, ApiError):
                good = False
        return good


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _read_json(path: Path) -> dict[str, bool]:
    try:
        found = json.loads(_read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
