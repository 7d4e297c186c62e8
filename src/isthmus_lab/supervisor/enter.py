"""Leaving the host: user, network, mount, PID and IPC namespaces of the lab's own; no root where the kernel allows."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from isthmus.base.errors import UnreachableError
from isthmus_lab.net import linux, netns
from isthmus_lab.supervisor.state import INSIDE, StateDirectory

_SPACES = linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC
FORCE_USER_NAMESPACE = "ISTHMUS_LAB_USER_NAMESPACE"
_SWITCHES = {
    "kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    "user/max_user_namespaces": ("0", "user.max_user_namespaces=10000"),
}


class RefusedError(UnreachableError):
    """This machine does not let the user make namespaces; the remedy names the setting."""


def remedy(sysctls: Path = Path("/proc/sys")) -> str:
    """Which kernel setting stands in the way."""
    for name, (bad, good) in _SWITCHES.items():
        with suppress(OSError):
            if (sysctls / name).read_text().strip() == bad:
                return f"Run `sudo sysctl -w {good}` (or run the lab as root)."
    return "Allow user namespaces to this user (containers: run with --privileged), or run the lab as root."


def needs_user_namespace() -> bool:
    """Root works directly; everybody else becomes root of a user namespace. The variable asks for the latter anyway."""
    return os.geteuid() != 0 or bool(os.environ.get(FORCE_USER_NAMESPACE))


def unshare_all(*, user: bool) -> None:
    """Give this single-threaded process, and the children it makes from now on, namespaces of their own."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(_SPACES | (linux.CLONE_NEWUSER if user else 0))
    except OSError as error:
        raise RefusedError(f"this kernel refuses the lab its namespaces ({error.strerror})", remedy()) from error
    if user:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        except OSError as error:
            raise RefusedError(f"this kernel refuses a user namespace ({error.strerror})", remedy()) from error


def check_allowed() -> None:
    """Try it in a child. RefusedError: it would not work, with the setting to change."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            unshare_all(user=needs_user_namespace())
            linux.make_private()
            linux.mount("tmpfs", "/run", kind="tmpfs")
            code = 0
        except (RefusedError, OSError):
            pass
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RefusedError("this kernel does not let this user make namespaces, which the lab is made of", remedy())


def furnish(state: StateDirectory) -> StateDirectory:
    """Inside: own /proc where allowed, an empty /run with the state directory at /run/lab, and /run/netns."""
    linux.make_private()
    with suppress(OSError):
        linux.mount("proc", "/proc", kind="proc", flags=linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    directory = os.open(state.path, os.O_PATH | os.O_CLOEXEC)
    linux.mount("tmpfs", "/run", kind="tmpfs", data="mode=755")
    INSIDE.mkdir()
    linux.mount(f"/proc/self/fd/{directory}", str(INSIDE), flags=linux.MS_BIND)
    os.close(directory)
    netns.DIRECTORY.mkdir()
    linux.mount("tmpfs", str(netns.DIRECTORY), kind="tmpfs", data="mode=755")
    root = netns.DIRECTORY / netns.ROOT
    root.touch()
    linux.mount("/proc/self/ns/net", str(root), flags=linux.MS_BIND)
    return StateDirectory(INSIDE)


def become_first_process(write_pid: Callable[[int], None]) -> None:
    """Fork; the child returns as process 1 of the lab's PID namespace, the parent tells its pid and ends."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        write_pid(pid)
        os.close(writer)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)  # until the pid is written: nobody may find the lab without it
    os.close(reader)


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; tells a pid from its reuse. ProcessLookupError: none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return int(fields[19])
