"""What a machine is told when it starts: one JSON file, written by the supervisor."""

from pathlib import Path

import msgspec


class MachineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. `run` are its applications' commands; `joins`: it is to be a part of the mesh, with these `labels`.

    `names` are what its name server knows. All paths as seen in the lab.
    """

    name: str
    namespace: str
    ip: str
    wan_ip: str
    directory: str
    run: list[list[str]]
    env: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    labels: dict[str, str] = {}
    joins: bool = False

    @property
    def runtime_socket(self) -> str:
        """Where its processes are started."""
        return f"{self.directory}/runtime.sock"

    @property
    def control_socket(self) -> str:
        """Where it is asked for logs, to run commands, and how it is; the same words as a kubelet's."""
        return f"{self.directory}/kubelet.sock"

    @property
    def files(self) -> str:
        """The files of `isthmus workload entry configure`."""
        return f"{self.directory}/mesh"

    @property
    def agent_state(self) -> str:
        """The agent's own state."""
        return f"{self.directory}/agent"


def load(path: Path) -> MachineConfig:
    """Read the file. msgspec.ValidationError: it is not one of ours."""
    return msgspec.json.decode(path.read_bytes(), type=MachineConfig)


def save(config: MachineConfig, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(config))
