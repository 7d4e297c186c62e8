"""Puts the plugin isthmus-cni into a node's list of CNI plugins, keeps it there, and takes it out again."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from isthmus.base.errors import IsthmusError
from isthmus.edge.whole_file import replace_file
from isthmus.install import cni_conf

LOOK_EVERY = 5.0
"""Seconds between looks: whoever makes the nodes' network may write its configuration anew."""

_EXECUTABLE = 0o755


class CniInstaller:
    """The files of one node, as this process sees them."""

    def __init__(self, *, net_dir: Path, bin_dir: Path, entry: dict[str, Any], log: FilteringBoundLogger) -> None:
        self._net_dir = net_dir
        self._bin_dir = bin_dir
        self._entry = entry
        self._log = log
        self._said = ""

    def write_launcher(self) -> None:
        """Make the program that the runtime starts. Raises OSError."""
        self._net_dir.mkdir(parents=True, exist_ok=True)
        path = self._bin_dir / cni_conf.PLUGIN
        replace_file(path, launcher().encode())
        path.chmod(_EXECUTABLE)

    async def keep(self) -> None:
        """Install the plugin, and look after the list of plugins, until cancelled."""
        written = False
        while True:
            try:
                if not written:
                    self.write_launcher()
                    written = True
                if self.ensure():
                    self._log.info("CNI plugin installed", directory=str(self._net_dir))
                self._said = ""
            except (OSError, IsthmusError) as error:
                self._complain(str(error))
            await asyncio.sleep(LOOK_EVERY)

    def ensure(self) -> bool:
        """Make the plugin the last of the list that the runtime takes; True if something was changed.

        Raises OSError or IsthmusError; without any configuration yet, too.
        """
        name = cni_conf.primary(self._names())
        if not name:
            raise IsthmusError(f"there is no CNI configuration in {self._net_dir}", "Is the nodes' network installed?")
        target, text = cni_conf.chained(name, (self._net_dir / name).read_text(), self._entry)
        stale = [one for one in self._names() if one.startswith(cni_conf.OWN_PREFIX) and one != target]
        for one in stale:  # it stood in for a file that is another one by now
            (self._net_dir / one).unlink()
        if self._text(target) == text:
            return bool(stale)
        replace_file(self._net_dir / target, text.encode(), mode=0o600)
        return True

    def remove(self) -> None:
        """Leave the node as if the plugin had never been there. Raises OSError or IsthmusError."""
        for name in self._names():
            path = self._net_dir / name
            if name.startswith(cni_conf.OWN_PREFIX):
                path.unlink()
                continue
            before = path.read_text()
            after = cni_conf.unchained(name, before)
            if after != before:
                replace_file(path, after.encode(), mode=0o600)
        (self._bin_dir / cni_conf.PLUGIN).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        fitting = (path for path in self._net_dir.iterdir() if path.suffix in cni_conf.SUFFIXES)
        return sorted(path.name for path in fitting)

    def _text(self, name: str) -> str:
        path = self._net_dir / name
        return path.read_text() if path.exists() else ""

    def _complain(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            self._log.warning("CNI plugin not installed", reason=reason)


def launcher() -> str:
    """What starts the plugin where this process runs: on the machine itself, or in a container of it."""
    if _is_machine():
        return cni_conf.direct_launcher(sys.executable)
    return cni_conf.container_launcher(sys.executable, pid=os.getpid(), namespace=os.readlink("/proc/self/ns/mnt"))


def _is_machine() -> bool:
    """True if this process has the machine's own file system, or may not see that of its first process."""
    try:
        return Path("/").samefile("/proc/1/root")
    except PermissionError:
        return True
