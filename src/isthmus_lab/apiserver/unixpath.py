"""Unix sockets at any path: the kernel takes 107 bytes only, but a directory can be named by its descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LIMIT = 107  # bytes of sun_path (unix(7))


@contextmanager
def addressable(path: Path) -> Iterator[str]:
    """A name for the socket that can be bound or connected to while the context lasts."""
    if len(os.fsencode(path)) <= _LIMIT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
