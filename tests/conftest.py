"""What all tests share: lab tests are skipped, loudly, where the kernel does not allow unprivileged namespaces."""

import ctypes
import os
import shutil

import pytest

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000


def namespaces_allowed() -> bool:
    """True if this user may create a network namespace, directly as root or inside a user namespace."""
    pid = os.fork()
    if pid == 0:
        flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET
        os._exit(0 if ctypes.CDLL(None, use_errno=True).unshare(flags) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and say why."""
    lab = [item for item in items if item.get_closest_marker("lab")]
    if lab and not namespaces_allowed():
        reason = (
            "LAB SKIPPED: this kernel refuses user namespaces to ordinary users. "
            "Set kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0, or run as root."
        )
        for item in lab:
            item.add_marker(pytest.mark.skip(reason=reason))
    if shutil.which("kubectl") is None:
        for item in items:
            if item.get_closest_marker("kubectl"):
                item.add_marker(pytest.mark.skip(reason="KUBECTL SKIPPED: kubectl is not on PATH"))
