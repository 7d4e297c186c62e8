"""All clusters of a control plane: its own, and those that remote secrets give access to.

Nothing here decides what a proxy gets: rows go to `emit`, in the event loop's thread.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import structlog

from isthmus.app.cluster_session import Session
from isthmus.app.cluster_settings import ClusterSettings, ClusterStatus
from isthmus.app.managed_cluster import ManagedCluster
from isthmus.app.secret_sources import SECRET_WATCH, SecretSources
from isthmus.base.clock import Clock
from isthmus.base.errors import ObjectRef, Problem, UnreachableError
from isthmus.edge.checkpoint import Checkpoint, CheckpointStore
from isthmus.edge.kube_client import KubeClient
from isthmus.ingest.digest import digest
from isthmus.ingest.observed import Observed
from isthmus.ingest.place import Place
from isthmus.ingest.secrets import RemoteCluster
from isthmus.model.rows import Row
from isthmus.tables.changes import Change

log = structlog.get_logger()

LOCAL = "(where the control plane runs)"


class ClusterManager:
    """Watches every cluster and keeps what was observed, over outages, rotations and restarts."""

    def __init__(self, settings: ClusterSettings, *, emit: Callable[[list[Change]], None], clock: Clock) -> None:
        self._settings = settings
        self._emit = emit
        self._clock = clock
        self._store = CheckpointStore(settings.checkpoint_dir) if settings.checkpoint_dir else None
        self._kept: dict[str, Checkpoint] = {}
        self._clusters: dict[str, ManagedCluster] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sources = SecretSources(
            settings, changed=self._reconcile, contact=self._secrets_seen, failed=self._secrets_failed
        )
        self._local: Session | None = None
        self._problems: list[Problem] = []
        self._known = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Watch until cancelled; then keep what was observed for the next start."""
        await self._read_checkpoints()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start_own()
                self._spawn(self._know_without_secrets())
                if self._store is not None:
                    self._spawn(self._keep_writing(self._store))
        finally:
            if self._store is not None:
                await self._write_dirty(self._store)

    async def synced(self) -> None:
        """Return when every known cluster was listed, or restored, or (never seen, remote) waited for long enough."""
        await self._known.wait()
        while waiting := [cluster for cluster in self._clusters.values() if not cluster.settled.is_set()]:
            await waiting[0].settled.wait()

    def statuses(self) -> list[ClusterStatus]:
        """The clusters as they are now, the own one first."""
        found = [cluster.status() for cluster in self._clusters.values()]
        return sorted(found, key=lambda status: (not status.config, status.id))

    def problems(self) -> list[Problem]:
        """Everything that is wrong with objects of any cluster."""
        found = [problem for cluster in self._clusters.values() for problem in cluster.problems()]
        return sorted([*self._problems, *self._local_problems(), *found])

    async def digests(self) -> dict[str, dict[str, str]]:
        """Cluster -> kind -> digest of what was observed: replicas that agree have the same."""
        observed = {cluster.id: cluster.rows_by_kind() for cluster in self._clusters.values()}
        return await asyncio.to_thread(_digests, observed)

    def client(self, cluster: str) -> KubeClient | None:
        """The client of a cluster, to ask it something; None if the cluster is not known or cannot be asked."""
        found = self._clusters.get(cluster)
        return found.client if found else None

    def local_client(self) -> KubeClient | None:
        """The client of the cluster that keeps our secrets: the config cluster, or the one that we run in (PR4)."""
        return self.client(self._settings.config_cluster) if self._settings.local is None else self._local_client()

    def _local_client(self) -> KubeClient | None:
        return self._local.client if self._local else None

    def trust_domain(self, cluster: str) -> str:
        """The trust domain of a cluster's identities (TR6); empty while its configuration was not seen."""
        found = self._clusters.get(cluster)
        return found.trust_domain if found else ""

    async def await_trust_domain(self, cluster: str, *, patience: float) -> str:
        """The same, waiting for at most `patience` seconds. Raises UnreachableError."""
        found = self._clusters.get(cluster)
        if found is not None and not found.settled.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(found.settled.wait(), patience)
        if domain := self.trust_domain(cluster):
            return domain
        raise UnreachableError(
            f"the trust domain of cluster {cluster} is not known: it has not been listed yet", "Try again in a moment"
        )

    # edge.authenticate.Reviewer

    @property
    def config_cluster(self) -> str:
        """The cluster that configuration is read from."""
        return self._settings.config_cluster

    def clusters(self) -> Collection[str]:
        """Ids of all known clusters."""
        return self._clusters.keys()

    async def review(self, cluster: str, token: str, audience: str) -> Mapping[str, Any]:
        """The `status` of a TokenReview by that cluster. Raises UnreachableError or KubeError."""
        return await self._asked(cluster).review_token(token, audience)

    async def signing_keys(self, cluster: str) -> Mapping[str, Any]:
        """The cluster's JSON Web Key Set. Raises UnreachableError or KubeError."""
        return await self._asked(cluster).signing_keys()

    def _asked(self, cluster: str) -> KubeClient:
        client = self.client(cluster)
        if client is None:
            remedy = "See isthmus remote-clusters; create its remote secret again if that has an error"
            raise UnreachableError(f"there is no access to cluster {cluster}", remedy)
        return client

    # The set of clusters.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None
        return self._group.create_task(work)

    def _add(self, cluster: str) -> ManagedCluster:
        added = ManagedCluster(
            cluster,
            settings=self._settings,
            clock=self._clock,
            emit=self._emit,
            spawn=self._spawn,
            kept=self._kept.pop(cluster, None),
        )
        self._clusters[cluster] = added
        self._tasks[cluster] = self._spawn(added.run())
        return added

    def _start_own(self) -> None:
        """The own cluster with the Secrets of others; these are elsewhere if we run elsewhere."""
        own = self._add(self._settings.config_cluster)
        watch = (SECRET_WATCH, self._sources.watch)
        if self._settings.local is None:
            own.offer(self._settings.access, extra=(watch,))
        else:
            own.offer(self._settings.access)
            self._local = Session(
                Place(LOCAL),
                self._settings.local,
                Observed(LOCAL, ()),
                settings=self._settings,
                clock=self._clock,
                changes=lambda _: None,
                changed=lambda: None,
            )
            self._spawn(self._local.run((watch,)))
        if self._settings.kubeconfig_dir:
            self._spawn(self._sources.watch_files(self._settings.kubeconfig_dir))

    def _secrets_seen(self) -> None:
        (self._local or self._clusters[self._settings.config_cluster]).contact(SECRET_WATCH)

    def _secrets_failed(self, message: str) -> None:
        (self._local or self._clusters[self._settings.config_cluster]).failed(SECRET_WATCH, message)

    def _local_problems(self) -> list[Problem]:
        if self._local is None or not self._local.error:
            return []
        where = ObjectRef("", "Namespace", "", self._settings.system_namespace)
        message = f"remote secrets cannot be read where the control plane runs: {self._local.error.rstrip('.')}"
        return [Problem(where, "secrets", message, "Clusters stay as last known; see to that API server")]

    def _remove(self, cluster: str) -> None:
        log.info("cluster removed", cluster=cluster)
        self._clusters.pop(cluster).remove()
        self._tasks.pop(cluster).cancel()
        if self._store is not None:
            self._spawn(self._store.remove(cluster))

    async def _know_without_secrets(self) -> None:
        """While the own API server is silent, the clusters of the checkpoints are those that are known."""
        own = self._clusters[self._settings.config_cluster]
        await own.settled.wait()
        if self._settings.local is not None:
            await asyncio.sleep(self._settings.restore_after)
        if self._sources.listed or (own.complete and self._settings.local is None):
            return
        for kept in list(self._kept.values()):
            cluster = self._add(kept.cluster)
            cluster.offer(None, secret=kept.secret, error="its secret cannot be read: the own API server is silent")
            cluster.restore()
        self._known.set()

    def _reconcile(self) -> None:
        """Make the clusters those of the secrets, once these were listed."""
        if not self._sources.listed:
            return
        wanted, self._problems = self._sources.clusters()
        for cluster in self._clusters.keys() - wanted.keys() - {self._settings.config_cluster}:
            self._remove(cluster)
        for cluster, remote in wanted.items():
            self._offer(cluster, remote)
        for cluster in self._kept.keys() - wanted.keys() - {self._settings.config_cluster}:
            del self._kept[cluster]
            if self._store is not None:
                self._spawn(self._store.remove(cluster))
        self._known.set()

    def _offer(self, cluster: str, remote: RemoteCluster) -> None:
        managed = self._clusters.get(cluster) or self._add(cluster)
        if managed.digest == remote.digest and managed.secret == remote.secret:
            return
        log.info("credentials read", cluster=cluster, secret=remote.secret, error=remote.error)
        managed.digest = remote.digest
        managed.offer(remote.access, secret=remote.secret, error=remote.error)

    # Checkpoints.

    async def _read_checkpoints(self) -> None:
        if self._store is None:
            return
        found, damaged = await self._store.read_all()
        self._kept = {checkpoint.cluster: checkpoint for checkpoint in found}
        for message in damaged:
            log.warning("checkpoint cannot be used", file=message)

    async def _keep_writing(self, store: CheckpointStore) -> None:
        """Write what changed now and then, less often where writing is slow."""
        while True:
            before = self._clock.monotonic()
            await self._write_dirty(store)
            took = self._clock.monotonic() - before
            await asyncio.sleep(max(self._settings.checkpoint_interval, 20 * took))

    async def _write_dirty(self, store: CheckpointStore) -> None:
        for cluster in list(self._clusters.values()):
            if cluster.dirty and cluster.complete:
                await self._write(store, cluster)
                if cluster.id not in self._clusters:
                    await store.remove(cluster.id)

    @staticmethod
    async def _write(store: CheckpointStore, cluster: ManagedCluster) -> None:
        cluster.dirty = False
        written = False
        try:
            await store.write(cluster.checkpoint())
            written = True
        except OSError as error:
            log.warning("checkpoint cannot be written", cluster=cluster.id, error=str(error))
        finally:
            # Also when cancelled in between: the last write at the end makes up for it.
            cluster.dirty |= not written


def _digests(observed: Mapping[str, Mapping[str, list[Row]]]) -> dict[str, dict[str, str]]:
    return {cluster: {kind: digest(rows) for kind, rows in kinds.items()} for cluster, kinds in observed.items()}
