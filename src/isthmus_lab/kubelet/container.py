"""What happens between fork and exec: a container's namespaces, mounts, environment, log."""

import contextlib
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from isthmus_lab.kubelet import rooms
from isthmus_lab.net import linux, netns

EXIT_CANNOT_START = 127
_MOST_DESCRIPTORS = 4096


class Mount(msgspec.Struct, frozen=True):
    """A directory or file of the node that a container sees at `target`, with everything that is mounted below it.

    `propagation` as in Kubernetes: mounts made later below `source` are seen with HostToContainer; with Bidirectional
    those that the container makes are seen outside, too.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: str = "None"


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A process to start. `entry` ("module:function") runs in a forked interpreter instead of executing `argv[0]`.

    `log` takes stdout and stderr; None leaves the standard streams as they are. `files` (target to source) stand in
    for files of the host, where the host has them.
    """

    id: str
    argv: list[str]
    entry: str | None = None
    env: dict[str, str] = {}
    cwd: str = "/"
    netns: str | None = None
    mounts: list[Mount] = []
    files: dict[str, str] = {}
    hostname: str = ""
    private: bool = True
    log: str | None = "/dev/null"
    meta: dict[str, str] = {}


def become(spec: ContainerSpec) -> None:
    """Turn the calling (freshly forked) process into the container. Never returns."""
    code = EXIT_CANNOT_START
    try:
        if spec.log is not None:
            _standard_streams(spec.log)
        os.closerange(3, _MOST_DESCRIPTORS)
        _reset_signals()
        os.setsid()
        if spec.netns:
            _enter_netns(spec.netns)
        if spec.private:
            private_filesystem(spec)
        _run(spec)
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
        if isinstance(done.code, str):
            sys.stderr.write(done.code + "\n")
    except BaseException as error:  # the last frame of a forked process: nothing may escape into the parent's code
        traceback.print_exception(error, file=sys.stderr)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _standard_streams(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    for fd in (null, out):
        if fd > 2:
            os.close(fd)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _enter_netns(name: str) -> None:
    fd = os.open(netns.path(name), os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(fd, linux.CLONE_NEWNET)
    os.close(fd)


def private_filesystem(spec: ContainerSpec) -> None:
    """A mount namespace with an empty /run of its own, into which the volumes are bound, and own files below /etc."""
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS)
    trees = [(mount, linux.clone_tree(mount.source)) for mount in spec.mounts]
    linux.make_private()
    rooms.make(mount.target for mount in spec.mounts)
    present = [(source, target) for target, source in spec.files.items() if os.path.lexists(target)]
    sources = [(os.open(source, os.O_PATH | os.O_CLOEXEC), target) for source, target in present]
    with contextlib.suppress(OSError):
        linux.unmount(str(netns.DIRECTORY))  # else this container keeps every pod's namespace of today alive
    linux.mount("tmpfs", "/run", kind="tmpfs", data="mode=755,size=64m")
    Path("/run/tmp").mkdir(mode=0o1777)
    if os.path.realpath("/var/run") != "/run":
        linux.mount("/run", "/var/run", flags=linux.MS_BIND)
    for mount, tree in trees:
        _attach(tree, mount)
        os.close(tree)
    for fd, target in sources:
        _bind(fd, target)
        os.close(fd)
    if spec.hostname:
        import socket

        socket.sethostname(spec.hostname)


def bind_file(source: str, target: str) -> None:
    """Show a file in place of another in the calling process's mount namespace."""
    fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        _bind(fd, target)
    finally:
        os.close(fd)


def _bind(source: int, target: str) -> None:
    origin = f"/proc/self/fd/{source}"
    linux.mount(origin, _place(origin, target), flags=linux.MS_BIND)


def _attach(tree: int, mount: Mount) -> None:
    target = _place(f"/proc/self/fd/{tree}", mount.target)
    linux.attach_tree(tree, target)
    if mount.propagation != "Bidirectional":
        linux.propagate(target, linux.MS_SLAVE if mount.propagation == "HostToContainer" else linux.MS_PRIVATE)
    if mount.read_only:
        with contextlib.suppress(OSError):  # inherited flags of the host's mount may forbid a plain remount
            linux.mount("none", target, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)


def _place(origin: str, target: str) -> str:
    """The mount point, made if need be: all that is missing is below /run by now, where there is room."""
    place = Path(os.path.realpath(target))
    if not place.exists():
        if os.path.isdir(origin):
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    return str(place)


def _run(spec: ContainerSpec) -> None:
    os.chdir(spec.cwd)
    os.environ.clear()
    os.environ.update(spec.env)
    if spec.entry is None:
        try:
            os.execvpe(spec.argv[0], spec.argv, spec.env)
        except OSError as error:
            sys.stderr.write(f"cannot run {spec.argv[0]!r}: {error.strerror}\n")
            raise SystemExit(EXIT_CANNOT_START) from error
    linux.set_title(" ".join(spec.argv))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    module, _, function = spec.entry.partition(":")
    sys.argv = list(spec.argv)
    result = getattr(importlib.import_module(module), function)(spec.argv[1:])
    raise SystemExit(result or 0)
