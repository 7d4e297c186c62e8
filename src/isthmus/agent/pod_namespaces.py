"""Where the network namespace of a pod is that started before the agent did: no plugin told of it."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from isthmus.base.errors import IsthmusError
from isthmus.edge.netns import NetworkNamespace


async def find_namespace(directory: Path, addresses: Sequence[str]) -> Path | None:
    """The namespace that has all of these addresses, among those that the container runtime keeps in `directory`."""
    for path in kept(directory) if addresses else ():
        with contextlib.suppress(IsthmusError, OSError):  # it ended meanwhile, or is none
            if await NetworkNamespace(path).has_addresses(addresses):
                return path
    return None


def kept(directory: Path) -> list[Path]:
    """What is in a directory that may not be there."""
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
