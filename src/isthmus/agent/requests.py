"""What a kubelet may ask of a node's agent, and the memory that outlives the agent."""

from hashlib import blake2b
from pathlib import Path

import msgspec

from isthmus.edge.whole_file import PRIVATE, replace_file


class Start(msgspec.Struct, frozen=True, tag_field="op", tag="start"):
    """Run a proxy container: its identity, network namespace, environment, arguments and mounts (inside to outside)."""

    id: str
    args: list[str]
    env: dict[str, str]
    mounts: dict[str, str]
    netns: str = ""
    log: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    ip: str = ""

    @property
    def essence(self) -> tuple[object, ...]:
        """What makes it another proxy if it differs; the log file of an attempt does not."""
        return (self.args, self.env, self.mounts, self.netns)


class Stop(msgspec.Struct, frozen=True, tag_field="op", tag="stop", rename="camel"):
    """Drain and end a proxy."""

    id: str
    grace_seconds: float = 30.0


class GetStatus(msgspec.Struct, frozen=True, tag_field="op", tag="status"):
    """How is a proxy?"""

    id: str


class ListProxies(msgspec.Struct, frozen=True, tag_field="op", tag="list"):
    """Which proxies are there?"""


class Shutdown(msgspec.Struct, frozen=True, tag_field="op", tag="shutdown", rename="camel"):
    """Drain and end all proxies."""

    grace_seconds: float = 5.0


Request = Start | Stop | GetStatus | ListProxies | Shutdown


class Memory:
    """The start requests of the proxies that should run, one file each in a directory of this user."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[Start]:
        """All that are remembered; files that cannot be read are removed."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for file in sorted(self._directory.glob("*.json")):
            try:
                found.append(msgspec.json.decode(file.read_bytes(), type=Start))
            except msgspec.DecodeError:
                file.unlink()
        return found

    def keep(self, request: Start) -> None:
        """Remember a request; environments are for their owner only."""
        replace_file(self._file(request.id), msgspec.json.encode(request), mode=PRIVATE)

    def drop(self, proxy_id: str) -> None:
        """Forget a request."""
        self._file(proxy_id).unlink(missing_ok=True)

    def _file(self, proxy_id: str) -> Path:
        return self._directory / f"{blake2b(proxy_id.encode(), digest_size=12).hexdigest()}.json"
