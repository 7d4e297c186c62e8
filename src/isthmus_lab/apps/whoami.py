"""Who a lab application is, from its environment."""

import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Whoami:
    """A running application: its cluster, pod and version."""

    cluster: str
    instance: str
    version: str


def whoami() -> Whoami:
    """From CLUSTER_ID, POD_NAME (or the host name) and SERVICE_VERSION."""
    return Whoami(
        cluster=os.environ.get("CLUSTER_ID", "unknown"),
        instance=os.environ.get("POD_NAME") or socket.gethostname(),
        version=os.environ.get("SERVICE_VERSION", "v1"),
    )
