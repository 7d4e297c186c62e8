"""What a control plane does for remote clusters that it is in charge of: roots in their namespaces, and the webhook's
caBundle (RS12). Clusters that do not ask for it in their system namespace are never written to.

There is no election in the remote cluster (PR7): what is written is a function of the roots alone, and it is written
only where it differs. So several replicas, or several control planes with the same roots, write it once.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from isthmus.base.errors import IsthmusError, ObjectRef, Problem, UnreachableError
from isthmus.edge.kube_client import KubeClient, KubeError
from isthmus.edge.root_writer import trust_webhook, write_roots
from isthmus.install.values import CONTROL_PLANE_CLUSTERS
from isthmus.kube.requests import NAMESPACES

log = structlog.get_logger()

FORBIDDEN = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class DutySettings:
    """`cluster` is our own id, which a remote's annotation names. Times in seconds."""

    cluster: str
    system_namespace: str
    webhook_name: str = "istio-sidecar-injector"
    interval: float = 30.0
    longest: float = 20.0


class RemoteDuties:
    """Looks after each remote cluster apart from the others: one that hangs delays nobody else."""

    def __init__(
        self,
        settings: DutySettings,
        *,
        clusters: Callable[[], Collection[str]],
        client: Callable[[str], KubeClient | None],
        roots: Callable[[], str],
    ) -> None:
        """`clusters` are the known remote ones, `roots` is the bundle in force."""
        self._settings = settings
        self._clusters = clusters
        self._client = client
        self._roots = roots
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._poked = asyncio.Event()
        self._problems: dict[str, Problem] = {}

    def poke(self, cluster: str) -> None:
        """Something may have to be written there: a namespace appeared."""
        self._again.add(cluster)
        self._poked.set()

    def problems(self) -> list[Problem]:
        """Clusters that ask for our roots and do not let us write them."""
        return [problem for cluster, problem in self._problems.items() if cluster in self._clusters()]

    async def run(self) -> None:
        """Look after everything until cancelled."""
        async with asyncio.TaskGroup() as group:
            due: set[str] = set(self._clusters())
            while True:
                for cluster in sorted(due & set(self._clusters()) - self._busy):
                    self._busy.add(cluster)
                    group.create_task(self._look_after(cluster))
                self._poked.clear()
                try:
                    async with asyncio.timeout(self._settings.interval):
                        await self._poked.wait()
                    due, self._again = self._again, self._again & self._busy
                except TimeoutError:
                    due = set(self._clusters())

    async def _look_after(self, cluster: str) -> None:
        try:
            await self._attempt(cluster)
        finally:
            self._busy.discard(cluster)
            if cluster in self._again:
                self._poked.set()

    async def _attempt(self, cluster: str) -> None:
        client = self._client(cluster)
        if client is None:
            return
        try:
            async with asyncio.timeout(self._settings.longest):
                if await self._in_charge(client):
                    await write_roots(client, self._roots())
                    await trust_webhook(client, self._settings.webhook_name, self._roots())
        except TimeoutError:
            log.debug("cluster not looked after", cluster=cluster, error="no answer in time")
        except UnreachableError as error:  # told by remote-clusters already
            log.debug("cluster not looked after", cluster=cluster, error=str(error))
        except IsthmusError as error:
            self._note(cluster, error)
        except Exception as error:
            # An object of a form that nobody foresaw must not end the control plane.
            log.exception("cluster not looked after", cluster=cluster)
            self._note(cluster, IsthmusError(f"internal error: {error!r}", "Please report it"))
        else:
            if self._problems.pop(cluster, None) is not None:
                log.info("cluster is looked after again", cluster=cluster)

    async def _in_charge(self, client: KubeClient) -> bool:
        """True if the system namespace there names our cluster, or any."""
        found = await client.find(NAMESPACES, "", self._settings.system_namespace)
        asked = ((found or {}).get("metadata") or {}).get("annotations") or {}
        named = {name.strip() for name in str(asked.get(CONTROL_PLANE_CLUSTERS, "")).split(",")}
        return not named.isdisjoint({self._settings.cluster, "*"})

    def _note(self, cluster: str, error: IsthmusError) -> None:
        where = ObjectRef(cluster, "Namespace", "", self._settings.system_namespace)
        denied = isinstance(error, KubeError) and error.status == FORBIDDEN
        remedy = (
            "Apply isthmus install --profile remote there again, for the reader's rights" if denied else error.remedy
        )
        message = f"our roots and webhook cannot be written: {error.message}"
        field = f"metadata.annotations[{CONTROL_PLANE_CLUSTERS}]"
        problem = Problem(where, field, message.rstrip("."), remedy or "See the control plane's log")
        if self._problems.get(cluster) != problem:
            log.warning("cluster not looked after", cluster=cluster, error=str(error))
        self._problems[cluster] = problem
