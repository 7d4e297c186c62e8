"""Named network namespaces below /run/netns, as `ip netns` keeps them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from isthmus_lab.net import linux

DIRECTORY = Path("/run/netns")

ROOT = "root"
"""The lab's root namespace under a name, for those who live in another one: kubelets hang pods on its bridges."""


def path(name: str) -> str:
    """Where the namespace of that name is kept."""
    return str(DIRECTORY / name)


def create(name: str) -> None:
    """Make a network namespace and keep it under `name`; one that exists already stays as it is."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    target = path(name)
    if is_alive(name):
        return
    Path(target).touch()
    before = linux.open_namespace("net")
    try:
        linux.unshare(linux.CLONE_NEWNET)
        try:
            linux.mount("/proc/thread-self/ns/net", target, flags=linux.MS_BIND)
        finally:
            linux.setns(before, linux.CLONE_NEWNET)
    finally:
        os.close(before)


def is_alive(name: str) -> bool:
    """True if `name` is kept here and is a namespace, not the empty file that a dead mount leaves."""
    try:
        return os.stat(path(name)).st_dev != os.stat(DIRECTORY).st_dev
    except FileNotFoundError:
        return False


def delete(name: str) -> None:
    """Let go of the namespace; the kernel ends it when its last process and socket are gone. A missing one is fine."""
    with contextlib.suppress(OSError):
        linux.unmount(path(name))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path(name))


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Run the block with the calling thread in that namespace."""
    fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        with linux.inside(fd):
            yield
    finally:
        os.close(fd)


def write_sysctls(values: dict[str, str]) -> None:
    """Set sysctls (`net/ipv4/ip_forward`) of the calling thread's namespace; ones the kernel lacks are skipped."""
    for name, value in values.items():
        with contextlib.suppress(FileNotFoundError, PermissionError):
            Path("/proc/sys", name).write_text(value)
