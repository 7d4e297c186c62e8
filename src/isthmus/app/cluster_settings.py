"""Settings and shown state of the clusters that a control plane watches."""

from dataclasses import dataclass, field

from isthmus.base.names import DEFAULT_DOMAIN
from isthmus.edge.kube_client import ClientOptions
from isthmus.ingest.place import SYSTEM_NAMESPACE
from isthmus.kube.kubeconfig import Access
from isthmus.kube.watch import WatchOptions

SYNCED = "synced"
SYNCING = "syncing"
TIMEOUT = "timeout"
CLOSED = "closed"
ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Which cluster is the own (config) one, how to reach it, and times in seconds.

    `remote_timeout`: how long a cluster that was never seen holds up the start (RS6); 0: for ever.
    `restore_after`: how long a silent cluster is waited for before its checkpoint is used; one that refuses is not
    waited for. `probe_interval`: how often a quiet cluster is asked whether it is there.
    `checkpoint_dir`: where rows are kept for a restart; empty: nowhere.
    `local`: the cluster whose Secrets give access to others, where that is not the config cluster (RS1, PR4).
    `kubeconfig_dir`: a directory of kubeconfigs that do so as well, looked at every `files_interval` (RS9).
    """

    config_cluster: str
    access: Access
    local: Access | None = None
    kubeconfig_dir: str = ""
    files_interval: float = 5.0
    system_namespace: str = SYSTEM_NAMESPACE
    domain: str = DEFAULT_DOMAIN
    trust_domain: str = DEFAULT_DOMAIN
    checkpoint_dir: str = ""
    checkpoint_interval: float = 5.0
    remote_timeout: float = 30.0
    restore_after: float = 3.0
    probe_interval: float = 3.0
    probe_timeout: float = 2.0
    watch: WatchOptions = field(default_factory=WatchOptions)
    client: ClientOptions = field(default_factory=ClientOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """A cluster as it is now. Times in seconds since the epoch, None: never.

    `status`: `synced` everything was listed and the server answers; `syncing` the first list is under way; `timeout`
    never seen, and no longer waited for; `error` see `last_error`: the rows are those last observed; `closed` the
    control plane is stopping. `stale`: the rows are from a checkpoint and were not seen again yet.
    """

    id: str
    secret: str
    server: str
    status: str
    last_contact: float | None
    last_error: str
    rows: int
    stale: bool
    config: bool = False
