"""The system calls Python 3.11 lacks: namespaces, mounts, prctl. Every failure is an OSError that names the call."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MNT_DETACH = 2

_PR_SET_NAME = 15

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429  # the same on all architectures (since Linux 5.2)
_SYS_PIVOT_ROOT = {"x86_64": 155}.get(platform.machine(), 41)  # 41 in the table that newer architectures share

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own (CLONE_NEWPID: its next children)."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kinds: int = 0) -> None:
    """Enter the namespace behind `fd`; with a pidfd, those of that process that `kinds` (CLONE_NEW*) names."""
    _check(_libc.setns(fd, kinds), "setns")


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); `kind` is the file system type, empty for binds and propagation changes."""
    arguments = [value.encode() or None for value in (source, target, kind, data)]
    _check(
        _libc.mount(arguments[0], arguments[1], arguments[2], flags, arguments[3]),
        f"mount {kind or source} on {target}",
    )


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2), lazily unless told otherwise."""
    _check(_libc.umount2(target.encode(), flags), f"umount {target}")


def propagate(target: str, kind: int) -> None:
    """Say if mounts below `target` are told to and by its copies: MS_SHARED, MS_SLAVE (only by them), MS_PRIVATE."""
    mount("none", target, flags=MS_REC | kind)


def clone_tree(path: str) -> int:
    """A descriptor of a copy of the mounts at and below `path`, which goes on hearing of mounts as they do."""
    found: int = _libc.syscall(
        _SYS_OPEN_TREE, _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    )
    _check(min(found, 0), f"open_tree {path}")
    return found


def attach_tree(fd: int, target: str) -> None:
    """Show what `clone_tree` gave at `target`."""
    done = _libc.syscall(_SYS_MOVE_MOUNT, fd, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
    _check(done, f"move_mount on {target}")


def change_root(target: str) -> None:
    """Make the mount at `target` the root of this mount namespace; the old root is gone from it."""
    os.chdir(target)
    _check(_libc.syscall(_SYS_PIVOT_ROOT, b".", b"."), f"pivot_root {target}")
    unmount(".")
    os.chdir("/")


def make_private() -> None:
    """Stop mounts made from here on from reaching other mount namespaces."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def set_title(title: str) -> None:
    """Show `title` in ps: a forked Python process would otherwise look like its parent."""
    short = title.partition(" ")[0].rpartition("/")[2].encode()[:15]
    _libc.prctl(_PR_SET_NAME, ctypes.cast(ctypes.c_char_p(short), ctypes.c_void_p).value or 0, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5), counted after the name
        if 0 < start < end:
            ctypes.memmove(start, title.encode()[: end - start - 1].ljust(end - start, b"\0"), end - start)


def open_namespace(kind: str) -> int:
    """A descriptor of one of the calling thread's own namespaces: `net`, `pid`, `mnt`, …"""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def inside(fd: int, kind: int = CLONE_NEWNET) -> Iterator[None]:
    """Run the block with the calling thread in another namespace; sockets and children made there stay there."""
    name = {CLONE_NEWNET: "net", CLONE_NEWPID: "pid_for_children"}[kind]
    before = open_namespace(name)
    try:
        setns(fd, kind)
        try:
            yield
        finally:
            setns(before, kind)
    finally:
        os.close(before)


@contextlib.contextmanager
def children_in_new_pid_namespace() -> Iterator[None]:
    """The first child made in the block is process 1 of a new PID namespace: when it ends, the kernel ends the rest."""
    before = open_namespace("pid_for_children")
    try:
        unshare(CLONE_NEWPID)
        try:
            yield
        finally:
            setns(before, CLONE_NEWPID)
    finally:
        os.close(before)
