"""Certificates of the workloads of a node: one for each identity that a pod of the node has, and for no other."""

import asyncio

from structlog.typing import FilteringBoundLogger

from isthmus.agent.identity import IdentityKeeper, Signer
from isthmus.agent.secrets import Identity, build_certificate
from isthmus.agent.settings import ProxySettings
from isthmus.base.clock import Clock
from isthmus.edge.agent_sds_server import SecretStore
from isthmus.edge.control_plane import Upstream


class _Kept:
    """One identity: whose it is, and the task that keeps it valid."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self.pods: set[str] = set()
        self.ready = asyncio.Event()


class Identities:
    """Gets, renews and drops certificates as pods come and go; Envoy finds each under its SPIFFE ID."""

    def __init__(
        self,
        upstream: Upstream,
        store: SecretStore,
        *,
        settings: ProxySettings,
        clock: Clock,
        log: FilteringBoundLogger,
        signer: Signer | None = None,
    ) -> None:
        self._signer = signer
        self._upstream = upstream
        self._store = store
        self._settings = settings
        self._clock = clock
        self._log = log
        self._kept: dict[str, _Kept] = {}
        self._of_pod: dict[str, str] = {}

    def known(self) -> list[str]:
        """The identities of pods on this node."""
        return sorted(self._kept)

    async def ensure(self, pod_uid: str, identity: str) -> None:
        """Return once the certificate is there; it is kept valid until the pod, and all others with it, let go."""
        if self._of_pod.get(pod_uid, identity) != identity:
            await self.release(pod_uid)
        self._of_pod[pod_uid] = identity
        kept = self._kept.get(identity) or self._begin(identity)
        kept.pods.add(pod_uid)
        await kept.ready.wait()

    async def release(self, pod_uid: str) -> None:
        """The pod is served no more."""
        identity = self._of_pod.pop(pod_uid, "")
        kept = self._kept.get(identity)
        if kept is None:
            return
        kept.pods.discard(pod_uid)
        if not kept.pods:
            del self._kept[identity]
            self._store.drop(identity)
            await _cancel(kept.task)

    async def close(self) -> None:
        """Renew nothing any more."""
        for kept in self._kept.values():
            await _cancel(kept.task)
        self._kept.clear()
        self._of_pod.clear()

    def _begin(self, identity: str) -> _Kept:
        def on_identity(found: Identity) -> None:
            self._store.put(build_certificate(found, identity))
            kept.ready.set()

        keeper = IdentityKeeper(
            self._upstream,
            settings=self._settings,
            on_identity=on_identity,
            clock=self._clock,
            log=self._log,
            impersonated=identity,
            signer=self._signer,
        )
        kept = self._kept[identity] = _Kept(asyncio.get_running_loop().create_task(keeper.run()))
        kept.task.add_done_callback(self._on_end)
        return kept

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._log.error("certificates of a workload are not renewed any more", defect=repr(task.exception()))


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
