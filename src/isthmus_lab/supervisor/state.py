"""The state directory of a lab: the only place on the host where a lab leaves anything."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

LONGEST_SOCKET_PATH = 107
INSIDE = Path("/run/lab")
"""Where the state directory appears inside the lab: short enough for any socket below it."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Names of what is kept, seen from outside (the user's path) or inside (`/run/lab`)."""

    path: Path

    @property
    def control_socket(self) -> Path:
        """The supervisor's socket."""
        return self.path / "sock"

    @property
    def pid_file(self) -> Path:
        """Process id of the supervisor on the host, and when it started (clock ticks since boot)."""
        return self.path / "supervisor.pid"

    @property
    def log(self) -> Path:
        """The supervisor's log."""
        return self.path / "supervisor.log"

    @property
    def ports_file(self) -> Path:
        """Ports of the API servers on the host's loopback, kept so that kubeconfigs stay right."""
        return self.path / "ports.json"

    @property
    def lab_file(self) -> Path:
        """Which lab.yaml this state belongs to."""
        return self.path / "lab.json"

    def cluster(self, name: str) -> Path:
        """A cluster's directory."""
        return self.path / "clusters" / name

    def api_data(self, cluster: str) -> Path:
        """What the API server keeps: its store, tokens, certificates, kubeconfig."""
        return self.cluster(cluster) / "api"

    def api_socket(self, cluster: str) -> Path:
        """The API server's Unix socket."""
        return self.cluster(cluster) / "api.sock"

    def node(self, cluster: str, name: str) -> Path:
        """A node's directory: sockets, pods, logs."""
        return self.cluster(cluster) / "nodes" / name

    def kubeconfig(self, cluster: str) -> Path:
        """The administrator's kubeconfig, with the server at the host's loopback."""
        return self.api_data(cluster) / "admin.kubeconfig"

    def system_token(self, cluster: str) -> str:
        """The token of the lab's own programs. FileNotFoundError: the API server never started."""
        return (self.api_data(cluster) / "system.token").read_text().strip()

    def ports(self) -> dict[str, int]:
        """Ports by cluster, as last used."""
        try:
            return dict(json.loads(self.ports_file.read_text()))
        except (FileNotFoundError, ValueError):
            return {}


def default_root() -> Path:
    """`$XDG_STATE_HOME/isthmus/lab`, or below ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base, "isthmus", "lab")


def connectable(path: Path) -> str:
    """The path of a Unix socket in a form short enough to connect to, whatever directory it is in.

    A long one is reached through a descriptor of its directory, which stays open for the life of this process.
    """
    text = str(path)
    if len(os.fsencode(text)) <= LONGEST_SOCKET_PATH:
        return text
    return f"/proc/self/fd/{os.open(path.parent, os.O_PATH | os.O_CLOEXEC)}/{path.name}"
