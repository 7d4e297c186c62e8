"""What a kubelet is told when it starts: one JSON file, written by the supervisor."""

from pathlib import Path

import msgspec

from isthmus_lab.net.plan import NetworkPlan, NodePlan


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A node: its addresses and those its pods may take, its API server, its sockets. All paths as seen in the lab."""

    cluster: str
    node: NodePlan
    network: NetworkPlan
    service_cidr: str
    api_socket: str
    api_token_file: str
    api_service_ip: str
    directory: str
    run_agent: bool = True
    names: dict[str, list[str]] = {}

    @property
    def runtime_socket(self) -> str:
        """Where the node's container runtime listens."""
        return f"{self.directory}/runtime.sock"

    @property
    def kubelet_socket(self) -> str:
        """Where the kubelet listens for the API server (exec, logs, portForward)."""
        return f"{self.directory}/kubelet.sock"

    @property
    def agent_socket(self) -> str:
        """Where the node's agent listens for the kubelet."""
        return f"{self.directory}/agent.sock"

    @property
    def host_directory(self) -> str:
        """What the node's own file system is kept in, as far as pods may ask for paths of it."""
        return f"{self.directory}/host"

    @property
    def network_configurations(self) -> str:
        """Where the kubelet looks for CNI's network configuration: /etc/cni/net.d of the node."""
        return f"{self.host_directory}/etc/cni/net.d"

    @property
    def network_plugins(self) -> str:
        """Where the kubelet looks for CNI plugins: /opt/cni/bin of the node."""
        return f"{self.host_directory}/opt/cni/bin"


def load(path: Path) -> NodeConfig:
    """Read the file. msgspec.ValidationError: it is not one of ours."""
    return msgspec.json.decode(path.read_bytes(), type=NodeConfig)


def save(config: NodeConfig, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(config))
