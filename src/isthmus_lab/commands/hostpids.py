"""Which process of the host is meant by a process id inside the lab's PID namespaces."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A process as /proc of the host shows it: its parent, its id in each PID namespace, its namespace."""

    pid: int
    parent: int
    chain: tuple[int, ...]
    namespace: str


def processes(proc: Path = Path("/proc")) -> list[HostProcess]:
    """All processes in a PID namespace below ours; those of other users are left out."""
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                lines = (entry / "status").read_text().splitlines()
                fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
                chain = tuple(int(p) for p in fields.get("NSpid", []))
                if len(chain) > 1:
                    link = os.readlink(entry / "ns" / "pid")
                    found.append(HostProcess(int(entry.name), int(fields["PPid"][0]), chain, link))
    return found


class HostPids:
    """Translates pids of one lab, whose supervisor is process `supervisor` of the host."""

    def __init__(self, found: Iterable[HostProcess], supervisor: int) -> None:
        self._by_namespace: dict[tuple[str, int], int] = {}
        children: dict[int, HostProcess] = {}
        self._lab = ""
        for process in found:
            self._by_namespace[(process.namespace, process.chain[-1])] = process.pid
            if process.pid == supervisor:
                self._lab = process.namespace
            if process.parent == supervisor:
                children[process.chain[-2] if process.chain[-1] == 1 else process.chain[-1]] = process
        self._children = children

    def of_lab(self, pid: int) -> int:
        """A child of the supervisor, by its pid in the lab's namespace; 0: not found."""
        child = self._children.get(pid)
        return child.pid if child else self._by_namespace.get((self._lab, pid), 0)

    def on_node(self, runtime: int, pid: int) -> int:
        """A process of a node, by its pid there and the runtime's pid in the lab; 0: not found."""
        child = self._children.get(runtime)
        return self._by_namespace.get((child.namespace, pid), 0) if child else 0
