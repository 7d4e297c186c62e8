"""Makes room for mount points that this machine does not have: in the container's own view, nothing is written here.

Where a directory is missing, a tmpfs takes the place of the nearest one above that exists, and shows everything that
was there; so does one that becomes the container's root, if need be.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from isthmus_lab.net import linux

_STAGE = "/tmp"
_RUN = Path("/run")


def make(targets: Iterable[str]) -> None:
    """Make the parents of all mount points that are missing. The caller's mount namespace is private to it.

    Below /run nothing is made: every container has an empty one, in which there is room.
    """
    ours: set[int] = set()
    for target in targets:
        path = Path(os.path.realpath(target))
        if path.exists() or path.is_relative_to(_RUN):
            continue
        base = nearest(path)
        if os.stat(base).st_dev not in ours:
            _lay_over(str(base))
            ours.add(os.stat(base).st_dev)
        path.parent.mkdir(parents=True, exist_ok=True)


def nearest(path: Path) -> Path:
    """The nearest directory above that exists."""
    return next(parent for parent in path.parents if parent.is_dir())


def _lay_over(base: str) -> None:
    stage = _STAGE if base == "/" else base
    below = os.open(base, os.O_PATH | os.O_CLOEXEC)
    hidden = os.open(stage, os.O_PATH | os.O_CLOEXEC)
    try:
        linux.mount("tmpfs", stage, kind="tmpfs", data="mode=755,size=1m")
        for name in os.listdir(f"/proc/self/fd/{below}"):
            if base == "/" and f"/{name}" == stage:
                _show_directory(f"/proc/self/fd/{hidden}", f"{stage}/{name}")
            else:
                _show(f"/proc/self/fd/{below}/{name}", f"{stage}/{name}")
    finally:
        os.close(below)
        os.close(hidden)
    if base == "/":
        linux.change_root(stage)


def _show(source: str, target: str) -> None:
    """The same entry in another place. What cannot be shown is empty there."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        _show_directory(source, target)
    else:
        Path(target).touch()
        with contextlib.suppress(OSError):
            linux.mount(source, target, flags=linux.MS_BIND)


def _show_directory(source: str, target: str) -> None:
    os.mkdir(target)
    with contextlib.suppress(OSError):
        linux.mount(source, target, flags=linux.MS_BIND | linux.MS_REC)
