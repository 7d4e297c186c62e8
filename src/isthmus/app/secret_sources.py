"""Where credentials of other clusters come from: Secrets of one namespace (RS1), files of a directory (RS9)."""

import asyncio
import random
from collections.abc import Callable, Iterable

import structlog

from isthmus.app.cluster_settings import ClusterSettings
from isthmus.base.errors import Problem
from isthmus.edge.kube_client import KubeClient
from isthmus.edge.kube_watch import Watcher
from isthmus.edge.kubeconfig_files import read_kubeconfigs
from isthmus.ingest.place import Place
from isthmus.ingest.secrets import (
    REMOTE_SELECTOR,
    RemoteCluster,
    SecretObservation,
    kubeconfig_files,
    observe_secret,
    remote_clusters,
)
from isthmus.kube.events import Applied, Deleted, Fact, Failed, Replaced
from isthmus.kube.objects import Secret
from isthmus.kube.requests import SECRETS, Scope
from isthmus.kube.watch import WatchMachine

log = structlog.get_logger()

SECRET_WATCH = "remote secrets"


class SecretSources:
    """What all sources say together; `changed` is called when that may be something else than before."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        changed: Callable[[], None],
        contact: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """`contact` and `failed` are told how the watch goes that reads the Secrets."""
        self._settings = settings
        self._place = Place(settings.config_cluster, settings.domain, settings.system_namespace)
        self._changed = changed
        self._contact = contact
        self._failed = failed
        self._secrets: dict[tuple[str, str], Secret] = {}
        self._problems: dict[tuple[str, str], Problem] = {}
        self._files: dict[str, bytes] = {}
        self.listed = False
        """True once the Secrets were listed."""

    def clusters(self) -> tuple[dict[str, RemoteCluster], list[Problem]]:
        """The clusters that credentials are there for. A cluster of a Secret is not taken from a file (RS3)."""
        found, problems = remote_clusters(self._place, self._secrets.values())
        files, broken = kubeconfig_files(self._place, self._files, taken=found)
        return {**files, **found}, [*self._problems.values(), *problems, *broken]

    def watch(self, client: KubeClient) -> Watcher[SecretObservation]:
        """Reads the Secrets with this client."""
        machine = WatchMachine(
            SECRETS,
            observe_secret(self._place),
            scope=Scope(namespace=self._settings.system_namespace, label_selector=REMOTE_SELECTOR),
            options=self._settings.watch,
            jitter=random.random,
        )
        return Watcher(client, machine, facts=self._learn, contact=self._contact)

    async def watch_files(self, directory: str) -> None:
        """Read the directory now and then, until cancelled; a directory that cannot be read changes nothing."""
        while True:
            try:
                found = await asyncio.to_thread(read_kubeconfigs, directory)
            except OSError as error:
                log.warning("kubeconfigs cannot be read", directory=directory, error=error.strerror)
            else:
                if found != self._files:
                    self._files = found
                    self._changed()
            await asyncio.sleep(self._settings.files_interval)

    def _learn(self, facts: Iterable[Fact[SecretObservation]]) -> None:
        for fact in facts:
            match fact:
                case Applied(found):
                    self._put(found)
                case Deleted(found):
                    self._secrets.pop(found.key, None)
                    self._problems.pop(found.key, None)
                case Replaced(values):
                    kept, self._secrets, self._problems = self._secrets, {}, {}
                    self._secrets |= {v.key: kept[v.key] for v in values if v.key in kept}
                    for value in values:
                        self._put(value)
                    self.listed = True
                case Failed(_, message):
                    self._failed(message)
        self._changed()

    def _put(self, found: SecretObservation) -> None:
        """A secret that cannot be decoded keeps what it said before."""
        self._problems.pop(found.key, None)
        if found.secret is not None:
            self._secrets[found.key] = found.secret
        elif found.problem is not None:
            self._problems[found.key] = found.problem
