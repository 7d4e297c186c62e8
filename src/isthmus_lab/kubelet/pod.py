"""One pod on its node, from binding to removal, in Kubernetes' order.

Network, volumes, init containers and sidecars one after the other, then the containers; at the end containers first,
sidecars last in reverse order.
"""

import asyncio
import contextlib
import shutil
import time

from isthmus.base.errors import UnreachableError
from isthmus_lab.kubelet import execs, images, probes, services, volumes
from isthmus_lab.kubelet.client import ApiError, Object
from isthmus_lab.kubelet.cni import CniError
from isthmus_lab.kubelet.context import NodeContext, PodPlace, write_name_files
from isthmus_lab.kubelet.engines import Engine, ProcessEngine, ProxyEngine
from isthmus_lab.kubelet.env import ConfigError
from isthmus_lab.kubelet.podvolumes import PodVolumes
from isthmus_lab.kubelet.runner import Runner, Surroundings
from isthmus_lab.kubelet.runtime_client import RuntimeRefusedError
from isthmus_lab.kubelet.sandbox import WAN_IP_ANNOTATION, Sandbox
from isthmus_lab.kubelet.status import ContainerState, PodFacts, Role, pod_status

_RETRY = 0.3
_NETWORK_RETRY = 5.0
_DEFAULT_GRACE = 30.0
_SIDECAR_GRACE = 2.0
_SETTLE_SECONDS = 3.0


def role_of(container: Object, *, init: bool) -> Role:
    """Init containers that restart always are native sidecars (KEP-753)."""
    if not init:
        return Role.MAIN
    return Role.SIDECAR if container.get("restartPolicy") == "Always" else Role.INIT


def initial_states(pod: Object) -> list[ContainerState]:
    """All containers of the pod, init containers first, as they are before anything was started."""
    inits = pod["spec"].get("initContainers") or []
    both = [(c, True) for c in inits] + [(c, False) for c in pod["spec"]["containers"]]
    waiting = "PodInitializing" if inits else "ContainerCreating"
    return [ContainerState(c["name"], c["image"], role_of(c, init=i), waiting=waiting) for c, i in both]


class PodWorker:
    """Runs one pod. `pod` is its object as the API server last showed it."""

    def __init__(self, context: NodeContext, pod: Object) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.place: PodPlace | None = None
        self.runners: dict[str, Runner] = {}
        self._context = context
        self._volumes = PodVolumes(context, volumes.with_service_account(pod))
        self._states = initial_states(pod)
        self._earlier: Object = pod.get("status") or {}
        self._reported = self._earlier
        self._adopted = False
        self._initialized = False
        self._dirty = asyncio.Event()
        self._terminating = asyncio.Event()
        self._grace = _DEFAULT_GRACE
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._events: set[tuple[str, str]] = set()

    # What others ask of it.

    def update(self, pod: Object) -> None:
        """Take note of the pod's new state: labels for downward API files, deletion."""
        self.pod = pod
        self._volumes.poke()
        if pod["metadata"].get("deletionTimestamp"):
            seconds = pod["metadata"].get("deletionGracePeriodSeconds")
            self.terminate(_DEFAULT_GRACE if seconds is None else float(seconds))

    def poke_volumes(self) -> None:
        """ConfigMaps or Secrets changed."""
        self._volumes.poke()

    def terminate(self, grace: float) -> None:
        """End the pod within `grace` seconds."""
        self._grace = grace
        self._terminating.set()
        self._may_run.set()

    def hold(self) -> None:
        """SIGKILL all its containers and start none until `release`."""
        self._may_run.clear()
        for runner in self.runners.values():
            runner.kill()

    def release(self) -> None:
        """Let its containers start again."""
        self._may_run.set()

    @property
    def held(self) -> bool:
        """True between `hold` and `release`."""
        return not self._may_run.is_set()

    @property
    def current(self) -> Object:
        """The pod with its ServiceAccount volume and its addresses, whatever the API server knows yet."""
        pod = volumes.with_service_account(self.pod)
        if self.place is None:
            return pod
        box = self.place.box
        addresses = {"podIP": box.ip, "podIPs": [{"ip": box.ip}], "hostIP": self._context.config.node.ip}
        return {**pod, "status": {**(pod.get("status") or {}), **addresses}}

    def container(self, name: str) -> Object:
        """The container's spec. KeyError: no such container."""
        spec = self.current["spec"]
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            if container["name"] == name:
                return dict(container)
        raise KeyError(name)

    # Its life.

    async def run(self) -> None:
        """The pod's whole life on this node; returns when nothing of it is left."""
        self._adopted = self._context.sandboxes.is_alive(self.uid)
        work = asyncio.create_task(self._work())
        report = asyncio.create_task(self._report())
        try:
            await self._terminating.wait()
            await self._end()
        finally:
            work.cancel()
            report.cancel()
            await asyncio.gather(work, report, return_exceptions=True)
        await self._remove()

    async def _work(self) -> None:
        place = await self._prepare()
        around = self._surroundings(place)
        for state in self._states:
            self.runners[state.name] = self._runner(place, state, around)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._volumes.keep(lambda: self.current))
            if await self._initialize(group):
                mains = [r for r in self.runners.values() if r.state.role is Role.MAIN]
                running = [group.create_task(runner.run()) for runner in mains]
                await asyncio.wait(running)
                await self._stop_sidecars(self._grace)
            keeping.cancel()

    async def _prepare(self) -> PodPlace:
        """Network and volumes; tried until they are there."""
        pause = _RETRY
        while True:
            try:
                box = await self._network()
                files = write_name_files(self._context, self.pod, box)
                self.place = PodPlace(self._context, box, files, self._volumes.directories)
                self._dirty.set()
                await self._announce_wan(box.wan_ip)
                await self._volumes.fill(self.current)
            except CniError as error:
                self._no_network(f"Failed to create pod sandbox: {error}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _NETWORK_RETRY)
            except (ConfigError, OSError, ApiError, UnreachableError) as error:
                self._event("Warning", "FailedMount" if isinstance(error, ConfigError) else "FailedSetup", str(error))
                await asyncio.sleep(_RETRY)
            else:
                return self.place

    async def _network(self) -> Sandbox:
        """The pod's network as the lab makes it, and then what CNI plugins do about it. CniError: one refused."""
        sandboxes, plugins = self._context.sandboxes, self._context.plugins
        lives = sandboxes.is_alive(self.uid)
        outside = services.is_called_from_outside(self.pod, self._context.services.objects.values())
        box = await sandboxes.ensure(self.pod, time.time(), on_wan=outside)
        await self._context.wire_services(box.netns)
        if box.host_network:
            return box
        if not lives:
            await plugins.remove(self.uid, gone=True)
        await plugins.add(self.pod, box)
        self._no_network("")
        return box

    def _no_network(self, why: str) -> None:
        """Tell why no container starts, in an event and where each container waits; "" if nothing is wrong."""
        if why:
            self._event("Warning", "FailedCreatePodSandBox", why)
        for state in self._states:
            if state.running_since is None and state.message != why:
                state.message = why
                self._dirty.set()

    async def _announce_wan(self, wan_ip: str | None) -> None:
        known = (self.pod["metadata"].get("annotations") or {}).get(WAN_IP_ANNOTATION)
        if wan_ip and known != wan_ip:
            await self._context.client.merge(self._path, {"metadata": {"annotations": {WAN_IP_ANNOTATION: wan_ip}}})

    async def _initialize(self, group: asyncio.TaskGroup) -> bool:
        """Init containers and sidecars, each when the one before is done or started; False if the pod cannot go on."""
        for runner in self.runners.values():
            if self._terminating.is_set():
                return False
            if runner.state.role is Role.INIT:
                await runner.run()
                if not runner.state.succeeded:
                    return False
            elif runner.state.role is Role.SIDECAR:
                group.create_task(runner.run())
                await runner.started.wait()
        self._initialized = not self._terminating.is_set()
        self._dirty.set()
        return self._initialized

    async def _end(self) -> None:
        """SIGTERM to containers, then to sidecars, each with what is left of the grace period."""
        deadline = time.monotonic() + self._grace
        first = [r for r in self.runners.values() if r.state.role is not Role.SIDECAR]
        await asyncio.gather(*(runner.stop(self._grace) for runner in first))
        await self._stop_sidecars(max(deadline - time.monotonic(), min(self._grace, _SIDECAR_GRACE)))

    async def _stop_sidecars(self, grace: float) -> None:
        sidecars = [r for r in self.runners.values() if r.state.role is Role.SIDECAR]
        for runner in reversed(sidecars):
            await runner.stop(grace)

    async def _remove(self) -> None:
        for problem in await self._context.plugins.remove(self.uid):
            self._event("Warning", "FailedKillPod", f"error killing pod: {problem}")
        await self._context.sandboxes.remove(self.uid)
        with contextlib.suppress(UnreachableError, RuntimeRefusedError):
            for process in self._context.runtime.processes():
                if process["id"].startswith(self.uid + "/"):
                    self._context.runtime.remove(process["id"])
        shutil.rmtree(self._context.pod_directory(self.uid), ignore_errors=True)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        while True:
            try:
                await self._context.client.delete(self._path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})
            except ApiError as error:
                if error.code in (404, 409):
                    return
            except UnreachableError:
                pass
            else:
                return
            await asyncio.sleep(_RETRY)

    # Its parts.

    @property
    def _path(self) -> str:
        meta = self.pod["metadata"]
        return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

    def _surroundings(self, place: PodPlace) -> Surroundings:
        async def refill() -> None:
            await self._volumes.fill(self.current)

        return Surroundings(
            changed=self._dirty.set,
            event=self._event,
            box=place.box,
            may_run=self._may_run,
            restart_policy=self.pod["spec"].get("restartPolicy", "Always"),
            grace=float(self.pod["spec"].get("terminationGracePeriodSeconds") or _DEFAULT_GRACE),
            prepare=refill,
        )

    def _runner(self, place: PodPlace, state: ContainerState, around: Surroundings) -> Runner:
        container = self.container(state.name)
        prefix = f"{self.uid}/{state.name}"
        engine: Engine
        if images.is_proxy(state.image):
            memory = place.log(self.pod, container, 0).with_name("attempt")
            request = lambda: place.proxy_request(self.current, self.container(state.name))  # noqa: E731
            engine = ProxyEngine(self._context.agent, request, memory, prefix)
        else:
            spec = lambda attempt: place.spec(self.current, self.container(state.name), attempt)  # noqa: E731
            engine = ProcessEngine(self._context.runtime, prefix, spec)
        target = probes.Target(
            place.box.netns, place.box.ip, _ports(container), self._executor(place, state.name, engine)
        )
        before = None if self._adopted else self._attempts_before(state)
        return Runner(container, state, engine, around, target, prefix, before=before)

    def _attempts_before(self, state: ContainerState) -> int:
        """How often the container was started before the node died."""
        reported = [
            *(self._earlier.get("initContainerStatuses") or []),
            *(self._earlier.get("containerStatuses") or []),
        ]
        for status in reported:
            if status["name"] == state.name and status.get("containerID"):
                return int(status.get("restartCount") or 0) + 1
        return 0

    def _executor(self, place: PodPlace, name: str, engine: Engine) -> probes.Exec:
        async def execute(command: list[str]) -> int:
            spec = execs.exec_spec(place, self.current, self.container(name), command)
            try:
                return await execs.run_silently(self._context.runtime, spec, engine.process_id())
            except (RuntimeRefusedError, UnreachableError) as error:
                raise OSError(str(error)) from error

        return execute

    def _event(self, kind: str, reason: str, message: str) -> None:
        """Write an event; a warning that was written before is not repeated."""
        if kind == "Warning" and (reason, message) in self._events:
            return
        self._events.add((reason, message))
        self._context.event(self.pod, kind, reason, message)

    # Its status.

    @property
    def is_ready(self) -> bool:
        """True if the pod serves, or has done what it was for."""
        status = self.status()
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
        return ready or status["phase"] == "Succeeded"

    def troubles(self) -> list[str]:
        """Why it is not ready, container by container."""
        return [
            f"{s.name}: {s.message or (s.waiting if s.running_since is None else 'not ready')}"
            for s in self._states
            if not s.ready and not s.succeeded
        ]

    def status(self) -> Object:
        """The status as it is now."""
        box = self.place.box if self.place else None
        facts = PodFacts(
            pod_ip=box.ip if box else "",
            host_ip=self._context.config.node.ip,
            start_time=box.started if box else time.time(),
            initialized=self._initialized,
            restart_policy=self.pod["spec"].get("restartPolicy", "Always"),
        )
        return pod_status(facts, self._states, self._reported, time.time())

    async def _settle(self) -> None:
        """The pod lived on without a kubelet: look first whether it is ready, so that no endpoint comes and goes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while not self.is_ready and not self._terminating.is_set():
                    await self._dirty.wait()
                    self._dirty.clear()

    async def _report(self) -> None:
        if self._reported:  # by an earlier kubelet
            if self._adopted:
                await self._settle()
            self._dirty.set()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            status = self.status()
            if status == self._reported:
                continue
            try:
                await self._context.client.merge(f"{self._path}/status", {"status": status})
                self._reported = status
            except (ApiError, UnreachableError):
                self._dirty.set()
                await asyncio.sleep(_RETRY)


def _ports(container: Object) -> dict[str, int]:
    return {p["name"]: int(p["containerPort"]) for p in container.get("ports") or [] if p.get("name")}
